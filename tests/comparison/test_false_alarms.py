"""Sets that are drawn alike: how often something is found in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import compare_data
from fusedlstm.comparison.classifier import Classifier
from fusedlstm.comparison.sets import Rows, make_field

stats = pytest.importorskip("scipy.stats")

DRAWS, TRAINED = 200, 100


def bound(alpha: float, draws: int = DRAWS) -> int:
    """Return the number of alarms that is exceeded once in ten thousand times at the stated rate."""
    return int(stats.binom.ppf(1 - 1e-4, draws, alpha))


def smooth(rng: np.random.Generator, samples: int) -> Any:
    return np.cumsum(rng.normal(size=(samples, 6, 2)), axis=1)


def tied(rng: np.random.Generator, samples: int) -> Any:
    return rng.integers(0, 3, (samples, 6, 2)).astype(float)


def heavy(rng: np.random.Generator, samples: int) -> Any:
    return rng.standard_cauchy((samples, 3)) * np.exp(rng.normal(size=(samples, 1)))


def holes(rng: np.random.Generator, samples: int) -> Any:
    x = rng.normal(size=(samples, 6, 2))
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


def ids(rng: np.random.Generator, samples: int) -> Any:
    return rng.integers(0, 12, (samples, 5))


@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_tests_and_facts(alpha: float) -> None:
    """Everything but the classifier, of data of several kinds in turn; the higher rate shows more."""
    rng = np.random.default_rng(0)
    kinds = (smooth, tied, heavy, holes, ids)
    alarms = 0
    for number in range(DRAWS):
        make = kinds[number % len(kinds)]
        train, test = ((make(rng, size), rng.choice(3, size, p=(0.5, 0.3, 0.2))) for size in (50, 40))
        times = np.cumsum(rng.exponential(size=90))
        found = compare_data(
            train, test, time=(times[:50], times[50:]), classifier=False, alpha=alpha, seed=number
        )
        alarms += not found.ok
    assert alarms <= bound(alpha)


def test_the_classifier() -> None:
    """P-values of equal sets are not smaller than chance has them, at several levels."""
    rng = np.random.default_rng(0)
    rows = Rows(np.arange(24), np.arange(20))
    p = []
    for seed in range(TRAINED):
        field = make_field("x", rng.normal(size=(24, 3, 1)), rng.normal(size=(20, 3, 1)), None)
        p.append(Classifier([field], rows, seed).result().p_value)
    for level in (0.01, 0.05, 0.2, 0.5):
        assert np.sum(np.array(p) <= level) <= bound(level, TRAINED)


def test_everything_at_once() -> None:
    rng = np.random.default_rng(0)
    alarms = sum(
        not compare_data(smooth(rng, 32), smooth(rng, 32), alpha=0.05, seed=seed).ok for seed in range(10)
    )
    assert alarms <= bound(0.05, 10)
