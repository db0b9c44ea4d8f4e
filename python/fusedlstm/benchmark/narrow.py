"""How far results may be off because weights, and what is multiplied by them, are kept in fewer bits.

Rounding a weight to a multiple of q leaves an error spread evenly over -q/2 to q/2, of variance ``q^2 / 12``
and independent of the others'. bfloat16's 8 significant bits make q at most ``2^-7`` of the weight, int8's q
is 1/127 of the largest weight in its column. To first order, and with the standard deviation s of each error:

- a pre-activation's is that of a random sum over its K terms, errors of the states that enter it included:
  ``s(z)^2 = sum x^2 q^2 / 12 + sum h^2 q^2 / 12 + sum U^2 s(h)^2``;
- where x and h are rounded as they are used, to multiples of p, it has ``sum (W p)^2 / 12`` besides for each;
- activations multiply it by their derivatives. Gates read different columns, so that their errors add up as
  squares;
- a weight's error is the same at every step. In the cell state errors of one sign may therefore follow each
  other, and add up as they are, but the forget gate shrinks the older ones: ``s(c) = f s(c_prev) + ...``.

Allowed are 8 standard deviations. A sum of such errors exceeds them with a probability below 3e-14 (Hoeffding
1963), which is the choice of `fusedlstm.testing.tolerance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import testing
from fusedlstm.benchmark.verify import Expected

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload

_DEVIATIONS = 8


@dataclass(frozen=True)
class Rounding:
    """How a contender rounds.

    Attributes
    ----------
    weights : {"bfloat16", "int8", "int8 of a matrix"}
        int8 with a factor for each column, or for the whole matrix.
    steps : int
        Of the range that x and h are rounded in as they are used; 0 where they are not.
    each_row : bool
        The range is each row's largest magnitude, else from the least to the largest number of all rows.
    """

    weights: str
    steps: int = 0
    each_row: bool = False


def allow_rounding(
    expected: dict[str, Expected], workload: Workload, arrays: dict[str, Array], rounding: Rounding
) -> dict[str, Expected]:
    """Add to what is allowed for ``y``, ``h`` and ``c`` the loss of a rounding.

    Parameters
    ----------
    expected
        What `fusedlstm.benchmark.verify.expectations` returns for a workload `forward` or `step`.
    workload, arrays
        What that was computed for.
    rounding
        A contender's.
    """
    deviations = _deviations(workload, arrays, rounding)
    return {
        name: Expected(want.array, want.allowed + _DEVIATIONS * deviations[name])
        for name, want in expected.items()
    }


def _variance(weights: Array, storage: str) -> Array:
    """Return the variance of each weight's rounding error."""
    if storage == "bfloat16":
        _, exponent = np.frexp(weights)
        step = np.ldexp(1.0, exponent - 8)
    else:
        axis = None if storage == "int8 of a matrix" else 0
        step = np.broadcast_to(np.abs(weights).max(axis=axis) / 127, weights.shape)
    variance: Array = step**2 / 12
    return variance


def _steps(rows: Array, rounding: Rounding) -> Array | float:
    """Return what rows (B, K) are rounded to multiples of: (B, 1), or one number for all."""
    if not rounding.steps:
        return 0.0
    if rounding.each_row:
        largest: Array = np.abs(rows).max(axis=1, keepdims=True) / rounding.steps
        return largest
    # Zero is one of the numbers of a range.
    return float(max(rows.max(), 0) - min(rows.min(), 0)) / rounding.steps


def _deviations(workload: Workload, arrays: dict[str, Array], rounding: Rounding) -> dict[str, Array]:
    """Return the standard deviations of the errors of ``y`` (B, T, H), ``h`` and ``c`` (B, H)."""
    names = ("x", "kernel", "recurrent_kernel", "bias")
    x, kernel, recurrent, bias = (arrays[name].astype(np.float64) for name in names)
    kernel_variance, recurrent_variance = (_variance(one, rounding.weights) for one in (kernel, recurrent))
    recurrent_squared = recurrent**2
    kernel_sums, recurrent_sums = (kernel**2).sum(axis=0) / 12, recurrent_squared.sum(axis=0) / 12
    zeros = np.zeros((workload.B, workload.H))
    h, c = (arrays.get(name, zeros).astype(np.float64) for name in ("h0", "c0"))
    s_h = s_c = zeros
    y = []
    sequence = x.reshape(workload.B, workload.T, workload.I)
    # Inputs of all steps are one product, whose range is that of all.
    of_inputs = None if rounding.each_row else _steps(sequence.reshape(-1, workload.I), rounding)
    for x_t in sequence.swapaxes(0, 1):
        variance = x_t**2 @ kernel_variance + h**2 @ recurrent_variance + s_h**2 @ recurrent_squared
        step_x = _steps(x_t, rounding) if of_inputs is None else of_inputs
        variance = variance + step_x**2 * kernel_sums + _steps(h, rounding) ** 2 * recurrent_sums
        c_prev = c
        h, c, gates = testing.cell_forward_reference(x_t @ kernel + h @ recurrent + bias, c_prev)
        i, f, g, o = np.split(gates, 4, axis=1)
        s_i, s_f, s_g, s_o = np.split(np.sqrt(variance), 4, axis=1)
        s_i, s_f, s_g, s_o = i * (1 - i) * s_i, f * (1 - f) * s_f, (1 - g**2) * s_g, o * (1 - o) * s_o
        s_c = f * s_c + np.sqrt((c_prev * s_f) ** 2 + (g * s_i) ** 2 + (i * s_g) ** 2)
        s_h = np.hypot(np.tanh(c) * s_o, o * (1 - np.tanh(c) ** 2) * s_c)
        y.append(s_h)
    return {"y": np.stack(y, axis=1), "h": s_h, "c": s_c}
