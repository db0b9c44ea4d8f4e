"""Learning rates that depend on the number of updates made so far."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from fusedlstm.base import checks
from fusedlstm.base.registry import Configured, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CosineDecay", "ExponentialDecay", "LearningRateSchedule", "PiecewiseConstantDecay"]


class LearningRateSchedule(Configured):
    """Base of schedules: a callable from the number of updates to a learning rate."""

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
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate = checks.non_negative(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = checks.positive_int(decay_steps, "decay_steps")
        self.decay_rate = checks.non_negative(decay_rate, "decay_rate")
        self.staircase = checks.flag(staircase, "staircase")

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        power = step // self.decay_steps if self.staircase else step / self.decay_steps
        return float(self.initial_learning_rate * self.decay_rate**power)


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

    def __call__(self, step: int) -> float:
        """Return the learning rate of update number ``step``, counted from 0."""
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            start = self.warmup_target
        done = min(step - self.warmup_steps, self.decay_steps) / self.decay_steps
        return start * ((1 - self.alpha) * 0.5 * (1 + math.cos(math.pi * done)) + self.alpha)


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and including update ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries : sequence of int
        Rising numbers of updates.
    values : sequence of float
        One learning rate more than there are boundaries.
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        if not isinstance(boundaries, list | tuple) or not isinstance(values, list | tuple):
            raise TypeError(
                f"boundaries: expected lists of numbers, got {boundaries!r:.80} and {values!r:.80}"
            )
        self.boundaries = [checks.non_negative_int(boundary, "boundaries") for boundary in boundaries]
        self.values = [checks.non_negative(value, "values") for value in values]
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
    others=(CosineDecay, ExponentialDecay, PiecewiseConstantDecay),
)
deserialize = REGISTRY.restore
