"""Tests of two samples, and how all tests of a comparison share one rate of false alarms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fusedlstm.comparison.sets import Numbers

# How the rate of false alarms is shared out among those families of tests that a comparison has.
WEIGHTS = {
    "summaries": 2,
    "steps": 2,
    "classifier": 2,
    "labels": 1,
    "missing": 1,
    "repeats": 1,
    "gap": 1,
}
# From so many samples on, the asymptotic distribution of Kolmogorov and Smirnov's statistic is used where a
# factor of 3 in a p-value does not matter: it was at most 1.4 too small in any tail down to 1e-8, against the
# exact one. With fewer samples it is up to twelve times too small.
_MANY, _FACTOR = 200, 3.0


class Place(NamedTuple):
    """What a test looked at: a field, of it a feature, and of that a summary or some steps."""

    field: str
    feature: str | None
    what: str
    step: int | None = None
    end: int | None = None
    """The step after the last one, where ``step`` is the first."""


@dataclass
class Family:
    """Tests that are corrected together.

    Attributes
    ----------
    name : str
        A key of `WEIGHTS`.
    places : list of Place
        What each test looked at.
    statistic, p : ndarray, shape (tests,)
        Distances and p-values.
    details : list of str
        For each what was counted, in words; may be empty.
    exact : callable, optional
        From a test's number to its exact p-value, where ``p`` has asymptotic ones.
    fewest : int
        Samples of the smaller set.
    least : float
        The smallest p-value that any of the tests can have, however far the sets are apart.
    adjusted : ndarray, shape (tests,)
        P-values for all tests of the comparison together, after `share_out`.
    """

    name: str
    places: list[Place]
    statistic: NDArray[np.float64]
    p: NDArray[np.float64]
    details: list[str] = field(default_factory=list)
    exact: Callable[[int], float] | None = None
    fewest: int = 0
    least: float = 0.0
    adjusted: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def numbers(self, number: int) -> dict[str, Any]:
        """Return a test's statistic and p-values, as a finding has them."""
        return {
            "statistic": float(self.statistic[number]),
            "p_value": float(self.p[number]),
            "p_adjusted": float(self.adjusted[number]),
        }


def share_out(families: Sequence[Family], alpha: float) -> None:
    """Adjust all p-values, so that any of them is at most ``alpha`` by chance with that probability at most.

    Within a family by Holm's step-down procedure; each family gets its share of ``alpha``, by Bonferroni.
    """
    for family in families:
        factor = _factor(family, families)
        family.adjusted = np.minimum(1.0, holm(family.p) * factor)
        if family.exact is None:
            continue
        doubtful = family.adjusted <= alpha
        if family.fewest >= _MANY:
            doubtful &= family.adjusted >= alpha / _FACTOR
        for number in np.flatnonzero(doubtful):
            family.p[number] = family.exact(int(number))
        family.adjusted = np.minimum(1.0, holm(family.p) * factor)


def reachable(family: Family, families: Sequence[Family]) -> float:
    """Return the smallest adjusted p-value that a test of one of the families can have."""
    return min(1.0, family.least * len(family.p) * _factor(family, families))


def _factor(family: Family, families: Sequence[Family]) -> float:
    return sum(WEIGHTS[one.name] for one in families) / WEIGHTS[family.name]


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values (K,) adjusted by Holm's step-down procedure (1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted


def distances(ours: Numbers, theirs: Numbers) -> NDArray[np.float64]:
    """Return Kolmogorov and Smirnov's distance of each column, of those numbers that are not NaN.

    Parameters
    ----------
    ours, theirs : ndarray, shapes (n, K) and (m, K)
        Samples in rows.

    Returns
    -------
    ndarray, shape (K,)
        0 where one side has no number.
    """
    broken = np.isnan(ours).any(axis=0) | np.isnan(theirs).any(axis=0)
    result = np.zeros(ours.shape[1])
    result[~broken] = _distances(ours[:, ~broken], theirs[:, ~broken])
    for column in np.flatnonzero(broken):
        a, b = known(ours[:, column]), known(theirs[:, column])
        if a.size and b.size:
            result[column] = _distances(a[:, None], b[:, None])[0]
    return result


def known(values: Numbers) -> Numbers:
    """Return those numbers that are not NaN."""
    return values[~np.isnan(values)]


def _distances(ours: Numbers, theirs: Numbers) -> NDArray[np.float64]:
    n, m = len(ours), len(theirs)
    both = np.concatenate([ours, theirs])
    order = np.argsort(both, axis=0)
    # Steps of both distribution functions in units of 1 / (n m), which are exact integers.
    gaps = np.cumsum(np.where(order < n, m, -n), axis=0)
    values = np.take_along_axis(both, order, axis=0)
    # Within equal numbers the functions have no value yet.
    inside = np.zeros(both.shape, bool)
    inside[:-1] = values[1:] == values[:-1]
    gaps[inside] = 0
    return np.asarray(np.abs(gaps).max(axis=0) / (n * m), np.float64)


def family_of_columns(
    name: str, places: list[Place], columns: list[tuple[Numbers, Numbers]]
) -> Family | None:
    """Return a family of two-sample tests by Kolmogorov and Smirnov, a test for each column.

    Parameters
    ----------
    name : str
        The family's.
    places : list of Place
        What columns are, in the order of all blocks.
    columns : list of (ndarray, ndarray), shapes (n, K) and (m, K)
        Blocks of columns of both sets.
    """
    if not places:
        return None
    from scipy import stats
    from scipy.special import gammaln

    statistic = np.concatenate([distances(ours, theirs) for ours, theirs in columns])
    counts = np.concatenate(
        [
            np.stack([(~np.isnan(ours)).sum(axis=0), (~np.isnan(theirs)).sum(axis=0)])
            for ours, theirs in columns
        ],
        axis=1,
    )
    n, m = np.maximum(counts, 1)
    p = np.minimum(1.0, stats.kstwo.sf(statistic, np.maximum(1, np.round(n * m / (n + m)))))
    ends = np.cumsum([ours.shape[1] for ours, _ in columns])

    def exact(number: int) -> float:
        block = int(np.searchsorted(ends, number, side="right"))
        column = number - int(ends[block])  # counted from the block's end
        a, b = (known(side[:, column]) for side in columns[block])
        return float(stats.ks_2samp(a, b, method="exact").pvalue)

    # All numbers of one side lie below the other's in two of the orders that there are.
    orders = gammaln(n + m + 1) - gammaln(n + 1) - gammaln(m + 1)
    least = float(min(1.0, 2 * np.exp(-orders.max())))
    return Family(name, places, statistic, p, exact=exact, fewest=int(counts.min()), least=least)
