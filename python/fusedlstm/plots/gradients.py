"""How gradients fare on their way back through time: in numbers, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import ops
from fusedlstm.layers import LSTM
from fusedlstm.plots.drawing import COLOURS, clean, figure, label_line, whole_numbers

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[Any]


class StateGradients(NamedTuple):
    """What `measure_gradients` returns, in the order of x.

    Attributes
    ----------
    dh : array (B, T, R)
        Gradient of the hidden state after each step: of what hangs on it later, and of its output.
    dc : array (B, T, H)
        Gradient of the cell state after each step, as far as later steps see it.
    """

    dh: Array
    dc: Array


def measure_gradients(
    layer: LSTM,
    x: npt.ArrayLike,
    *,
    dy: npt.ArrayLike | None = None,
    initial_state: Any = None,
    mask: npt.ArrayLike | None = None,
    seed: int = 0,
) -> StateGradients:
    """Return the gradients of an LSTM's states after every step.

    The sequence is run as so many sequences of one step, each with a tape of its own, and back: what such a
    backward pass gives for its initial states is the gradient of the states after the step before.

    Parameters
    ----------
    layer : LSTM
        On the CPU; of a `Bidirectional` layer one of its two, of a `StackedLSTM` one of its ``layers``.
    x : array_like (B, T, I)
        Its input.
    dy : array_like (B, T, R), optional
        Gradient of the loss with regard to the layer's outputs, in the order of x. By default that of the
        step read last is a random direction of length 1 for each row, and all others are 0: how much of an
        error at the end arrives at each step.
    initial_state, mask
        As of a call.
    seed : int
        Of the random directions.

    Returns
    -------
    StateGradients

    Raises
    ------
    NotImplementedError
        The layer is on a GPU.
    TypeError, ValueError
        When an argument does not fit.
    """
    if not isinstance(layer, LSTM):
        raise TypeError(f"layer: expected an LSTM, got {type(layer).__name__}")
    if layer.device != "cpu":
        raise NotImplementedError(f"layer: expected one on the CPU, got one on {layer.device}")
    layer.check_trains()
    array = layer.prepare(x)
    B, T = array.shape[:2]
    real = None if mask is None else layer.real_steps(mask)
    if real is not None and real.shape != (B, T):
        raise ValueError(f"mask: expected shape {(B, T)}, got {real.shape}")
    sizes = (layer.outputs, layer.units)
    h, c = layer.checked_states(initial_state, B) or (np.zeros((B, n), array.dtype) for n in sizes)
    order = range(T - 1, -1, -1) if layer.go_backwards else range(T)
    outer = _outer(dy, (B, T, layer.outputs), array.dtype, order, seed)
    tapes = []
    for t in order:
        step = slice(t, t + 1)
        result = ops.lstm_forward(
            array[:, step],
            layer.packed(),
            h,
            c,
            mask=None if real is None else real[:, step],
            options=layer.options,
            training=True,
            return_sequences=False,
        )
        h, c = result.h, result.c
        tapes.append(result.tape)
    found = StateGradients(np.zeros_like(outer), np.zeros((B, T, layer.units), array.dtype))
    dh, dc = np.zeros_like(h), np.zeros_like(c)
    for t in reversed(order):
        dh = dh + outer[:, t]
        found.dh[:, t], found.dc[:, t] = dh, dc
        tape = tapes.pop()
        assert tape is not None
        gradients = ops.lstm_backward(tape, None, dh, dc, need_dx=False, need_dweights=False)
        dh, dc = gradients.dh0, gradients.dc0
    return found


def _outer(dy: npt.ArrayLike | None, shape: tuple[int, ...], dtype: Any, order: range, seed: int) -> Array:
    """Return the outputs' gradient, given or of random directions at the end."""
    if dy is not None:
        given: Array = np.asarray(dy, dtype)
        if given.shape != shape:
            raise ValueError(f"dy: expected shape {shape}, got {given.shape}")
        return given
    outer = np.zeros(shape, dtype)
    if len(order):
        directions = np.random.default_rng(seed).normal(size=(shape[0], shape[2]))
        outer[:, order[-1]] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return outer


def gradient_norms(
    layer: LSTM,
    x: npt.ArrayLike,
    title: str,
    note: str,
    *,
    dy: npt.ArrayLike | None = None,
    initial_state: Any = None,
    mask: npt.ArrayLike | None = None,
    seed: int = 0,
    size: tuple[float, float] = (9, 4.5),
) -> Figure:
    """Draw the length of the gradients of h and c over time: whether they vanish or explode going back.

    Parameters
    ----------
    layer, x, dy, initial_state, mask, seed
        As of `measure_gradients`, which gives the numbers.
    title, note, size
        As of `figure`.

    Returns
    -------
    matplotlib.figure.Figure
        On a logarithmic axis, for each step the median of all rows' lengths, and shaded the range from 10 to
        90 % of the rows. A straight line down to the left is a gradient that vanishes exponentially.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    TypeError, ValueError, NotImplementedError
        As of `measure_gradients` and `figure`.
    """
    found = measure_gradients(layer, x, dy=dy, initial_state=initial_state, mask=mask, seed=seed)
    if not found.dh.size:
        raise ValueError("x: expected at least one row and step, got none")
    made = figure(title, note, size)
    axes = made.subplots()
    steps = np.arange(found.dh.shape[1])
    for array, name, colour in (
        (found.dh, "dL/dh", COLOURS["blue"]),
        (found.dc, "dL/dc", COLOURS["vermilion"]),
    ):
        lengths = np.linalg.norm(array.astype(np.float64), axis=-1)
        low, middle, high = np.quantile(lengths, (0.1, 0.5, 0.9), axis=0)
        # Zeros, which there are behind the last step that anything hangs on, have no place on the axis.
        middle[middle == 0] = np.nan
        if np.isnan(middle).all():
            continue
        axes.plot(steps, middle, color=colour, linewidth=1.8)
        axes.fill_between(steps, low, high, where=low > 0, color=colour, alpha=0.15, linewidth=0)
        end = int(np.flatnonzero(~np.isnan(middle))[-1])
        label_line(axes, float(steps[-1]), float(middle[end]), name, colour)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("length of the gradient")
    whole_numbers(axes.xaxis)
    axes.set_xlim(-0.5, len(steps) - 0.5)
    clean(axes)
    return made
