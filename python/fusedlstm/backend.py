"""Keras's older home of `floatx`, `set_floatx`, `epsilon` and `clear_session`."""

from __future__ import annotations

from fusedlstm.config import epsilon, floatx, set_floatx
from fusedlstm.utils import clear_session

__all__ = ["clear_session", "epsilon", "floatx", "set_floatx"]
