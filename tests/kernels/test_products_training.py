"""Gradients by products of bfloat16."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fusedlstm import ops, testing

from .problems import (
    LARGE_SHAPES,
    ONE_STEP_SHAPES,
    SHAPES,
    Array,
    Problem,
    Shape,
    assert_all_same_bits,
    assert_same_bits,
    make_problem,
    shape_id,
    with_arrays,
)
from .products import packed, product_set, rounded

__all__ = ["product_set"]  # the fixture

NAMES = ("dx", "dkernel", "drecurrent_kernel", "dbias", "dh0", "dc0")
# More rows than a block of the sums over rows, and blocks that end within 32 of them.
ONE_STEP: list[Shape] = [(s[0], 1, *s[2:]) for s in SHAPES[::9] + LARGE_SHAPES] + ONE_STEP_SHAPES
ONE_STEP += [(800, 1, 40, 20), (47, 1, 16, 32)]


def gradients(p: Problem, weights: Any, **options: Any) -> dict[str, Array]:
    result = ops.lstm_forward(p.x, weights, p.h0, p.c0, training=True, **options)
    assert result.tape is not None
    found = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)
    named = found._asdict()
    if found.dlayer_norm is not None:
        named |= found.dlayer_norm._asdict()
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize("shape", ONE_STEP, ids=shape_id)
def test_one_step(product_set: str, shape: Shape) -> None:
    """The operands of one step's gradients are known, but for numbers that lie close to a tie.

    The reference's and the kernel's round apart for a share of about 2^-14 of them, of which 6 in one sum of
    a thousand come once in 10^10 sums.
    """
    p = make_problem(shape, np.float32)
    x, h0, kernel, recurrent = (rounded(a) for a in (p.x[:, 0], p.h0, p.kernel, p.recurrent_kernel))
    _, c, gates = testing.cell_forward_reference(x @ kernel + h0 @ recurrent + p.bias, p.c0)
    dz, dc0 = testing.cell_backward_reference(gates, p.c0, c, p.dh + p.dy[:, 0].astype(float), p.dc)
    short = rounded(dz)
    expected = {
        "dx": (short @ kernel.T)[:, None],
        "dkernel": x.T @ short,
        "drecurrent_kernel": h0.T @ short,
        "dbias": dz.sum(axis=0),
        "dh0": short @ recurrent.T,
        "dc0": dc0,
    }
    flip = 2.0**-8 * np.abs(dz).max()  # of one number at a tie
    factors = {"dx": kernel, "dkernel": x, "drecurrent_kernel": h0, "dh0": recurrent}
    found = gradients(p, packed(p))
    assert "lstm_backward, " in ops.last_kernel()
    assert f"bfloat16 products by {product_set}" in ops.last_kernel()
    tolerance = testing.tolerance(np.float32, p.backward_terms)
    for name in NAMES:
        want = expected[name]
        summed = name in ("dkernel", "drecurrent_kernel", "dbias")
        scale = max(float(np.abs(want).max(initial=0)), np.sqrt(shape[0]) if summed else 1.0)
        allowed = tolerance * scale
        if name in factors:
            allowed += 6 * flip * float(np.abs(factors[name]).max(initial=0))
        worst = float(np.abs(found[name] - want).max(initial=0))
        assert worst <= allowed, (name, worst, allowed)


def assert_explained(found: dict[str, Array], expected: dict[str, Array], p: Problem) -> None:
    """Compare with gradients of operands that are not rounded, as those of numbers kept in 16 bits."""
    B, T, _, _ = p.shape
    tolerance = testing.storage_tolerance(ml_dtypes.bfloat16, 2 * T)
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        sums_rows = name not in ("dx", "dh0", "dc0")
        scale = max(float(np.abs(want).max(initial=0)), np.sqrt(B * T) if sums_rows else 1.0)
        worst = float(np.abs(found[name] - want).max(initial=0))
        assert worst <= tolerance * scale, (name, worst / scale, tolerance)


@pytest.mark.usefixtures("product_set")
@pytest.mark.parametrize(
    "shape", [*SHAPES[::11], (65, 5, 28, 128), (33, 4, 257, 40), (2, 30, 17, 65)], ids=shape_id
)
def test_sequences(shape: Shape) -> None:
    p = make_problem(shape, np.float32)
    reference = testing.lstm_backward_reference(p.x, *p.weights, p.h0, p.c0, p.dy, p.dh, p.dc)
    assert_explained(gradients(p, packed(p)), {name: getattr(reference, name) for name in NAMES}, p)


def cell_of(name: str, p: Problem) -> dict[str, Any]:
    B, T, _, H = p.shape
    rng = np.random.default_rng(7)

    def near_one(size: int) -> Array:
        ones: Array = (1 + 0.2 * rng.standard_normal(size)).astype(np.float32)
        return ones

    peepholes = (0.3 * rng.standard_normal((3, H))).astype(np.float32)
    if name == "lengths":
        return {"lengths": rng.integers(0, T + 1, B)}
    if name == "recurrent_mask":
        return {"recurrent_mask": ((rng.random((B, H)) < 0.7) / 0.7).astype(np.float32)}
    if name == "backwards":
        return {"go_backwards": True}
    if name == "checkpoints":
        return {"checkpoint_every": 3}
    cells: dict[str, dict[str, Any]] = {
        "peepholes": {"peepholes": peepholes},
        "cell_clip": {"cell_clip": 0.5},
        "gate_clip": {"gate_clip": 1.5},
        "activations": {"activation": "elu", "recurrent_activation": "hard_sigmoid"},
        "zoneout": {"zoneout_h": 0.2, "zoneout_c": 0.3, "peepholes": peepholes},
        "layer_norm": {
            "layer_norm": ops.LayerNorm(near_one(4 * H), near_one(4 * H), near_one(H), near_one(H), 1e-2)
        },
    }
    options: dict[str, Any] = {"options": ops.CellOptions(**cells[name])}
    return options | ({"zoneout_seed": 5} if name == "zoneout" else {})


MASKS = ("lengths", "recurrent_mask", "backwards", "checkpoints")
CELLS = ("peepholes", "cell_clip", "gate_clip", "activations", "zoneout", "layer_norm")


@pytest.mark.usefixtures("product_set")
@pytest.mark.parametrize("option", MASKS + CELLS)
@pytest.mark.parametrize("shape", [(37, 7, 40, 33), (3, 9, 5, 70)], ids=shape_id)
def test_options(option: str, shape: Shape) -> None:
    """Rounding explains all that differs from float32's gradients, which other tests judge."""
    p = make_problem(shape, np.float32)
    options = cell_of(option, p)
    expected = gradients(p, p.weights, **options)
    assert_explained(gradients(p, packed(p), **options), expected, p)


@pytest.mark.usefixtures("product_set")
@pytest.mark.parametrize("option", [None, "zoneout", "layer_norm"])
def test_projection(option: str | None) -> None:
    rng = np.random.default_rng(4)
    p = make_problem((19, 6, 40, 33), np.float32)
    R = 10
    recurrent, projection, h0, dy = (
        rng.normal(size=size).astype(np.float32) / 4 for size in ((R, 132), (33, R), (19, R), (19, 6, R))
    )
    arrays = {"recurrent_kernel": recurrent, "h0": h0, "dy": dy, "dh": dy[:, 0].copy()}
    p = with_arrays(p, **arrays)
    options = cell_of(option, p) if option else {}
    plain = ops.LSTMWeights(*p.weights, projection=projection)
    short = ops.LSTMWeights(*p.weights, projection=projection, compute="bfloat16")
    expected = gradients(p, plain, **options)
    assert "dprojection" in expected
    assert_explained(gradients(p, short, **options), expected, p)


@pytest.mark.usefixtures("product_set")
@pytest.mark.parametrize("shape", [(37, 6, 70, 257), (5, 40, 3, 30)], ids=shape_id)
def test_bits(shape: Shape) -> None:
    """The same for any number of threads, with checkpoints, and after an update."""
    p = make_problem(shape, np.float32)
    weights = ops.LSTMWeights(np.zeros_like(p.kernel), p.recurrent_kernel, p.bias, compute="bfloat16")
    gradients(p, weights)
    weights.update(*p.weights)
    ops.set_num_threads(1)
    expected = gradients(p, weights)
    for threads in (2, 3):
        ops.set_num_threads(threads)
        assert_all_same_bits(gradients(p, packed(p)), expected, f"{threads} threads")
    assert_all_same_bits(gradients(p, weights, checkpoint_every=20), expected, "checkpoints")


@pytest.mark.usefixtures("product_set")
def test_rows_alone() -> None:
    """Gradients of a row have the same bits alone."""
    p = make_problem((37, 4, 20, 50), np.float32)
    weights = packed(p)
    together = gradients(p, weights)
    for b in (0, 17, 36):
        own = slice(b, b + 1)
        tape = ops.lstm_forward(p.x[own], weights, p.h0[own], p.c0[own], training=True).tape
        assert tape is not None
        alone = ops.lstm_backward(tape, p.dy[own], p.dh[own], p.dc[own])
        for name in ("dx", "dh0", "dc0"):
            assert_same_bits(getattr(alone, name), together[name][own], name)
