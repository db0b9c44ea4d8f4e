"""Zoneout: values and exact derivatives, what is drawn, bits, steps, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import (
    REDUCED,
    Array,
    Number,
    Shape,
    assert_all_same_bits,
    assert_same_bits,
    make_problem,
    shape_id,
)
from .test_options import Variant, check, make_variant

DEVICES = True

SHAPES: list[Shape] = [(3, 4, 5, 7), (2, 3, 17, 33), (19, 3, 9, 16)]
if REDUCED:
    SHAPES = SHAPES[:2]
# Two rates, one of the two states alone, and together with the options that see c.
RATES: dict[str, dict[str, Any]] = {
    "h": {"zoneout_h": 0.4},
    "c": {"zoneout_c": 0.4},
    "both": {"zoneout_h": 0.2, "zoneout_c": 0.6},
}


def zoned(
    shape: Shape, dtype: Number, rates: str, cell: str | None = None, mask: str | None = None
) -> Variant:
    variant = make_variant(shape, dtype, cell, mask)
    return replace(variant, options=replace(variant.options, **RATES[rates]))


@pytest.mark.parametrize("seed", [None, 2**63 + 11])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("cell", [None, "all"])
def test_values(cell: str | None, rates: str, shape: Shape, seed: int | None, dtype: Number) -> None:
    check(replace(zoned(shape, dtype, rates, cell), zoneout_seed=seed))
    assert "cell with options" in ops.last_kernel()


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("shape", SHAPES[::2], ids=shape_id)
@pytest.mark.parametrize("mask", ["right", "left", "holes", "empty rows"])
def test_masks(mask: str, shape: Shape, seed: int | None, dtype: Number) -> None:
    variant = replace(zoned(shape, dtype, "both", None, mask), zoneout_seed=seed)
    check(variant)
    random = np.random.default_rng(1)
    factors = ((random.random(variant.p.h0.shape) < 0.7) / 0.7).astype(dtype)
    check(replace(variant, go_backwards=True, recurrent_mask=factors))


@pytest.mark.cpu
@pytest.mark.parametrize("shape", [(2, 40, 12, 130), (9, 40, 12, 65), (40, 20, 30, 33)], ids=shape_id)
@pytest.mark.parametrize(("cell", "mask"), [(None, None), ("all", "holes"), ("peepholes", "right")])
def test_bits(cell: str | None, mask: str | None, shape: Shape, dtype: Number) -> None:
    """The same for any number of threads, and with checkpoints."""
    for seed in (None, 77):
        variant = replace(zoned(shape, dtype, "both", cell, mask), zoneout_seed=seed)
        ops.set_num_threads(1)
        expected = variant.run()
        for threads in (2, 3, 5):
            ops.set_num_threads(threads)
            assert_all_same_bits(variant.run(), expected, f"{threads} threads")
        for every in (1, 1500):
            assert_all_same_bits(variant.run(checkpoint_every=every), expected, f"checkpoints {every}")


@pytest.mark.cpu
@pytest.mark.parametrize("shape", [(1, 2000, 3, 9), (3, 700, 2, 5)], ids=shape_id)
@pytest.mark.parametrize("mask", [None, "holes"])
def test_checkpoints_of_long_sequences(shape: Shape, mask: str | None) -> None:
    """Windows begin in the middle of rows, and gradients of kept values cross their ends."""
    variant = replace(zoned(shape, np.float32, "both", "peepholes", mask), zoneout_seed=1)
    expected = variant.run()
    assert_all_same_bits(variant.run(checkpoint_every=1), expected, "checkpoints")


def kept(shape: Shape, seed: int, dtype: Number = np.float32, **rates: Any) -> dict[str, Array]:
    """Tell from the results where h (T, B, H) and c kept their values."""
    B, T, I, H = shape  # noqa: E741
    x = np.random.default_rng(2).standard_normal((B, T, I)).astype(dtype)
    p = make_problem((1, 1, I, H), dtype)
    options = ops.CellOptions(**rates)
    h, c = np.zeros((B, H), dtype), np.ones((B, H), dtype)
    same: dict[str, list[Array]] = {"h": [], "c": []}
    for t in range(1, T + 1):
        lengths = np.full(B, t)
        result = ops.lstm_forward(
            x, p.weights, c0=np.ones((B, H), dtype), lengths=lengths, options=options, zoneout_seed=seed
        )
        same["h"].append(result.h == h)
        same["c"].append(result.c == c)
        h, c = result.h, result.c
    return {name: np.stack(arrays) for name, arrays in same.items()}


def test_what_is_drawn(dtype: Number) -> None:
    """The function of (seed, row, step, unit) that `testing` documents, for units in a tail as well."""
    shape = (5, 4, 3, 37)
    for seed in (0, 1, 2**40 + 3, 2**64 - 1):
        actual = kept(shape, seed, dtype, zoneout_h=0.35, zoneout_c=0.15)
        for state, rate in (("h", 0.35), ("c", 0.15)):
            for t in range(4):
                want = testing.zoneout_reference(seed, rate, state, np.full(5, t), 37)
                np.testing.assert_array_equal(actual[state][t], want, f"{state} {t} {seed}")


@pytest.mark.cpu
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_the_rate_is_met(rate: float) -> None:
    """Numbers kept are binomial; draws of states, steps, rows and seeds agree as independent ones do."""
    shape = (40, 5, 2, 150)
    first = kept(shape, 1, zoneout_h=rate, zoneout_c=rate)
    second = kept(shape, 2, zoneout_h=rate, zoneout_c=rate)
    count = first["h"].size
    allowed = 5 * np.sqrt(count * rate * (1 - rate))
    for state in ("h", "c"):
        assert abs(int(first[state].sum()) - count * rate) <= allowed, state
    agree = rate**2 + (1 - rate) ** 2
    pairs: dict[str, tuple[Array, Array]] = {
        "states": (first["h"], first["c"]),
        "seeds": (first["h"], second["h"]),
        "steps": (first["h"][1:], first["h"][:-1]),
        "rows": (first["c"][:, 1:], first["c"][:, :-1]),
        "units": (first["c"][..., 1:], first["c"][..., :-1]),
    }
    for name, (a, b) in pairs.items():
        spread = np.sqrt(2 * a.size * agree * (1 - agree))
        assert abs(int((a == b).sum()) - a.size * agree) <= 5 * spread, name


@pytest.mark.not_gpu
def test_padding_changes_nothing(dtype: Number) -> None:
    """Draws count a row's real steps: on the left, on the right or with holes, they are the same."""
    p = make_problem((3, 9, 4, 17), dtype)
    options = ops.CellOptions(zoneout_h=0.5, zoneout_c=0.5)
    x = p.x[:, :5]
    expected = ops.lstm_forward(x, p.weights, p.h0, p.c0, options=options, zoneout_seed=4)
    for places in ([0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [0, 2, 3, 6, 8]):
        padded, mask = p.x.copy(), np.zeros((3, 9), bool)
        padded[:, places], mask[:, places] = x, True
        result = ops.lstm_forward(
            padded, p.weights, p.h0, p.c0, options=options, zoneout_seed=4, mask=mask, training=True
        )
        assert_same_bits(result.h, expected.h)
        assert_same_bits(result.c, expected.c)


@pytest.mark.not_gpu
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("cell", [None, "all"])
def test_steps(cell: str | None, batch: int, dtype: Number) -> None:
    """A stream has the bits of inference over the whole sequence."""
    variant = zoned((batch, 6, 5, 19), dtype, "both", cell)
    p, weights = variant.p, ops.LSTMWeights(*variant.p.weights)
    expected = ops.lstm_forward(p.x, weights, p.h0, p.c0, options=variant.options)
    assert expected.y is not None
    h, c = p.h0.copy(), p.c0.copy()
    for t in range(6):
        h, c = ops.lstm_step(p.x[:, t], h, c, weights, options=variant.options, out=(h, c))
        assert_same_bits(h, expected.y[:, t], f"step {t}")
    assert_same_bits(c, expected.c)


@pytest.mark.cpu
def test_the_expectation_is_that_of_the_draws() -> None:
    """After one step, the mean over many draws comes as near as its standard deviation says."""
    p = make_problem((1, 1, 4, 9), np.float64)
    options = ops.CellOptions(zoneout_h=0.3, zoneout_c=0.2)
    wanted = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, options=options)
    draws = [
        ops.lstm_forward(p.x, p.weights, p.h0, p.c0, options=options, zoneout_seed=n) for n in range(4000)
    ]
    for state in ("h", "c"):
        values = np.stack([getattr(draw, state)[0] for draw in draws])
        deviation = values.std(axis=0) / np.sqrt(len(draws))
        assert (np.abs(values.mean(axis=0) - getattr(wanted, state)[0]) <= 5 * deviation).all()


def test_a_kept_value_is_not_touched_by_nan(dtype: Number) -> None:
    p = make_problem((3, 1, 4, 40), dtype)
    p.x[...] = np.nan
    options = ops.CellOptions(zoneout_h=0.5, zoneout_c=0.5)
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, options=options, zoneout_seed=9)
    for state, before in (("h", p.h0), ("c", p.c0)):
        keeps = testing.zoneout_reference(9, 0.5, state, np.zeros(3, int), 40)
        assert keeps.any()
        assert_same_bits(getattr(result, state)[keeps], before[keeps])
        assert np.isnan(getattr(result, state)[~keeps]).all()


def test_errors() -> None:
    rate: Any
    for name in ("zoneout_h", "zoneout_c"):
        for rate in (-0.1, 1.0, np.nan):
            with pytest.raises(
                ValueError, match=rf"^{name}: expected a (finite )?number( in \[0, 1\))?, got"
            ):
                ops.CellOptions(**{name: rate})
    p = make_problem((2, 3, 4, 5), np.float32)
    for options in (None, ops.CellOptions(coupled=True)):
        with pytest.raises(
            ValueError, match=r"^zoneout_seed: expected None without zoneout_h or zoneout_c in"
        ):
            ops.lstm_forward(p.x, p.weights, options=options, zoneout_seed=5)
    with pytest.raises(TypeError, match=r"^zoneout_seed: expected an integer or None, got str"):
        ops.lstm_forward(p.x, p.weights, options=ops.CellOptions(zoneout_h=0.1), zoneout_seed="a")  # type: ignore[arg-type]
