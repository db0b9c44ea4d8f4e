"""What surrounds the LSTM, row by row: the cell alone, products, normalization, embeddings, dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.ops.dispatch import kernels_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]


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


def dense_forward(x: Array, kernel: Array, bias: Array | None = None, *, compute: str | None = None) -> Array:
    """Compute ``x @ kernel + bias``.

    Parameters
    ----------
    x : array (M, K)
    kernel : array (K, N)
    bias : array (N,), optional
    compute : {None, "bfloat16"}
        With ``"bfloat16"``, on a CPU and for float32 arrays, the operands of products are rounded to
        bfloat16, and their sums are float32.

    Returns
    -------
    array (M, N)

    Raises
    ------
    TypeError, ValueError
        A dtype, a shape or `compute` does not fit.
    NotImplementedError
        `compute` is given for arrays on a device.
    """
    return kernels_for(x).dense_forward(x, kernel, bias, compute)


def dense_backward(
    x: Array,
    kernel: Array,
    dy: Array,
    *,
    need_dx: bool = True,
    use_bias: bool = True,
    compute: str | None = None,
) -> tuple[Array | None, Array, Array | None]:
    """Backpropagate through `dense_forward`.

    Parameters
    ----------
    x : array (M, K)
    kernel : array (K, N)
    dy : array (M, N)
    need_dx, use_bias : bool
        Compute ``dx`` and ``dbias``.
    compute : {None, "bfloat16"}
        As in `dense_forward`; ``dbias`` sums ``dy`` as it is.

    Returns
    -------
    dx : array (M, K) or None
    dkernel : array (K, N)
    dbias : array (N,) or None

    Raises
    ------
    TypeError, ValueError
        A dtype, a shape or `compute` does not fit.
    NotImplementedError
        `compute` is given for arrays on a device.
    """
    return kernels_for(x).dense_backward(
        x, kernel, dy, checks.flag(need_dx, "need_dx"), checks.flag(use_bias, "use_bias"), compute
    )


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
    return kernels_for(x).layer_norm_backward(
        x, gamma, dy, checks.positive(epsilon, "epsilon"), checks.flag(need_dx, "need_dx")
    )


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
    kernels = kernels_for(table)
    rows = len(table) if getattr(table, "ndim", 0) else 2**63
    return kernels.embedding_forward(checks.whole(ids, "ids", table, rows), table)


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
    return kernels_for(dy).embedding_backward(checks.whole(ids, "ids", dy, count), dy, count)


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
    bits = checks.integer(seed, "seed") & 0xFFFFFFFFFFFFFFFF
    checks.flag(share_steps, "share_steps")
    return kernels_for(x).dropout(x, checks.rate(rate, "rate"), bits, share_steps, out)
