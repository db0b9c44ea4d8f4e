"""Optimizers without corrections for their first steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import ops
from fusedlstm.base import checks
from fusedlstm.optimizers.base import LearningRate, Optimizer

if TYPE_CHECKING:
    from fusedlstm.optimizers.base import Arrays, Slots


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
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
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
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
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


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al. 2011).

    ``a += g^2``, ``w -= lr g / sqrt(a + epsilon)``. Other arguments as in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
        self.initial_accumulator_value = checks.non_negative(
            initial_accumulator_value, "initial_accumulator_value"
        )
        self.epsilon = checks.non_negative(epsilon, "epsilon")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return ("accumulator",)

    def slot_start(self, name: str) -> float:
        """Return what a slot's elements are before the first update."""
        return self.initial_accumulator_value if name == "accumulator" else 0.0

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        ops.adagrad_update(variables, grads, slots["accumulator"], epsilon=self.epsilon, **common)


class Adadelta(Optimizer):
    """Steps as large as those before, in units of the weights (Zeiler 2012).

    ``s = rho s + (1 - rho) g^2``, ``d = g sqrt(e + epsilon) / sqrt(s + epsilon)``,
    ``e = rho e + (1 - rho) d^2``, ``w -= lr d``. Other arguments as in `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
        self.rho, self.epsilon = checks.share(rho, "rho"), checks.non_negative(epsilon, "epsilon")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return "accumulated_grad", "accumulated_delta_var"

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        kept = slots["accumulated_grad"], slots["accumulated_delta_var"]
        ops.adadelta_update(variables, grads, *kept, rho=self.rho, epsilon=self.epsilon, **common)


class Lion(Optimizer):
    """Steps of one size, by the sign of a running mean of gradients (Chen et al. 2023).

    ``w -= lr sign(beta_1 m + (1 - beta_1) g)``, ``m = beta_2 m + (1 - beta_2) g``. Other arguments as in
    `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
        self.beta_1, self.beta_2 = checks.share(beta_1, "beta_1"), checks.share(beta_2, "beta_2")
        checks.positive(beta_1, "beta_1")

    def slot_names(self) -> tuple[str, ...]:
        """Return the names of the arrays kept for each variable."""
        return ("momentum",)

    def update(self, variables: Arrays, grads: Arrays, slots: Slots, common: dict[str, Any]) -> None:
        """Update in place; see `Optimizer.update`."""
        ops.lion_update(variables, grads, slots["momentum"], beta_1=self.beta_1, beta_2=self.beta_2, **common)
