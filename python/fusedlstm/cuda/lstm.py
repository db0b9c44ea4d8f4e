"""The LSTM on device arrays: the functions of `fusedlstm._core` that `fusedlstm.ops` calls by type.

Around the recurrence there are products of whole arrays: x kernel + bias before it, and after it, from the
gradients dz of the gates, dx = dz kernel^T and the sums over rows and steps that make the weights' gradients.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import _core
from fusedlstm.cuda.checks import Call, kind_of
from fusedlstm.cuda.sequence import Cell, Recurrence, Results
from fusedlstm.cuda.steps import RealSteps, Window
from fusedlstm.cuda.weights import DeviceWeights, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Piece:
    """A window of a tape: what it starts from, and what forward has left there, or None to run it again."""

    window: Window
    h: Any
    c: Any
    results: Results | None


class DeviceTape:
    """What `fusedlstm.ops.lstm_backward` needs, on the device.

    Attributes
    ----------
    nbytes : int
        Memory that it holds besides x, h0, y and the recurrent mask, which it keeps alive.
    used : bool
        Whether a backward pass has used it.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        weights: tuple[Any, Any, Any],
        steps: RealSteps,
        x: Any,
        pieces: list[Piece],
    ) -> None:
        self.recurrence = recurrence
        self.weights = weights
        self.steps = steps
        self.x = x
        self.used = False
        self._pieces: list[Piece] | None = pieces
        self._lock = threading.Lock()
        self.nbytes = sum(_tape_bytes(piece) for piece in pieces)

    def take(self) -> list[Piece]:
        """Hand its memory over, once."""
        with self._lock:
            pieces, self._pieces, self.used = self._pieces, None, True
        if pieces is None:
            raise RuntimeError("tape: expected one that no backward pass has used yet, got a used one")
        return pieces

    def check_unused(self) -> None:
        """Raise `RuntimeError` if its memory is gone."""
        if self.used:
            raise RuntimeError("tape: expected one that no backward pass has used yet, got a used one")


def _tape_bytes(piece: Piece) -> int:
    arrays = (piece.h, piece.c) if piece.results is None else (piece.results.gates, piece.results.cells)
    return sum(array.nbytes for array in arrays if array is not None)


def _note(recurrence: Recurrence, operation: str, plan: dict[str, Any]) -> None:
    options = "" if recurrence.cell.given is None else ", cell with options"
    _core.note_kernel(
        f"{recurrence.call.device.name} {recurrence.number} {operation}{options}, "
        f"{plan['kernel']} kernel: {plan['reason']}"
    )


def _matrix(array: Any) -> Any:
    """Return an array (B, T, features) as one of rows, (B T, features)."""
    B, T, features = array.shape
    return array.reshape(B * T, features)


def _inputs(call: Call, weights: tuple[Any, Any, Any], x: Any) -> Any:
    """Return x kernel + bias, (B, T, 4H), for x (B, T, I) in C order."""
    kernel, _, bias = weights
    z = call.device.matmul(_matrix(x), kernel)
    if bias is not None:
        np.add(z, bias, out=z)
    return z.reshape(*x.shape[:2], kernel.shape[1])


def _weights_on_device(weights: Any, name: str, array: Any) -> Call:
    """Return the call of device weights and of the array that has come with them."""
    if not isinstance(weights, DeviceWeights):
        raise TypeError(f"weights: expected weights on the device of {name}, {kind_of(array)}, got others")
    call = weights._call
    call.device.check_place("weights", weights.parts[0])
    return call


def lstm_forward(
    weights: DeviceWeights,
    x: Any,
    lengths: Any,
    mask: Any,
    zero_output_for_mask: bool,
    h0: Any,
    c0: Any,
    options: tuple[Any, ...] | None,
    recurrent_mask: Any,
    zoneout_seed: int | None,
    training: bool,
    return_sequences: bool,
    go_backwards: bool,
    checkpoint_every: int,
) -> tuple[Any, Any, Any, DeviceTape | None]:
    """Run `fusedlstm.ops.lstm_forward` on the device."""
    call = _weights_on_device(weights, "x", x)
    x = call.readable("x", x, ("B", None), ("T", None), ("I", weights.inputs))
    (B, T), H = x.shape[:2], weights.units
    states = ("B", B), ("H", H)
    h0, c0 = call.optional("h0", h0, *states), call.states.optional("c0", c0, *states)
    steps = RealSteps(call, lengths, mask, zero_output_for_mask, go_backwards, B, T)
    factors = call.optional("recurrent_mask", recurrent_mask, *states)
    if checkpoint_every < 0:
        raise ValueError(
            f"checkpoint_every: expected 0 or a positive number of steps, got {checkpoint_every}"
        )
    cell = Cell.of(call, options, zoneout_seed, H)
    parts = weights.parts
    recurrence = Recurrence(call, H, parts[1], cell.copied() if training else cell, factors)
    plan = recurrence.plan(B, T, backward=False)
    if training:
        recurrence.plan(B, T, backward=True)

    x = steps.gathered(x, of_input=True)
    pieces: list[Piece] = []
    whole_tape = training and checkpoint_every == 0
    size = checkpoint_every if training and checkpoint_every else T
    y = None
    if return_sequences and size < T:
        y = call.empty(B, T, H)
    h, c = h0, c0
    for first in range(0, T, size) if T else (0,):
        window = steps.window(first, min(size, T - first))
        z_x = _inputs(call, parts, window.of(x))
        results = recurrence.forward(window, z_x, h, c, taped=whole_tape)
        pieces.append(Piece(window, h, c, results if whole_tape else None))
        h, c = results.h, results.c
        if y is not None:
            y[:, first : first + window.size] = results.y
        elif return_sequences:
            y = results.y
    if y is not None:
        y = steps.outputs(y, h0)
    tape = DeviceTape(recurrence, parts, steps, x, pieces) if training else None
    _note(recurrence, "lstm_forward", plan)
    return y, h, c, tape


def lstm_backward(
    tape: DeviceTape, dy: Any, dh: Any, dc: Any, need_dx: bool, need_dweights: bool, keep: bool
) -> tuple[Any, ...]:
    """Run `fusedlstm.ops.lstm_backward` on the device."""
    recurrence, steps = tape.recurrence, tape.steps
    call, H = recurrence.call, recurrence.units
    call.device.check_place("tape", tape.x)
    tape.check_unused()
    refuse("keep", keep, call.device)
    B, T = steps.batch, steps.steps
    if dy is not None:
        dy = call.readable("dy", dy, ("B", B), ("T", T), ("H", H))
    states = ("B", B), ("H", H)
    dh, dc = call.optional("dh", dh, *states), call.states.optional("dc", dc, *states)
    plan = recurrence.plan(B, T, backward=True)

    repeated = None
    if dy is not None:
        dy, repeated = steps.output_gradients(dy)
    pieces = tape.take()
    sums = WeightGradients(tape.weights, recurrence) if need_dweights else None
    dx_parts: list[Any] = []
    while pieces:
        piece = pieces.pop()
        window, results = piece.window, piece.results
        x = window.of(tape.x)
        if results is None:
            z_x = _inputs(call, tape.weights, x)
            results = recurrence.forward(window, z_x, piece.h, piece.c, taped=True)
        gradients = recurrence.backward(window, results, None if dy is None else window.of(dy), dh, dc)
        dh, dc = gradients.dh0, gradients.dc0
        dz = _matrix(gradients.dz)
        if need_dx:
            dx = call.device.matmul(dz, tape.weights[0].T)
            dx_parts.append(dx.reshape(B, window.size, x.shape[2]))
        if sums is not None:
            sums.add(
                x, window.previous_states(piece.h, results.y, recurrence.factors), dz, gradients.dpeepholes
            )
    dx = steps.input_gradients(_joined(dx_parts)) if need_dx else None
    if repeated is not None:
        np.add(dh, repeated, out=dh)
    _note(recurrence, "lstm_backward", plan)
    parts = (None,) * 4 if sums is None else (sums.dkernel, sums.drecurrent, sums.dbias, sums.dpeepholes)
    return (dx, *parts[:3], dh, dc, parts[3], None, None, None)


def _joined(last_to_first: Sequence[Any]) -> Any:
    """Return windows side by side again."""
    return last_to_first[0] if len(last_to_first) == 1 else np.concatenate(last_to_first[::-1], axis=1)


class WeightGradients:
    """Sums over rows and steps, window by window."""

    def __init__(self, weights: tuple[Any, Any, Any], recurrence: Recurrence) -> None:
        self._call = recurrence.call
        self._use_bias = weights[2] is not None
        self.dkernel: Any = None
        self.drecurrent: Any = None
        self.dbias: Any = None
        self.dpeepholes: Any = None

    def add(self, x: Any, previous: Any, dz: Any, dpeepholes: Any) -> None:
        """Add a window's: x (B, T, I), h before each step (B, T, H), dz (B T, 4H)."""
        product = self._call.device.matmul
        self._sum("dkernel", product(_matrix(x).T, dz))
        self._sum("drecurrent", product(_matrix(previous).T, dz))
        if self._use_bias:
            # A sum of 16-bit numbers is not kept in such.
            wide = self._call.states.dtype
            self._sum("dbias", np.sum(dz, axis=0, dtype=wide).astype(dz.dtype))
        if dpeepholes is not None:
            self._sum("dpeepholes", np.sum(dpeepholes, axis=0))

    def _sum(self, name: str, part: Any) -> None:
        total = getattr(self, name)
        if total is None:
            setattr(self, name, part)
        else:
            np.add(total, part, out=total)


def lstm_step(
    weights: DeviceWeights,
    x: Any,
    h: Any,
    c: Any,
    options: tuple[Any, ...] | None,
    out: tuple[Any, Any] | None,
) -> tuple[Any, Any]:
    """Run `fusedlstm.ops.lstm_step` on the device."""
    call = _weights_on_device(weights, "x", x)
    H = weights.units
    x = call.contiguous("x", x, ("B", None), ("I", weights.inputs))
    B = x.shape[0]
    states = ("B", B), ("H", H)
    h, c = call.contiguous("h", h, *states), call.states.contiguous("c", c, *states)
    recurrence = Recurrence(call, H, weights.parts[1], Cell.of(call, options, None, H), None)
    if out is not None:
        _check_out(call, out, x, h, c, states)
    plan = recurrence.plan(B, 1, backward=False)
    window = Window(call, B, 0, 1, None)
    results = recurrence.forward(window, _inputs(call, weights.parts, x[:, None]), h, c, taped=False)
    _note(recurrence, "lstm_step", plan)
    if out is None:
        return results.h, results.c
    # Kernels may still read the old state where they write the new one.
    out[0][...] = results.h
    out[1][...] = results.c
    return out


def _check_out(call: Call, out: Any, x: Any, h: Any, c: Any, states: Any) -> None:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"out: expected a tuple of two arrays, got {type(out).__name__}")
    h_new = call.written("out[0]", out[0], *states)
    c_new = call.states.written("out[1]", out[1], *states)
    pairs = ((h_new, c_new), (h_new, x), (c_new, x), (h_new, c), (c_new, h))
    apart = not any(call.overlap(a, b) for a, b in pairs)
    if not apart or (call.overlap(c_new, c) and call.address(c_new) != call.address(c)):
        raise ValueError(
            "out: expected arrays apart from each other and from x (each may be h or c itself), "
            "got overlapping ones"
        )
