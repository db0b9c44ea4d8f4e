"""ONNX's LSTM operator on the kernels of this package."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm import ops
from fusedlstm.base import limits
from fusedlstm.exchange.onnx.cell import FROM_ONNX, PEEPHOLES, cell_options, reordered
from fusedlstm.exchange.onnx.halves import in_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.exchange.onnx.file import Array

# The operator's inputs: 0 X, 1 W, 2 R, 3 B, 4 sequence_lens, 5 initial_h, 6 initial_c, 7 P.
WEIGHTS = {1: "W", 2: "R", 3: "B", 7: "P"}
# For each direction: whether it reads backwards.
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def directions_of(attributes: dict[str, Any]) -> tuple[bool, ...]:
    """Return for each direction of a node whether it reads backwards; `ValueError` if it has others."""
    direction = attributes.get("direction", "forward")
    if direction not in _DIRECTIONS:
        raise ValueError(f"direction: expected one of {list(_DIRECTIONS)}, got {direction!r}")
    return _DIRECTIONS[direction]


class LSTMOperator:
    """An LSTM node with its weights packed.

    The layout is ONNX's: gates in the order i, o, f, c~; W (D, 4H, I), R (D, 4H, H), B (D, 8H), P (D, 3H) for
    D directions; X (T, B, I) and Y (T, D, B, H), or with layout=1 (B, T, I) and (B, T, D, H).

    Where the standard is silent or open, results are those of ONNX Runtime: ``clip`` limits the arguments of
    f and g, not that of h; rows without any step end in states of zeros.

    Parameters
    ----------
    attributes : dict
    weights : mapping of str to array
        W, R and, if there are such, B and P.
    wanted : sequence of bool
        Which of Y, Y_h and Y_c are used.
    compute : str, optional
        As for `ops.LSTMWeights`.

    Attributes
    ----------
    policy : str
        That of layers that compute the same.

    Raises
    ------
    TypeError, ValueError
        If an attribute or a weight's shape or type does not fit; the message names it.
    """

    # The inputs that are weights, by their places.
    places: ClassVar[Mapping[int, str]] = WEIGHTS

    def __init__(
        self,
        attributes: dict[str, Any],
        weights: Mapping[str, Array],
        wanted: Sequence[bool],
        *,
        compute: str | None = None,
    ) -> None:
        for name, array in weights.items():
            limits.claim(2 * array.size * max(array.itemsize, 4), name)  # reordered, and packed
        self.backwards = directions_of(attributes)
        self.batch_first = attributes.get("layout", 0)
        if self.batch_first not in (0, 1):
            raise ValueError(f"layout: expected 0 or 1, got {self.batch_first}")
        self._want_y = bool(wanted[0])
        D, R = len(self.backwards), weights["R"]
        if R.dtype.kind != "f":
            raise ValueError(f"R: expected float32 or float64, got {R.dtype}")
        if R.ndim != 3 or len(R) != D or not R.size or R.shape[1] != 4 * R.shape[2]:
            raise ValueError(f"R: expected shape ({D}, 4H, H), got {R.shape}")
        H = self.units = R.shape[2]
        if attributes.get("hidden_size", H) != H:
            raise ValueError(f"hidden_size: expected {H} as in R, got {attributes['hidden_size']}")
        inputs = weights["W"].shape[-1] if weights["W"].ndim == 3 else 0
        shapes = {"W": (D, 4 * H, inputs), "B": (D, 8 * H), "P": (D, 3 * H)}
        for name, shape in shapes.items():
            if name in weights and (weights[name].shape != shape or 0 in shape):
                raise ValueError(f"{name}: expected shape {shape}, got {weights[name].shape}")
            if name in weights and weights[name].dtype != R.dtype:
                raise ValueError(f"{name}: expected {R.dtype} like R, got {weights[name].dtype}")
        self._given = R.dtype
        # The kernels have no float16.
        self.dtype = np.dtype(np.float32) if R.dtype == np.float16 else R.dtype
        self.policy = self.dtype.name
        weights = {name: in_type(array, self.dtype) for name, array in weights.items()}
        self.use_bias = "B" in weights
        self.options: list[ops.CellOptions | None] = []
        self._weights: list[ops.LSTMWeights] = []
        self._biases: list[Array | None] = []
        for d, options in enumerate(cell_options(attributes, D)):
            kernels = [reordered(weights[name][d].T, FROM_ONNX, 4) for name in ("W", "R")]
            bias = None
            if "B" in weights:
                two = weights["B"][d].reshape(2, 4 * H)
                with np.errstate(invalid="ignore", over="ignore"):  # of infinite and very large ones
                    bias = reordered(two[0] + two[1], FROM_ONNX, 4)
            self._biases.append(bias)
            self._weights.append(ops.LSTMWeights(kernels[0], kernels[1], bias, compute=compute))
            if "P" in weights:
                peepholes = reordered(weights["P"][d], PEEPHOLES, 3).reshape(3, H)
                options = replace(options or ops.CellOptions(), peepholes=peepholes)
            self.options.append(options)

    def __call__(self, inputs: Sequence[Array | None]) -> list[Array | None]:
        """Compute Y (None if not wanted), Y_h and Y_c.

        Raises
        ------
        TypeError, ValueError
            If a type or shape does not fit; the message names the input.
        """
        x, lengths, h0, c0 = (inputs[i] if i < len(inputs) else None for i in (0, 4, 5, 6))
        if x is None or x.ndim != 3 or x.dtype != self._given:
            got = "nothing" if x is None else f"{x.dtype} of shape {x.shape}"
            raise ValueError(f"X: expected {self._given} with 3 axes, got {got}")
        x = in_type(x, self.dtype)
        rows = x if self.batch_first else x.transpose(1, 0, 2)
        B, T, D = len(rows), rows.shape[1], len(self.backwards)
        if lengths is not None and (
            lengths.shape != (B,) or lengths.dtype.kind != "i" or ((lengths < 0) | (lengths > T)).any()
        ):
            raise ValueError(
                f"sequence_lens: expected {B} integers from 0 to {T}, got {lengths.dtype} {lengths}"
            )
        states = [self._by_direction(name, a, B) for name, a in (("initial_h", h0), ("initial_c", c0))]
        results = []
        for d, backwards in enumerate(self.backwards):
            result = ops.lstm_forward(
                rows,
                self._weights[d],
                *(None if state is None else np.ascontiguousarray(state[d]) for state in states),
                lengths=lengths,
                options=self.options[d],
                return_sequences=self._want_y,
                go_backwards=backwards,
            )
            if lengths is not None:
                for state in (result.h, result.c):
                    state[lengths == 0] = 0
            results.append(result)
        axis = 1 if self.batch_first else 0
        last = [
            in_type(np.stack(states, axis), self._given)
            for states in ([r.h for r in results], [r.c for r in results])
        ]
        if not self._want_y:
            return [None, *last]
        # The kernels give steps in the order in which they are read, ONNX in that of the input.
        outputs = [
            r.y[:, ::-1] if backwards else r.y
            for r, backwards in zip(results, self.backwards, strict=True)
            if r.y is not None
        ]
        y = in_type(outputs[0][:, :, None] if D == 1 else np.stack(outputs, 2), self._given)
        return [y if self.batch_first else y.transpose(1, 2, 0, 3), *last]

    @property
    def inputs(self) -> int:
        """The number of input features."""
        return self._weights[0].inputs

    def keras_weights(self) -> tuple[Array, ...]:
        """Return copies of each direction's weights, as the layer `LSTM` has them."""
        result: list[Array] = []
        for d, (bias, options) in enumerate(zip(self._biases, self.options, strict=True)):
            result += [*self.kernels(d), *([] if bias is None else [bias])]
            result += [] if options is None or options.peepholes is None else [options.peepholes]
        return tuple(result)

    def kernels(self, direction: int) -> list[Array]:
        """Return copies of a direction's kernel and recurrent kernel, as the layer `LSTM` has them."""
        return list(self._weights[direction].unpack())

    def _by_direction(self, name: str, state: Array | None, batch: int) -> Array | None:
        """Return states (D, B, H) of a checked input."""
        if state is None:
            return None
        D, H = len(self.backwards), self.units
        shape = (batch, D, H) if self.batch_first else (D, batch, H)
        if state.shape != shape or state.dtype != self._given:
            raise ValueError(
                f"{name}: expected {self._given} of shape {shape}, got {state.dtype} of shape {state.shape}"
            )
        state = in_type(state, self.dtype)
        return state.transpose(1, 0, 2) if self.batch_first else state


class UnpackedLSTM:
    """An LSTM node whose weights come with every call, as W, R, B and P do that are inputs or computed.

    Parameters
    ----------
    attributes, wanted
        As for `LSTMOperator`.
    """

    def __init__(self, attributes: dict[str, Any], wanted: Sequence[bool]) -> None:
        self._attributes = attributes
        self._wanted = wanted

    def packed(self, inputs: Sequence[Array | None]) -> LSTMOperator:
        """Return the node with the weights among its inputs packed; raises as `LSTMOperator`."""
        weights: dict[str, Array] = {}
        for place, name in WEIGHTS.items():
            array = inputs[place] if place < len(inputs) else None
            if array is not None:
                weights[name] = array
        return LSTMOperator(self._attributes, weights, self._wanted)

    def __call__(self, inputs: Sequence[Array | None]) -> list[Array | None]:
        """Compute Y, Y_h and Y_c; raises as `LSTMOperator` and its call."""
        return self.packed(inputs)(inputs)
