"""The rows of a batch, of one length or of several."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class Rows:
    """What depends on the lengths of a batch's rows; None for sequences of one length."""

    def __init__(self, lengths: Any = None, device: Any = None) -> None:
        self._lengths = lengths  # PyTorch's functions take them on a CPU
        self.lengths: Any = None if lengths is None else lengths.to(device)
        self._order: Any = None

    def pack(self, x: Any) -> Any:
        """Return the real steps of x (B, T, N) in a PackedSequence's order."""
        return pack_padded_sequence(x, self._lengths, batch_first=True).data

    def reversed(self, x: Any) -> Any:
        """Return x (B, T, N) with the real steps of each row from the last to the first."""
        if self.lengths is None:
            return x.flip(1)
        if self._order is None:
            step, length = torch.arange(x.shape[1], device=x.device), self.lengths[:, None]
            self._order = torch.where(step < length, length - 1 - step, step)[:, :, None]
        return torch.take_along_dim(x, self._order, dim=1)

    def drop(self, x: Any, rate: float) -> Any:
        """Apply dropout to x (B, T, N), drawing in PyTorch's order, so that seeds give the same masks."""
        if self.lengths is None:
            return dropout(x.transpose(0, 1).contiguous(), rate).transpose(0, 1)
        packed = pack_padded_sequence(x, self._lengths, batch_first=True)
        dropped = PackedSequence(dropout(packed.data, rate), packed.batch_sizes)
        return pad_packed_sequence(dropped, batch_first=True)[0]
