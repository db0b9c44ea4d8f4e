"""The LSTM in float64 NumPy, straight from the published equations: slow, short, and easy to check by eye.

Equations: S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, with
the forget gate of F. A. Gers, J. Schmidhuber and F. Cummins, "Learning to Forget: Continual Prediction with
LSTM", Neural Computation 12(10), 2000. Written with Keras's names::

    z_t  = x_t kernel + h_{t-1} recurrent_kernel + bias        z = (z_i, z_f, z_c, z_o)
    i_t  = sigmoid(z_i)    f_t = sigmoid(z_f)    g_t = tanh(z_c)    o_t = sigmoid(z_o)
    c_t  = f_t c_{t-1} + i_t g_t
    h_t  = o_t tanh(c_t)

Every function takes arrays of any real dtype, computes in float64 and returns new float64 arrays. Sizes of
zero are allowed everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing import TypeAlias

    Array: TypeAlias = npt.NDArray[np.float64]


class LSTMReference(NamedTuple):
    """What :func:`lstm_forward_reference` returns.

    Attributes
    ----------
    y : ndarray of float64, shape (B, T, H)
        Hidden states, in the order in which the steps were computed.
    h, c : ndarray of float64, shape (B, H)
        Hidden state and cell state after the last step.
    """

    y: Array
    h: Array
    c: Array


class LSTMReferenceGradients(NamedTuple):
    """What :func:`lstm_backward_reference` returns: one gradient for each input, of the input's shape.

    Attributes
    ----------
    dx : ndarray of float64, shape (B, T, I)
    dkernel : ndarray of float64, shape (I, 4H)
    drecurrent_kernel : ndarray of float64, shape (H, 4H)
    dbias : ndarray of float64, shape (4H,)
    dh0, dc0 : ndarray of float64, shape (B, H)
    """

    dx: Array
    dkernel: Array
    drecurrent_kernel: Array
    dbias: Array
    dh0: Array
    dc0: Array


def _float64(array: npt.ArrayLike) -> Array:
    """Copy to float64, or to complex128, for derivatives by a complex step."""
    return np.array(array, dtype=np.complex128 if np.iscomplexobj(array) else np.float64)


def _or_zeros(array: npt.ArrayLike | None, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape) if array is None else _float64(array)


def _sigmoid(z: Array) -> Array:
    # Written with exp(-|z|), which cannot overflow, and keeps full relative precision where sigmoid is tiny.
    positive = z.real >= 0
    e = np.exp(np.where(positive, -z, z))
    return np.where(positive, 1.0, e) / (1.0 + e)


def cell_forward_reference(z: npt.ArrayLike, c_prev: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Compute one step's cell from its pre-activations.

    Parameters
    ----------
    z : array_like, shape (B, 4H)
        Pre-activations, gate order i, f, c~, o.
    c_prev : array_like, shape (B, H)
        Cell state before the step.

    Returns
    -------
    h, c : ndarray of float64, shape (B, H)
        Hidden and cell state after the step.
    gates : ndarray of float64, shape (B, 4H)
        Activated gates, in the order of `z`.
    """
    z_i, z_f, z_c, z_o = np.split(_float64(z), 4, axis=-1)
    # Infinities and NaNs follow IEEE arithmetic, silently.
    with np.errstate(under="ignore", invalid="ignore"):
        i, f, g, o = _sigmoid(z_i), _sigmoid(z_f), np.tanh(z_c), _sigmoid(z_o)
        c = f * _float64(c_prev) + i * g
        h = o * np.tanh(c)
    return h, c, np.concatenate([i, f, g, o], axis=-1)


def cell_backward_reference(
    gates: npt.ArrayLike,
    c_prev: npt.ArrayLike,
    c: npt.ArrayLike,
    dh: npt.ArrayLike,
    dc: npt.ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Differentiate one step's cell.

    Parameters
    ----------
    gates : array_like, shape (B, 4H)
        Activated gates, as :func:`cell_forward_reference` returns them.
    c_prev, c : array_like, shape (B, H)
        Cell state before and after the step.
    dh : array_like, shape (B, H)
        Gradient of the hidden state after the step.
    dc : array_like, shape (B, H), optional
        Gradient of the cell state after the step that does not come through `dh`. None means zero.

    Returns
    -------
    dz : ndarray of float64, shape (B, 4H)
        Gradient of the pre-activations.
    dc_prev : ndarray of float64, shape (B, H)
        Gradient of `c_prev`.
    """
    i, f, g, o = np.split(_float64(gates), 4, axis=-1)
    dh64 = _float64(dh)
    with np.errstate(under="ignore", invalid="ignore"):
        tanh_c = np.tanh(_float64(c))
        dc_total = _or_zeros(dc, dh64.shape) + dh64 * o * (1.0 - tanh_c**2)
        dz_i = dc_total * g * i * (1.0 - i)
        dz_f = dc_total * _float64(c_prev) * f * (1.0 - f)
        dz_c = dc_total * i * (1.0 - g**2)
        dz_o = dh64 * tanh_c * o * (1.0 - o)
        return np.concatenate([dz_i, dz_f, dz_c, dz_o], axis=-1), dc_total * f


class _History(NamedTuple):
    """States and gates of every step: hidden and cell have a slot for the initial state."""

    hidden: Array  # (T + 1, B, H)
    cell: Array  # (T + 1, B, H)
    gates: Array  # (T, B, 4H)


def _run(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: npt.ArrayLike | None,
    h0: npt.ArrayLike | None,
    c0: npt.ArrayLike | None,
) -> _History:
    B, T, _ = x.shape
    H = recurrent_kernel.shape[0]
    b, h, c = _or_zeros(bias, (4 * H,)), _or_zeros(h0, (B, H)), _or_zeros(c0, (B, H))
    number = np.result_type(x, kernel, recurrent_kernel, b, h, c)
    history = _History(*(np.zeros(shape, number) for shape in ((T + 1, B, H), (T + 1, B, H), (T, B, 4 * H))))
    history.hidden[0], history.cell[0] = h, c
    for t in range(T):
        with np.errstate(over="ignore", invalid="ignore"):
            z = x[:, t] @ kernel + history.hidden[t] @ recurrent_kernel + b
        h, c, gates = cell_forward_reference(z, history.cell[t])
        history.hidden[t + 1], history.cell[t + 1], history.gates[t] = h, c, gates
    return history


def lstm_forward_reference(
    x: npt.ArrayLike,
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    h0: npt.ArrayLike | None = None,
    c0: npt.ArrayLike | None = None,
    go_backwards: bool = False,
) -> LSTMReference:
    """Run the LSTM over a sequence.

    Parameters
    ----------
    x : array_like, shape (B, T, I)
        Input.
    kernel : array_like, shape (I, 4H)
        Input weights, gate order i, f, c~, o.
    recurrent_kernel : array_like, shape (H, 4H)
        Recurrent weights.
    bias : array_like, shape (4H,), optional
        Bias; None means zero.
    h0, c0 : array_like, shape (B, H), optional
        Initial states; None means zero.
    go_backwards : bool
        Read `x` from its last step to its first. `y` stays in the order of computation, as in Keras.

    Returns
    -------
    LSTMReference
        Hidden states of all steps, last hidden state, last cell state.
    """
    x64 = _float64(x)[:, ::-1] if go_backwards else _float64(x)
    history = _run(x64, _float64(kernel), _float64(recurrent_kernel), bias, h0, c0)
    y = np.ascontiguousarray(np.swapaxes(history.hidden[1:], 0, 1))
    return LSTMReference(y, history.hidden[-1], history.cell[-1])


def lstm_backward_reference(
    x: npt.ArrayLike,
    kernel: npt.ArrayLike,
    recurrent_kernel: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    h0: npt.ArrayLike | None = None,
    c0: npt.ArrayLike | None = None,
    dy: npt.ArrayLike | None = None,
    dh: npt.ArrayLike | None = None,
    dc: npt.ArrayLike | None = None,
    go_backwards: bool = False,
) -> LSTMReferenceGradients:
    """Differentiate the LSTM over a whole sequence: full back-propagation through time.

    Parameters
    ----------
    x, kernel, recurrent_kernel, bias, h0, c0, go_backwards
        As for :func:`lstm_forward_reference`; the forward pass is run again here.
    dy : array_like, shape (B, T, H), optional
        Gradient of `y`, in the order of `y`. None means zero.
    dh, dc : array_like, shape (B, H), optional
        Gradients of the last hidden and cell state. None means zero.

    Returns
    -------
    LSTMReferenceGradients
        Gradients of all inputs; `dx` is in the order of `x`.
    """
    kernel64, recurrent64 = _float64(kernel), _float64(recurrent_kernel)
    x64 = _float64(x)[:, ::-1] if go_backwards else _float64(x)
    B, T, _ = x64.shape
    H = recurrent64.shape[0]
    history = _run(x64, kernel64, recurrent64, bias, h0, c0)
    dy64 = _or_zeros(dy, (B, T, H))
    dh64, dc64 = _or_zeros(dh, (B, H)), _or_zeros(dc, (B, H))
    number = np.result_type(history.cell, dy64, dh64, dc64)
    dx, dkernel = np.zeros(x64.shape, number), np.zeros(kernel64.shape, number)
    drecurrent, dbias = np.zeros(recurrent64.shape, number), np.zeros(4 * H, number)
    for t in reversed(range(T)):
        with np.errstate(over="ignore", invalid="ignore"):
            dz, dc64 = cell_backward_reference(
                history.gates[t], history.cell[t], history.cell[t + 1], dh64 + dy64[:, t], dc64
            )
            dx[:, t] = dz @ kernel64.T
            dh64 = dz @ recurrent64.T
            dkernel += x64[:, t].T @ dz
            drecurrent += history.hidden[t].T @ dz
            dbias += dz.sum(axis=0)
    return LSTMReferenceGradients(
        np.ascontiguousarray(dx[:, ::-1]) if go_backwards else dx, dkernel, drecurrent, dbias, dh64, dc64
    )


def dense_forward_reference(
    x: npt.ArrayLike, kernel: npt.ArrayLike, bias: npt.ArrayLike | None = None
) -> Array:
    """Compute a dense layer ``x kernel + bias``.

    Parameters
    ----------
    x : array_like, shape (M, K)
    kernel : array_like, shape (K, N)
    bias : array_like, shape (N,), optional
        None means zero.

    Returns
    -------
    ndarray of float64, shape (M, N)
    """
    kernel64 = _float64(kernel)
    with np.errstate(over="ignore", invalid="ignore"):
        return _float64(x) @ kernel64 + _or_zeros(bias, (kernel64.shape[1],))


def dense_backward_reference(
    x: npt.ArrayLike, kernel: npt.ArrayLike, dy: npt.ArrayLike
) -> tuple[Array, Array, Array]:
    """Differentiate a dense layer.

    Parameters
    ----------
    x : array_like, shape (M, K)
    kernel : array_like, shape (K, N)
    dy : array_like, shape (M, N)
        Gradient of the layer's output.

    Returns
    -------
    dx : ndarray of float64, shape (M, K)
    dkernel : ndarray of float64, shape (K, N)
    dbias : ndarray of float64, shape (N,)
    """
    dy64 = _float64(dy)
    with np.errstate(over="ignore", invalid="ignore"):
        return dy64 @ _float64(kernel).T, _float64(x).T @ dy64, dy64.sum(axis=0)
