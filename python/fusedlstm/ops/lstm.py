"""The LSTM over whole sequences, forward and backward, and a step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.base import checks
from fusedlstm.ops.dispatch import kernels_for, kernels_for_tape
from fusedlstm.ops.options import CellOptions
from fusedlstm.ops.weights import packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusedlstm._core import CellSettings, GradientTape, Tape
    from fusedlstm.ops.weights import LSTMWeights

    Array = NDArray[Any]


# The types of flags as they usually come, which need no look at each.
_FLAGS = {bool}


class LSTMResult(NamedTuple):
    """What `lstm_forward` returns.

    Attributes
    ----------
    y : array (B, T, R) or None
        Hidden states of all steps in processing order; None with ``return_sequences=False``.
    h, c : array (B, R), (B, H)
        Hidden and cell state after the last step.
    tape : Tape or None
        What `lstm_backward` needs; only with ``training=True``. It holds ``B T (4 P + H) + B H`` numbers
        (``tape.nbytes``), where ``P`` is ``H`` rounded up to whole vectors of the instruction set (16 float32
        or 8 float64 with AVX-512), fewer with checkpoints, ``B T R`` more with a recurrent mask, ``B T H``
        more with a projection, ``B T (4 P + 4)`` more with layer normalization. It keeps ``x``, ``h0``, ``y``
        and the recurrent mask alive, which must not be written to before it is used. On a GPU it is another
        type with the same attributes, and P is H.
    """

    y: Array | None
    h: Array
    c: Array
    tape: Tape | None


class LayerNormGradients(NamedTuple):
    """Gradients of the parameters of `LayerNorm`, named ``d`` + the parameter's name.

    Attributes
    ----------
    dgamma_input, dgamma_recurrent : array (4H,)
    dgamma_cell, dbeta_cell : array (H,)
    """

    dgamma_input: Array
    dgamma_recurrent: Array
    dgamma_cell: Array
    dbeta_cell: Array


class LSTMGradients(NamedTuple):
    """What `lstm_backward` returns: gradients named ``d`` + the name of the argument of `lstm_forward`.

    Attributes
    ----------
    dx : array (B, T, I) or None
        None with ``need_dx=False``.
    dkernel : array (I, 4H) or None
    drecurrent_kernel : array (R, 4H) or None
        None, like all other gradients of weights, with ``need_dweights=False``.
    dbias : array (4H,) or None
        None when there was no bias.
    dh0, dc0 : array (B, R), (B, H)
    dpeepholes : array (3, H) or None
        None without peepholes.
    dprojection : array (H, R) or None
        None without a projection.
    dlayer_norm : LayerNormGradients or None
        None without layer normalization.
    tape : GradientTape or None
        What `lstm_second_backward` needs; only with ``keep=True``. It holds ``B T (4 P + 2 H)`` numbers
        (``tape.nbytes``, P as in `LSTMResult`) and keeps the `Tape` that it comes from, whose arrays must
        not be written to before it is gone. Each second backward pass takes ``B T (4 P + 2 H)`` more while it
        runs, ``B T H`` more when the recurrent kernel is part of its direction.
    """

    dx: Array | None
    dkernel: Array | None
    drecurrent_kernel: Array | None
    dbias: Array | None
    dh0: Array
    dc0: Array
    dpeepholes: Array | None
    dprojection: Array | None
    dlayer_norm: LayerNormGradients | None
    tape: GradientTape | None


class LSTMStates(NamedTuple):
    """States and gates of every step: what `lstm_states` returns, and ``layer.trace``.

    Attributes
    ----------
    h, c : array (B, T, R), (B, T, H)
        Hidden and cell state after each step; where a step is not real, the states that pass it unchanged.
    i, f, g, o : array (B, T, H)
        Input gate, forget gate, candidate (Keras's c~) and output gate of each step, activated; NaN where
        it is not real.
    """

    h: Array
    c: Array
    i: Array
    f: Array
    g: Array
    o: Array


def _settings(options: CellOptions | None) -> CellSettings | None:
    if options is None:
        return None
    if not isinstance(options, CellOptions):
        raise TypeError(f"options: expected CellOptions or None, got {type(options).__name__}")
    return options.settings


def _window(checkpoint_every: int) -> int:
    """Return steps of a window, 0 for none; one beyond 64 bits is the whole sequence too."""
    if type(checkpoint_every) is int and 0 <= checkpoint_every < 2**63:
        return checkpoint_every
    return min(checks.non_negative_int(checkpoint_every, "checkpoint_every"), 2**63 - 1)


def lstm_forward(
    x: Array,
    weights: LSTMWeights | Sequence[Array | None],
    h0: Array | None = None,
    c0: Array | None = None,
    *,
    lengths: NDArray[np.integer[Any]] | None = None,
    mask: NDArray[np.bool_] | None = None,
    zero_output_for_mask: bool = False,
    options: CellOptions | None = None,
    recurrent_mask: Array | None = None,
    zoneout_seed: int | None = None,
    training: bool = False,
    return_sequences: bool = True,
    go_backwards: bool = False,
    checkpoint_every: int = 0,
) -> LSTMResult:
    """Run an LSTM over a batch of sequences.

    Parameters
    ----------
    x : array (B, T, I)
        B and T may be 0.
    weights : LSTMWeights or tuple (kernel, recurrent_kernel[, bias[, projection]])
        A tuple is packed for this call; `LSTMWeights` keeps the packed form between calls.
    h0, c0 : array (B, R), (B, H), optional
        Initial states; zeros by default.
    lengths : integer array (B,), optional
        Real steps of each row, 0 to T; the rest is padding, which costs nothing: it is not read, ``y`` is
        zero there, and ``h`` and ``c`` are the states after the row's last real step.
    mask : bool array (B, T), optional
        Which steps are real, anywhere in a row, instead of `lengths`. Other steps cost nothing but their
        output: the states pass them unchanged, and ``y`` repeats the last hidden state there, first of all
        ``h0``, as Keras's layers do.
    zero_output_for_mask : bool
        ``y`` is zero instead where `mask` is False.
    options : CellOptions, optional
        Other activations, peepholes, coupled gates, a limit on the cell state, zoneout, layer normalization.
    recurrent_mask : array (B, R), optional
        Factors of the hidden state on its way into the next step, the same at all steps: recurrent dropout.
    zoneout_seed : int, optional
        With the zoneout of `options`: draw which units keep their previous values, as in training. That is a
        function of the seed (its low 64 bits), the row, the number of the row's real step and the unit alone:
        nothing is stored for `lstm_backward`. Without a seed the states are the expectation over all draws,
        as for inference.
    training : bool
        Also return the tape for `lstm_backward`.
    return_sequences : bool
        Return the hidden states of all steps, not only the last one's.
    go_backwards : bool
        Read ``x`` from its last step to its first.
    checkpoint_every : int
        With `training`: keep only the states before every so many steps on the tape, ``2 B H`` numbers each,
        and let `lstm_backward` run the forward pass again window by window. Gradients have the same bits and
        take about a third longer. The number is rounded up to whole blocks of the weight gradients' sums, at
        most 1536 rows times steps. 0, the default, keeps everything.

    Returns
    -------
    LSTMResult
        ``(y, h, c, tape)``.

    Raises
    ------
    TypeError
        An argument is not an array, or its dtype differs from the weights'.
    ValueError
        A shape does not fit, there is a seed but no zoneout, or a product of the sizes, which are named,
        leaves 64 bits.
    MemoryError
        There is no memory for such sizes, which are named.

    Notes
    -----
    The equations are those of Hochreiter and Schmidhuber (1997) with the forget gate of Gers, Schmidhuber and
    Cummins (2000)::

        i, f, o = sigmoid(W x + U h + b)      g = tanh(W x + U h + b)
        c = f c + i g                         h = o tanh(c)

    and h is ``(o tanh(c)) projection`` with one.
    """
    if {type(training), type(return_sequences), type(go_backwards), type(zero_output_for_mask)} != _FLAGS:
        checks.flags(
            training=training,
            return_sequences=return_sequences,
            go_backwards=go_backwards,
            zero_output_for_mask=zero_output_for_mask,
        )
    return LSTMResult(
        *kernels_for(x).lstm_forward(
            packed(weights, x),
            x,
            lengths,
            mask,
            zero_output_for_mask,
            h0,
            c0,
            _settings(options),
            recurrent_mask,
            checks.optional_integer(zoneout_seed, "zoneout_seed"),
            training,
            return_sequences,
            go_backwards,
            _window(checkpoint_every),
        )
    )


def lstm_backward(
    tape: Tape,
    dy: Array | None = None,
    dh: Array | None = None,
    dc: Array | None = None,
    *,
    need_dx: bool = True,
    need_dweights: bool = True,
    keep: bool = False,
    groups: Sequence[int] = (),
) -> LSTMGradients:
    """Backpropagate through the sequence that left `tape`.

    Parameters
    ----------
    tape : Tape
        From ``lstm_forward(..., training=True)``. It serves once: gates are overwritten by their gradients,
        unless `keep`. A pass that KeyboardInterrupt or another signal's exception ends has used it up too.
        The gradients are those at the weights that forward used, even if `LSTMWeights.update` came between.
    dy : array (B, T, R), optional
        Gradient of ``y`` in processing order; zeros by default.
    dh, dc : array (B, R), (B, H), optional
        Gradients of the last states; zeros by default.
    need_dx : bool
        Compute the gradient of ``x``, a quarter of the work where it is as wide as h.
    need_dweights : bool
        Compute the gradients of kernels, bias, peepholes, projection and layer normalization, half of the
        work; without them a frozen layer hands on gradients in half the time.
    keep : bool
        Also return a `GradientTape` for `lstm_second_backward`, and leave `tape` as it is, for more passes.
    groups : sequence of int
        Rows in groups, by the first row of each and the end of the last, as ``(0, 16, B)``: gradients of
        kernels and bias have a first axis of groups then, and each the bits of a batch of its own. For tapes
        without checkpoints, projection, peepholes and layer normalization, on the CPU.

    Returns
    -------
    LSTMGradients
        ``(dx, dkernel, drecurrent_kernel, dbias, dh0, dc0, dpeepholes, dprojection, dlayer_norm,
        tape)``.

    Raises
    ------
    RuntimeError
        The tape has been used before.
    TypeError, ValueError
        A gradient's dtype or shape does not fit; with `keep`, also a tape with checkpoints, a projection,
        zoneout or layer normalization, which second derivatives do not have.
    MemoryError
        There is no memory for the pass; on the CPU the tape can be used again then.
    """
    if {type(need_dx), type(need_dweights), type(keep)} != _FLAGS:
        checks.flags(need_dx=need_dx, need_dweights=need_dweights, keep=keep)
    more = (list(groups),) if groups else ()
    gradients = kernels_for_tape(tape).lstm_backward(tape, dy, dh, dc, need_dx, need_dweights, keep, *more)
    norm, kept = gradients[-2:]
    return LSTMGradients(*gradients[:-2], None if norm is None else LayerNormGradients(*norm), kept)


def lstm_states(tape: Tape) -> LSTMStates:
    """Read the states and gates of every step from a tape.

    Parameters
    ----------
    tape : Tape
        From ``lstm_forward(..., training=True)``; it stays as it is, for `lstm_backward`.

    Returns
    -------
    LSTMStates
        Copies, in processing order: with ``go_backwards`` the first step is that of x's last one.

    Raises
    ------
    RuntimeError
        The tape has been used.
    ValueError
        The tape has checkpoints, or is that of a layer-normalized cell, which keeps what gates are made of
        in their place (``layer.trace`` computes them).
    NotImplementedError
        It is on a GPU.
    MemoryError
        There is no memory for the copies.
    """
    h, c, gates = kernels_for_tape(tape).lstm_states(tape)
    if gates is None:
        raise ValueError("tape: expected one with gates, got that of a layer-normalized cell")
    return LSTMStates(h, c, *np.split(gates, 4, axis=-1))


def lstm_step(
    x: Array,
    h: Array,
    c: Array,
    weights: LSTMWeights | Sequence[Array | None],
    *,
    options: CellOptions | None = None,
    out: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Advance the states by one step, with the same bits as `lstm_forward` over the whole sequence.

    Parameters
    ----------
    x : array (B, I)
        The step's input.
    h, c : array (B, R), (B, H)
        States before it.
    weights : LSTMWeights or tuple (kernel, recurrent_kernel[, bias[, projection]])
    options : CellOptions, optional
        As in `lstm_forward` without a seed.
    out : tuple of two arrays (B, R), (B, H), optional
        C-contiguous arrays to write the new states to. The first may be `h` itself and the second `c`
        itself: the same memory, from its first byte on. Apart from that they share no memory with each other
        nor with what the step reads: `x`, `h`, `c`, peepholes and parameters of layer normalization. Strides
        count, so that rows of one array between the rows of another are no obstacle. Arguments that have to
        be copied first, as they are not contiguous, are read from the copies and may lie anywhere.

    Returns
    -------
    h, c : array (B, R), (B, H)
        States after the step (`out` where given).

    Raises
    ------
    TypeError, ValueError
        An argument's dtype or shape does not fit, or an array of `out` shares memory that it may not.
    MemoryError
        There is no memory for such sizes, which are named.
    """
    return kernels_for(x).lstm_step(packed(weights, x), x, h, c, _settings(options), out)
