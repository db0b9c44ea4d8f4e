"""Sets that are alike, and what is looked for in a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fusedlstm.comparison import Comparison, Finding

N, T, F = 300, 24, 5


def draw(rng: np.random.Generator, samples: int = N, steps: int = T) -> Any:
    """Return series (samples, steps, F): features with courses of their own, levels of samples, walks."""
    time = np.arange(steps)[:, None]
    course = np.sin(2 * np.pi * (time / 16 + np.arange(F) / F)) * np.linspace(0.5, 1.5, F)
    level = rng.normal(size=(samples, 1, F)) * 0.3
    walk = np.cumsum(rng.normal(size=(samples, steps, F)), axis=1) * 0.05
    return (course + level + walk + 0.2 * np.arange(F)).astype("float32")


def pair(seed: int = 0, steps: int = T) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return draw(rng, steps=steps), draw(rng, steps=steps)


def kinds(comparison: Comparison) -> set[str]:
    """Return what was found, notes left out."""
    return {one.kind for one in comparison.findings if one.severity != "note"}


def only(comparison: Comparison, kind: str) -> Finding:
    """Return the one finding of a kind."""
    (found,) = (one for one in comparison.findings if one.kind == kind)
    return found
