"""Models that come from, or go to, other libraries."""

from fusedlstm.exchange.torch import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
