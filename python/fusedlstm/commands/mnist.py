"""``fusedlstm mnist``: the example of this name, which is the first one to try."""

from __future__ import annotations

from fusedlstm.commands.example import command_of

mnist = command_of("mnist")
