"""Layer normalization in float64 or complex128 NumPy, from the formulas of Ba, Kiros and Hinton (2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def layer_norm_reference(
    x: npt.ArrayLike, gamma: npt.ArrayLike = 1.0, beta: npt.ArrayLike = 0.0, epsilon: float = 1e-3
) -> Any:
    """Normalize each row to mean 0 and variance 1, then scale and shift its features.

    Parameters
    ----------
    x : array_like (M, N)
    gamma, beta : array_like (N,)
    epsilon : float
        Added to the variance.

    Returns
    -------
    ndarray (M, N)
        In float64, complex128 where an argument is complex.
    """
    values = np.asarray(x) * np.float64(1)
    count = max(values.shape[-1], 1)
    centred = values - values.sum(axis=-1, keepdims=True) / count
    variance = (centred * centred).sum(axis=-1, keepdims=True) / count
    return np.asarray(gamma) * centred / np.sqrt(variance + epsilon) + np.asarray(beta)


def layer_norm_backward_reference(
    x: npt.ArrayLike, gamma: npt.ArrayLike, dy: npt.ArrayLike, epsilon: float = 1e-3
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Differentiate layer normalization, each row by the matrix of its derivatives.

    Parameters
    ----------
    x : array_like (M, N)
    gamma : array_like (N,)
    dy : array_like (M, N)
    epsilon : float

    Returns
    -------
    dx : ndarray (M, N)
    dgamma, dbeta : ndarray (N,)
    """
    x64, dy64 = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    factors = np.broadcast_to(np.asarray(gamma, np.float64), x64.shape[1:])
    n = layer_norm_reference(x64, epsilon=epsilon)
    dx = np.empty_like(x64)
    N = x64.shape[1]
    for b, row in enumerate(x64):
        # Element (j, k) is the derivative of y_k by x_j.
        jacobian = (np.eye(N) - 1 / N - np.outer(n[b], n[b]) / N) / np.sqrt(row.var() + epsilon) * factors
        dx[b] = jacobian @ dy64[b]
    return dx, (n * dy64).sum(axis=0), dy64.sum(axis=0)
