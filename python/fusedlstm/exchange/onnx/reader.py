"""What is known of a graph that may be one of layers, and the calls of layers so far."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.base import limits
from fusedlstm.exchange.onnx import made as making
from fusedlstm.exchange.onnx.known import Known
from fusedlstm.exchange.onnx.made import Made
from fusedlstm.exchange.onnx.values import Value
from fusedlstm.layers import Activation, Dense, Dropout, Flatten, LayerNormalization

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

    def __init__(
        self, constants: Mapping[str, Array], opset: int, inputs: Sequence[OnnxInput], axes: Sequence[str]
    ) -> None:
        self.known = Known(constants)
        self.opset = opset
        self.inputs, self.axes = inputs, axes
        self.dtype = "float64" if any(one.dtype == np.float64 for one in inputs) else "float32"
        self.sizes: list[dict[str, int | None]] = []  # of each input, by letter
        self.values: dict[str, Value] = {}
        self.made: list[Made] = []
        self.number = 0  # of the node that is read
        self.scoped: dict[str, str] = {}  # other names of constants of branches, which differ everywhere
        for one, letters in zip(inputs, axes, strict=True):
            assert one.shape is not None
            sizes = [size if isinstance(size, int) else None for size in one.shape]
            self.sizes.append(dict(zip(letters, sizes, strict=True)))
            rows, count, features = (
                (self.sizes[-1][letter] or ANY[letter]) if letter in letters else 1 for letter in "BTF"
            )
            self.made.append(Made(sequences="T" in letters))
            self.values[one.name] = Value(
                tuple(letter.strip() for letter in letters), rows, count, features, ((len(self.made), 0),)
            )

    def is_free(self, letter: str) -> bool:
        """Return whether an input has an axis that may have any length."""
        return any(letter in sizes and sizes[letter] is None for sizes in self.sizes)

    def is_any(self, letter: str, value: Value) -> bool:
        """Return whether an axis of a value is one of an input's that may have any length."""
        return self.is_free(letter) and value.size(letter) == ANY[letter]

    def is_ids(self, value: Value) -> bool:
        """Return whether a value is an input of integers."""
        return 0 < value.layer <= len(self.inputs) and self.inputs[value.layer - 1].dtype.kind == "i"

    def with_columns(self, value: Value, indices: Sequence[int]) -> Value:
        """Take a layer that has these features only instead of the value's, if it is a matrix product."""
        value = self.finished(value)
        before = self.made[value.layer - 1]
        if not before.sources:
            raise ValueError("expected all features of the input, got some")
        made = making.columns(before, indices)
        limits.claim(sum(array.nbytes for array in made.weights), "features")
        value = self.instead(value, replace(made, names=(*before.names, tuple(indices))))
        return replace(value, features=len(indices))

    def finished(self, value: Value) -> Value:
        """Make the layer that a value comes from, once it is known which of its outputs this is.

        Returns the value as any layer's: of one direction, whose features are all.
        """
        value = value.settled().of_one_layer()
        if value.layer < 0:
            raise ValueError("expected one layer after the other, got outputs of several that are joined")
        features = value.features
        if any("D" in axis for axis in value.axes):
            if value.merge is not None or not any("DF" in axis for axis in value.axes):
                raise ValueError(f"expected the outputs of all directions, merged, got {value}")
            features *= len(value.parts)
        before = self.made[value.layer - 1]
        if before.node is not None:
            value = self.placed(value, self.viewed(value))
        elif len(value.parts) != 1:
            raise ValueError("expected one layer after the other, got an output that is used more than once")
        elif value.turned or value.step is not None:
            raise ValueError(_ONE_STEP)
        elif before.sequences and value.what == "h" and value.steps != 1:
            value = self._of_last_step(value)
        value = value.without("D")
        value = Value(value.axes, value.rows, value.steps, features, ((value.layer, 0),))
        sequences = self.made[value.layer - 1].sequences
        if sequences and value.steps == 1 and not any("T" in axis for axis in value.axes):
            return self.added(value, Made(layer=Flatten(dtype=self.dtype)), features, sequences=False)
        return value

    def viewed(self, value: Value) -> Made:
        """Make an output of an LSTM node."""
        raise NotImplementedError

    def _of_last_step(self, value: Value) -> Value:
        """Take only the last step of the LSTM before layers that do the same at every step."""
        way, made = [], self.made[value.layer - 1]
        while len(made.sources) == 1 and made.view is None and isinstance(made.layer, _STEPWISE):
            way.append(made)
            made = self.made[made.sources[0] - 1]
        if made.view is None or made.view.what != "y" or len(made.view.parts) != 1:
            raise ValueError(_ONE_STEP)
        value = self.placed(value, self.viewed(replace(made.view, what="h", turned=False)))
        for each in reversed(way):
            value = self.added(value, each, value.features, sequences=False)
        return value

    def placed(self, value: Value, made: Made) -> Value:
        """Add a call, and return the value as its output."""
        self.made.append(made)
        return replace(value, parts=((len(self.made), 0),))

    def added(self, value: Value, made: Made, features: int, sequences: bool | None = None) -> Value:
        """Add a layer of a value, with or without steps as that has them or as told, and so many features."""
        if sequences is None:
            sequences = self.made[value.layer - 1].sequences
        made = replace(made, sources=(value.layer,), sequences=sequences)
        return replace(self.placed(value, made), features=features)

    def instead(self, value: Value, made: Made) -> Value:
        """Add a layer that stands in the place of the value's."""
        before = self.made[value.layer - 1]
        return self.placed(value, replace(made, sources=before.sources, sequences=before.sequences))

    def flat(self, value: Value) -> Value:
        """Make a layer of steps and features that were joined."""
        if value.axes not in (("B", "TF"), ("TF",)):
            raise ValueError(f"expected rows of all steps' features, got {value}")
        made = Made(layer=Flatten(dtype=self.dtype))
        value = self.added(value, made, value.size("TF"), sequences=False)
        return replace(value, axes=(*value.axes[:-1], "F"), steps=1)
