"""`fusedlstm.torch`."""
