"""`ActivatedLayer`: what ends in an activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import activations
from fusedlstm.layers.base import Layer
from fusedlstm.layers.shapes import checked_pair

if TYPE_CHECKING:
    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array


class ActivatedLayer(Layer):
    """Base of layers whose output is an activation of logits.

    The last layer of a model can leave the activation to the loss, which computes both in one exact formula.
    """

    def __init__(self, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def forward_logits(self, x: Array, training: bool = False) -> tuple[Array, Any]:
        """Compute the output without the activation, and what `backprop_logits` needs."""
        raise NotImplementedError(f"{type(self).__name__} must define forward_logits")

    def backprop_logits(
        self, saved: Any, dz: Array, gradients: Gradients, need_dx: bool = True
    ) -> Array | None:
        """Continue `backprop` from the gradient of the logits."""
        raise NotImplementedError(f"{type(self).__name__} must define backprop_logits")

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:
        """Compute the output; see `Layer.forward`."""
        result = self.forward_logits(x, training)
        z, saved = result if type(result) is tuple else checked_pair(result, self)
        y = self.activation(z)
        return y, (activations.kept(self.activation, z, y), saved) if training else None

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:
        """Compute gradients; see `Layer.backprop`."""
        kept, inner = saved
        dz = activations.gradient(self.activation, dy, kept)
        return self.backprop_logits(inner, dz, gradients, need_dx)
