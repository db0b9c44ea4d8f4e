"""What is known of a graph that may be a stack of layers, and the layers so far."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.exchange.onnx import made as making
from fusedlstm.exchange.onnx.known import Known
from fusedlstm.exchange.onnx.made import Made
from fusedlstm.exchange.onnx.values import Value
from fusedlstm.layers import LSTM, Activation, Dense, Dropout, Flatten, LayerNormalization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array
    from fusedlstm.exchange.onnx.model import OnnxInput

# Lengths of axes of any length: primes that no other axis is likely to have.
ANY = {"B": 251, "T": 241, "F": 239}


class FixedError(ValueError):
    """A graph takes one length only of an axis that it says may have any, as PyTorch writes some."""

    def __init__(self, letter: str, size: int) -> None:
        super().__init__(f"expected any length of the axis {letter}, got {size}")
        self.letter, self.size = letter, size


_ONE_STEP = (
    "expected all steps in their order, or the last one of an LSTM that reads forwards: no layer turns them "
    "around or takes one of several, and a loop over steps is no layer, torch.nn.LSTM is one"
)
# Layers that do the same at every step.
_STEPWISE = (Activation, Dense, Dropout, LayerNormalization)


class Reader:
    """What is known of a graph while its nodes are followed, one after the other."""

    def __init__(self, constants: Mapping[str, Array], opset: int, source: OnnxInput, axes: str) -> None:
        self.known = Known(constants)
        self.opset = opset
        self.ids = source.dtype.kind == "i"
        self.dtype = "float64" if source.dtype == np.float64 else "float32"
        assert source.shape is not None
        self.axes = axes
        self.sizes = {
            letter: size if isinstance(size, int) else None
            for letter, size in zip(axes, source.shape, strict=True)
        }
        rows, count, features = (
            (self.sizes[letter] or ANY[letter]) if letter in axes else 1 for letter in "BTF"
        )
        self.values = {source.name: Value(tuple(axes), rows, count, features)}
        self.made: list[Made] = []
        self.sequences = "T" in axes  # whether the last layer's output has steps
        self.number = 0  # of the node that is read

    def is_any(self, letter: str, value: Value) -> bool:
        """Return whether an axis of a value is one of the input's that may have any length."""
        return letter in self.sizes and self.sizes[letter] is None and value.size(letter) == ANY[letter]

    def with_columns(self, value: Value, indices: Sequence[int]) -> Value:
        """Make the last layer one that has these features only, if it is a matrix product."""
        value = self.finished(value)
        if not self.made:
            raise ValueError("expected all features of the input, got some")
        made = making.columns(self.made[-1], indices)
        self.made[-1] = made
        # An empty one, so that no earlier value is taken for the output of this layer.
        return self.added(value, Made(), len(indices))

    def finished(self, value: Value) -> Value:
        """Make the layer that a value comes from, once it is known which of its outputs this is.

        Returns the value as any layer's: of one direction, whose features are all.
        """
        value = value.settled().of_one_layer()
        if value.layer != len(self.made):
            raise ValueError("expected one layer after the other, got a connection that skips one")
        features = value.features
        if any("D" in axis for axis in value.axes):
            if value.merge is not None or not any("DF" in axis for axis in value.axes):
                raise ValueError(f"expected the outputs of all directions, merged, got {value}")
            features *= len(value.parts)
        if self.made and self.made[-1].node is not None:
            self.made[-1] = making.recurrent(self.made[-1].node, value)
            self.sequences = value.what == "y"
        elif len(value.parts) != 1:
            raise ValueError("expected one layer after the other, got an output that is used more than once")
        elif value.turned or value.step is not None:
            raise ValueError(_ONE_STEP)
        elif self.sequences and value.what == "h" and value.steps != 1:
            self._take_last_step()
            value = replace(value, parts=((len(self.made), 0),))
        value = value.without("D")
        if self.sequences and value.steps == 1 and not any("T" in axis for axis in value.axes):
            self.made.append(Made(layer=Flatten(dtype=self.dtype)))
            self.sequences = False
        return Value(value.axes, value.rows, value.steps, features, ((len(self.made), 0),))

    def _take_last_step(self) -> None:
        """Let the last LSTM return its last step only: the layers after it do the same at every step."""
        for place in reversed(range(len(self.made))):
            layer = self.made[place].layer
            if type(layer) is LSTM and layer.return_sequences:
                last = LSTM.from_config({**layer.get_config(), "return_sequences": False})
                self.made[place] = replace(self.made[place], layer=last)
                self.made.append(Made())  # As in `with_columns`.
                self.sequences = False
                return
            if layer is not None and not isinstance(layer, _STEPWISE):
                break
        raise ValueError(_ONE_STEP)

    def added(self, value: Value, made: Made, features: int) -> Value:
        """Add a layer, and return the value as its output with so many features."""
        self.made.append(made)
        return replace(value, features=features, parts=((len(self.made), 0),))

    def flat(self, value: Value) -> Value:
        """Make a layer of steps and features that were joined."""
        if value.axes not in (("B", "TF"), ("TF",)):
            raise ValueError(f"expected rows of all steps' features, got {value}")
        size, self.sequences = value.size("TF"), False
        value = self.added(value, Made(layer=Flatten(dtype=self.dtype)), size)
        return replace(value, axes=(*value.axes[:-1], "F"), steps=1)
