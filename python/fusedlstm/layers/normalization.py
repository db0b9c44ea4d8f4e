"""Layer normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fusedlstm import initializers, ops
from fusedlstm.base import checks
from fusedlstm.layers.base import Layer
from fusedlstm.layers.shapes import as_rows, feature_count
from fusedlstm.layers.weights import unchanged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Shape
    from fusedlstm.base.variable import Variable


class LayerNormalization(Layer):
    """Normalizes the features of each step to mean 0 and variance 1, then scales and shifts them.

    ``gamma (x - mean) / sqrt(variance + epsilon) + beta`` over the last axis of an input of any rank (Ba,
    Kiros and Hinton 2016). The weights are ``gamma`` and ``beta`` (features,). Masks pass.

    Parameters
    ----------
    axis : int or sequence of int
        The last axis, by either of its numbers.
    epsilon : float
        Positive, added to the variance.
    center, scale : bool
        Whether there is beta, and gamma.
    beta_initializer, gamma_initializer : str or Initializer
        Start values.
    **kwargs
        As in `Layer`, with regularizers and constraints of ``gamma`` and ``beta``.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown, out of range or not supported.
    """

    weight_arguments: ClassVar[Mapping[str, str]] = {"gamma": "gamma", "beta": "beta"}
    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {**Layer.only_values, "rms_scaling": (False,)}

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        given = list(axis) if isinstance(axis, tuple | list) else [axis]
        if len(given) != 1 or isinstance(given[0], bool) or not isinstance(given[0], int):
            raise ValueError(f"axis: expected one axis, the last, got {axis!r:.80}")
        self.epsilon = checks.non_negative(epsilon, "epsilon")
        if self.epsilon == 0:
            raise ValueError(f"epsilon: expected a positive number, got {epsilon}")
        super().__init__(**kwargs)
        self.axis = int(given[0])
        self.center, self.scale = checks.flag(center, "center"), checks.flag(scale, "scale")
        self.beta_initializer = initializers.get(beta_initializer, "beta_initializer")
        self.gamma_initializer = initializers.get(gamma_initializer, "gamma_initializer")

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs (B, ..., features); see `Layer.build`."""
        features = feature_count(self, input_shape, None, None)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        if self.scale:
            self.gamma = self.add_weight((features,), self.gamma_initializer, "gamma")
        if self.center:
            self.beta = self.add_weight((features,), self.beta_initializer, "beta")
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape; see `Layer.compute_output_shape`."""
        known = self.weights[0].size if self.weights else None
        feature_count(self, input_shape, None, known)
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(f"axis: expected the last axis of inputs {input_shape}, got {self.axis}")
        return input_shape

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:
        """Normalize; see `Layer.forward`."""
        gamma, version = (None, 0) if self.gamma is None else self.gamma.seen()
        beta = None if self.beta is None else self.beta.value
        y = ops.layer_norm_forward(as_rows(x), gamma, beta, self.epsilon).reshape(x.shape)
        return y, (x, version) if training else None

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:
        """Compute gradients; see `Layer.backprop`."""
        x, version = saved
        gamma = None if self.gamma is None else unchanged(self.gamma, version)
        dx, dgamma, dbeta = ops.layer_norm_backward(
            as_rows(x), gamma, as_rows(dy), self.epsilon, need_dx=need_dx
        )
        if self.gamma is not None:
            gradients.add(self.gamma, dgamma)
        if self.beta is not None:
            gradients.add(self.beta, dbeta)
        return None if dx is None else dx.reshape(x.shape)
