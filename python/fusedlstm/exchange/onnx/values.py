"""Values of a graph, followed by what their axes are, from one layer to the next.

The letters of an axis are B for batch rows, T for steps, D for directions, F for features, and L for layers
where the directions of several are apart from them. An axis may be of several letters, the slowest first, as
"DF" is of joined directions, and one of length 1 may be of none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fusedlstm.base import limits

if TYPE_CHECKING:
    from collections.abc import Sequence


# A direction among several, rounded up for the time that going through them takes.
_PART = 256


@dataclass(frozen=True)
class Value:
    """A value that a layer, or the graph's input, has given.

    Attributes
    ----------
    axes : tuple of str
        The letters of each axis.
    rows, steps, features : int
        The lengths of B, T and F.
    parts : tuple of (int, int)
        Along D, or along L and D: after how many calls, inputs among them, and in which direction of the
        last of them.
    backwards : tuple of bool
        Which directions of that layer read backwards.
    what : {"y", "h", "c"}
        All outputs, the last hidden states or the last cell states.
    turned : bool
        Whether steps are turned around.
    step : {None, "first", "last"}
        Which step of all it is.
    merge : {None, "sum", "ave", "mul"}
        How the directions in `parts` were merged, unless they are an axis or a part of one.
    """

    axes: tuple[str, ...]
    rows: int
    steps: int
    features: int
    parts: tuple[tuple[int, int], ...] = ((0, 0),)
    backwards: tuple[bool, ...] = (False,)
    what: str = "y"
    turned: bool = False
    step: str | None = None
    merge: str | None = None

    @property
    def layer(self) -> int:
        """After how many calls it is there; -1 if its parts are of several."""
        layers = {layer for layer, _ in self.parts}
        return layers.pop() if len(layers) == 1 else -1

    def size(self, letters: str) -> int:
        """Return the length of an axis of these letters."""
        layers = self._layers if any("L" in axis for axis in self.axes) else 1
        directions = len(self.parts) // layers
        sizes = {"B": self.rows, "T": self.steps, "L": layers, "D": directions, "F": self.features}
        return math.prod(sizes[letter] for letter in letters)

    @property
    def _layers(self) -> int:
        return len({layer for layer, _ in self.parts})

    def layered(self) -> Value:
        """Return it with L before D if its parts are all directions of several layers, layer by layer."""
        count = self._layers
        each = len(self.parts) // count
        layers = [layer for layer, _ in self.parts]
        if (
            min(count, each) < 2
            or any("L" in axis for axis in self.axes)
            or layers != sorted(layers[::each] * each)
        ):
            return self
        return replace(self, axes=tuple(axis.replace("D", "LD") for axis in self.axes))

    def of_one_layer(self) -> Value:
        """Return it if it has no axis of layers; `ValueError` otherwise."""
        if any("L" in axis for axis in self.axes):
            raise ValueError(f"expected the states of one layer, got {self}")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of all axes."""
        return tuple(self.size(letters) for letters in self.axes)

    def is_of(self, *axes: str) -> bool:
        """Return whether it has these axes; one of length 1 may have lost its letter."""
        return len(axes) == len(self.axes) and all(
            own == wanted or (not own and self.size(wanted) == 1)
            for own, wanted in zip(self.axes, axes, strict=True)
        )

    def without(self, letter: str) -> Value:
        """Take a letter out of all axes."""
        return replace(self, axes=tuple(axis.replace(letter, "") for axis in self.axes))

    def transposed(self, order: Sequence[int] | None) -> Value:
        """Follow Transpose."""
        places = range(len(self.axes))[::-1] if order is None else order
        return replace(self, axes=tuple(self.axes[place] for place in places))

    def squeezed(self, axes: Sequence[int] | None) -> Value:
        """Follow Squeeze."""
        shape = self.shape
        if axes is None:
            axes = [place for place, size in enumerate(shape) if size == 1]
        places = {axis % len(shape) for axis in axes if -len(shape) <= axis < len(shape)}
        if len(places) != len(axes) or any(shape[place] != 1 for place in places):
            raise ValueError(f"expected axes of length 1, got {list(axes)} of {self}")
        kept = tuple(axis for place, axis in enumerate(self.axes) if place not in places)
        return replace(self, axes=kept)

    def unsqueezed(self, axes: Sequence[int]) -> Value:
        """Follow Unsqueeze."""
        rank = len(self.axes) + len(axes)
        places = {axis % rank for axis in axes if -rank <= axis < rank}
        if len(places) != len(axes):
            raise ValueError(f"expected different axes of a tensor with {rank}, got {list(axes)}")
        own = iter(self.axes)
        return replace(self, axes=tuple("" if place in places else next(own) for place in range(rank)))

    def reshaped(self, shape: Sequence[int], allowzero: bool = False) -> Value:
        """Follow Reshape, which joins and splits axes."""
        if self.layered() != self:
            value = self.layered().reshaped(shape, allowzero)
            return replace(value, axes=tuple(axis.replace("LD", "D") for axis in value.axes))
        own, total = self.shape, math.prod(self.shape)
        sizes = [own[place] if size == 0 and not allowzero else size for place, size in enumerate(shape)]
        if sizes.count(-1) == 1:
            rest = math.prod(size for size in sizes if size != -1)
            sizes[sizes.index(-1)] = total // rest if rest else 0
        letters = [letter for axis in self.axes for letter in axis]
        axes = []
        for size in sizes:
            axis = ""
            # A letter of length 1 goes to the first axis that has a place for it.
            while letters and (self.size(axis) < size or (size == 1 and not axis)):
                if size == 1 and self.size(letters[0]) != 1:
                    break
                axis += letters.pop(0)
            if self.size(axis) != size:
                raise ValueError(f"expected whole axes to be joined or split, got {list(shape)} of {self}")
            axes.append(axis)
        if any(self.size(letter) != 1 for letter in letters) or (letters and not axes):
            raise ValueError(f"expected a shape of {total} elements, got {list(shape)} of {self}")
        if letters:
            axes[-1] += "".join(letters)
        return replace(self, axes=tuple(self._telling(axis) for axis in axes))

    def _telling(self, axis: str) -> str:
        """Return the letters of an axis that are not of length 1, or one if all are."""
        telling = "".join(letter for letter in axis if self.size(letter) != 1)
        return telling or ("F" if "F" in axis else axis[:1])

    def taken(self, axis: int, indices: range | Sequence[int], keep: bool) -> Value:
        """Follow what takes some indices of one axis, and keeps the axis if there is one index or not."""
        letters = self.axes[axis]
        size, features = self.size(letters), self.features
        chosen: Sequence[int] = indices
        # A file may declare any length: ranges are compared as they are, never listed.
        if not isinstance(indices, range):
            chosen = [index + size if index < 0 else index for index in indices]
        value = self
        if _same(chosen, range(size)):
            pass
        elif letters == "T" and _same(chosen, range(size)[::-1]):
            value = replace(self, turned=not self.turned)
        elif (
            letters == "T"
            and list(chosen[:2]) in ([0], [size - 1])
            and self.step is None
            and self.what == "y"
        ):
            last = (chosen[0] == size - 1) != self.turned
            value = replace(self.without("T"), step="last" if last else "first", turned=False)
        elif letters in ("D", "L") and chosen and all(0 <= index < size for index in chosen):
            each = self.size("D")
            groups = [self.parts[at : at + each] for at in range(0, len(self.parts), each)]
            if letters == "L":
                groups = [groups[index] for index in chosen]
            else:
                groups = [tuple(group[index] for index in chosen) for group in groups]
            value = replace(self, parts=tuple(part for group in groups for part in group))
            value = value.without(letters) if len(chosen) == 1 else value
        elif (
            letters == "DF"
            and chosen
            and 0 <= (part := chosen[0] // features) < len(self.parts)
            and _same(chosen, range(part * features, (part + 1) * features))
        ):
            value = replace(self.without("D"), parts=(self.parts[part],))
        else:
            raise ValueError(
                f"expected one direction, one end of the steps, or all, got a part of {self}; a loop over "
                "steps is no layer, torch.nn.LSTM is one"
            )
        if not keep and len(chosen) == 1:
            value = replace(value, axes=tuple(one for place, one in enumerate(value.axes) if place != axis))
        return value.settled()

    def settled(self) -> Value:
        """Return the step at which a single direction ends as its last state, which it is."""
        if self.what == "y" and self.steps == 1 and not any("T" in axis for axis in self.axes):
            return replace(self, what="h", step=None, turned=False)
        if self.step is None or len(self.parts) != 1:
            return self
        ends = "first" if self.backwards[self.parts[0][1]] else "last"
        return replace(self, what="h", step=None) if self.step == ends else self

    def __str__(self) -> str:
        return f"a tensor with the axes ({', '.join(axis or '1' for axis in self.axes)})"


def _same(indices: Sequence[int], all_of: range) -> bool:
    if isinstance(indices, range):
        return indices == all_of
    return len(indices) == len(all_of) and list(indices) == list(all_of)


def joined(values: Sequence[Value], axis: int) -> Value:
    """Follow Concat: of states of several directions and layers, or of the features of directions."""
    one = values[0].of_one_layer()
    if not -len(one.axes) <= axis < len(one.axes):
        raise ValueError(f"axis: expected one of {one}, got {axis}")
    place, letters = axis % len(one.axes), one.axes[axis]
    # A value joined with itself again and again has any number of parts.
    limits.claim_description(_PART * sum(len(value.parts) for value in values), "directions")
    parts = tuple(part for value in values for part in value.parts)
    stacked = _stacked(one.axes, place)
    for value in values:
        same = replace(value, axes=one.axes, parts=one.parts, backwards=one.backwards)
        if same != one or _stacked(value.axes, place) != stacked or value.merge is not None:
            raise ValueError(f"expected parts of one kind to be joined, got {one} and {value}")
    if letters in ("", "D"):
        return replace(one, axes=stacked, parts=parts) if len(values) > 1 else one
    if letters == "F" and not any("D" in own for own in one.axes) and len(parts) == len(values):
        return replace(one, axes=(*one.axes[:place], "DF", *one.axes[place + 1 :]), parts=parts)
    raise ValueError(f"expected features or directions to be joined, got the axis {axis} of {one}")


def summed(values: Sequence[Value], merge: str) -> Value:
    """Follow what adds or multiplies two directions."""
    one, two = values[0].of_one_layer(), values[1]
    parts = (*one.parts, *two.parts)
    if len(parts) != 2 or one.merge is not None or replace(two, parts=one.parts) != one:
        raise ValueError(f"expected the two directions of an LSTM, got {one} and {two}")
    # Which comes first is of no matter.
    return replace(one, parts=tuple(sorted(parts)), merge=merge)


def _stacked(axes: tuple[str, ...], place: int) -> tuple[str, ...]:
    """Return axes with the letter D at a place that has it, or none as that of a single direction."""
    return tuple("D" if at == place and own in ("", "D") else own for at, own in enumerate(axes))
