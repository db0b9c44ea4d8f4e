"""`CellOptions`: what a cell does differently from the plain LSTM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from fusedlstm._core import CellSettings
from fusedlstm.activations import TABLE
from fusedlstm.base import checks
from fusedlstm.base.arrays import is_array

# The kernels' numbers of activations, and the parameters that their names stand for.
ACTIVATIONS: dict[str, tuple[int, float, float]] = {
    name: (number, *(*row.parameters, 0.0, 0.0)[:2])  # type: ignore[misc]
    for number in range(len(TABLE))
    for name, row in TABLE.items()
    if row.kernel == number
}

Activation: TypeAlias = "str | tuple[str, float] | tuple[str, float, float]"


# The smallest number that float32 has in full. Smaller ones are 0 in kernels, and a limit of 0 is none.
_LEAST = float(np.finfo(np.float32).tiny)


def _check_normal(value: float, name: str) -> None:
    if value < _LEAST:
        raise ValueError(f"{name}: expected at least {_LEAST:.4g}, got {value}")


@dataclass(frozen=True)
class LayerNorm:
    """Parameters of a layer-normalized cell (Ba, Kiros and Hinton 2016, equations 20 to 22).

    The cell is::

        z = norm(x W) gamma_input + norm(h U) gamma_recurrent + b
        c = f c + i g
        h = o tanh(norm(c) gamma_cell + beta_cell)

    ``norm(a) = (a - mean) / sqrt(variance + epsilon)`` over all columns of a row: 4H of the products, H of c.
    The next step goes on from c itself.

    Parameters
    ----------
    gamma_input, gamma_recurrent : array (4H,)
    gamma_cell, beta_cell : array (H,)
    epsilon : float

    Raises
    ------
    TypeError, ValueError
        A parameter is not an array, or `epsilon` is not positive.
    """

    gamma_input: Any
    gamma_recurrent: Any
    gamma_cell: Any
    beta_cell: Any
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("gamma_input", "gamma_recurrent", "gamma_cell", "beta_cell"):
            if not is_array(getattr(self, name)):
                raise TypeError(f"{name}: expected an array, got {type(getattr(self, name)).__name__}")
        _check_normal(checks.positive(self.epsilon, "epsilon"), "epsilon")


@dataclass(frozen=True)
class CellOptions:
    """Options of the cell. All run in the same kernels, forward and backward.

    An activation is a name, or ``(name, alpha)`` or ``(name, alpha, beta)``:

    - ``"tanh"``, ``"sigmoid"``, ``"softsign"``, ``"softplus"``, ``"exponential"``;
    - ``"hard_sigmoid"``: ``alpha x + beta`` within [0, 1], by default x / 6 + 1 / 2 (Keras 3; ONNX has 0.2);
    - ``"relu"``: ``alpha x`` where x is negative, by default 0 (``"leaky_relu"``: 0.2);
    - ``"elu"``: ``alpha (exp(x) - 1)`` where x is negative, alpha = 1 by default;
    - ``"linear"``: ``alpha x + beta``, by default x;
    - ``"scaled_tanh"``: ``alpha tanh(beta x)``, alpha = beta = 1 by default, alpha not 0;
    - ``"thresholded_relu"``: 0 where x is below ``alpha >= 0``, by default 1, and x elsewhere.

    Parameters
    ----------
    recurrent_activation : str or tuple
        Of the gates i, f and o.
    activation : str or tuple
        Of the candidate c~.
    output_activation : str or tuple, optional
        Of c, where it becomes h; `activation` by default.
    peepholes : array (3, H), optional
        How much of the cell state the gates i and f (of the one before) and o (of the new one) see (Gers and
        Schmidhuber 2000).
    cell_clip : float, optional
        The cell state stays within ``[-cell_clip, cell_clip]``; where the limit holds it, no gradient passes.
    coupled : bool
        ``f = 1 - i``; the forget gate's weights have no effect and no gradient.
    zoneout_h, zoneout_c : float
        Rates in [0, 1) with which h and c keep their previous values (Krueger et al. 2017)::

            c = d_c c_prev + (1 - d_c) c_new      h = d_h h_prev + (1 - d_h) h_new

        where c_new and h_new are what the step would make without zoneout, so h_new and the output gate's
        peephole see c_new. With a ``zoneout_seed``, d is 1 for the rate's share of the units, drawn for every
        row and step, and 0 for the others; without one it is the rate, which is the expectation.
    layer_norm : LayerNorm, optional
        Normalize the products with the weights, and c on its way to h.
    gate_clip : float, optional
        The pre-activations of i, f, c~ and o stay within ``[-gate_clip, gate_clip]``; where the limit holds
        them, no gradient passes. This is ONNX's ``clip`` as ONNX Runtime computes it.

    Raises
    ------
    TypeError, ValueError
        An activation is unknown or its parameters do not fit, a limit is not positive, or a rate is not
        in [0, 1).
    """

    recurrent_activation: Activation = "sigmoid"
    activation: Activation = "tanh"
    output_activation: Activation | None = None
    peepholes: Any = None
    cell_clip: float | None = None
    coupled: bool = False
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0
    layer_norm: LayerNorm | None = None
    gate_clip: float | None = None

    def __post_init__(self) -> None:
        for name in ("cell_clip", "gate_clip"):
            value = checks.optional_positive(getattr(self, name), name)
            if value is not None:
                _check_normal(value, name)
        if self.peepholes is not None and not is_array(self.peepholes):
            raise TypeError(f"peepholes: expected an array (3, H), got {type(self.peepholes).__name__}")
        for name in ("zoneout_h", "zoneout_c"):
            checks.rate(getattr(self, name), name)
        if self.layer_norm is not None and not isinstance(self.layer_norm, LayerNorm):
            raise TypeError(f"layer_norm: expected LayerNorm or None, got {type(self.layer_norm).__name__}")
        _ = self.settings  # Bad activations are refused here, not at the first call.

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields for copies and pickles, without what is made of them."""
        return {name: value for name, value in vars(self).items() if name != "settings"}

    @property
    def activations(self) -> tuple[tuple[int, float, float], ...]:
        """Those of the gates, of c~ and of c: the kernels' number, alpha and beta of each."""
        activation = _numbers(self.activation, "activation")
        output = self.output_activation
        return (
            _numbers(self.recurrent_activation, "recurrent_activation"),
            activation,
            activation if output is None else _numbers(output, "output_activation"),
        )

    @cached_property
    def settings(self) -> CellSettings:
        """What the kernels take."""
        gate, candidate, output = self.activations
        return CellSettings(
            gate=gate,
            candidate=candidate,
            output=output,
            peepholes=self.peepholes,
            cell_clip=0.0 if self.cell_clip is None else float(self.cell_clip),
            coupled=checks.flag(self.coupled, "coupled"),
            zoneout_h=float(self.zoneout_h),
            zoneout_c=float(self.zoneout_c),
            layer_norm=self.layer_norm,
            gate_clip=0.0 if self.gate_clip is None else float(self.gate_clip),
        )


def _numbers(activation: Activation, argument: str) -> tuple[int, float, float]:
    name, *parameters = (activation,) if isinstance(activation, str) else activation
    if name not in ACTIVATIONS:
        raise ValueError(f"{argument}: expected one of {', '.join(ACTIVATIONS)}, got {name!r}")
    kind, *usual = ACTIVATIONS[name]
    row = TABLE[name]
    most = len(row.parameters)
    if len(parameters) > most:
        raise ValueError(f"{argument}: expected at most {most} parameters for {name}, got {parameters}")
    if not all(math.isfinite(value) for value in parameters):
        raise ValueError(f"{argument}: expected finite parameters, got {parameters}")
    if parameters and row.alphas is not None and not row.alphas[1](parameters[0]):
        raise ValueError(f"{argument}: expected {row.alphas[0]} for {name}, got {parameters[0]}")
    alpha, beta = [float(value) for value in parameters] + usual[len(parameters) :]
    return kind, alpha, beta
