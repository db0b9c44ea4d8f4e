"""Stacks of LSTMs on arrays: each over the outputs of the one before, in one or both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm._core import Tape
from fusedlstm.base import checks
from fusedlstm.base.arrays import is_array, on_device
from fusedlstm.base.copying import TAPE, refuse
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.ops.lstm import LSTMGradients, LSTMResult, lstm_backward, lstm_forward
from fusedlstm.ops.options import CellOptions
from fusedlstm.ops.rows import dropout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

    from numpy.typing import NDArray

    from fusedlstm.ops.weights import LSTMWeights

# How errors of arguments begin that are the same for every LSTM.
_SHARED = ("lengths:", "mask:", "zero_output_for_mask:", "training:", "checkpoint_every:")


@dataclass
class StackTape:
    """What `lstm_stack_backward` needs; it serves once, like the tapes of which it is made."""

    _tapes: list[Tape]
    _directions: int
    _shape: tuple[int, int]  # (B, T)
    _states: list[tuple[int, int]]  # numbers of an LSTM's h and c: (R, H)
    _dtype: np.dtype[Any]
    _state_dtype: np.dtype[Any]  # of c: float32 where arrays have 16 bits
    _dropout: float
    _seeds: list[int | None]  # of the dropout above each layer

    @property
    def nbytes(self) -> int:
        """Bytes of all tapes together."""
        return sum(tape.nbytes for tape in self._tapes)

    @property
    def used(self) -> bool:
        """Whether a backward pass has used it."""
        return not self._tapes


refuse(StackTape, TAPE)


class LSTMStackResult(NamedTuple):
    """What `lstm_stack_forward` returns.

    Attributes
    ----------
    y : array (B, T, D R) or None
        Outputs of the last layer, of D directions; None with ``return_sequences=False``.
    h, c : tuple of arrays (B, R), (B, H)
        Last states, one for each entry of ``weights``. Without projections R is H.
    tape : StackTape or None
        What `lstm_stack_backward` needs; only with ``training=True``.
    """

    y: Array | None
    h: tuple[Array, ...]
    c: tuple[Array, ...]
    tape: StackTape | None


class LSTMStackGradients(NamedTuple):
    """What `lstm_stack_backward` returns.

    Attributes
    ----------
    dx : array (B, T, I) or None
        None with ``need_dx=False``.
    parts : tuple of LSTMGradients
        One for each entry of ``weights``: its weights' and initial states' gradients. Their ``dx`` is None.
    """

    dx: Array | None
    parts: tuple[LSTMGradients, ...]


def lstm_stack_forward(
    x: Array,
    weights: Sequence[LSTMWeights | Sequence[Array | None]],
    h0: Sequence[Array | None] | Array | None = None,
    c0: Sequence[Array | None] | Array | None = None,
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
    seed: int | None = None,
    lengths: NDArray[np.integer[Any]] | None = None,
    mask: NDArray[np.bool_] | None = None,
    zero_output_for_mask: bool = False,
    options: CellOptions | Sequence[CellOptions | None] | None = None,
    recurrent_masks: Sequence[Array | None] | None = None,
    zoneout_seed: int | None = None,
    training: bool = False,
    return_sequences: bool = True,
    checkpoint_every: int = 0,
) -> LSTMStackResult:
    """Run LSTMs on top of each other: the same bits as a call of `lstm_forward` for each.

    With two directions there are two LSTMs in a layer, of which the second reads its input from the last step
    to the first. The layer's output is the outputs of both, side by side, in the order of the input's steps.

    Parameters
    ----------
    x : array (B, T, I)
    weights : list of LSTMWeights or of tuples (kernel, recurrent_kernel[, bias[, projection]])
        From the lowest layer to the highest; with two directions a layer's forward LSTM, then its backward
        one. A layer takes as many inputs as the one below has outputs. Units may differ between layers.
    h0, c0 : list of arrays (B, R), (B, H) or None, or one array with an axis more, optional
        Initial states, one for each entry of `weights`; zeros by default.
    bidirectional : bool
        Whether there are two directions.
    dropout : float
        With `training`: share of the outputs dropped on their way to the next layer, in [0, 1).
    seed : int, optional
        The dropout's; needed where there is one. The outputs of layer ``k``, counted from 0, are dropped as
        ``ops.dropout(y, dropout, seed_k)`` does, with the ``k``-th number of ``utils.SeedGenerator(seed)``.
    lengths, mask, zero_output_for_mask
        As in `lstm_forward`, for every layer.
    options : CellOptions, or list of CellOptions or None, optional
        For all, or one for each entry of `weights`.
    recurrent_masks : list of arrays (B, R) or None, optional
        As `lstm_forward`'s ``recurrent_mask``, one for each entry of `weights`.
    zoneout_seed : int, optional
        As in `lstm_forward`: entry ``k`` of `weights`, if its options have zoneout, takes the ``k``-th number
        of ``utils.SeedGenerator(zoneout_seed)``.
    training, checkpoint_every
        As in `lstm_forward`.
    return_sequences : bool
        Return the outputs of all steps of the last layer.

    Returns
    -------
    LSTMStackResult
        ``(y, h, c, tape)``.

    Raises
    ------
    TypeError, ValueError
        As `lstm_forward`, or a list's length does not fit, or there is dropout without a seed. Errors of an
        LSTM begin with its place in `weights`, but for those of arguments that all of them share.
    """
    if not isinstance(weights, list | tuple):
        raise TypeError(f"weights: expected a list with an entry for each LSTM, got {type(weights).__name__}")
    directions = 2 if bidirectional else 1
    if not weights or len(weights) % directions:
        expected = "an even number of entries, two for each layer" if bidirectional else "at least one entry"
        raise ValueError(f"weights: expected {expected}, got {len(weights)}")
    layers = len(weights) // directions
    rate = checks.rate(dropout, "dropout")
    if training and rate and seed is None:
        raise ValueError("seed: expected an integer for the dropout, got None")
    seeds = _series(seed if training and rate else None, layers - 1)
    zoneout_seeds = _series(zoneout_seed, len(weights))
    every_option = options if isinstance(options, list | tuple) else [options] * len(weights)
    first_h, first_c = _listed(h0, "h0", len(weights)), _listed(c0, "c0", len(weights))
    cells = _listed(every_option, "options", len(weights))
    dropping = _listed(recurrent_masks, "recurrent_masks", len(weights))

    y: Any = x
    results: list[LSTMResult] = []
    for layer in range(layers):
        below = y if layer == 0 else _dropped(y, rate, seeds[layer - 1])
        outputs: list[Any] = []
        for direction in range(directions):
            place = len(results)
            try:
                result = lstm_forward(
                    below,
                    weights[place],
                    first_h[place],
                    first_c[place],
                    lengths=lengths,
                    mask=mask,
                    zero_output_for_mask=zero_output_for_mask,
                    options=cells[place],
                    recurrent_mask=dropping[place],
                    zoneout_seed=zoneout_seeds[place] if _has_zoneout(cells[place]) else None,
                    training=training,
                    return_sequences=return_sequences or layer < layers - 1,
                    go_backwards=direction == 1,
                    checkpoint_every=checkpoint_every,
                )
            except (TypeError, ValueError) as error:
                if str(error).startswith(_SHARED):
                    raise
                raise type(error)(f"weights[{place}]: {error}") from error
            outputs.append(result.y[:, ::-1] if direction and result.y is not None else result.y)
            results.append(result._replace(y=None))
        y = outputs[0] if directions == 1 or outputs[0] is None else np.concatenate(outputs, axis=2)
    tape = None
    if training:
        states = [(result.h.shape[1], result.c.shape[1]) for result in results]
        tapes = [result.tape for result in results if result.tape is not None]
        dtypes = x.dtype, results[0].c.dtype
        tape = StackTape(tapes, directions, x.shape[:2], states, *dtypes, rate, seeds)
    return LSTMStackResult(
        y, tuple(result.h for result in results), tuple(result.c for result in results), tape
    )


def lstm_stack_backward(
    tape: StackTape,
    dy: Array | None = None,
    dh: Sequence[Array | None] | Array | None = None,
    dc: Sequence[Array | None] | Array | None = None,
    *,
    need_dx: bool = True,
    need_dweights: bool = True,
) -> LSTMStackGradients:
    """Backpropagate through the stack that left `tape`.

    Parameters
    ----------
    tape : StackTape
        From ``lstm_stack_forward(..., training=True)``. Each layer's memory is given back when it is done.
    dy : array (B, T, D R), optional
        Gradient of ``y``; zeros by default.
    dh, dc : list of arrays (B, R), (B, H) or None, or one array with an axis more, optional
        Gradients of the last states, one for each entry of ``weights``; zeros by default.
    need_dx : bool
        Compute the gradient of ``x``.
    need_dweights : bool
        Compute the gradients of weights.

    Returns
    -------
    LSTMStackGradients
        ``(dx, parts)``.

    Raises
    ------
    RuntimeError
        The tape has been used before.
    TypeError, ValueError
        A gradient's dtype or shape or a list's length does not fit.
    """
    if not isinstance(tape, StackTape):
        raise TypeError(
            "tape: expected the StackTape of lstm_stack_forward(..., training=True), "
            f"got {type(tape).__name__}"
        )
    if tape.used:
        raise RuntimeError("tape: expected one that no backward pass has used yet, got a used one")
    batch, steps = tape._shape
    last_h, last_c = _listed(dh, "dh", len(tape._states)), _listed(dc, "dc", len(tape._states))
    there = not isinstance(tape._tapes[0], Tape)
    # All is checked before the first tape is used.
    for place, (outputs, units) in enumerate(tape._states):
        _check(last_h[place], f"dh[{place}]", (batch, outputs), tape._dtype, there)
        _check(last_c[place], f"dc[{place}]", (batch, units), tape._state_dtype, there)
    outputs = sum(outputs for outputs, _ in tape._states[-tape._directions :])
    _check(dy, "dy", (batch, steps, outputs), tape._dtype, there)

    dx: Array | None = None
    parts: list[LSTMGradients] = []
    for layer in reversed(range(len(tape._states) // tape._directions)):
        below: list[Array | None] = []
        for direction in reversed(range(tape._directions)):
            place = layer * tape._directions + direction
            own = dy
            if dy is not None and tape._directions == 2:
                outputs = tape._states[place][0]
                own = dy[:, ::-1, -outputs:] if direction else dy[:, :, :outputs]
            gradients = lstm_backward(
                tape._tapes.pop(),
                own,
                last_h[place],
                last_c[place],
                need_dx=need_dx or layer > 0,
                need_dweights=need_dweights,
            )
            below.append(gradients.dx)
            parts.append(gradients._replace(dx=None))
        dx = below[0]
        if len(below) == 2 and dx is not None:
            dx += below[1]
        dy = dx if layer == 0 or dx is None else _dropped(dx, tape._dropout, tape._seeds[layer - 1])
    return LSTMStackGradients(dx, tuple(reversed(parts)))


def _series(seed: int | None, count: int) -> list[int | None]:
    """Return so many seeds made from one, or so many times None."""
    series = None if seed is None else SeedGenerator(seed)
    return [None if series is None else series.next() for _ in range(count)]


def _dropped(array: Any, rate: float, seed: int | None) -> Any:
    return array if seed is None else dropout(array, rate, seed)


def _has_zoneout(cell: CellOptions | None) -> bool:
    return isinstance(cell, CellOptions) and (cell.zoneout_h > 0 or cell.zoneout_c > 0)


def _listed(given: Any, name: str, count: int) -> Any:
    """Return a list or an array's rows, one for each LSTM; None stands for so many of it."""
    if given is None:
        return [None] * count
    if not isinstance(given, list | tuple) and not is_array(given):
        raise TypeError(f"{name}: expected a list with {count} entries, got {type(given).__name__}")
    if len(given) != count:
        raise ValueError(f"{name}: expected {count} entries, one for each LSTM, got {len(given)}")
    return given


def _check(array: Array | None, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], there: bool) -> None:
    """Check a gradient of arrays on a device, if they are `there`, or of NumPy arrays."""
    if array is None:
        return
    fits = is_array(array) and on_device(array) == there
    if not fits or array.dtype != dtype:
        expected = "an array on the device" if there else "a NumPy array"
        got = f"an array of {array.dtype}" if fits else type(array).__name__
        raise TypeError(f"{name}: expected {expected} of {dtype}, got {got}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
