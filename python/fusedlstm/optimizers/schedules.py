"""Learning rates that depend on the number of updates made so far."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.base.registry import Configured, Registry, serialize

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule(Configured):
    """Base of schedules: a callable from the number of updates to a learning rate.

    All take Keras's ``name``, which only their descriptions tell.
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__")


class ExponentialDecay(LearningRateSchedule):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
        Start.
    decay_steps : int
        Updates per factor of ``decay_rate``.
    decay_rate : float
        Positive factor.
    staircase : bool
        Whether the exponent is rounded down.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = checks.non_negative(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = checks.positive(decay_steps, "decay_steps")
        self.decay_rate = checks.non_negative(decay_rate, "decay_rate")
        self.staircase = checks.flag(staircase, "staircase")
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        power = step // self.decay_steps if self.staircase else step / self.decay_steps
        return float(self.initial_learning_rate * self.decay_rate**power)


class InverseTimeDecay(LearningRateSchedule):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``, see `ExponentialDecay`."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate = checks.non_negative(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = checks.positive(decay_steps, "decay_steps")
        self.decay_rate = checks.non_negative(decay_rate, "decay_rate")
        self.staircase = checks.flag(staircase, "staircase")
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        done = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * done)


class PolynomialDecay(LearningRateSchedule):
    """``(start - end) * (1 - step / decay_steps) ** power + end``.

    Parameters
    ----------
    initial_learning_rate : float
        Start.
    decay_steps : int
        Updates until the end.
    end_learning_rate : float
        End, and the rate of all updates after it.
    power : float
        1 for a straight line.
    cycle : bool
        Whether ``decay_steps`` grows, at its end, to the next multiple of it: the rate goes up again.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = checks.non_negative(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = checks.positive_int(decay_steps, "decay_steps")
        self.end_learning_rate = checks.non_negative(end_learning_rate, "end_learning_rate")
        self.power = checks.non_negative(power, "power")
        self.cycle = checks.flag(cycle, "cycle")
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        rounds = max(1, math.ceil(step / self.decay_steps)) if self.cycle else 1
        left = max(0.0, 1 - step / (self.decay_steps * rounds))
        end = self.end_learning_rate
        return float((self.initial_learning_rate - end) * left**self.power + end)


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the start (or the warm-up's target) down to ``alpha`` times it (SGDR, 2016).

    Parameters
    ----------
    initial_learning_rate : float
        Start.
    decay_steps : int
        Updates until the end of the decay, not counting the warm-up.
    alpha : float
        The end, as a fraction of the start.
    warmup_target : float, optional
        If given, the rate first goes linearly from the start to this, and decays from this.
    warmup_steps : int
        Updates of the warm-up.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = checks.non_negative(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = checks.positive_int(decay_steps, "decay_steps")
        self.alpha = checks.non_negative(alpha, "alpha")
        self.warmup_target = (
            None if warmup_target is None else checks.non_negative(warmup_target, "warmup_target")
        )
        self.warmup_steps = 0 if warmup_target is None else checks.positive_int(warmup_steps, "warmup_steps")
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            start = self.warmup_target
        done = min(step - self.warmup_steps, self.decay_steps) / self.decay_steps
        return start * ((1 - self.alpha) * 0.5 * (1 + math.cos(math.pi * done)) + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine from the start down to ``alpha`` times it, again and again (SGDR, 2016).

    Parameters
    ----------
    initial_learning_rate : float
        Start.
    first_decay_steps : int
        Updates of the first round.
    t_mul, m_mul : float
        Each round has ``t_mul`` times as many updates as the one before and starts from ``m_mul`` times its
        rate.
    alpha : float
        The end, as a fraction of the start.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = checks.non_negative(initial_learning_rate, "initial_learning_rate")
        self.first_decay_steps = checks.positive_int(first_decay_steps, "first_decay_steps")
        self.t_mul, self.m_mul = checks.number(t_mul, "t_mul"), checks.non_negative(m_mul, "m_mul")
        if self.t_mul < 1:
            raise ValueError(f"t_mul: expected a number >= 1, got {t_mul}")
        self.alpha = checks.non_negative(alpha, "alpha")
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        left, length, rounds = step / self.first_decay_steps, 1.0, 0
        if self.t_mul == 1:
            rounds = math.floor(left)
            left -= rounds
        while left >= length:
            left, length, rounds = left - length, length * self.t_mul, rounds + 1
        cosine = 0.5 * self.m_mul**rounds * (1 + math.cos(math.pi * left / length))
        return float(self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha))


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and including update ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries : sequence of int
        Rising numbers of updates.
    values : sequence of float
        One learning rate more than there are boundaries.
    """

    def __init__(
        self, boundaries: Sequence[int], values: Sequence[float], name: str = "PiecewiseConstant"
    ) -> None:
        if not isinstance(boundaries, list | tuple) or not isinstance(values, list | tuple):
            raise TypeError(
                f"boundaries: expected lists of numbers, got {boundaries!r:.80} and {values!r:.80}"
            )
        self.boundaries = [checks.non_negative_int(boundary, "boundaries") for boundary in boundaries]
        self.values = [checks.non_negative(value, "values") for value in values]
        self.name = name
        if sorted(set(self.boundaries)) != self.boundaries:
            raise ValueError(f"boundaries: expected rising numbers, got {self.boundaries}")
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(f"values: expected {len(self.boundaries) + 1} numbers, got {len(self.values)}")

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        return self.values[bisect_left(self.boundaries, step)]


REGISTRY = Registry(
    LearningRateSchedule,
    {},
    others=(
        CosineDecay,
        CosineDecayRestarts,
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
    ),
)


def deserialize(config: dict[str, Any], name: str = "config") -> LearningRateSchedule:
    """Return the schedule of a description, which `serialize` makes; `ValueError` if it is none.

    Parameters
    ----------
    config : dict
        The description.
    name : str
        The argument's name, for the message.
    """
    return REGISTRY.restore(config, name)
