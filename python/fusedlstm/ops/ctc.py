"""Connectionist temporal classification: labels without an alignment to the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.base import checks
from fusedlstm.ops.dispatch import kernels_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Integers = NDArray[np.integer[Any]]


class CTCResult(NamedTuple):
    """Losses of a batch's rows, and their gradient.

    Attributes
    ----------
    losses : array (B,)
    dlogits : array (B, T, C) or None
        Gradient of the sum of ``row_weights * losses``; exactly zero at steps beyond ``logit_lengths``.
    """

    losses: Array
    dlogits: Array | None


def ctc_loss(
    logits: Array,
    labels: Integers,
    logit_lengths: Integers | None = None,
    label_lengths: Integers | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    *,
    row_weights: Array | None = None,
    need_dlogits: bool = True,
) -> CTCResult:
    """Compute the CTC loss (Graves et al. 2006) of each row, and its gradient in the same call.

    A row's loss is minus the logarithm of its labels' probability: the sum over all paths of one class a step
    that read as the labels when repetitions are merged, and blanks then left out. The probability of a path
    is the product of its steps' softmax.

    Parameters
    ----------
    logits : array (B, T, C)
        Softmax is part of the loss; logarithms of probabilities are logits too.
    labels : integer array (B, L)
        Classes in [0, C) other than the blank. What stands beyond ``label_lengths`` is ignored.
    logit_lengths, label_lengths : integer array (B,), optional
        Real steps and labels of each row, from none to all; all by default.
    blank : int
        The class of the blank.
    zero_infinity : bool
        Loss 0 instead of infinity for labels that no path of a row's steps reads as: more labels than steps,
        counting a blank between equal neighbours, or classes of probability zero.
    row_weights : array (B,), optional
        Factors of the rows' gradients, so that reductions need no other pass; the losses are without.
    need_dlogits : bool
        Compute the gradient.

    Returns
    -------
    CTCResult
        Losses and gradient. Rows of infinite loss have a gradient of zero, with and without `zero_infinity`.
        A NaN among a row's real logits, or infinity, makes its loss and the gradient of its real steps NaN.
        A class whose logit is more than 2^18 below its step's largest has probability zero.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, a length or the blank is out of range, or a label is no class or the
        blank; the message names its place.
    """
    losses, dlogits = kernels_for(logits).ctc_loss(
        logits,
        checks.whole(labels, "labels", logits),
        None if logit_lengths is None else checks.whole(logit_lengths, "logit_lengths", logits),
        None if label_lengths is None else checks.whole(label_lengths, "label_lengths", logits),
        checks.non_negative_int(blank, "blank"),
        checks.flag(zero_infinity, "zero_infinity"),
        row_weights,
        checks.flag(need_dlogits, "need_dlogits"),
    )
    return CTCResult(losses, dlogits)
