"""Adam and its relatives, whose running means are corrected for having started from zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import ops
from fusedlstm.base import checks
from fusedlstm.optimizers.base import LearningRate, Optimizer

if TYPE_CHECKING:
    from fusedlstm.optimizers.base import Arrays, Slots


class Moments(Optimizer):
    """Base of optimizers that keep running means of the gradient and of its size."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1, self.beta_2 = checks.rate(beta_1, "beta_1"), checks.rate(beta_2, "beta_2")
        self.epsilon = checks.non_negative(epsilon, "epsilon")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return "momentum", "velocity"

    def _numbers(self) -> dict[str, Any]:
        return {
            "step": self.iterations + 1,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


class Adam(Moments):
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
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay, **options)
        self.amsgrad = checks.flag(amsgrad, "amsgrad")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return (*super().slot_names(), *(("velocity_hat",) if self.amsgrad else ()))

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        m, v, vhat = slots["momentum"], slots["velocity"], slots.get("velocity_hat")
        ops.adam_update(variables, grads, m, v, vhat, **self._numbers(), **common)


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
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, **options)
        if self.weight_decay is None:
            raise ValueError("weight_decay: expected a number, got None; use Adam for none")


class Nadam(Moments):
    """`Adam` with Nesterov's momentum (Dozat 2015); the formula is that of `ops.nadam_update`."""

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        m, v = slots["momentum"], slots["velocity"]
        ops.nadam_update(variables, grads, m, v, **self._numbers(), **common)


class Adamax(Moments):
    """`Adam` with the largest gradient for the mean of squares (Kingma and Ba 2014).

    ``m += (1 - beta_1)(g - m)``, ``u = max(beta_2 u, |g|)``, ``w -= lr m / ((1 - beta_1^t)(u + epsilon))``.
    Other arguments as in `Optimizer`.
    """

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return "momentum", "norm"

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        m, norm = slots["momentum"], slots["norm"]
        ops.adamax_update(variables, grads, m, norm, **self._numbers(), **common)
