"""`Masks`: what Keras computes masks with, which stands in its graphs beside the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base.symbolic import KerasTensor, Node
from fusedlstm.layers import Bidirectional, Concatenate, Embedding, Layer, Masking, Merge
from fusedlstm.layers.recurrent import Recurrent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Operation:
    """An operation of Keras on masks.

    Attributes
    ----------
    name : str
        Keras's name of its class.
    dtype : str
        That of its output.
    axis : int or None
        The one along which it joins tensors.
    """

    dtype = "bool"
    axis: int | None = None

    def __init__(self, name: str) -> None:
        self.name = name


class Masks:
    """The masks that travel with symbolic tensors; the same operations on the same tensors are one tensor."""

    def __init__(self) -> None:
        self._known: dict[KerasTensor, KerasTensor] = {}
        self._made: dict[tuple[object, ...], KerasTensor] = {}

    def of(self, tensor: KerasTensor) -> KerasTensor | None:
        """Return the mask that travels with a tensor."""
        return self._known.get(tensor)

    def operation(self, name: str, tensors: Sequence[KerasTensor], value: float | None = None) -> KerasTensor:
        """Return what an operation makes of tensors, and of a number for those that take one."""
        key = (name, value, *tensors)
        if key not in self._made:
            shape = tensors[0].shape
            shape = shape[:-1] if name == "Any" else (*shape, 1) if name == "ExpandDims" else shape
            self._made[key] = Node(Operation(name), tensors, [shape]).outputs[0]
        return self._made[key]

    def used(self, node: Node) -> tuple[KerasTensor, ...]:
        """Return the masks that a call takes with its inputs."""
        if not node.layer.takes_mask or node.mask is not None:
            return ()
        found = [self.of(tensor) for tensor in node.inputs]
        return tuple(mask for mask in found if mask is not None)

    def note(self, node: Node) -> None:
        """Take the outputs of a call in; its inputs have been so before."""
        for tensor, mask in zip(node.outputs, self._outgoing(node), strict=False):
            if mask is not None:
                self._known[tensor] = mask

    def _outgoing(self, node: Node) -> Iterable[KerasTensor | None]:
        layer, x = node.layer, node.inputs
        given = [self.of(tensor) for tensor in x] if node.mask is None else [node.mask]
        if isinstance(layer, Embedding):
            return [self.operation("NotEqual", x, 0.0) if layer.mask_zero else None]
        if isinstance(layer, Masking):
            return [self.operation("Any", [self.operation("NotEqual", x, layer.mask_value)])]
        if isinstance(layer, Concatenate):
            return [self._concatenated(x, given, layer.axis)]
        if isinstance(layer, Merge) and type(layer).compute_mask is Merge.compute_mask:
            masks = [mask for mask in given if mask is not None]
            if len(masks) < len(given):
                return []
            result = masks[0]
            for mask in masks[1:]:
                result = self.operation("LogicalOr", [result, mask])
            return [result]
        if isinstance(layer, Recurrent):
            one: Any = layer.forward_layer if isinstance(layer, Bidirectional) else layer
            outputs = len(node.outputs) - (len(layer.state_sizes) if one.return_state else 0)
            return given * outputs if one.return_sequences else []
        return given if type(layer).compute_mask is Layer.compute_mask else []

    def _concatenated(
        self, x: Sequence[KerasTensor], masks: Sequence[KerasTensor | None], axis: int
    ) -> KerasTensor | None:
        if all(mask is None for mask in masks):
            return None
        parts = []
        for tensor, mask in zip(x, masks, strict=True):
            if mask is None:
                parts.append(self.operation("OnesLike", [tensor]))
            elif mask.ndim == tensor.ndim:
                parts.append(mask)
            else:
                like = [self.operation("ExpandDims", [mask]), self.operation("ZerosLike", [tensor])]
                parts.append(self.operation("LogicalOr", like))
        return self.operation("Any", [self.operation("Concatenate", parts, axis)])
