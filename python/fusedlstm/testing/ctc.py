"""CTC in NumPy, from the definition of Graves et al. (2006): all paths, or their sums by recursion."""

from __future__ import annotations

from itertools import groupby, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Wide = npt.NDArray[np.longdouble]


class CTCReference(NamedTuple):
    """Losses (B,), and their gradients (B, T, C), in float64."""

    losses: npt.NDArray[np.float64]
    dlogits: npt.NDArray[np.float64]


def ctc_paths_reference(logits: npt.ArrayLike, labels: npt.ArrayLike, blank: int = 0) -> CTCReference:
    """Add up all paths of one row that read as its labels: of C ** T, so that only small sizes end.

    Parameters
    ----------
    logits : array_like (T, C)
    labels : array_like (L,)
        Classes other than the blank.
    blank : int

    Returns
    -------
    CTCReference
        Of the row: a loss (), and a gradient (T, C), which is zero where the loss is infinite.
    """
    x = np.asarray(logits, np.float64)
    steps, classes = x.shape
    wanted = [int(label) for label in np.asarray(labels)]
    y = np.array([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in x]).reshape(x.shape)
    total, passing = 0.0, np.zeros_like(y)
    for path in product(range(classes), repeat=steps):
        if [label for label, _ in groupby(path) if label != blank] != wanted:
            continue
        chance = 1.0
        for t, label in enumerate(path):
            chance *= y[t, label]
        total += chance
        for t, label in enumerate(path):
            passing[t, label] += chance
    if total == 0:
        return CTCReference(np.array(np.inf), np.zeros_like(y))
    return CTCReference(-np.log(np.array(total)), y - passing / total)


def ctc_loss_reference(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    logit_lengths: npt.ArrayLike | None = None,
    label_lengths: npt.ArrayLike | None = None,
    blank: int = 0,
) -> CTCReference:
    """Compute the losses of a batch and their gradients, in logarithms of the widest numbers there are.

    Parameters
    ----------
    logits : array_like (B, T, C)
    labels : array_like (B, L)
    logit_lengths, label_lengths : array_like (B,), optional
        Real steps and labels; all by default.
    blank : int

    Returns
    -------
    CTCReference
        Gradients are zero at steps that are not real, and where the loss is infinite.
    """
    x, marks = np.asarray(logits), np.asarray(labels)
    steps = np.full(len(x), x.shape[1]) if logit_lengths is None else np.asarray(logit_lengths)
    counts = np.full(len(x), marks.shape[1]) if label_lengths is None else np.asarray(label_lengths)
    losses, dlogits = np.zeros(len(x)), np.zeros(x.shape)
    for b, (length, count) in enumerate(zip(steps, counts, strict=True)):
        with np.errstate(all="ignore"):
            losses[b], dlogits[b, :length] = _row(x[b, :length], marks[b, :count], blank)
    return CTCReference(losses, dlogits)


def _row(logits: npt.NDArray[Any], labels: npt.NDArray[Any], blank: int) -> tuple[np.float64, Wide]:
    wide = logits.astype(np.longdouble)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    log_y = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    skips = np.zeros(len(states), bool)
    skips[3::2] = labels[1:] != labels[:-1]
    forward = _ends(log_y[:, states], skips)
    # Backwards, a state may be skipped to where it may be skipped from.
    behind = np.zeros_like(skips)
    behind[:-2] = skips[2:]
    backward = _ends(log_y[::-1, states[::-1]], behind[::-1])[::-1, ::-1]
    start = np.array([0.0] + [-np.inf] * (len(states) - 1), np.longdouble)
    last = forward[-1] if len(logits) else start
    log_p = np.logaddexp.reduce(last[-2:])
    if log_p == -np.inf:
        return np.float64(np.inf), np.zeros_like(shifted)
    gradient = np.exp(log_y)
    # Both halves of a path have its step; where its probability is zero, no path passes.
    shares = np.where(log_y[:, states] > -np.inf, np.exp(forward + backward - log_y[:, states] - log_p), 0)
    for s, label in enumerate(states):
        gradient[:, label] -= shares[:, s]
    return np.float64(-log_p), gradient


def _ends(log_y: Wide, skips: npt.NDArray[np.bool_]) -> Wide:
    """Return the logarithms of the probabilities of paths that end in each state, step by step."""
    ends = np.full(log_y.shape, -np.inf, np.longdouble)
    here = np.full(log_y.shape[1] + 2, -np.inf, np.longdouble)
    for t, row in enumerate(log_y):
        if t == 0:
            here[2:4] = row[:2]
        else:
            skipped = np.where(skips, here[:-2], -np.inf)
            here[2:] = np.logaddexp(np.logaddexp(here[2:], here[1:-1]), skipped) + row
        ends[t] = here[2:]
    return ends
