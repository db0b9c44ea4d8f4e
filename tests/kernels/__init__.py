"""Tests of every operation in ``fusedlstm.ops`` on the process's active instruction set."""
