"""How far a kernel's result may be from the exact one, and the comparison that uses it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# N. J. Higham and T. Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput.
# 41(5), 2019: a sum of n products has a relative error below LAMBDA sqrt(n) u, u the unit roundoff, with
# probability at least 1 - 2 exp(-LAMBDA^2 / 2). With 8 that is 1 - 3e-14 for each element.
_LAMBDA = 8.0
# One cell has at most five activations in a row of factors (i, f, c~, o, tanh(c)), each exact to 4 units in
# the last place = 8 u, and about eight more roundings.
_CELL = 5 * 8.0 + 8.0
# Unit roundoffs of the 16-bit number types, of which NumPy knows one.
_SHORT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


def tolerance(dtype: npt.DTypeLike, terms: int, *, steps: int = 1) -> float:
    """Give the largest relative error that rounding explains.

    The formula is ``u * (8 sqrt(terms) + 48) * max(steps, 1)``, where ``u`` is the unit roundoff, half of
    ``numpy.finfo(dtype).eps``:

    - ``8 sqrt(terms)``: rounding of a sum of ``terms`` products in any order (Higham and Mary 2019), which a
      correct kernel exceeds with a probability below 3e-14 for each element;
    - ``48``: five activations with at most 4 units in the last place (8 u) each, and eight roundings;
    - ``steps``: each time step adds such an error to those before it. Linear growth presumes that a step does
      not amplify an error, which holds when the spectral norms of the weights are about one or less.

    Parameters
    ----------
    dtype : dtype_like
        The kernel's number type, a floating-point type.
    terms : int
        Length of the longest sum of products behind one element, for example ``I + H`` for an LSTM's
        pre-activation. 0 for elementwise operations.
    steps : int
        Number of time steps that feed into one another.

    Returns
    -------
    float
        Error relative to the scale of the result.

    Raises
    ------
    TypeError
        If `dtype` is not a floating-point type.
    ValueError
        If `terms` or `steps` is negative.
    """
    number = np.dtype(dtype)
    if not np.issubdtype(number, np.floating):
        raise TypeError(f"dtype: expected a floating-point type, got {number.name}")
    if terms < 0:
        raise ValueError(f"terms: expected a non-negative integer, got {terms}")
    if steps < 0:
        raise ValueError(f"steps: expected a non-negative integer, got {steps}")
    unit_roundoff = float(np.finfo(number).eps) / 2
    return unit_roundoff * (_LAMBDA * math.sqrt(terms) + _CELL) * max(steps, 1)


def storage_tolerance(dtype: npt.DTypeLike, steps: int) -> float:
    """Give the largest relative error that storing numbers in 16 bits explains, where sums have more.

    The formula is ``8 u sqrt(steps + 4)``, by the same article as that of `tolerance`: a step stores a state
    that those after it read, besides the four gates of its own, and each stored number is off by the unit
    roundoff ``u`` at most. These errors are independent, of either sign, and a step does not amplify them.

    Parameters
    ----------
    dtype : dtype_like
        float16 or bfloat16, by name or as the package ml_dtypes has it.
    steps : int
        Number of stored states that feed into one another, at least 0.

    Returns
    -------
    float
        Error relative to the scale of the result.

    Raises
    ------
    TypeError
        If `dtype` is another type.
    ValueError
        If `steps` is negative.
    """
    # NumPy knows the name bfloat16 where ml_dtypes was imported.
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in _SHORT:
        raise TypeError(f"dtype: expected float16 or bfloat16, got {name}")
    if steps < 0:
        raise ValueError(f"steps: expected a non-negative integer, got {steps}")
    return _SHORT[name] * _LAMBDA * math.sqrt(steps + 4)


def assert_close(
    actual: npt.ArrayLike,
    expected: npt.ArrayLike,
    *,
    dtype: npt.DTypeLike,
    terms: int,
    steps: int = 1,
    scale: npt.ArrayLike | None = None,
    name: str = "result",
) -> float:
    """Check that a kernel's result is as close to the reference as its number type allows.

    An element passes when ``|actual - expected| <= tolerance(dtype, terms, steps=steps) * scale``. NaNs must
    stand where the reference has NaNs, and infinities must be equal.

    Parameters
    ----------
    actual : array_like of `dtype`
        What the kernel returned.
    expected : array_like, the same shape
        The reference's result, in float64.
    dtype : dtype_like
        Number type the kernel must have computed in; `actual` must have it.
    terms, steps : int
        As for :func:`tolerance`.
    scale : array_like, optional
        Magnitude to which the error is relative, broadcast against `expected`: the largest partial sum behind
        an element. By default the largest finite magnitude in `expected`, since a sum's rounding error does
        not shrink when the sum happens to cancel.
    name : str
        What to call the array in messages.

    Returns
    -------
    float
        The worst error in units of the tolerance: 1 or less, 0 for empty arrays.

    Raises
    ------
    AssertionError
        If shape or dtype differ, or an element is too far off; names the worst element, its index and its
        error in units of the tolerance.
    """
    got, want = np.asarray(actual), np.asarray(expected, dtype=np.float64)
    if got.dtype != np.dtype(dtype):
        raise AssertionError(f"{name}: expected dtype {np.dtype(dtype).name}, got {got.dtype.name}")
    if got.shape != want.shape:
        raise AssertionError(f"{name}: expected shape {want.shape}, got {got.shape}")
    if want.size == 0:
        return 0.0
    finite = np.isfinite(want)
    if scale is None:
        largest = float(np.max(np.abs(want), where=finite, initial=0.0))
        allowed = np.full(want.shape, largest)
    else:
        allowed = np.broadcast_to(np.abs(np.asarray(scale, dtype=np.float64)), want.shape).copy()
    # Below the smallest normal number the kernels flush to zero, so that no relative precision is left there.
    allowed = allowed * tolerance(dtype, terms, steps=steps) + float(np.finfo(np.dtype(dtype)).tiny)
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(np.float64) - want)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    error = np.where(same, 0.0, np.where(finite & np.isfinite(got), error, np.inf))
    ratio = error / allowed
    worst = np.unravel_index(int(np.argmax(ratio)), want.shape)
    value = float(ratio[worst])
    if value > 1:
        index = tuple(int(k) for k in worst)
        raise AssertionError(
            f"{name}{list(index)}: expected {float(want[worst])!r}, got {float(got[worst])!r}, "
            f"{value:.3g} times the tolerance {allowed[worst]:.3g} "
            f"({int(np.count_nonzero(ratio > 1))} of {want.size} elements are too far off)"
        )
    return value
