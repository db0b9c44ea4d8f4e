"""Check analytic gradients against finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusedlstm.testing.tolerances import tolerance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

# A power of two, so that value +- step loses no more than the value's own last bit.
_STEP = 2.0**-12
_TINY = float(np.finfo(np.float64).tiny)


class GradientCheck(NamedTuple):
    """The worst element that :func:`check_gradients` found.

    Attributes
    ----------
    name : str
        Which array; empty when nothing was there to check.
    position : tuple of int
        Which element of it.
    analytic, numeric : float
        Its gradient as given, and by finite differences.
    ratio : float
        Their difference in units of the tolerance; 1 or less.
    """

    name: str
    position: tuple[int, ...]
    analytic: float
    numeric: float
    ratio: float


def check_gradients(
    function: Callable[..., Array | tuple[Array, ...]],
    gradient: Callable[..., Mapping[str, Array]],
    arrays: Mapping[str, Array],
    *,
    terms: int = 1,
    steps: int = 1,
    elements: int | None = 24,
    seed: int = 0,
) -> GradientCheck:
    """Compare analytic gradients with central finite differences in float64.

    For second derivatives, `function` returns the first ones, and `gradient` differentiates those.

    The outputs of `function` are projected on random numbers ``p``, so that one scalar
    ``s = sum_k <p_k, output_k>`` stands for all of them. `gradient` must return the gradients of ``s``, for
    which it is given the ``p_k``: they are what a backward pass receives as the outputs' gradients.

    Each element's derivative is taken with the fourth-order stencil
    ``(8 (s(+d) - s(-d)) - (s(+2d) - s(-2d))) / 12 d``, ``d = 2**-12``. Its error is at most

    - truncation, ``d**4 / 30`` times the fifth derivative. The LSTM's is taken to be at most 30,000 times the
      largest gradient (16 from tanh, times the fifth power of inputs up to about 4), giving
      ``1000 d**4 = 4e-12``;
    - rounding of `function`, ``1.5 / d * tolerance(float64, terms, steps) * |(p_k output_k)|_2``.

    Parameters
    ----------
    function : callable
        Called as ``function(**arrays)``; returns a float64 array or a tuple of them.
    gradient : callable
        Called as ``gradient(projections, **arrays)`` with a tuple of float64 arrays of the outputs' shapes;
        returns a mapping from names to gradients. Names that are not in it are not checked.
    arrays : mapping of str to ndarray of float64
        Arguments of `function`. They are not changed.
    terms, steps : int
        As for :func:`fusedlstm.testing.tolerance`: how much `function` rounds.
    elements : int, optional
        How many elements of each array to check, drawn at random; None checks all of them.
    seed : int
        Seed of the projections and of the drawn elements.

    Returns
    -------
    GradientCheck
        The element with the largest difference.

    Raises
    ------
    AssertionError
        If a difference is larger than the tolerance, or a gradient has another shape than its array.
    TypeError
        If an array is not float64.
    ValueError
        If a gradient is given for an unknown name.
    """
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            raise TypeError(f"arrays[{name!r}]: expected an array of float64, got {_describe(array)}")
    random = np.random.default_rng(seed)
    inputs = {name: array.copy() for name, array in arrays.items()}
    outputs = _as_tuple(function(**inputs))
    projections = tuple(random.standard_normal(output.shape) for output in outputs)
    analytic = gradient(projections, **{name: array.copy() for name, array in arrays.items()})
    products = [np.sum((p * output) ** 2) for p, output in zip(projections, outputs, strict=True)]
    rounding = 1.5 / _STEP * tolerance(np.float64, terms, steps=steps) * float(np.sqrt(sum(products)))

    worst = GradientCheck("", (), 0.0, 0.0, 0.0)
    for name, given in analytic.items():
        if name not in inputs:
            raise ValueError(f"gradient: expected names among {sorted(inputs)}, got {name!r}")
        array = inputs[name]
        if given.shape != array.shape:
            raise AssertionError(f"gradient of {name}: expected shape {array.shape}, got {given.shape}")
        largest = float(np.max(np.abs(given), initial=0.0))
        allowed = rounding + 1000 * _STEP**4 * largest
        chosen = np.arange(array.size)
        if elements is not None and elements < array.size:
            chosen = random.choice(array.size, elements, replace=False)
        for flat in chosen:
            index = tuple(int(k) for k in np.unravel_index(int(flat), array.shape))
            numeric = _difference(function, inputs, name, index, projections)
            difference = abs(float(given[index]) - numeric)
            ratio = difference / max(allowed, _TINY)
            # A NaN compares false with everything: it must count as the worst difference, not as none.
            if not ratio <= worst.ratio:
                worst = GradientCheck(name, index, float(given[index]), numeric, ratio)
                if not ratio <= 1:
                    break
        if not worst.ratio <= 1:
            raise AssertionError(
                f"gradient of {worst.name}{list(worst.position)}: finite differences give {worst.numeric!r}, "
                f"got {worst.analytic!r}, {worst.ratio:.3g} times the tolerance {allowed:.3g}"
            )
    return worst


def _difference(
    function: Callable[..., Array | tuple[Array, ...]],
    inputs: dict[str, Array],
    name: str,
    index: tuple[int, ...],
    projections: tuple[Array, ...],
) -> float:
    """Differentiate the projected output by one element; `inputs` are as before afterwards."""
    array = inputs[name]
    value = array[index]

    def outputs_at(offset: int) -> tuple[Array, ...]:
        array[index] = value + offset * _STEP
        # Copies, because a function may return the same buffer each time.
        outputs = tuple(output.copy() for output in _as_tuple(function(**inputs)))
        array[index] = value
        return outputs

    # Elements are subtracted before they are summed: the difference of two close numbers is exact.
    change = 0.0
    for p, near, before, far, far_before in zip(
        projections, outputs_at(1), outputs_at(-1), outputs_at(2), outputs_at(-2), strict=True
    ):
        change += float(np.sum(p * (8.0 * (near - before) - (far - far_before))))
    return change / (12 * _STEP)


def _as_tuple(outputs: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _describe(value: object) -> str:
    return f"an array of {value.dtype.name}" if isinstance(value, np.ndarray) else type(value).__name__
