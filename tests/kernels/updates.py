"""All updates of optimizers: their slots, settings that use all of them, and their steps in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from .problems import Array

MOMENTS = {"step": 3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


class Update(NamedTuple):
    """Names of the slots, and numbers of its own."""

    slots: tuple[str, ...]
    numbers: dict[str, Any]

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of all arrays, in the order of arguments, the moving average last."""
        return ("param", "grad", *self.slots, "average")


UPDATES = {
    "sgd_update": Update(("velocity",), {"momentum": 0.9, "nesterov": True}),
    "rmsprop_update": Update(
        ("mean_square", "mean_grad", "velocity"), {"rho": 0.9, "momentum": 0.5, "epsilon": 1e-7}
    ),
    "adam_update": Update(("m", "v", "vhat"), MOMENTS),
    "nadam_update": Update(("m", "v"), MOMENTS),
    "adamax_update": Update(("m", "norm"), MOMENTS),
    "adagrad_update": Update(("accumulator",), {"epsilon": 1e-7}),
    "adadelta_update": Update(("mean_square", "mean_step"), {"rho": 0.95, "epsilon": 1e-7}),
    "lion_update": Update(("m",), {"beta_1": 0.9, "beta_2": 0.99}),
}


def run_update(ops: Any, name: str, arrays: dict[str, Any], **more: Any) -> None:
    """Run an update on arrays, or on lists of them, by their names."""
    *given, average = (arrays[each] for each in UPDATES[name].arrays)
    usual = {"learning_rate": 0.1, "ema_momentum": 0.75, **UPDATES[name].numbers}
    getattr(ops, name)(*given, average=average, **{**usual, **more})


def _nadam(p: Array, g: Array, s: dict[str, Array], rate: float, n: dict[str, Any]) -> Any:
    _adam_moments(g, s, n)
    u = [n["beta_1"] * (1 - 0.5 * 0.96**k) for k in range(1, n["step"] + 2)]
    ahead = u[-1] * s["m"] / (1 - math.prod(u)) + (1 - u[-2]) * g / (1 - math.prod(u[:-1]))
    return p - rate * ahead / (np.sqrt(s["v"] / (1 - n["beta_2"] ** n["step"])) + n["epsilon"])


def _adam_moments(g: Array, s: dict[str, Array], n: dict[str, Any]) -> None:
    s["m"] = n["beta_1"] * s["m"] + (1 - n["beta_1"]) * g
    s["v"] = n["beta_2"] * s["v"] + (1 - n["beta_2"]) * g * g


def _adamax(p: Array, g: Array, s: dict[str, Array], rate: float, n: dict[str, Any]) -> Any:
    s["m"] = n["beta_1"] * s["m"] + (1 - n["beta_1"]) * g
    s["norm"] = np.maximum(n["beta_2"] * s["norm"], np.abs(g))
    return p - rate / (1 - n["beta_1"] ** n["step"]) * s["m"] / (s["norm"] + n["epsilon"])


def _adagrad(p: Array, g: Array, s: dict[str, Array], rate: float, n: dict[str, Any]) -> Any:
    s["accumulator"] = s["accumulator"] + g * g
    return p - rate * g / np.sqrt(s["accumulator"] + n["epsilon"])


def _adadelta(p: Array, g: Array, s: dict[str, Array], rate: float, n: dict[str, Any]) -> Any:
    s["mean_square"] = n["rho"] * s["mean_square"] + (1 - n["rho"]) * g * g
    change = np.sqrt(s["mean_step"] + n["epsilon"]) * g / np.sqrt(s["mean_square"] + n["epsilon"])
    s["mean_step"] = n["rho"] * s["mean_step"] + (1 - n["rho"]) * change**2
    return p - rate * change


def _lion(p: Array, g: Array, s: dict[str, Array], rate: float, n: dict[str, Any]) -> Any:
    direction = np.sign(n["beta_1"] * s["m"] + (1 - n["beta_1"]) * g)
    s["m"] = n["beta_2"] * s["m"] + (1 - n["beta_2"]) * g
    return p - rate * direction


# From parameter, gradient, slots (replaced by new ones), rate and numbers to the new parameter.
STEPS: dict[str, Callable[[Array, Array, dict[str, Array], float, dict[str, Any]], Any]] = {
    "nadam_update": _nadam,
    "adamax_update": _adamax,
    "adagrad_update": _adagrad,
    "adadelta_update": _adadelta,
    "lion_update": _lion,
}
