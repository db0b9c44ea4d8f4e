"""Array-level kernels: the LSTM and what surrounds it, on NumPy arrays, or on CuPy's on an NVIDIA GPU.

Letters: ``B`` batch rows, ``T`` time steps, ``I`` input features, ``H`` units. Weights have Keras's layout,
``kernel (I, 4H)``, ``recurrent_kernel (H, 4H)``, ``bias (4H,)``, with the gates in the order i, f, c~, o.
With a ``projection (H, R)`` hidden states and the rows of ``recurrent_kernel`` have R numbers instead of H;
without one R is H.
All arrays of one call share a dtype, float32 or float64.

Arrays may have any strides as long as the last dimension is contiguous; others are copied first, or in strict
mode (`fusedlstm.set_strict`) refused. Results are
new arrays in C order. Each result has the same bits for any number of threads, and a row's states and input
gradients do not depend on the batch it is in. Denormal numbers are flushed to zero inside the kernels; NaN
and infinity propagate as in NumPy. The interpreter's lock is released while a kernel runs. Other threads may
do anything with a call's arrays then, but resizing them in place: that is a ValueError of NumPy's, also with
``refcheck=False``. What they write into them may be seen or not, number by number.

`get_num_threads` says how many threads a call may use, `why_num_threads` what decided it, the first of
these: ``set_num_threads(count)``; in the environment FUSEDLSTM_NUM_THREADS, then OMP_NUM_THREADS (the first
number of a list; what is no list of positive numbers is ignored, as OpenMP does); the cores in the
process's affinity mask, or fewer where cgroups' quotas allow less time (rounded up). Masks and quotas are
read at import, once more in a forked child and by ``set_num_threads(None)``, and not whenever they change.

On a GPU
--------
CuPy arrays dispatch by themselves: all arrays of a call lie on the current device, and so do the results; the
work is queued on CuPy's current stream. NumPy arrays beside them are an error: nothing is copied to or from
the GPU in silence. `fusedlstm.cuda.asarray` makes CuPy arrays of what DLPack exchanges. There

- arrays may also be float16 or bfloat16 in the functions of the LSTM, in `dropout` and in embeddings; sums,
  cell states, their gradients and peepholes are float32 then;
- products of whole arrays (``x kernel``, and those of the weights' gradients) are cuBLAS's, in float32
  without TF32 unless CuPy is told otherwise with CUPY_TF32=1 in the environment. Calls with the same shapes
  have the same bits, and a row's results do not depend on its place or on the other rows; but cuBLAS may add
  in another order for another number of rows, so that `lstm_step`, smaller batches and the windows of
  ``checkpoint_every`` give the same numbers up to rounding, and the weights' gradients of windows are summed
  up. Denormal numbers are kept;
- x with gaps between its steps, ``go_backwards``, ``lengths`` and ``mask`` take a pass over x;
- checks of ``lengths`` and ids wait for the GPU;
- ``storage``, and ``keep=True`` with the second derivatives that follow, are `NotImplementedError`, before
  anything is computed.
"""

from __future__ import annotations

from math import inf
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fusedlstm import checks
from fusedlstm._core import (
    Tape,
    get_instruction_set,
    get_num_threads,
    instruction_sets,
    last_kernel,
    set_instruction_set,
    set_num_threads,
    why_num_threads,
)
from fusedlstm.cell_options import ACTIVATIONS, CellOptions, LayerNorm
from fusedlstm.dispatch import kernels_for, kernels_for_tape
from fusedlstm.second_order import (
    GradientTape,
    LSTMSecondGradients,
    LSTMTangents,
    lstm_jvp,
    lstm_second_backward,
)
from fusedlstm.stack import (
    LSTMStackGradients,
    LSTMStackResult,
    StackTape,
    lstm_stack_backward,
    lstm_stack_forward,
)
from fusedlstm.weights import LSTMWeights, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays: TypeAlias = Array | Sequence[Array]

__all__ = [
    "ACTIVATIONS",
    "CellOptions",
    "GradientTape",
    "LSTMGradients",
    "LSTMResult",
    "LSTMSecondGradients",
    "LSTMStackGradients",
    "LSTMStackResult",
    "LSTMTangents",
    "LSTMWeights",
    "LayerNorm",
    "LayerNormGradients",
    "StackTape",
    "Tape",
    "adam_update",
    "cell_backward",
    "cell_forward",
    "dense_backward",
    "dense_forward",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "get_instruction_set",
    "get_num_threads",
    "instruction_sets",
    "last_kernel",
    "layer_norm_backward",
    "layer_norm_forward",
    "lstm_backward",
    "lstm_forward",
    "lstm_jvp",
    "lstm_second_backward",
    "lstm_stack_backward",
    "lstm_stack_forward",
    "lstm_step",
    "rmsprop_update",
    "set_instruction_set",
    "set_num_threads",
    "sgd_update",
    "squared_norm",
    "why_num_threads",
]


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


def _given(options: CellOptions | None) -> tuple[object, ...] | None:
    if options is None:
        return None
    if not isinstance(options, CellOptions):
        raise TypeError(f"options: expected CellOptions or None, got {type(options).__name__}")
    return options.given


def _optional_seed(seed: int | None, name: str) -> int | None:
    try:
        return None if seed is None else index(seed)
    except TypeError:
        raise TypeError(f"{name}: expected an integer or None, got {type(seed).__name__}") from None


def _check_settings(learning_rate: float, weight_decay: float, clipvalue: float, **shares: float) -> None:
    """Check what updates have in common; `shares` are numbers in [0, 1]."""
    checks.number(learning_rate, "learning_rate")
    checks.non_negative(weight_decay, "weight_decay")
    if clipvalue != inf:
        checks.positive(clipvalue, "clipvalue")
    for name, share in shares.items():
        checks.share(share, name)


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
    return LSTMResult(
        *kernels_for(x).lstm_forward(
            packed(weights, x),
            x,
            lengths,
            mask,
            zero_output_for_mask,
            h0,
            c0,
            _given(options),
            recurrent_mask,
            _optional_seed(zoneout_seed, "zoneout_seed"),
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
) -> LSTMGradients:
    """Backpropagate through the sequence that left `tape`.

    Parameters
    ----------
    tape : Tape
        From ``lstm_forward(..., training=True)``. It serves once: gates are overwritten by their gradients,
        unless `keep`.
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
    gradients = kernels_for_tape(tape).lstm_backward(tape, dy, dh, dc, need_dx, need_dweights, keep)
    norm, kept = gradients[-2:]
    return LSTMGradients(*gradients[:-2], None if norm is None else LayerNormGradients(*norm), kept)


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
    return kernels_for(x).lstm_step(packed(weights, x), x, h, c, _given(options), out)


def cell_forward(z: Array, c_prev: Array) -> tuple[Array, Array, Array]:
    """Apply the LSTM cell to pre-activations.

    Parameters
    ----------
    z : array (B, 4H)
        Pre-activations in the order i, f, c~, o.
    c_prev : array (B, H)

    Returns
    -------
    h, c : array (B, H)
    gates : array (B, 4H)
        Activated gates, for `cell_backward`.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.
    """
    return kernels_for(z).cell_forward(z, c_prev)


def cell_backward(
    gates: Array, c_prev: Array, c: Array, dh: Array, dc: Array | None = None
) -> tuple[Array, Array]:
    """Backpropagate through `cell_forward`.

    Parameters
    ----------
    gates : array (B, 4H)
    c_prev, c : array (B, H)
        From `cell_forward`.
    dh : array (B, H)
    dc : array (B, H), optional
        Gradients of ``h`` and ``c``; ``dc`` is zero by default.

    Returns
    -------
    dz : array (B, 4H)
        Gradient of the pre-activations.
    dc_prev : array (B, H)

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.
    """
    return kernels_for(gates).cell_backward(gates, c_prev, c, dh, dc)


def dense_forward(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """Compute ``x @ kernel + bias``.

    Parameters
    ----------
    x : array (M, K)
    kernel : array (K, N)
    bias : array (N,), optional

    Returns
    -------
    array (M, N)

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.
    """
    return kernels_for(x).dense_forward(x, kernel, bias)


def dense_backward(
    x: Array, kernel: Array, dy: Array, *, need_dx: bool = True, use_bias: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Backpropagate through `dense_forward`.

    Parameters
    ----------
    x : array (M, K)
    kernel : array (K, N)
    dy : array (M, N)
    need_dx, use_bias : bool
        Compute ``dx`` and ``dbias``.

    Returns
    -------
    dx : array (M, K) or None
    dkernel : array (K, N)
    dbias : array (N,) or None

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.
    """
    return kernels_for(x).dense_backward(x, kernel, dy, need_dx, use_bias)


def layer_norm_forward(
    x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: float = 1e-3
) -> Array:
    """Normalize each row to mean 0 and variance 1, then scale and shift its features.

    Parameters
    ----------
    x : array (M, N)
    gamma, beta : array (N,), optional
        Factors and offsets of the features: ones and zeros by default.
    epsilon : float
        Added to the variance, which is a row's mean squared distance from its mean.

    Returns
    -------
    array (M, N)
        ``gamma (x - mean) / sqrt(variance + epsilon) + beta`` (Ba, Kiros and Hinton 2016).

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, or epsilon is not positive.
    """
    return kernels_for(x).layer_norm_forward(x, gamma, beta, checks.positive(epsilon, "epsilon"))


def layer_norm_backward(
    x: Array, gamma: Array | None, dy: Array, epsilon: float = 1e-3, *, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """Backpropagate through `layer_norm_forward`, whose means and variances are computed again.

    Parameters
    ----------
    x : array (M, N)
    gamma : array (N,) or None
    dy : array (M, N)
    epsilon : float
    need_dx : bool
        Compute ``dx``.

    Returns
    -------
    dx : array (M, N) or None
    dgamma, dbeta : array (N,)
        Computed whether or not forward had them.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, or epsilon is not positive.
    """
    return kernels_for(x).layer_norm_backward(x, gamma, dy, checks.positive(epsilon, "epsilon"), need_dx)


def embedding_forward(ids: NDArray[np.integer[Any]], table: Array) -> Array:
    """Return rows of a table.

    Parameters
    ----------
    ids : integer array (...)
        Numbers of rows, of any shape; whole numbers of another dtype are converted.
    table : array (V, E)

    Returns
    -------
    array (..., E)

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, or an id is not in [0, V); the message names its place.
    """
    return kernels_for(table).embedding_forward(checks.whole(ids, "ids", table), table)


def embedding_backward(ids: NDArray[np.integer[Any]], dy: Array, rows: int) -> Array:
    """Backpropagate through `embedding_forward`.

    Parameters
    ----------
    ids : integer array (...)
    dy : array (..., E)
    rows : int
        Rows of the table, V.

    Returns
    -------
    array (V, E)
        Row r is the sum of ``dy`` where ``ids`` is r, in the order of the array.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, or an id is not in [0, V).
    """
    count = checks.positive_int(rows, "rows")
    return kernels_for(dy).embedding_backward(checks.whole(ids, "ids", dy), dy, count)


def dropout(
    x: Array, rate: float, seed: int, *, share_steps: bool = False, out: Array | None = None
) -> Array:
    """Zero a fraction `rate` of the elements and scale the others by ``1 / (1 - rate)``.

    The mask is a function of `seed` and the element's index alone: the same call on ``dy`` is the backward
    pass, and no mask is stored.

    Parameters
    ----------
    x : array (..., N)
    rate : float
        In [0, 1).
    seed : int
        Its low 64 bits are used.
    share_steps : bool
        For ``x (B, T, I)``: one mask per row and feature, the same at every step (the input dropout of
        Keras's recurrent layers).
    out : array, optional
        C-contiguous array of x's shape and dtype to write to: `x` itself, or one that shares no memory with
        it.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError, ValueError
        A dtype, a shape or the rate does not fit.
    """
    whole = _optional_seed(seed, "seed")
    if whole is None:
        raise TypeError("seed: expected an integer, got None")
    bits = whole & 0xFFFFFFFFFFFFFFFF
    return kernels_for(x).dropout(x, checks.rate(rate, "rate"), bits, share_steps, out)


def sgd_update(
    param: Arrays,
    grad: Arrays,
    velocity: Arrays | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clipvalue: float = inf,
    scale: float | Sequence[float] = 1.0,
    iterations: NDArray[np.int64] | None = None,
) -> None:
    """Update `param` and `velocity` in place by stochastic gradient descent.

    Parameters
    ----------
    param, grad, velocity : array, or list of arrays
        C-contiguous, of one shape and dtype; `velocity` is None without momentum. Lists have an entry for
        each of several parameters, which are updated in one pass, after all have been checked. Parameters and
        slots share memory with no other array of the call; gradients may share some with each other.
    learning_rate, momentum, nesterov
        ``v = momentum v - rate g; p += v``, with Nesterov's momentum ``p += momentum v - rate g``.
    weight_decay : float
        Decoupled: ``p -= learning_rate weight_decay p`` first.
    clipvalue : float
    scale : float, or list of float
        The gradient used is ``clip(grad, -clipvalue, clipvalue) scale``; any finite number.
    iterations : array (), int64, optional
        A count that goes up by one with the update: an interrupt comes before both or after both.

    Raises
    ------
    TypeError, ValueError
        An array is missing, its dtype, shape or layout does not fit, it shares memory that it may not, or a
        number is out of range; nothing is changed then.
    """
    _check_settings(learning_rate, weight_decay, clipvalue, momentum=momentum)
    kernels_for(_first(param)).sgd_update(
        param, grad, velocity, learning_rate, momentum, nesterov, weight_decay, clipvalue, scale, iterations
    )


def rmsprop_update(
    param: Arrays,
    grad: Arrays,
    mean_square: Arrays,
    mean_grad: Arrays | None,
    velocity: Arrays | None,
    *,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
    weight_decay: float = 0.0,
    clipvalue: float = inf,
    scale: float | Sequence[float] = 1.0,
    iterations: NDArray[np.int64] | None = None,
) -> None:
    """Update `param` and its slots in place by RMSprop (Hinton 2012).

    Parameters
    ----------
    param, grad, mean_square, mean_grad, velocity : array, or list of arrays
        As in `sgd_update`; `mean_grad` is None unless centered, `velocity` without momentum.
    learning_rate, rho, momentum, epsilon
        ``s = rho s + (1 - rho) g^2; p -= rate g / sqrt(s + epsilon)``; centered, ``s`` less the square of
        the mean gradient.
    weight_decay, clipvalue, scale, iterations
        As in `sgd_update`.

    Raises
    ------
    TypeError, ValueError
        An array is missing, its dtype, shape or layout does not fit, it shares memory that it may not, or a
        number is out of range; nothing is changed then.
    """
    _check_settings(learning_rate, weight_decay, clipvalue, rho=rho, momentum=momentum)
    checks.non_negative(epsilon, "epsilon")
    kernels_for(_first(param)).rmsprop_update(
        param,
        grad,
        mean_square,
        mean_grad,
        velocity,
        learning_rate,
        rho,
        momentum,
        epsilon,
        weight_decay,
        clipvalue,
        scale,
        iterations,
    )


def adam_update(
    param: Arrays,
    grad: Arrays,
    m: Arrays,
    v: Arrays,
    vhat: Arrays | None,
    *,
    learning_rate: float,
    step: int,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float = 0.0,
    clipvalue: float = inf,
    scale: float | Sequence[float] = 1.0,
    iterations: NDArray[np.int64] | None = None,
) -> None:
    """Update `param` and its moments in place by Adam (Kingma and Ba 2014).

    Parameters
    ----------
    param, grad, m, v, vhat : array, or list of arrays
        As in `sgd_update`; `vhat` is None unless AMSGrad is wanted.
    learning_rate, step, beta_1, beta_2, epsilon
        With ``a = rate sqrt(1 - beta_2^step) / (1 - beta_1^step)`` and `step` counted from 1,
        ``m += (g - m) (1 - beta_1); v += (g^2 - v) (1 - beta_2); p -= a m / (sqrt(v) + epsilon)``.
    weight_decay, clipvalue, scale
        As in `sgd_update`; a decoupled decay makes it AdamW (Loshchilov and Hutter 2017).

    Raises
    ------
    TypeError, ValueError
        An array is missing, its dtype, shape or layout does not fit, it shares memory that it may not, or a
        number is out of range; nothing is changed then.
    """
    _check_settings(learning_rate, weight_decay, clipvalue)
    checks.rate(beta_1, "beta_1")
    checks.rate(beta_2, "beta_2")
    checks.non_negative(epsilon, "epsilon")
    checks.positive_int(step, "step")
    kernels_for(_first(param)).adam_update(
        param,
        grad,
        m,
        v,
        vhat,
        learning_rate,
        step,
        beta_1,
        beta_2,
        epsilon,
        weight_decay,
        clipvalue,
        scale,
        iterations,
    )


def _first(arrays: object) -> object:
    """Return what tells where arrays lie: one itself, or the first of a list."""
    return arrays[0] if isinstance(arrays, list | tuple) and arrays else arrays


def squared_norm(a: Array) -> float:
    """Return the sum of the squares of an array's elements, accumulated in float64."""
    return kernels_for(a).squared_norm(a)
