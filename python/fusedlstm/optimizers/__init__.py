"""Optimizers with Keras's names, defaults and formulas; each update is one pass in C++."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import ops
from fusedlstm.base import checks
from fusedlstm.base.registry import Registry, serialize
from fusedlstm.optimizers import schedules
from fusedlstm.optimizers.base import LearningRate, Optimizer

if TYPE_CHECKING:
    from fusedlstm.optimizers.base import Arrays, Slots

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "get", "schedules", "serialize"]


class SGD(Optimizer):
    """Gradient descent: ``w -= lr g``; with momentum ``v = momentum v - lr g``, ``w += v``.

    Nesterov's variant adds ``momentum v - lr g`` with the new ``v``. Other arguments as in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "sgd",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name)
        self.momentum, self.nesterov = checks.share(momentum, "momentum"), checks.flag(nesterov, "nesterov")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return ("momentum",) if self.momentum else ()

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        velocity = slots.get("momentum")
        ops.sgd_update(variables, grads, velocity, momentum=self.momentum, nesterov=self.nesterov, **common)


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients (Hinton 2012).

    ``ms = rho ms + (1 - rho) g^2``, less the squared running mean of g if ``centered``;
    ``v = momentum v + lr g / sqrt(ms + epsilon)``, ``w -= v``. Other arguments as in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "rmsprop",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name)
        self.rho, self.momentum = checks.share(rho, "rho"), checks.share(momentum, "momentum")
        self.epsilon = checks.non_negative(epsilon, "epsilon")
        self.centered = checks.flag(centered, "centered")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        momentum = ("momentum",) if self.momentum else ()
        return ("velocity", *momentum, *(("average_gradient",) if self.centered else ()))

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        ops.rmsprop_update(
            variables,
            grads,
            slots["velocity"],
            slots.get("average_gradient"),
            slots.get("momentum"),
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            **common,
        )


class Adam(Optimizer):
    """Steps by running means of gradients and their squares (Kingma and Ba 2014).

    ``m += (1 - beta_1)(g - m)``, ``v += (1 - beta_2)(g^2 - v)``, ``w -= a m / (sqrt(v) + epsilon)`` with
    ``a = lr sqrt(1 - beta_2^t) / (1 - beta_1^t)``; ``amsgrad`` uses the largest v so far. Other arguments as
    in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adam",
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name)
        self.beta_1, self.beta_2 = checks.rate(beta_1, "beta_1"), checks.rate(beta_2, "beta_2")
        self.epsilon, self.amsgrad = checks.non_negative(epsilon, "epsilon"), checks.flag(amsgrad, "amsgrad")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return ("momentum", "velocity", *(("velocity_hat",) if self.amsgrad else ()))

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        ops.adam_update(
            variables,
            grads,
            slots["momentum"],
            slots["velocity"],
            slots.get("velocity_hat"),
            step=self.iterations + 1,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            **common,
        )


class AdamW(Adam):
    """`Adam` with decoupled weight decay on by default (Loshchilov and Hutter 2017)."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adamw",
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            name,
        )
        if self.weight_decay is None:
            raise ValueError("weight_decay: expected a number, got None; use Adam for none")


REGISTRY = Registry(Optimizer, {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW})


def get(identifier: object, name: str = "optimizer") -> Optimizer:
    """Return the optimizer that ``identifier`` means.

    Parameters
    ----------
    identifier : str or dict or Optimizer or type
        Keras's name in any case, a description as of `serialize`, an optimizer, or a class of one.
    name : str
        The argument's name, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is unknown; the message lists the known names.
    """
    return REGISTRY.get(identifier.lower() if isinstance(identifier, str) else identifier, name)
