"""`TimeDistributed`: a layer at each step of a sequence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from fusedlstm import activations
from fusedlstm.base import checks
from fusedlstm.layers.activated import ActivatedLayer
from fusedlstm.layers.base import Layer
from fusedlstm.layers.shapes import checked_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from typing_extensions import Self

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape


class TimeDistributed(ActivatedLayer):
    """Applies a layer to each step of (B, T, ...), all of them at once: a `Dense` inside is one product.

    Masks pass unchanged; a mask (B, T, ...) with more axes reaches a layer inside that takes one.

    Parameters
    ----------
    layer : Layer
        Without memory between calls, and with one output.
    **kwargs
        As in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no such layer.
    """

    takes_mask: ClassVar[bool] = True

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"layer: expected a layer, got {type(layer).__name__}")
        if getattr(layer, "return_state", False):
            raise ValueError(f"layer: expected a layer without return_state, got {layer.name}")
        _check_parts(layer)
        self.layer = layer
        self.ids = layer.ids
        activation = layer.activation if isinstance(layer, ActivatedLayer) else activations.linear
        super().__init__(activation, **{"dtype": layer.dtype_policy, **kwargs})
        if self.dtype_policy != layer.dtype_policy:
            expected, got = layer.dtype_policy.name, self.dtype_policy.name
            raise ValueError(f"dtype: expected {expected} like the layer's, got {got}")

    @property
    def _layers(self) -> Sequence[Layer]:
        return (self.layer,)

    def build(self, input_shape: Shape) -> None:
        """Make the layer's weights; see `Layer.build`."""
        if not self.layer.built:
            self.layer.build(self._inner_shape(input_shape))
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, T, ...); see `Layer.compute_output_shape`."""
        inner = self.layer.output_shapes(self._inner_shape(input_shape))
        if len(inner) > 1:
            raise ValueError(f"layer: expected one output, got {len(inner)} of {self.layer.name}")
        return (*input_shape[:2], *inner[0][1:])

    def prepare(self, x: npt.ArrayLike) -> Array:
        """Check and convert an input and build the layer if need be."""
        if self.ids is None:
            return super().prepare(x)
        array = self.layer.prepare(x)
        self.compute_output_shape(array.shape)
        self.build(array.shape)
        return array

    def forward(self, x: Array, training: bool = False, mask: Mask | None = None) -> tuple[Array, Any]:
        """Compute the output; see `Layer.forward`."""
        z, saved = self.forward_logits(x, training, mask)
        y = self.activation(z)
        return y, (y, saved) if training else None

    def forward_logits(self, x: Array, training: bool = False, mask: Mask | None = None) -> tuple[Array, Any]:
        """Compute the output without the layer's activation."""
        steps = x.shape[:2]
        rows = x.reshape(math.prod(steps), *x.shape[2:])
        if isinstance(self.layer, ActivatedLayer):
            y, saved = checked_pair(self.layer.forward_logits(rows, training), self.layer)
        elif mask is None or not self.layer.takes_mask:
            y, saved = checked_pair(self.layer.forward(rows, training), self.layer)
        else:
            if mask.shape != x.shape[: mask.ndim] or mask.ndim < 3:
                raise ValueError(
                    f"mask: expected one of the steps inside of the steps for {self.layer.name}, "
                    f"got shape {mask.shape} for input {x.shape}"
                )
            inner: dict[str, Any] = {"mask": mask.reshape(math.prod(steps), *mask.shape[2:])}
            y, saved = checked_pair(self.layer.forward(rows, training, **inner), self.layer)
        return y.reshape(*steps, *y.shape[1:]), saved

    def backprop_logits(
        self, saved: Any, dz: Array, gradients: Gradients, need_dx: bool = True
    ) -> Array | None:
        """Compute gradients from the gradient of the output without the activation."""
        steps = dz.shape[:2]
        rows = dz.reshape(math.prod(steps), *dz.shape[2:])
        inner = self.layer
        passed = inner.backprop_logits if isinstance(inner, ActivatedLayer) else inner.backprop
        dx = passed(saved, rows, gradients, need_dx)
        return None if dx is None else dx.reshape(*steps, *dx.shape[1:])

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal layer, without its weights."""
        config = super().get_config()
        del config["activation"]  # of the layer inside
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a layer from `get_config`'s result."""
        from fusedlstm import layers

        arguments = checks.arguments(config, cls.__name__)
        arguments.pop("layer", None)
        return cls(layers.deserialize(checks.member(config, "layer", dict, cls.__name__)), **arguments)

    def _inner_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2 or (len(input_shape) < 3 and self.ids is None):
            raise ValueError(
                f"x: expected at least 3 axes (batch, steps, ...) for layer {self.name}, "
                f"got shape {input_shape}"
            )
        return (None, *input_shape[2:])


def _check_parts(layer: Layer) -> None:
    """Refuse what would have to know of other calls, or of the model's loss, also in a model inside."""
    for option in ("stateful", "activity_regularizer"):
        if getattr(layer, option, None):
            raise ValueError(f"layer: expected a layer without {option}, got {layer.name}")
    for inner in layer._layers:
        _check_parts(inner)
