"""Optimizers' updates, in place, of one parameter or of many at once."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from fusedlstm.base import checks
from fusedlstm.ops.dispatch import kernels_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Required, Unpack

    Array = NDArray[Any]
    Arrays: TypeAlias = Array | Sequence[Array]
    Slots: TypeAlias = dict[str, Arrays | None]

    class Common(TypedDict, total=False):
        """What all updates take by name."""

        learning_rate: Required[float]
        weight_decay: float | Sequence[float]
        clipvalue: float
        scale: float | Sequence[float]
        iterations: NDArray[np.int64] | None
        average: Arrays | None
        ema_momentum: float
        ema_overwrites: bool


def _update(
    rule: str,
    param: Arrays,
    grad: Arrays,
    slots: Slots,
    numbers: tuple[float, ...],
    *,
    learning_rate: float,
    weight_decay: float | Sequence[float] = 0.0,
    clipvalue: float = inf,
    scale: float | Sequence[float] = 1.0,
    iterations: NDArray[np.int64] | None = None,
    average: Arrays | None = None,
    ema_momentum: float = 0.0,
    ema_overwrites: bool = False,
) -> None:
    """Run a rule of ``csrc/math/updates.h``, with its slots and numbers in the order that it has there."""
    checks.number(learning_rate, "learning_rate")
    decays: Any = weight_decay if type(weight_decay) in _LISTS else (weight_decay,)
    for decay in decays:
        checks.non_negative(decay, "weight_decay")
    if clipvalue != inf:
        checks.positive(clipvalue, "clipvalue")
    if average is not None:
        checks.share(ema_momentum, "ema_momentum")
        checks.flag(ema_overwrites, "ema_overwrites")
    for name, slot in slots.items():
        if slot is None and name not in _OPTIONAL:
            raise TypeError(f"{name}: expected an array, got None")
    slots["average"] = average
    kernels_for(param[0] if type(param) in _LISTS and param else param).update(
        rule,
        param,
        grad,
        slots,
        numbers,
        learning_rate,
        weight_decay,
        clipvalue,
        ema_momentum,
        ema_overwrites,
        scale,
        iterations,
    )


_LISTS = (list, tuple)
_OPTIONAL = ("velocity", "mean_grad", "vhat")


def _check_momentum(momentum: float, velocity: Arrays | None) -> None:
    if checks.share(momentum, "momentum") and velocity is None:
        raise TypeError("velocity: expected an array, since momentum is not 0, got None")


def _check_moments(step: int, beta_1: float, beta_2: float, epsilon: float) -> None:
    checks.rate(beta_1, "beta_1")
    checks.rate(beta_2, "beta_2")
    checks.non_negative(epsilon, "epsilon")
    checks.positive_int(step, "step")


def sgd_update(
    param: Arrays,
    grad: Arrays,
    velocity: Arrays | None,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    **common: Unpack[Common],
) -> None:
    """Update `param` and `velocity` in place by stochastic gradient descent.

    Parameters
    ----------
    param, grad, velocity : array, or list of arrays
        C-contiguous, of one shape and dtype; `velocity` is None without momentum. Lists have an entry for
        each of several parameters, which are updated in one pass, after all have been checked. Parameters and
        slots share memory with no other array of the call; gradients may share some with each other.
    momentum, nesterov
        ``v = momentum v - rate g; p += v``, with Nesterov's momentum ``p += momentum v - rate g``.
    learning_rate : float
        The rate; it has no default.
    weight_decay : float, or list of float, 0 by default
        Decoupled: ``p -= learning_rate weight_decay p`` first.
    clipvalue : float, infinity by default
    scale : float, or list of float, 1 by default
        The gradient used is ``clip(grad, -clipvalue, clipvalue) scale``; any finite number.
    iterations : array (), int64, optional
        A count that goes up by one with the update: an interrupt comes before both or after both.
    average : array, or list of arrays, optional
        Moving averages of the parameters, at last ``a = ema_momentum a + (1 - ema_momentum) p``.
    ema_momentum : float, 0 by default
    ema_overwrites : bool, False by default
        Whether the parameters are set to their new averages.

    Raises
    ------
    TypeError, ValueError
        An array is missing, its dtype, shape or layout does not fit, it shares memory that it may not, or a
        number is out of range; nothing is changed then.
    """
    _check_momentum(momentum, velocity)
    checks.flag(nesterov, "nesterov")
    _update("sgd_update", param, grad, {"velocity": velocity}, (momentum, nesterov), **common)


def rmsprop_update(
    param: Arrays,
    grad: Arrays,
    mean_square: Arrays,
    mean_grad: Arrays | None,
    velocity: Arrays | None,
    *,
    rho: float,
    momentum: float,
    epsilon: float,
    **common: Unpack[Common],
) -> None:
    """Update `param` and its slots in place by RMSprop (Hinton 2012).

    Parameters
    ----------
    param, grad, mean_square, mean_grad, velocity : array, or list of arrays
        As in `sgd_update`; `mean_grad` is None unless centered, `velocity` without momentum.
    rho, momentum, epsilon
        ``s = rho s + (1 - rho) g^2; p -= rate g / sqrt(s + epsilon)``; centered, ``s`` less the square of
        the mean gradient.
    **common
        As in `sgd_update`, and so are errors.
    """
    _check_momentum(momentum, velocity)
    checks.share(rho, "rho")
    checks.non_negative(epsilon, "epsilon")
    slots: Slots = {"mean_square": mean_square, "mean_grad": mean_grad, "velocity": velocity}
    _update("rmsprop_update", param, grad, slots, (rho, momentum, epsilon), **common)


def adam_update(
    param: Arrays,
    grad: Arrays,
    m: Arrays,
    v: Arrays,
    vhat: Arrays | None,
    *,
    step: int,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    **common: Unpack[Common],
) -> None:
    """Update `param` and its moments in place by Adam (Kingma and Ba 2014).

    Parameters
    ----------
    param, grad, m, v, vhat : array, or list of arrays
        As in `sgd_update`; `vhat` is None unless AMSGrad is wanted.
    step, beta_1, beta_2, epsilon
        With ``a = rate sqrt(1 - beta_2^step) / (1 - beta_1^step)`` and `step` counted from 1,
        ``m += (g - m) (1 - beta_1); v += (g^2 - v) (1 - beta_2); p -= a m / (sqrt(v) + epsilon)``.
    **common
        As in `sgd_update`, and so are errors; a decoupled decay makes it AdamW (Loshchilov and Hutter 2017).
    """
    _check_moments(step, beta_1, beta_2, epsilon)
    slots: Slots = {"m": m, "v": v, "vhat": vhat}
    _update("adam_update", param, grad, slots, (step, beta_1, beta_2, epsilon), **common)


def nadam_update(
    param: Arrays,
    grad: Arrays,
    m: Arrays,
    v: Arrays,
    *,
    step: int,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    **common: Unpack[Common],
) -> None:
    """Update `param` and its moments in place by Nadam (Dozat 2015), Adam with Nesterov's momentum.

    Parameters
    ----------
    param, grad, m, v : array, or list of arrays
        As in `sgd_update`.
    step, beta_1, beta_2, epsilon
        ``m`` and ``v`` as in `adam_update`. With the momenta ``u_k = beta_1 (1 - 0.96^k / 2)`` and the
        product ``U_k`` of the first k of them, at step t,
        ``p -= rate (u_t+1 m / (1 - U_t+1) + (1 - u_t) g / (1 - U_t)) / (sqrt(w) + epsilon)``, where
        ``w = v / (1 - beta_2^t)``.
    **common
        As in `sgd_update`, and so are errors.
    """
    _check_moments(step, beta_1, beta_2, epsilon)
    slots: Slots = {"m": m, "v": v}
    _update("nadam_update", param, grad, slots, (step, beta_1, beta_2, epsilon), **common)


def adamax_update(
    param: Arrays,
    grad: Arrays,
    m: Arrays,
    norm: Arrays,
    *,
    step: int,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    **common: Unpack[Common],
) -> None:
    """Update `param` and its moments in place by Adamax (Kingma and Ba 2014), Adam with the largest gradient.

    Parameters
    ----------
    param, grad, m, norm : array, or list of arrays
        As in `sgd_update`.
    step, beta_1, beta_2, epsilon
        ``m += (g - m) (1 - beta_1); n = max(beta_2 n, |g|);
        p -= rate / (1 - beta_1^step) m / (n + epsilon)``.
    **common
        As in `sgd_update`, and so are errors.
    """
    _check_moments(step, beta_1, beta_2, epsilon)
    slots: Slots = {"m": m, "norm": norm}
    _update("adamax_update", param, grad, slots, (step, beta_1, beta_2, epsilon), **common)


def adagrad_update(
    param: Arrays, grad: Arrays, accumulator: Arrays, *, epsilon: float, **common: Unpack[Common]
) -> None:
    """Update `param` and `accumulator` in place by Adagrad (Duchi et al. 2011).

    Parameters
    ----------
    param, grad, accumulator : array, or list of arrays
        As in `sgd_update`.
    epsilon
        ``a += g^2; p -= rate g / sqrt(a + epsilon)``.
    **common
        As in `sgd_update`, and so are errors.
    """
    checks.non_negative(epsilon, "epsilon")
    _update("adagrad_update", param, grad, {"accumulator": accumulator}, (epsilon,), **common)


def adadelta_update(
    param: Arrays,
    grad: Arrays,
    mean_square: Arrays,
    mean_step: Arrays,
    *,
    rho: float,
    epsilon: float,
    **common: Unpack[Common],
) -> None:
    """Update `param` and its slots in place by Adadelta (Zeiler 2012).

    Parameters
    ----------
    param, grad, mean_square, mean_step : array, or list of arrays
        As in `sgd_update`.
    rho, epsilon
        ``s = rho s + (1 - rho) g^2; d = g sqrt(e + epsilon) / sqrt(s + epsilon);
        e = rho e + (1 - rho) d^2; p -= rate d``.
    **common
        As in `sgd_update`, and so are errors.
    """
    checks.share(rho, "rho")
    checks.non_negative(epsilon, "epsilon")
    slots: Slots = {"mean_square": mean_square, "mean_step": mean_step}
    _update("adadelta_update", param, grad, slots, (rho, epsilon), **common)


def lion_update(
    param: Arrays, grad: Arrays, m: Arrays, *, beta_1: float, beta_2: float, **common: Unpack[Common]
) -> None:
    """Update `param` and `m` in place by Lion (Chen et al. 2023).

    Parameters
    ----------
    param, grad, m : array, or list of arrays
        As in `sgd_update`.
    beta_1, beta_2
        ``p -= rate sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g``.
    **common
        As in `sgd_update`, and so are errors.
    """
    checks.share(beta_1, "beta_1")
    checks.share(beta_2, "beta_2")
    _update("lion_update", param, grad, {"m": m}, (beta_1, beta_2), **common)


def squared_norm(a: Array) -> float:
    """Return the sum of the squares of an array's elements, accumulated in float64."""
    return kernels_for(a).squared_norm(a)
