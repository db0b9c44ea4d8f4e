"""`Stream`: a model that takes its sequences a step at a time."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import ops
from fusedlstm.base import checks, devices, versions
from fusedlstm.base.copying import Copied, owned
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.merging import Concatenate, Merge
from fusedlstm.layers.shapes import checked_pair
from fusedlstm.layers.stacked import unstacked
from fusedlstm.models.samples import fits
from fusedlstm.models.streamable import check_streamable, inputs_with_steps, inside

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusedlstm.base.types import Array
    from fusedlstm.layers.base import Layer
    from fusedlstm.models.batching import BatchTrainer
    from fusedlstm.models.graph import Step


class Stream(Copied):
    """Steps through sequences; what `step` returns is the whole sequence's result, bit for bit.

    On a GPU it is that up to rounding. After each step the output is that of a sequence which ends there.
    Made by `Model.stream`. The weights are the model's own: training in between is seen at the next
    step, or, with `storage`, rounded anew. A model that is moved to another device needs another stream.

    Parameters
    ----------
    model : Model
        Built, with layers that know no later steps: LSTM and StackedLSTM forwards in time, Embedding,
        Masking, Dense, Activation, Dropout, LayerNormalization, noise, all but LSTM inside of a
        TimeDistributed, and merges of sequences by their steps, or of last values. Masked steps leave the
        states of their sequences as they are. Each call of an LSTM has states of its own.
    batch : int
        Sequences that run side by side, B.
    storage : {None, "bfloat16", "int8"}
        Keep the LSTMs' weights in fewer bits, as `fusedlstm.ops.LSTMWeights` does.

    Raises
    ------
    ValueError
        If the model is not built, or a layer needs later steps, starts from given states or is of another
        kind.
    """

    def __init__(self, model: BatchTrainer, batch: int = 1, *, storage: str | None = None) -> None:
        if not model.built:
            raise ValueError("model: expected a built model, this one has no weights yet")
        self.batch = checks.positive_int(batch, "batch")
        self.dtype = model.dtype
        self._place = model.place
        # Which of the two pairs of states that each LSTM has is the present one. A step writes to the others,
        # and takes effect for all LSTMs by this one assignment, before which an interrupt changes nothing.
        self._now = 0
        check_streamable(model)
        plan = model.plan
        self._parts = [part for step in plan.steps for part in _parts(step, self.batch, storage)]
        self._size, self._outputs = plan.size, plan.outputs
        self._given, self._returned = model.input_structure, model.output_structure
        assert model.input_shapes is not None
        shapes = [
            (self.batch, *shape[2 if steps else 1 :])
            for shape, steps in zip(model.input_shapes, inputs_with_steps(model), strict=True)
        ]
        names = [self._given.argument("x", number) for number in range(len(shapes))]
        # By input its name in messages, its shape, how many ids it may hold, and its place.
        self._inputs = list(zip(names, shapes, plan.ids, plan.inputs, strict=True))

    def __copy__(self) -> Stream:
        """Return another session over the same layers, which goes on from the states of now."""
        made = super().__copy__()
        made._parts = [copy.copy(part) for part in self._parts]
        return made

    def step(self, x: Any) -> Any:
        """Take the next element of each sequence.

        If it raises, the states of all layers are as they were. KeyboardInterrupt may also come while the
        output is returned: then all layers have the states after the step.

        Parameters
        ----------
        x : array_like (B, I), or list or dict of them
            Converted to the model's dtype, and copied to its device; ids (B,) for an Embedding. Inputs that
            have no steps, such as (B, I) for a Dense layer, come with each step.

        Returns
        -------
        array (B, ...), or list or dict of them
            The model's output for the sequences so far, a device array where x is one. It may be written to
            by the next step.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong.
        """
        # Values with their masks, by place.
        values: list[Any] = [None] * self._size
        # One input and one output, as most streams have, go the short way.
        if self._given.kind == "one" and type(x) is not dict:
            given = self._take(values, x, *self._inputs[0])
        else:
            for item, known in zip(self._given.flatten(x, "x"), self._inputs, strict=True):
                given = self._take(values, item, *known)
        now = self._now
        with versions.reading():
            for part in self._parts:
                part.step(values, now)
        result: Any
        if self._returned.kind == "one":
            result = _beside(given, values[self._outputs[0]][0])
        else:
            outputs = [_beside(given, values[place][0]) for place in self._outputs]
            result = self._returned.pack(outputs)
        self._now = 1 - now
        return result

    def _take(
        self, values: list[Any], x: Any, name: str, shape: tuple[int | None, ...], ids: int | None, place: int
    ) -> Any:
        """Check an input, put it among values, and return it as an array."""
        given: Any = checks.numeric(x, name)
        self._place.check(given, name, "the model")
        if given.shape != shape and not fits(given.shape, shape):
            raise ValueError(f"{name}: expected shape {shape}, got {given.shape}")
        array = given.astype(self.dtype, copy=False) if ids is None else checks.ids(given, name, ids)
        values[place] = self._place.take(array), None
        return given

    def reset(self) -> None:
        """Start new sequences: all states become zero."""
        after = 1 - self._now
        for part in self._recurrent():
            h, c = part.states[after]
            h[...], c[...] = 0, 0
        self._now = after

    @property
    def states(self) -> list[tuple[Array, Array]]:
        """Copies of h (B, R) and c (B, H) of each LSTM call, on the CPU; assign such a list to go on."""
        pairs = [part.states[self._now] for part in self._recurrent()]
        return [(_copied(h), _copied(c)) for h, c in pairs]

    @states.setter
    def states(self, states: list[tuple[npt.ArrayLike, npt.ArrayLike]]) -> None:
        parts = self._recurrent()
        if len(states) != len(parts):
            raise ValueError(f"states: expected {len(parts)} pairs (h, c), got {len(states)}")
        checked = [
            part.layer.checked_states(pair, self.batch) for part, pair in zip(parts, states, strict=True)
        ]
        after = 1 - self._now
        for part, pair in zip(parts, checked, strict=True):
            assert pair is not None
            h, c = part.states[after]
            h[...], c[...] = pair
        self._now = after

    def _recurrent(self) -> list[_Recurrent]:
        return [part for part in self._parts if isinstance(part, _Recurrent)]


class _Pointwise:
    """A layer without memory."""

    def __init__(self, layer: Layer, step: Step) -> None:
        self.layer, self._source, self._target = layer, step.source, step.targets[0]

    def step(self, values: list[Any], now: int) -> None:  # noqa: ARG002
        """Compute a step's output."""
        layer = self.layer
        x, mask = values[self._source]
        result = layer.forward(x)
        y, _ = result if type(result) is tuple else checked_pair(result, layer)
        values[self._target] = y, layer.compute_mask(x, mask)


class _Merging:
    """A merge of what several layers give at a step."""

    def __init__(self, layer: Merge, step: Step) -> None:
        # The axis of a step's features is another one, and always the last.
        self._layer = Concatenate(name=layer.name) if isinstance(layer, Concatenate) else layer
        self._sources, self._target = step.sources, step.targets[0]

    def step(self, values: list[Any], now: int) -> None:  # noqa: ARG002
        """Compute a step's output."""
        x, masks = zip(*(values[place] for place in self._sources), strict=True)
        y, _ = self._layer.merge(x, masks)
        values[self._target] = y, self._layer.compute_mask(x, masks)


class _Recurrent(Copied):
    """An LSTM with two pairs of states (h, c): the stream knows which is the present one."""

    fresh = ("_narrow", "_version")

    def __init__(
        self,
        layer: LSTM,
        batch: int,
        storage: str | None,
        places: tuple[int, int, int],
        ends: tuple[int, ...],
    ) -> None:
        self.layer = layer
        # Places of input, mask (or -1: the input's) and output, and of the states that are returned.
        self._source, self._mask, self._target = places
        self._ends = ends
        self.states = (self._zeros(batch), self._zeros(batch))
        self._storage = storage
        self._narrow: ops.LSTMWeights | None = None
        self._version = -1

    def _zeros(self, batch: int) -> tuple[Array, Array]:
        layer = self.layer
        h: Array = layer.place.zeros((batch, layer.outputs), np.dtype(layer.dtype))
        c: Array = layer.place.zeros((batch, layer.units), np.dtype(layer.dtype))
        return h, c

    def _weights(self) -> ops.LSTMWeights:
        if self._storage is None:
            return self.layer.packed()
        version = self.layer.pack_version
        if self._narrow is None or version != self._version:
            self._narrow, self._version = self.layer.pack(self._storage), version
        return self._narrow

    def __getstate__(self) -> dict[str, Any]:
        """Return the layer and copies of the states, as arrays of NumPy."""
        one, other = self.states
        copies = tuple((_copied(h), _copied(c)) for h, c in (one, other))
        return {**super().__getstate__(), "states": copies}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Put the states where the layer is."""
        super().__setstate__(state)
        self._version = -1
        place = self.layer.place
        one, other = ((place.put(owned(h)), place.put(owned(c))) for h, c in self.states)
        self.states = (one, other)

    def step(self, values: list[Any], now: int) -> None:
        """Compute the states after a step beside those of now."""
        h, c = self.states[now]
        out = self.states[1 - now]
        x, mask = values[self._source]
        if self._mask >= 0:
            mask = values[self._mask][0] != 0
        ops.lstm_step(x, h, c, self._weights(), options=self.layer.options, out=out)
        y = out[0]
        if mask is not None:
            for old, new in zip((h, c), out, strict=True):
                new[~mask] = old[~mask]
            if self.layer.zero_output_for_mask:
                y = np.where(mask[:, None], y, y.dtype.type(0))
        if self._ends:
            values[self._ends[0]], values[self._ends[1]] = (out[0], None), (out[1], None)
        values[self._target] = y, None if mask is None or not self.layer.return_sequences else mask


def _beside(given: Array, output: Array) -> Array:
    """Return an output where an input was."""
    result: Array = devices.to_host(output) if isinstance(given, np.ndarray) else output
    return result


def _copied(state: Array) -> Array:
    copy: Array = devices.to_host(state)
    return copy.copy() if copy is state else copy


def _parts(step: Step, batch: int, storage: str | None) -> list[_Pointwise | _Merging | _Recurrent]:
    """Return what runs at a call; a stack's layers one after the other, each where the next one reads.

    What stacks drop between their layers in training is not dropped here.
    """
    layer = step.layer
    if isinstance(layer, Merge):
        return [_Merging(layer, step)]
    found: list[_Pointwise | _Merging | _Recurrent] = []
    for number, part in enumerate(unstacked([layer])):
        if not isinstance(part, LSTM):
            return [_Pointwise(inside(part), step)]
        # The first one's mask goes on with its output.
        places = (step.targets[0], -1) if number else (step.source, step.mask)
        ends = step.targets[1 + 2 * number : 3 + 2 * number]
        found.append(_Recurrent(part, batch, storage, (*places, step.targets[0]), ends))
    return found
