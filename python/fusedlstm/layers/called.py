"""`Called`: layers called on symbolic tensors."""

from __future__ import annotations

import warnings
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from fusedlstm.base import checks
from fusedlstm.base.symbolic import KerasTensor, Node, tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Shape

# What layers do in training alone, by the attributes that switch it on.
_NOISE = ("rate", "stddev", "dropout", "recurrent_dropout", "zoneout_h", "zoneout_c")


class Called:
    """What a layer inherits to make graphs."""

    name: str
    dtype: str
    built: bool
    takes_mask: ClassVar[bool]
    # The calls on symbolic tensors, as long as something holds these.
    _nodes: list[weakref.ref[Node]] | None = None

    def build(self, input_shape: Shape) -> None:
        """Make the weights; see `Layer.build`."""
        raise NotImplementedError

    def output_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shapes of all outputs; see `Layer.output_shapes`."""
        raise NotImplementedError

    # Whether the layer takes its inputs as a list.
    takes_list: ClassVar[bool] = False

    def on_tensors(self, x: Any, states: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        """Return the symbolic outputs of symbolic inputs: one, or a list."""
        given = () if states is None else tensors(states, "initial_state")
        real = None if mask is None else tensors(mask, "mask")[0]
        outputs = self.record(tensors(x, "x"), given, real, self.mode(training)).outputs
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def mode(self, training: bool | None) -> bool:
        """Return whether a call on symbolic tensors shall do in every pass what it does in training.

        False is what None is, as in Keras 3; there is a warning where it would have made a difference.
        """
        if training is None or checks.flag(training, "training"):
            return bool(training)
        noisy = _noisy(self)
        if noisy is not None:
            warnings.warn(
                f"training: False has no effect on symbolic tensors, {noisy} is random in the training of a "
                "model all the same; make the layer without that",
                stacklevel=4,
            )
        return False

    def record(
        self,
        inputs: Sequence[KerasTensor],
        states: Sequence[KerasTensor] = (),
        mask: KerasTensor | None = None,
        training: bool = False,
    ) -> Node:
        """Return a call on symbolic tensors, after its checks; build the layer if need be."""
        if not self.takes_list and len(inputs) != 1:
            raise ValueError(
                f"x: expected one tensor for {self.name}, got {len(inputs)}, which Concatenate merges"
            )
        if mask is not None and not self.takes_mask:
            raise TypeError(f"mask: expected none for layer {self.name}, a {type(self).__name__}")
        shapes: Any = [tensor.shape for tensor in inputs]
        if mask is not None:
            steps = (None, *shapes[0][1:2])
            if len(mask.shape) != 2 or (None not in (mask.shape[1], steps[1]) and mask.shape[1] != steps[1]):
                raise ValueError(f"mask: expected shape {steps} for {self.name}, got {mask.shape}")
        shape = shapes if self.takes_list else shapes[0]
        found = self.output_shapes(shape)
        if not self.built:
            self.build(shape)
        node = Node(self, inputs, found, states=states, listed=self.takes_list, mask=mask, training=training)
        self._nodes = [*(one for one in self._nodes or () if one() is not None), weakref.ref(node)]
        return node

    @property
    def input(self) -> Any:
        """The symbolic tensor that the layer was first called on, a list where there are several."""
        return self._ends("inputs")

    @property
    def output(self) -> Any:
        """The symbolic tensor that the first call gave, a list where there are several."""
        return self._ends("outputs")

    def _ends(self, which: str) -> Any:
        node = next((node for one in self._nodes or () if (node := one()) is not None), None)
        if node is None:
            raise AttributeError(f"{self.name}: expected a call on symbolic tensors, got none")
        found: tuple[KerasTensor, ...] = getattr(node, which)
        return found[0] if len(found) == 1 else list(found)


def _noisy(layer: Any) -> str | None:
    """Return the name of a layer, or of one inside of it, that is random in training; None if none is."""
    if any(getattr(layer, name, 0) for name in _NOISE):
        return str(layer.name)
    return next((name for one in layer._layers if (name := _noisy(one)) is not None), None)
