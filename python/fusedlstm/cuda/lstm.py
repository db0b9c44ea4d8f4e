"""The LSTM on device arrays: the functions of `fusedlstm._core` that `fusedlstm.ops` calls by type.

Around the recurrence there are products of whole arrays: x kernel before it, and after it, from the
gradients dz of the gates, dx = dz kernel^T and the sums over rows and steps that make the weights' gradients.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import _core
from fusedlstm.base.copying import TAPE
from fusedlstm.base.copying import refuse as refuse_copies
from fusedlstm.cuda.checks import Call, kind_of
from fusedlstm.cuda.sequence import Cell, Gradients, Recurrence, Results
from fusedlstm.cuda.steps import RealSteps, Window
from fusedlstm.cuda.sums import column_sums
from fusedlstm.cuda.weights import DeviceWeights, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm._core import CellSettings
    from fusedlstm.cuda.normalization import Rows


@dataclass
class Piece:
    """A window of a tape: what it starts from, and what forward has left there, or None to run it again."""

    window: Window
    h: Any
    c: Any
    results: Results | None
    rows: Rows | None  # of x kernel, with layer normalization


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
        steps: RealSteps,
        x: Any,
        pieces: list[Piece],
    ) -> None:
        self.recurrence = recurrence
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


refuse_copies(DeviceTape, TAPE)


def _tape_bytes(piece: Piece) -> int:
    # y, h and c are the caller's too.
    arrays: tuple[Any, ...] = (piece.h, piece.c) if piece.results is None else piece.results[3:]
    arrays += piece.rows or ()
    return sum(array.nbytes for array in arrays if array is not None)


def _note(recurrence: Recurrence, operation: str, plan: dict[str, Any]) -> None:
    options = "" if recurrence.cell.settings is None else ", cell with options"
    options += "" if recurrence.cell.norm is None else ", layer-normalized"
    options += ", projection" if recurrence.projected else ""
    _core.note_kernel(
        f"{recurrence.call.device.name} {recurrence.number} {operation}{options}, "
        f"{plan['kernel']} kernel: {plan['reason']}"
    )


def _matrix(array: Any) -> Any:
    """Return an array (B, T, features) as one of rows, (B T, features)."""
    B, T, features = array.shape
    return array.reshape(B * T, features)


def _inputs(recurrence: Recurrence, x: Any) -> tuple[Any, Rows | None]:
    """Return what x adds to pre-activations, (B T, 4H), for x (B, T, I) in C order.

    That is x kernel, with the product's rows normalized if the cell is, and what the way back needs of them
    then. Kernels add the bias.
    """
    call, kernel = recurrence.call, recurrence.weights.kernel
    z = call.device.matmul(_matrix(x), kernel)
    rows = None
    if recurrence.cell.norm is not None:
        z, rows = recurrence.cell.norm.inputs(call, z)
    return z, rows


def _weights_on_device(weights: Any, name: str, array: Any) -> Call:
    """Return the call of device weights and of the array that has come with them."""
    if not isinstance(weights, DeviceWeights):
        raise TypeError(f"weights: expected weights on the device of {name}, {kind_of(array)}, got others")
    call = weights._call
    call.device.check_place("weights", weights.parts.kernel)
    return call


def lstm_forward(
    weights: DeviceWeights,
    x: Any,
    lengths: Any,
    mask: Any,
    zero_output_for_mask: bool,
    h0: Any,
    c0: Any,
    options: CellSettings | None,
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
    _core.check_sequence_sizes("x", B, T, weights.inputs, H, weights.outputs)
    hidden, cells = (("B", B), weights.hidden), (("B", B), ("H", H))
    h0, c0 = call.optional("h0", h0, *hidden), call.states.optional("c0", c0, *cells)
    steps = RealSteps(call, lengths, mask, zero_output_for_mask, go_backwards, B, T)
    factors = call.optional("recurrent_mask", recurrent_mask, *hidden)
    if checkpoint_every < 0:
        raise ValueError(
            f"checkpoint_every: expected 0 or a positive number of steps, got {checkpoint_every}"
        )
    cell = Cell.of(call, options, zoneout_seed, H)
    recurrence = Recurrence(call, H, weights.parts, cell.copied() if training else cell, factors)
    plan = recurrence.plan(B, T, backward=False)
    if training:
        recurrence.plan(B, T, backward=True)

    x = steps.gathered(x, of_input=True)
    pieces: list[Piece] = []
    whole_tape = training and checkpoint_every == 0
    size = checkpoint_every if training and checkpoint_every else T
    y = None
    if return_sequences and size < T:
        y = call.empty(B, T, weights.outputs)
    h, c = h0, c0
    for first in range(0, T, size) if T else (0,):
        window = steps.window(first, min(size, T - first))
        z_x, rows = _inputs(recurrence, window.of(x))
        results = recurrence.forward(window, z_x, h, c, taped=whole_tape)
        pieces.append(Piece(window, h, c, *((results, rows) if whole_tape else (None, None))))
        h, c = results.h, results.c
        if y is not None:
            y[:, first : first + window.size] = results.y
        elif return_sequences:
            y = results.y
    if y is not None:
        y = steps.outputs(y, h0)
    tape = DeviceTape(recurrence, steps, x, pieces) if training else None
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
        dy = call.readable("dy", dy, ("B", B), ("T", T), recurrence.hidden)
    dh = call.optional("dh", dh, ("B", B), recurrence.hidden)
    dc = call.states.optional("dc", dc, ("B", B), ("H", H))
    plan = recurrence.plan(B, T, backward=True)

    repeated = None
    if dy is not None:
        dy, repeated = steps.output_gradients(dy)
    pieces = tape.take()
    sums = WeightGradients(recurrence, len(pieces)) if need_dweights else None
    dx_parts: list[Any] = []
    while pieces:
        piece = pieces.pop()
        window, results, rows = piece.window, piece.results, piece.rows
        x = window.of(tape.x)
        if results is None:
            z_x, rows = _inputs(recurrence, x)
            results = recurrence.forward(window, z_x, piece.h, piece.c, taped=True)
        gradients = recurrence.backward(window, results, None if dy is None else window.of(dy), dh, dc)
        dh, dc = gradients.dh0, gradients.dc0
        dproduct, dgamma = gradients.dz, None
        if recurrence.cell.norm is not None:
            assert rows is not None
            dproduct, dgamma = recurrence.cell.norm.input_gradients(call, rows, dproduct)
        if need_dx:
            dx = call.device.matmul(dproduct, recurrence.weights.kernel.T)
            dx_parts.append(dx.reshape(B, window.size, x.shape[2]))
        if sums is not None:
            previous = window.previous_states(piece.h, results.y, recurrence.factors)
            sums.add(x, previous, dproduct, results, gradients, dgamma)
    dx = steps.input_gradients(_joined(dx_parts)) if need_dx else None
    if repeated is not None:
        np.add(dh, repeated, out=dh)
    _note(recurrence, "lstm_backward", plan)
    if sums is None:
        return dx, None, None, None, dh, dc, None, None, None, None
    weights = (sums.of("kernel"), sums.of("recurrent"), sums.of("bias"))
    others = (sums.of("peepholes"), sums.of("projection"), sums.of_norm())
    return dx, *weights, dh, dc, *others, None


def _joined(last_to_first: Sequence[Any]) -> Any:
    """Return windows side by side again."""
    return last_to_first[0] if len(last_to_first) == 1 else np.concatenate(last_to_first[::-1], axis=1)


def _over_rows(call: Call, parts: Any) -> Any:
    """Add up what each row has alone, (B, k, H) in the number type of cell states."""
    B, k, H = parts.shape
    return column_sums(call.states, parts.reshape(B, k * H)).reshape(k, H)


class WeightGradients:
    """Sums over rows and steps, window by window."""

    def __init__(self, recurrence: Recurrence, windows: int) -> None:
        self._recurrence = recurrence
        self._in_windows = windows > 1
        self._sums: dict[str, Any] = {}

    def add(
        self, x: Any, previous: Any, dproduct: Any, results: Results, gradients: Gradients, dgamma: Any
    ) -> None:
        """Add a window's: x (B, T, I), h before each step (B T, R), those of x kernel and gamma_input."""
        recurrence, call = self._recurrence, self._recurrence.call
        self._product("kernel", _matrix(x), dproduct)
        self._product("recurrent", previous, gradients.drecurrent)
        if recurrence.weights.bias is not None:
            # A sum of 16-bit numbers that others are added to is not kept in such.
            self._sum("bias", column_sums(call, gradients.dz, wide=self._in_windows))
        if gradients.dpeepholes is not None:
            self._sum("peepholes", _over_rows(call, gradients.dpeepholes))
        if gradients.dprojected is not None:
            self._product("projection", results.m, gradients.dprojected)
        if gradients.dnorm is not None:
            self._sum("gamma_input", dgamma)
            self._sum("norm", _over_rows(call, gradients.dnorm))

    def of(self, name: str) -> Any:
        """Return a sum, in the weights' number type, or None where there is no such weight."""
        total = self._sums.get(name)
        return None if total is None else self._narrow(total, name)

    def of_norm(self) -> tuple[Any, ...] | None:
        """Return those of gamma_input, gamma_recurrent, gamma_cell and beta_cell, if there are any."""
        rows = self._sums.get("norm")
        if rows is None:
            return None
        parts = (self._sums["gamma_input"], rows[:4].reshape(-1), rows[4], rows[5])
        return tuple(self._narrow(part, "layer_norm") for part in parts)

    def _narrow(self, total: Any, name: str) -> Any:
        call = self._recurrence.call
        # Peepholes have the number type of cell states.
        dtype = call.states.dtype if name == "peepholes" else call.dtype
        return total if total.dtype == dtype else total.astype(dtype)

    def _product(self, name: str, left: Any, right: Any) -> None:
        self._sum(name, self._recurrence.call.device.matmul(left.T, right))

    def _sum(self, name: str, part: Any) -> None:
        if name in self._sums:
            np.add(self._sums[name], part, out=self._sums[name])
        else:
            self._sums[name] = part


def lstm_states(tape: DeviceTape) -> tuple[Any, ...]:
    """Refuse what `fusedlstm.ops.lstm_states` reads on the CPU alone."""
    raise NotImplementedError(
        f"tape: expected one on the CPU, where states and gates of every step can be read, "
        f"got one on {tape.recurrence.call.device.name}"
    )


def lstm_step(
    weights: DeviceWeights,
    x: Any,
    h: Any,
    c: Any,
    options: CellSettings | None,
    out: tuple[Any, Any] | None,
) -> tuple[Any, Any]:
    """Run `fusedlstm.ops.lstm_step` on the device."""
    call = _weights_on_device(weights, "x", x)
    H = weights.units
    x = call.contiguous("x", x, ("B", None), ("I", weights.inputs))
    B = x.shape[0]
    _core.check_sequence_sizes("x", B, 1, weights.inputs, H, weights.outputs)
    hidden, cells = (("B", B), weights.hidden), (("B", B), ("H", H))
    h, c = call.contiguous("h", h, *hidden), call.states.contiguous("c", c, *cells)
    recurrence = Recurrence(call, H, weights.parts, Cell.of(call, options, None, H), None)
    if out is not None:
        _check_out(recurrence, out, x, h, c, hidden, cells)
    plan = recurrence.plan(B, 1, backward=False)
    window = Window(call, B, 0, 1, None)
    results = recurrence.forward(window, _inputs(recurrence, x[:, None])[0], h, c, taped=False)
    _note(recurrence, "lstm_step", plan)
    if out is None:
        return results.h, results.c
    # Kernels may still read the old state where they write the new one.
    out[0][...] = results.h
    out[1][...] = results.c
    return out


def _check_out(recurrence: Recurrence, out: Any, x: Any, h: Any, c: Any, hidden: Any, cells: Any) -> None:
    """Check that each array is its state itself, or shares memory with nothing else of the call."""
    call = recurrence.call
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"out: expected a tuple of two arrays, got {type(out).__name__}")
    h_new = call.written("out[0]", out[0], *hidden)
    c_new = call.states.written("out[1]", out[1], *cells)
    options = [("options", array) for array in recurrence.cell.arrays]
    for name, new, own, state, others in (
        ("out[0]", h_new, "h", h, [("c", c)]),
        ("out[1]", c_new, "c", c, [("h", h), ("out[0]", h_new)]),
    ):
        itself = call.address(new) == call.address(state)
        shared = [("x", x), *(() if itself else ((own, state),)), *others, *options]
        for other, array in shared:
            if call.overlap(new, array):
                raise ValueError(
                    f"{name}: expected {own} itself or memory that no other argument has, "
                    f"got some that it shares with {other}"
                )
