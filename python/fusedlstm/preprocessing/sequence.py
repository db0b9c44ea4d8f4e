"""Keras's older home of `pad_sequences`."""

from fusedlstm.utils.padding import pad_sequences

__all__ = ["pad_sequences"]
