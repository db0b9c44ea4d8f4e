"""dropout: the mask is a function of seed and element index, and looks random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import REDUCED, Array, Number, assert_same_bits

DEVICES = True

RATES = (0.1, 0.2, 0.5, 0.9)
COUNT = 20_000 if REDUCED else 200_000


def mask(shape: tuple[int, ...], rate: float, seed: int, dtype: Number = np.float32) -> Array:
    """Tell which elements are kept."""
    kept: Array = ops.dropout(np.ones(shape, dtype), rate, seed) != 0
    return kept


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shape", [(1,), (33,), (7, 9), (5, 3, 17), (64, 10, 31)])
def test_values(shape: tuple[int, ...], rate: float, dtype: Number) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    kept = mask(shape, rate, 7, dtype)
    expected = np.where(kept, x.astype(np.float64) / (1 - rate), 0.0)
    y = ops.dropout(x, rate, 7)
    testing.assert_close(y, expected, dtype=dtype, terms=0, name="y")
    assert_same_bits(ops.dropout(x, rate, 7), y, "same seed")


@pytest.mark.parametrize("shape", [(0,), (0, 3, 5), (4, 0, 5)])
def test_nothing(shape: tuple[int, ...], dtype: Number) -> None:
    assert ops.dropout(np.ones(shape, dtype), 0.5, 1).shape == shape


def test_rate_zero_keeps_everything(dtype: Number) -> None:
    x = np.random.default_rng(0).standard_normal((5, 9)).astype(dtype)
    assert_same_bits(ops.dropout(x, 0.0, 3), x, "y")


@pytest.mark.cpu
@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_met(rate: float) -> None:
    """The number kept is binomial; five standard deviations are exceeded by one seed in two million."""
    allowed = 5 * np.sqrt(COUNT * rate * (1 - rate))
    for seed in (0, 1, 2**63 - 1, 987654321):
        kept = int(mask((COUNT,), rate, seed).sum())
        assert abs(kept - COUNT * (1 - rate)) <= allowed, seed


def same(a: Array, b: Array) -> int:
    return int(np.count_nonzero(a == b))


@pytest.mark.cpu
@pytest.mark.parametrize("rate", RATES)
def test_elements_and_seeds_are_independent(rate: float) -> None:
    """Two masks agree as often as independent ones: neighbours, rows, and consecutive seeds."""
    agree = rate**2 + (1 - rate) ** 2
    first, second = mask((COUNT,), rate, 1), mask((COUNT,), rate, 2)
    # Of the pairs (k, k + d) those that share an element are correlated a little when rate != 1/2; even full
    # correlation of two neighbouring pairs would only double the variance, hence the root of 2.
    allowed = 5 * np.sqrt(2 * COUNT * agree * (1 - agree))
    assert abs(same(first, second) - COUNT * agree) <= allowed
    for distance in (1, 2, 3, 4, 8, 16, 64, 100, 128, 4096):
        pairs = COUNT - distance
        assert abs(same(first[distance:], first[:pairs]) - pairs * agree) <= allowed, distance
        assert abs(same(second[distance:], first[:pairs]) - pairs * agree) <= allowed, distance
    for width in (1, 8, 25, 128):
        rows = mask((COUNT // width, width), rate, 1)
        pairs = rows.size - width
        assert abs(same(rows[1:], rows[:-1]) - pairs * agree) <= allowed, width


def test_the_mask_depends_on_seed_and_index_alone(dtype: Number) -> None:
    """The index is (row, feature), where all dimensions but the last count the rows."""
    whole = mask((6, 5, 8), 0.4, 11)
    np.testing.assert_array_equal(mask((6, 5, 8), 0.4, 11, dtype), whole)
    np.testing.assert_array_equal(mask((30, 8), 0.4, 11, dtype), whole.reshape(30, 8))
    np.testing.assert_array_equal(mask((7, 8), 0.4, 11, dtype), whole.reshape(30, 8)[:7])
    assert (mask((30, 8), 0.4, 12) != whole.reshape(30, 8)).any()


@pytest.mark.parametrize("shape", [(3, 4, 9), (1, 1, 1), (8, 5, 33)])
def test_shared_steps(shape: tuple[int, int, int], dtype: Number) -> None:
    """One mask per row and feature, the same at every step: a mask of shape (B, 1, I)."""
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    y = ops.dropout(x, 0.5, 5, share_steps=True)
    kept = ops.dropout(np.ones(shape, dtype), 0.5, 5, share_steps=True) != 0
    np.testing.assert_array_equal(kept, np.broadcast_to(kept[:, :1], shape))
    testing.assert_close(y, np.where(kept, x.astype(np.float64) / 0.5, 0.0), dtype=dtype, terms=0, name="y")


def test_shared_steps_differ_between_rows_and_features() -> None:
    kept = ops.dropout(np.ones((40, 2, 50), np.float32), 0.5, 5, share_steps=True)[:, 0] != 0
    assert abs(int(kept.sum()) - 1000) <= 5 * np.sqrt(2000 / 4)
    assert len({row.tobytes() for row in kept}) == 40
    assert len({column.tobytes() for column in kept.T}) == 50


def test_out(dtype: Number) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 9)).astype(dtype)
    expected = ops.dropout(x, 0.3, 9)
    out = np.full_like(x, np.nan)
    assert ops.dropout(x, 0.3, 9, out=out) is out
    assert_same_bits(out, expected, "out")
    in_place = x.copy()
    ops.dropout(in_place, 0.3, 9, out=in_place)
    assert_same_bits(in_place, expected, "in place")


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_wrong_rate(rate: float) -> None:
    with pytest.raises(ValueError, match=r"^rate: expected .*, got "):
        ops.dropout(np.ones(3, np.float32), rate, 1)


@pytest.mark.parametrize("seed", [1.5, None, "a"])
def test_wrong_seed(seed: Any) -> None:
    with pytest.raises(TypeError, match=f"^seed: expected an integer, got {type(seed).__name__}$"):
        ops.dropout(np.ones(3, np.float32), 0.5, seed)
