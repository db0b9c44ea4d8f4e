"""`pad_sequences`: sequences of different lengths in one array."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks

if TYPE_CHECKING:
    import numpy.typing as npt

_SIDES = ("pre", "post")


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: npt.DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float | str = 0.0,
) -> npt.NDArray[Any]:
    """Bring sequences to one length.

    Parameters
    ----------
    sequences : list of (list or ndarray), each of shape (T, ...)
        Sequences of any lengths; the axes after the first are the same for all.
    maxlen : int, optional
        Steps of the result; those of the longest sequence by default.
    dtype : dtype
        Number type of the result. Numbers that an integer type does not hold are an error; ``object`` is for
        sequences of strings.
    padding, truncating : {"pre", "post"}
        Whether ``value`` is put before or after a short sequence, and whether a long one loses its first or
        its last steps.
    value : float or str
        Fills the steps that a sequence does not have.

    Returns
    -------
    ndarray of ``dtype``, shape (N, maxlen, ...)
        The sequences.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or a sequence does not fit the others or the dtype; the message names it by
        its place.
    """
    kind = np.dtype(dtype)
    checks.choice(padding, "padding", _SIDES)
    checks.choice(truncating, "truncating", _SIDES)
    steps = None if maxlen is None else checks.positive_int(maxlen, "maxlen")
    if not hasattr(sequences, "__len__"):
        raise TypeError(f"sequences: expected a list of sequences, got {type(sequences).__name__}")
    lengths = [_length(one, place) for place, one in enumerate(sequences)]
    if steps is None:
        if not lengths:
            raise ValueError("sequences: expected at least one sequence where maxlen is None, got none")
        steps = max(lengths)
    cut = slice(-steps, None) if truncating == "pre" else slice(steps)
    kept = [one if length <= steps else one[cut] for one, length in zip(sequences, lengths, strict=True)]
    counts = np.minimum(lengths, steps)
    flat = _joined(kept, kind)
    wrong = _first_lost(flat, kind)
    if wrong is not None:
        place = int(np.searchsorted(np.cumsum(counts), wrong[0], side="right"))
        raise ValueError(f"sequences[{place}]: expected numbers that {kind} holds, got {flat[wrong]!r}")
    try:
        fits = _first_lost(_array(value, kind), kind) is None
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"value: expected one that {kind} holds, got {value!r}")
    result = np.full((len(kept), steps, *flat.shape[1:]), value, kind)
    at = np.arange(steps)
    result[at >= steps - counts[:, None] if padding == "pre" else at < counts[:, None]] = flat
    return result


def _length(sequence: Any, place: int) -> int:
    if not hasattr(sequence, "__len__") or isinstance(sequence, str | bytes | dict | set | frozenset):
        raise TypeError(f"sequences[{place}]: expected a sequence, got {type(sequence).__name__}")
    return len(sequence)


def _array(values: Any, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return values as an array of a dtype, or, if that is one of integers, of theirs, to be compared."""
    return np.asarray(values, None if kind.kind in "iu" else kind)


def _joined(sequences: list[Any], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the steps of all sequences in one array."""
    parts = [one for one in sequences if len(one)]
    try:
        if all(isinstance(one, list) for one in parts):
            return _array(_of_integers(list(chain.from_iterable(parts))), kind)
        return np.concatenate([_array(one, kind) for one in parts])
    except ValueError as error:
        first = None
        for place, one in enumerate(sequences):
            try:
                shape = _array(one, kind).shape[1:]
            except ValueError:
                raise ValueError(f"sequences[{place}]: expected steps that {kind} holds ({error})") from error
            if len(one) and shape != (first := shape if first is None else first):
                raise ValueError(
                    f"sequences[{place}]: expected steps of shape {first} like those before, got {shape}"
                ) from error
        raise


def _of_integers(values: list[Any]) -> Any:
    """Return a list of integers as an array of Python's, which reads them faster than NumPy does."""
    try:
        return array("q", values)
    except (TypeError, OverflowError):  # something else is among them
        return values


def _first_lost(values: npt.NDArray[Any], kind: np.dtype[Any]) -> tuple[int, ...] | None:
    """Return where the first number is that a dtype of integers does not hold, if there is one."""
    if kind.kind not in "iu" or values.dtype == kind or not values.size:
        return None
    if values.dtype.kind not in "biuf":
        return (0,) * values.ndim
    with np.errstate(invalid="ignore"):
        wrong = np.asarray(values.astype(kind) != values)
    return checks.first_place(wrong) if wrong.any() else None
