"""What layer normalization does outside the recurrence: the rows of x kernel, forward and back.

The equations are those of csrc/math/layer_norm.h; parameters of the recurrence's own part go to the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.cuda.sums import column_sums

if TYPE_CHECKING:
    from fusedlstm.cuda.checks import Call


class Rows(NamedTuple):
    """Normalized rows, and the factors that made them so."""

    normalized: Any  # (M, N)
    scale: Any  # (M, 1)


def normalized_rows(x: Any, epsilon: float) -> Rows:
    """Normalize the rows of an array of float32 or float64, in two passes, as the CPU does."""
    share = 1.0 / max(x.shape[1], 1)
    centered = x - np.sum(x, axis=1, keepdims=True) * share
    # The rounding error of the mean, which the variance would otherwise hold.
    centered -= np.sum(centered, axis=1, keepdims=True) * share
    variance = np.sum(centered * centered, axis=1, keepdims=True) * share
    scale = 1.0 / np.sqrt(variance + x.dtype.type(epsilon))
    return Rows(centered * scale, scale)


def through_rows(rows: Rows, dn: Any) -> Any:
    """Return the gradient of what was normalized, from that of the normalized rows."""
    n, scale = rows
    share = 1.0 / max(n.shape[1], 1)
    means = np.sum(dn, axis=1, keepdims=True) * share, np.sum(n * dn, axis=1, keepdims=True) * share
    return scale * (dn - means[0] - n * means[1])


@dataclass(frozen=True)
class Normalization:
    """A layer-normalized cell's parameters, checked."""

    gamma_input: Any  # (4H,)
    gamma_recurrent: Any  # (4H,)
    gamma_cell: Any  # (H,)
    beta_cell: Any  # (H,)
    epsilon: float

    @staticmethod
    def of(call: Call, norm: Any, units: int) -> Normalization:
        """Check the parameters that `fusedlstm.ops.LayerNorm` has."""
        gates, cells = ("4H", 4 * units), ("H", units)
        return Normalization(
            call.contiguous("gamma_input", norm.gamma_input, gates),
            call.contiguous("gamma_recurrent", norm.gamma_recurrent, gates),
            call.contiguous("gamma_cell", norm.gamma_cell, cells),
            call.contiguous("beta_cell", norm.beta_cell, cells),
            float(norm.epsilon),
        )

    @property
    def arrays(self) -> tuple[Any, Any, Any, Any]:
        """All parameters but epsilon."""
        return self.gamma_input, self.gamma_recurrent, self.gamma_cell, self.beta_cell

    def copied(self) -> Normalization:
        """For a tape, which must not see later changes of arrays."""
        gamma_input, gamma_recurrent, gamma_cell, beta_cell = (array.copy() for array in self.arrays)
        return Normalization(gamma_input, gamma_recurrent, gamma_cell, beta_cell, self.epsilon)

    def given(self, call: Call) -> tuple[Any, ...]:
        """Return what the extension takes."""
        parts = (self.gamma_recurrent, self.gamma_cell, self.beta_cell)
        return (self.epsilon, *(call.address(part) for part in parts))

    def inputs(self, call: Call, product: Any) -> tuple[Any, Rows]:
        """Return gamma_input norm(x kernel), of products (M, 4H), and what the way back needs."""
        rows = normalized_rows(product.astype(call.states.dtype, copy=False), self.epsilon)
        return (rows.normalized * self.gamma_input).astype(call.dtype, copy=False), rows

    def input_gradients(self, call: Call, rows: Rows, dz: Any) -> tuple[Any, Any]:
        """Return the gradients of x kernel and of gamma_input."""
        wide = dz.astype(call.states.dtype, copy=False)
        dproduct = through_rows(rows, wide * self.gamma_input)
        dgamma = column_sums(call.states, wide * rows.normalized)
        return dproduct.astype(call.dtype, copy=False), dgamma
