"""How far results may be off because weights are kept in fewer bits.

Rounding a weight to a multiple of q leaves an error spread evenly over -q/2 to q/2, of variance ``q^2 / 12``
and independent of the others'. bfloat16's 8 significant bits make q at most ``2^-7`` of the weight, int8's q
is 1/127 of the largest weight in its column. To first order, and with the standard deviation s of each error:

- a pre-activation's is that of a random sum over its K terms, errors of the states that enter it included:
  ``s(z)^2 = sum x^2 q^2 / 12 + sum h^2 q^2 / 12 + sum U^2 s(h)^2``;
- activations multiply it by their derivatives. Gates read different columns, so that their errors add up as
  squares;
- a weight's error is the same at every step. In the cell state errors of one sign may therefore follow each
  other, and add up as they are, but the forget gate shrinks the older ones: ``s(c) = f s(c_prev) + ...``.

Allowed are 8 standard deviations. A sum of such errors exceeds them with a probability below 3e-14 (Hoeffding
1963), which is the choice of `fusedlstm.testing.tolerance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import testing
from fusedlstm.benchmark.verify import Expected

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload

_DEVIATIONS = 8


def allow_rounded_weights(
    expected: dict[str, Expected], workload: Workload, arrays: dict[str, Array], storage: str
) -> dict[str, Expected]:
    """Add to what is allowed for ``y``, ``h`` and ``c`` the loss of weights kept as `storage`.

    Parameters
    ----------
    expected
        What `fusedlstm.benchmark.verify.expectations` returns for a workload `forward` or `step`.
    workload, arrays
        What that was computed for.
    storage
        ``"bfloat16"`` or ``"int8"``.
    """
    deviations = _deviations(workload, arrays, storage)
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
        step = np.broadcast_to(np.abs(weights).max(axis=0) / 127, weights.shape)
    variance: Array = step**2 / 12
    return variance


def _deviations(workload: Workload, arrays: dict[str, Array], storage: str) -> dict[str, Array]:
    """Return the standard deviations of the errors of ``y`` (B, T, H), ``h`` and ``c`` (B, H)."""
    names = ("x", "kernel", "recurrent_kernel", "bias")
    x, kernel, recurrent, bias = (arrays[name].astype(np.float64) for name in names)
    kernel_variance, recurrent_variance = _variance(kernel, storage), _variance(recurrent, storage)
    recurrent_squared = recurrent**2
    zeros = np.zeros((workload.B, workload.H))
    h, c = (arrays.get(name, zeros).astype(np.float64) for name in ("h0", "c0"))
    s_h = s_c = zeros
    y = []
    for x_t in x.reshape(workload.B, workload.T, workload.I).swapaxes(0, 1):
        variance = x_t**2 @ kernel_variance + h**2 @ recurrent_variance + s_h**2 @ recurrent_squared
        c_prev = c
        h, c, gates = testing.cell_forward_reference(x_t @ kernel + h @ recurrent + bias, c_prev)
        i, f, g, o = np.split(gates, 4, axis=1)
        s_i, s_f, s_g, s_o = np.split(np.sqrt(variance), 4, axis=1)
        s_i, s_f, s_g, s_o = i * (1 - i) * s_i, f * (1 - f) * s_f, (1 - g**2) * s_g, o * (1 - o) * s_o
        s_c = f * s_c + np.sqrt((c_prev * s_f) ** 2 + (g * s_i) ** 2 + (i * s_g) ** 2)
        s_h = np.hypot(np.tanh(c) * s_o, o * (1 - np.tanh(c) ** 2) * s_c)
        y.append(s_h)
    return {"y": np.stack(y, axis=1), "h": s_h, "c": s_c}
