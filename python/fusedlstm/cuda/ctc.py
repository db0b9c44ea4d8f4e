"""The CTC loss on device arrays, as `fusedlstm._core` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import _core
from fusedlstm.cuda.checks import Call, first_place

if TYPE_CHECKING:
    from fusedlstm.cuda.checks import Dim


def ctc_loss(
    logits: Any,
    labels: Any,
    logit_lengths: Any,
    label_lengths: Any,
    blank: int,
    zero_infinity: bool,
    row_weights: Any,
    need_dlogits: bool,
) -> tuple[Any, Any]:
    """Run `fusedlstm.ops.ctc_loss` on the device; whole numbers come from `checks.whole`."""
    call = Call.of("logits", logits)
    x = call.readable("logits", logits, ("B", None), ("T", None), ("C", None))
    B, T, C = x.shape
    labels = _integers(call, "labels", labels, ("B", B), ("L", None))
    L = labels.shape[1]
    if not 0 <= blank < C:
        raise ValueError(f"blank: expected a class in [0, C={C}), got {blank}")
    if C >= 2**31:
        raise ValueError(f"logits: expected fewer than 2^31 classes, got C={C}")
    steps = _lengths(call, "logit_lengths", logit_lengths, B, ("T", T))
    counts = _lengths(call, "label_lengths", label_lengths, B, ("L", L))
    _check_labels(call, labels, counts, C, blank)
    weights = call.optional("row_weights", row_weights, ("B", B))
    losses = call.empty(B)
    dlogits = call.empty(B, T, C) if need_dlogits else None
    scratch = call.empty(B, call.extension.ctc_scratch(T, L, need_dlogits))
    call.extension.ctc_loss(
        number=call.number,
        batch=B,
        steps=T,
        classes=C,
        logits=call.strided(x),
        labels=call.address(labels),
        most_labels=L,
        label_lengths=call.address(counts),
        logit_lengths=call.address(steps),
        blank=blank,
        weights=call.address(weights),
        zero_infinity=zero_infinity,
        losses=call.address(losses),
        dlogits=call.address(dlogits),
        scratch=call.address(scratch),
        stream=call.device.stream(),
    )
    _core.note_kernel(f"{call.device.name} {call.number} ctc_loss")
    return losses, dlogits


def _integers(call: Call, name: str, numbers: Any, *dims: Dim) -> Any:
    return Call(call.device, np.dtype(np.int64)).checked(name, call.own(name, numbers), *dims)


def _range(call: Call, count: int) -> Any:
    numbers = call.device.empty((count,), np.int64)
    numbers[...] = 1
    return np.cumsum(numbers) - 1


def _lengths(call: Call, name: str, lengths: Any, batch: int, most: tuple[str, int]) -> Any:
    """Return the lengths (B,), all of them the most for None."""
    letter, limit = most
    if lengths is None:
        numbers = call.device.empty((batch,), np.int64)
        numbers[...] = limit
        return numbers
    numbers = _integers(call, name, lengths, ("B", batch))
    wrong = (numbers < 0) | (numbers > limit)
    if bool(np.any(wrong)):
        place = first_place(wrong)
        raise ValueError(
            f"{name}: expected numbers from 0 to {letter}={limit}, got {int(numbers[place])} at index {place}"
        )
    return numbers


def _check_labels(call: Call, labels: Any, counts: Any, classes: int, blank: int) -> None:
    """Raise `ValueError` unless each row's first labels are classes other than the blank."""
    real = _range(call, labels.shape[1]) < counts[:, None]
    wrong = real & ((labels < 0) | (labels >= classes) | (labels == blank))
    if bool(np.any(wrong)):
        place = first_place(wrong)
        raise ValueError(
            f"labels: expected classes in [0, C={classes}) other than the blank, {blank}, "
            f"got {int(labels[place])} at index {place}"
        )
