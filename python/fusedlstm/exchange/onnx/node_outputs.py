"""The layer of an LSTM node that has several outputs, and which of its outputs are the node's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedlstm.exchange.onnx.made import layer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.lstm import LSTMOperator
    from fusedlstm.exchange.onnx.values import Value
    from fusedlstm.layers import Layer


class NodeOutputs:
    """What is read of an LSTM node, of one or two directions, and the layer that returns all of it.

    Parameters
    ----------
    node : LSTMOperator
    views : sequence of Value
        The outputs that are read, by all calls of the layer.

    Attributes
    ----------
    order : tuple of int
        The directions as the layer has them.

    Raises
    ------
    ValueError
        If no layer returns all of these.
    """

    def __init__(self, node: LSTMOperator, views: Sequence[Value]) -> None:
        self.node = node
        steps = [view for view in views if view.what == "y"]
        self.sequences = bool(steps)
        kinds = list(dict.fromkeys(self._kind(view) for view in steps or views if view.what != "c"))
        if steps and len(kinds) > 1:
            raise ValueError("expected all steps with the directions merged in one way, got several ways")
        # Other ways to merge last states than the layer's are other layers.
        self.merge, self.order = max(kinds, key=lambda kind: kind[0] or "", default=(None, self._all))
        for view in views:
            if view.step is not None:
                raise ValueError(
                    "expected all steps, or the last states, which is not the output at the first or last "
                    "step of the direction that reads the other way"
                )
            if view.turned != (view.what == "y" and node.backwards[self.order[0]]):
                raise ValueError("expected steps in the order in which the layer reads them")
        count = len(self.order) if self.merge is None else 1
        self.state = any(number >= count for view in views for number in self.places(view))

    def layer(self) -> tuple[Layer, tuple[Array, ...]]:
        """Make the layer, and its weights."""
        return layer_of(self.node, self.order, self.merge, self.sequences, self.state)

    def starts(self, states: Sequence[int]) -> list[int]:
        """Return initial states, h and c of each of the node's directions, as the layer takes them."""
        return [states[2 * number + part] for number in self.order for part in (0, 1)]

    def places(self, view: Value) -> list[int]:
        """Return the numbers of the layer's outputs that a view is; it says how two are merged."""
        main = view.what == ("y" if self.sequences else "h")
        directions = [direction for _, direction in view.parts]
        if main and len(directions) > 1 and self._kind(view) == (self.merge, self.order):
            return [0]
        numbers = [self.order.index(direction) for direction in directions]
        if main and self.merge is None:
            return numbers
        if main and len(self._all) == 1:
            return [0]
        count = len(self.order) if self.merge is None else 1
        return [count + 2 * number + (view.what == "c") for number in numbers]

    @property
    def _all(self) -> tuple[int, ...]:
        return tuple(range(len(self.node.backwards)))

    def _kind(self, view: Value) -> tuple[str | None, tuple[int, ...]]:
        """Return how a view has the directions merged, None for a single one, and which is first."""
        order = tuple(direction for _, direction in view.parts)
        if len(order) == 1:
            return None, self._all[::-1] if view.turned else self._all
        if sorted(order) != list(self._all):
            raise ValueError(f"expected the outputs of all directions in their order, merged; got {view}")
        turned = view.merge is not None and view.turned
        return view.merge or "concat", order[::-1] if turned else order
