"""`Stream`: a model that takes its sequences a step at a time."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import ops
from fusedlstm.base import checks, devices, versions
from fusedlstm.base.copying import Copied, owned
from fusedlstm.layers.base import checked_pair
from fusedlstm.layers.core import Activation, Dropout, Masking
from fusedlstm.layers.dense import Dense
from fusedlstm.layers.embedding import Embedding
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.noise import GaussianNoise
from fusedlstm.layers.normalization import LayerNormalization
from fusedlstm.layers.stacked import unstacked
from fusedlstm.layers.time_distributed import TimeDistributed
from fusedlstm.models.samples import fits

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusedlstm.base.types import Array, Mask
    from fusedlstm.layers.base import Layer
    from fusedlstm.models.batching import BatchTrainer


# Layers whose output at a step depends on that step alone. SpatialDropout1D is a Dropout.
_POINTWISE = (Activation, Dense, Dropout, Embedding, GaussianNoise, LayerNormalization, Masking)


class Stream(Copied):
    """Steps through sequences; what `step` returns is the whole sequence's result, bit for bit.

    On a GPU it is that up to rounding. After each step the output is that of a sequence which ends there.
    Made by `Sequential.stream`. The weights are the model's own: training in between is seen at the next
    step, or, with `storage`, rounded anew. A model that is moved to another device needs another stream.

    Parameters
    ----------
    model : Sequential
        Built, with layers that know no later steps: LSTM and StackedLSTM forwards in time, Embedding,
        Masking, Dense, Activation, Dropout, LayerNormalization, noise, and all but LSTM inside of a
        TimeDistributed. Masked steps leave the states of their sequences as they are.
    batch : int
        Sequences that run side by side, B.
    storage : {None, "bfloat16", "int8"}
        Keep the LSTMs' weights in fewer bits, as `fusedlstm.ops.LSTMWeights` does.

    Raises
    ------
    ValueError
        If the model is not built, or a layer needs later steps or is of another kind.
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
        # What stacks drop between their layers in training is not dropped here.
        self._parts = [_part(layer, self.batch, storage) for layer in _checked(unstacked(model.layers))]
        # An Embedding takes one id of each sequence; other layers, its features.
        self._ids = model.layers[0].ids
        shapes = model.input_shapes
        features = () if self._ids is not None or shapes is None else shapes[0][-1:]
        self._shape = (self.batch, *features)

    def __copy__(self) -> Stream:
        """Return another session over the same layers, which goes on from the states of now."""
        made = super().__copy__()
        made._parts = [copy.copy(part) for part in self._parts]
        return made

    def step(self, x: npt.ArrayLike) -> Array:
        """Take the next element of each sequence.

        If it raises, the states of all layers are as they were. KeyboardInterrupt may also come while the
        output is returned: then all layers have the states after the step.

        Parameters
        ----------
        x : array_like (B, I)
            Converted to the model's dtype, and copied to its device; ids (B,) for an Embedding.

        Returns
        -------
        array (B, ...)
            The model's output for the sequences so far, a device array where x is one. It may be written to
            by the next step.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong.
        """
        given = checks.numeric(x, "x")
        self._place.check(given, "x", "the model")
        if not fits(given.shape, self._shape):
            raise ValueError(f"x: expected shape {self._shape}, got {given.shape}")
        array: Any = given.astype(self.dtype, copy=False)
        if self._ids is not None:
            array = checks.ids(given, "x", self._ids)
        array = self._place.take(array)
        mask: Mask | None = None
        now = self._now
        with versions.reading():
            for part in self._parts:
                array, mask = part.step(array, mask, now)
        output: Array = devices.to_host(array) if isinstance(given, np.ndarray) else array
        self._now = 1 - now
        return output

    def reset(self) -> None:
        """Start new sequences: all states become zero."""
        after = 1 - self._now
        for part in self._recurrent():
            h, c = part.states[after]
            h[...], c[...] = 0, 0
        self._now = after

    @property
    def states(self) -> list[tuple[Array, Array]]:
        """Copies of h (B, R) and c (B, H) of each LSTM, on the CPU; assign such a list to go on there."""
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

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def step(self, x: Array, mask: Mask | None, now: int) -> tuple[Array, Mask | None]:  # noqa: ARG002
        result = self.layer.forward(x)
        y, _ = result if type(result) is tuple else checked_pair(result, self.layer)
        return y, self.layer.compute_mask(x, mask)


class _Recurrent(Copied):
    """An LSTM with two pairs of states (h, c): the stream knows which is the present one."""

    fresh = ("_narrow", "_version")

    def __init__(self, layer: LSTM, batch: int, storage: str | None) -> None:
        self.layer = layer
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

    def step(self, x: Array, mask: Mask | None, now: int) -> tuple[Array, Mask | None]:
        """Compute the states after a step beside those of now."""
        h, c = self.states[now]
        out = self.states[1 - now]
        ops.lstm_step(x, h, c, self._weights(), options=self.layer.options, out=out)
        y = out[0]
        if mask is None:
            return y, None
        for old, new in zip((h, c), out, strict=True):
            new[~mask] = old[~mask]
        if self.layer.zero_output_for_mask:
            y = np.where(mask[:, None], y, y.dtype.type(0))
        return y, mask if self.layer.return_sequences else None


def _copied(state: Array) -> Array:
    copy: Array = devices.to_host(state)
    return copy.copy() if copy is state else copy


def _checked(layers: list[Layer]) -> list[Layer]:
    """Refuse layers whose output at a step depends on later ones, or on all."""
    ended: str | None = None
    for layer in layers:
        if isinstance(layer, LSTM):
            if layer.go_backwards:
                raise ValueError(f"model: expected LSTMs that read forwards, {layer.name} reads backwards")
            if ended is not None:
                raise ValueError(f"model: expected no LSTM after {ended}, which returns its last state only")
            ended = None if layer.return_sequences else layer.name
        elif not isinstance(_inside(layer), _POINTWISE):
            kinds = ", ".join(kind.__name__ for kind in (LSTM, *_POINTWISE))
            kind = type(layer).__name__
            raise ValueError(f"model: expected layers of {kinds}, got {layer.name}, a {kind}")
    return layers


def _inside(layer: Layer) -> Layer:
    """Return what runs at one step."""
    return _inside(layer.layer) if isinstance(layer, TimeDistributed) else layer


def _part(layer: Layer, batch: int, storage: str | None) -> _Pointwise | _Recurrent:
    return _Recurrent(layer, batch, storage) if isinstance(layer, LSTM) else _Pointwise(_inside(layer))
