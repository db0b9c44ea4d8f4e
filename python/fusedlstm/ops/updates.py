"""Optimizers' updates, in place, of one parameter or of many at once."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from fusedlstm.base import checks
from fusedlstm.ops.dispatch import kernels_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays: TypeAlias = Array | Sequence[Array]


def _check_settings(learning_rate: float, weight_decay: float, clipvalue: float, **shares: float) -> None:
    """Check what updates have in common; `shares` are numbers in [0, 1]."""
    checks.number(learning_rate, "learning_rate")
    checks.non_negative(weight_decay, "weight_decay")
    if clipvalue != inf:
        checks.positive(clipvalue, "clipvalue")
    for name, share in shares.items():
        checks.share(share, name)


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
    checks.flag(nesterov, "nesterov")
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
