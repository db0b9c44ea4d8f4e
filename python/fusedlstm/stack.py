"""Stacks of LSTMs on arrays: each over the outputs of the one before, in one or both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import checks, ops
from fusedlstm.utils import SeedGenerator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusedlstm.cell_options import CellOptions
    from fusedlstm.ops import Array, LSTMGradients, LSTMResult, LSTMWeights, Tape

__all__ = ["LSTMStackGradients", "LSTMStackResult", "StackTape", "lstm_stack_backward", "lstm_stack_forward"]


@dataclass
class StackTape:
    """What `lstm_stack_backward` needs; it serves once, like the tapes of which it is made."""

    _tapes: list[Tape]
    _directions: int
    _shape: tuple[int, int]  # (B, T)
    _units: list[int]
    _dtype: np.dtype[Any]
    _dropout: float
    _seeds: list[int]

    @property
    def nbytes(self) -> int:
        """Bytes of all tapes together."""
        return sum(tape.nbytes for tape in self._tapes)

    @property
    def used(self) -> bool:
        """Whether a backward pass has used it."""
        return not self._tapes


class LSTMStackResult(NamedTuple):
    """What `lstm_stack_forward` returns.

    Attributes
    ----------
    y : array (B, T, D H) or None
        Outputs of the last layer, of D directions; None with ``return_sequences=False``.
    h, c : tuple of arrays (B, H)
        Last states, one for each entry of ``weights``.
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
    weights : list of LSTMWeights or of tuples (kernel, recurrent_kernel[, bias])
        From the lowest layer to the highest; with two directions a layer's forward LSTM, then its backward
        one. A layer takes as many inputs as the one below has outputs. Units may differ between layers.
    h0, c0 : list of arrays (B, H) or None, or one array (len(weights), B, H), optional
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
    recurrent_masks : list of arrays (B, H) or None, optional
        As `lstm_forward`'s ``recurrent_mask``, one for each entry of `weights`.
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
        LSTM begin with its place in `weights`.
    """
    if not isinstance(weights, list | tuple):
        raise TypeError(f"weights: expected a list with an entry for each LSTM, got {type(weights).__name__}")
    directions = 2 if bidirectional else 1
    if not weights or len(weights) % directions:
        expected = "an even number of entries, two for each layer" if bidirectional else "at least one entry"
        raise ValueError(f"weights: expected {expected}, got {len(weights)}")
    layers = len(weights) // directions
    rate = checks.rate(dropout, "dropout")
    seeds = _gap_seeds(seed, layers - 1) if training and rate else []
    every_option = options if isinstance(options, list | tuple) else [options] * len(weights)
    first_h, first_c = _listed(h0, "h0", len(weights)), _listed(c0, "c0", len(weights))
    cells = _listed(every_option, "options", len(weights))
    dropping = _listed(recurrent_masks, "recurrent_masks", len(weights))

    y: Any = x
    results: list[LSTMResult] = []
    for layer in range(layers):
        below = ops.dropout(y, rate, seeds[layer - 1]) if layer and seeds else y
        outputs: list[Any] = []
        for direction in range(directions):
            place = len(results)
            try:
                result = ops.lstm_forward(
                    below,
                    weights[place],
                    first_h[place],
                    first_c[place],
                    lengths=lengths,
                    mask=mask,
                    zero_output_for_mask=zero_output_for_mask,
                    options=cells[place],
                    recurrent_mask=dropping[place],
                    training=training,
                    return_sequences=return_sequences or layer < layers - 1,
                    go_backwards=direction == 1,
                    checkpoint_every=checkpoint_every,
                )
            except (TypeError, ValueError) as error:
                raise type(error)(f"weights[{place}]: {error}") from error
            outputs.append(result.y[:, ::-1] if direction and result.y is not None else result.y)
            results.append(result._replace(y=None))
        y = outputs[0] if directions == 1 or outputs[0] is None else np.concatenate(outputs, axis=2)
    tape = None
    if training:
        units = [result.h.shape[1] for result in results]
        tapes = [result.tape for result in results if result.tape is not None]
        tape = StackTape(tapes, directions, x.shape[:2], units, x.dtype, rate, seeds)
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
) -> LSTMStackGradients:
    """Backpropagate through the stack that left `tape`.

    Parameters
    ----------
    tape : StackTape
        From ``lstm_stack_forward(..., training=True)``. Each layer's memory is given back when it is done.
    dy : array (B, T, D H), optional
        Gradient of ``y``; zeros by default.
    dh, dc : list of arrays (B, H) or None, or one array (len(weights), B, H), optional
        Gradients of the last states, one for each entry of ``weights``; zeros by default.
    need_dx : bool
        Compute the gradient of ``x``.

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
    last_h, last_c = _listed(dh, "dh", len(tape._units)), _listed(dc, "dc", len(tape._units))
    # All is checked before the first tape is used.
    for name, states in (("dh", last_h), ("dc", last_c)):
        for place, units in enumerate(tape._units):
            _check(states[place], f"{name}[{place}]", (batch, units), tape._dtype)
    _check(dy, "dy", (batch, steps, sum(tape._units[-tape._directions :])), tape._dtype)

    dx: Array | None = None
    parts: list[LSTMGradients] = []
    for layer in reversed(range(len(tape._units) // tape._directions)):
        below: list[Array | None] = []
        for direction in reversed(range(tape._directions)):
            place = layer * tape._directions + direction
            own = dy
            if dy is not None and tape._directions == 2:
                units = tape._units[place]
                own = dy[:, ::-1, -units:] if direction else dy[:, :, :units]
            gradients = ops.lstm_backward(
                tape._tapes.pop(), own, last_h[place], last_c[place], need_dx=need_dx or layer > 0
            )
            below.append(gradients.dx)
            parts.append(gradients._replace(dx=None))
        dx = below[0]
        if len(below) == 2 and dx is not None:
            dx += below[1]
        if layer and tape._seeds and dx is not None:
            ops.dropout(dx, tape._dropout, tape._seeds[layer - 1], out=dx)
        dy = dx
    return LSTMStackGradients(dx, tuple(reversed(parts)))


def _gap_seeds(seed: int | None, gaps: int) -> list[int]:
    """Return the seeds of the dropouts between layers."""
    if seed is None:
        raise ValueError("seed: expected an integer for the dropout, got None")
    series = SeedGenerator(seed)
    return [series.next() for _ in range(gaps)]


def _listed(given: Any, name: str, count: int) -> Any:
    """Return a list or an array's rows, one for each LSTM; None stands for so many of it."""
    if given is None:
        return [None] * count
    if not isinstance(given, list | tuple | np.ndarray):
        raise TypeError(f"{name}: expected a list with {count} entries, got {type(given).__name__}")
    if len(given) != count:
        raise ValueError(f"{name}: expected {count} entries, one for each LSTM, got {len(given)}")
    return given


def _check(array: Array | None, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if array is None:
        return
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        got = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name}: expected a NumPy array of {dtype}, got {got}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
