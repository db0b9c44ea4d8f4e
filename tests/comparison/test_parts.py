"""Parts of the comparison against slow references: distances, corrections, hashes, ranks."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from fusedlstm.comparison.classifier import mann_whitney
from fusedlstm.comparison.hashing import hash_rows, hash_stretches
from fusedlstm.comparison.labels import _merged
from fusedlstm.comparison.testing import WEIGHTS, Family, Place, distances, family_of_columns, holm, share_out

stats = pytest.importorskip("scipy.stats")
RNG = np.random.default_rng(0)


def places(count: int) -> list[Place]:
    return [Place("x", f"feature {number}", "value") for number in range(count)]


@pytest.mark.parametrize(("n", "m"), [(4, 2), (7, 7), (30, 50), (200, 111)])
def test_distances(n: int, m: int) -> None:
    ours, theirs = RNG.normal(size=(n, 6)), RNG.normal(size=(m, 6))
    ours[:, 3:], theirs[:, 3:] = np.round(ours[:, 3:]), np.round(theirs[:, 3:])
    ours[: n // 3, 5] = np.nan
    expected = [
        stats.ks_2samp(a[~np.isnan(a)], b, method="asymp").statistic
        for a, b in zip(ours.T, theirs.T, strict=True)
    ]
    np.testing.assert_allclose(distances(ours, theirs), expected, rtol=1e-12)


def test_distances_of_nothing() -> None:
    assert distances(np.full((3, 1), np.nan), np.ones((3, 1))).tolist() == [0.0]


@pytest.mark.parametrize(("n", "m"), [(20, 20), (30, 50)])
def test_p_values_of_small_sets_are_exact(n: int, m: int) -> None:
    ours, theirs = RNG.normal(size=(n, 4)), RNG.normal(size=(m, 4)) + np.array([0, 1, 2, 3])
    family = family_of_columns(
        "steps", places(4), [(ours[:, :3], theirs[:, :3]), (ours[:, 3:], theirs[:, 3:])]
    )
    assert family is not None
    share_out([family], 0.5)
    expected = [stats.ks_2samp(a, b, method="exact").pvalue for a, b in zip(ours.T, theirs.T, strict=True)]
    found = family.adjusted <= 0.5
    assert found[1:].all()
    np.testing.assert_allclose(family.p[found], np.array(expected)[found], rtol=1e-9)


def test_p_values_of_many_are_nearly_exact() -> None:
    """The factor that the asymptotic ones may be wrong by is what `share_out` allows for."""
    for n, m in ((200, 200), (400, 230), (1000, 1000)):
        ours = RNG.normal(size=n)
        for shift in (0.3, 0.4, 0.5):
            theirs = RNG.normal(size=m) + shift
            family = family_of_columns("steps", places(1), [(ours[:, None], theirs[:, None])])
            assert family is not None
            exact = stats.ks_2samp(ours, theirs, method="exact").pvalue
            if exact > 1e-8:
                assert 1 / 3 < exact / family.p[0] < 3


def test_holm() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.empty(0)).size == 0


def test_families_share_the_rate() -> None:
    one = Family("labels", places(1), np.zeros(1), np.array([0.001]))
    other = Family("steps", places(2), np.zeros(2), np.array([0.001, 0.5]))
    share_out([one, other], 0.01)
    total = WEIGHTS["labels"] + WEIGHTS["steps"]
    assert one.adjusted[0] == pytest.approx(0.001 * total / WEIGHTS["labels"])
    assert other.adjusted[0] == pytest.approx(0.002 * total / WEIGHTS["steps"])
    share_out([one], 0.01)
    assert one.adjusted[0] == pytest.approx(0.001)


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_rows_have_equal_hashes_if_they_are_equal(dtype: str) -> None:
    rows: Any = RNG.integers(0, 2, (3000, 12)).astype(dtype)
    hashes = hash_rows([rows])
    assert len(np.unique(hashes)) == len(np.unique(rows, axis=0))
    _, groups = np.unique(rows, axis=0, return_inverse=True)
    _, by_hash = np.unique(hashes, return_inverse=True)
    assert len(set(zip(groups.ravel().tolist(), by_hash.tolist(), strict=True))) == len(np.unique(hashes))


def test_places_in_a_row_and_among_arrays_count() -> None:
    a, b = np.array([[1, 2], [2, 1]]), np.array([[3], [3]])
    assert len(np.unique(hash_rows([a]))) == 2
    assert len(np.unique(np.concatenate([hash_rows([a, b]), hash_rows([a]), hash_rows([b[:1], a[:1]])]))) == 5


def test_zeros_and_holes_have_one_hash() -> None:
    rows = np.array([[0.0, np.nan], [-0.0, -np.nan]])
    assert len(np.unique(hash_rows([rows]))) == 1


@pytest.mark.parametrize("length", [1, 3, 8])
def test_stretches(length: int) -> None:
    x = RNG.normal(size=(5, 8, 2)).astype("float32")
    x[1, 2:] = x[0, 1:7]
    hashes = hash_stretches(x, length)
    assert hashes.shape == (5, 9 - length)
    flat = {(i, t): x[i, t : t + length].tobytes() for i in range(5) for t in range(9 - length)}
    for one, other in combinations(flat, 2):
        assert (hashes[one] == hashes[other]) == (flat[one] == flat[other])


def test_rare_classes_are_taken_together() -> None:
    merged = _merged(np.array([[100, 50, 3, 2, 1], [100, 50, 2, 2, 1]]))
    assert merged.sum(axis=1).tolist() == [156, 155]
    assert merged.sum(axis=0).min() * 155 / 311 >= 5
    assert _merged(np.array([[2, 1], [1, 1]])).shape == (2, 1)


def test_mann_whitney_by_permutations_is_near_the_exact_one() -> None:
    higher, lower = RNG.normal(size=12) + 1, RNG.normal(size=15)
    exact = stats.mannwhitneyu(higher, lower, alternative="greater", method="exact")
    auc, p = mann_whitney(higher, lower, np.random.default_rng(0))
    assert auc == pytest.approx(exact.statistic / (12 * 15))
    # Five standard errors of a share in 9,999 draws.
    assert abs(p - exact.pvalue) < 5 * np.sqrt(exact.pvalue / 9_999) + 1e-4


def test_mann_whitney_of_ties() -> None:
    auc, p = mann_whitney(np.ones(60), np.ones(70), np.random.default_rng(0))
    assert auc == 0.5
    assert p > 0.4
    auc, p = mann_whitney(np.ones(6), np.ones(7), np.random.default_rng(0))
    assert (auc, p) == (0.5, 1.0)
