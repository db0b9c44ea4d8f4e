"""lstm_step, cell_forward and cell_backward against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import (
    LARGE_SHAPES,
    SHAPES,
    SIZES,
    Array,
    Number,
    Shape,
    assert_same_bits,
    make_problem,
    shape_id,
)

DEVICES = True


@pytest.mark.parametrize("shape", SHAPES + LARGE_SHAPES, ids=shape_id)
def test_step(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    x = p.x[:, 0].copy()
    h, c = ops.lstm_step(x, p.h0, p.c0, p.weights)
    expected = testing.lstm_forward_reference(x[:, None], *p.weights, p.h0, p.c0)
    for name, actual, want in (("h", h, expected.h), ("c", c, expected.c)):
        scale = np.maximum(np.abs(want), 1.0)
        testing.assert_close(actual, want, dtype=dtype, terms=p.terms, scale=scale, name=name)


@pytest.mark.not_gpu
@pytest.mark.parametrize("shape", [(1, 5, 9, 17), (7, 4, 33, 40), (40, 3, 8, 65)], ids=shape_id)
def test_chained_steps_equal_the_sequence_bit_for_bit(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    weights = ops.LSTMWeights(*p.weights)
    sequence = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    assert sequence.y is not None
    h, c = p.h0, p.c0
    for t in range(shape[1]):
        h, c = ops.lstm_step(p.x[:, t].copy(), h, c, weights)
        assert_same_bits(h, sequence.y[:, t], f"h after step {t}")
    assert_same_bits(h, sequence.h, "h")
    assert_same_bits(c, sequence.c, "c")


@pytest.mark.parametrize("batch", [1, 9])
def test_step_in_place(dtype: Number, batch: int) -> None:
    """`out` may be the states themselves, one of them, or other arrays."""
    p = make_problem((batch, 1, 9, 33), dtype)
    weights = ops.LSTMWeights(*p.weights)
    x = p.x[:, 0].copy()
    h_expected, c_expected = ops.lstm_step(x, p.h0, p.c0, weights)

    h, c = p.h0.copy(), p.c0.copy()
    h_new, c_new = ops.lstm_step(x, h, c, weights, out=(h, c))
    assert h_new is h
    assert c_new is c
    assert_same_bits(h, h_expected, "h")
    assert_same_bits(c, c_expected, "c")

    h_out, c_out = np.empty_like(h), np.empty_like(c)
    ops.lstm_step(x, p.h0, p.c0, weights, out=(h_out, c_out))
    assert_same_bits(h_out, h_expected, "h")
    assert_same_bits(c_out, c_expected, "c")

    h, c = p.h0.copy(), p.c0.copy()
    ops.lstm_step(x, h, c, weights, out=(h, c_out))
    assert_same_bits(h, h_expected, "h")
    assert_same_bits(c, p.c0, "c unchanged")


def test_step_without_rows(dtype: Number) -> None:
    p = make_problem((0, 1, 9, 33), dtype)
    h, c = ops.lstm_step(p.x[:, 0].copy(), p.h0, p.c0, p.weights)
    assert h.shape == c.shape == (0, 33)


def cell_arrays(B: int, H: int, dtype: Number) -> tuple[Array, Array, Array, Array]:
    random = np.random.default_rng([B, H])
    z = 2 * random.standard_normal((B, 4 * H))
    states = random.standard_normal((3, B, H))
    return z.astype(dtype), *states.astype(dtype)


CELL_SIZES = [(B, H) for B in (0, 1, 3, 8) for H in SIZES] + [(33, 130), (1, 1000)]


@pytest.mark.parametrize(("batch", "units"), CELL_SIZES)
def test_cell_forward(batch: int, units: int, dtype: Number) -> None:
    z, c_prev, _, _ = cell_arrays(batch, units, dtype)
    actual = ops.cell_forward(z, c_prev)
    expected = testing.cell_forward_reference(z, c_prev)
    for name, got, want in zip(("h", "c", "gates"), actual, expected, strict=True):
        scale = np.maximum(np.abs(want), 1.0)
        testing.assert_close(got, want, dtype=dtype, terms=0, scale=scale, name=name)


@pytest.mark.parametrize("with_dc", [True, False])
@pytest.mark.parametrize(("batch", "units"), CELL_SIZES)
def test_cell_backward(batch: int, units: int, dtype: Number, with_dc: bool) -> None:
    z, c_prev, dh, dc_given = cell_arrays(batch, units, dtype)
    dc = dc_given if with_dc else None
    _, c64, gates64 = testing.cell_forward_reference(z, c_prev)
    c, gates = c64.astype(dtype), gates64.astype(dtype)
    actual = ops.cell_backward(gates, c_prev, c, dh, dc)
    expected = testing.cell_backward_reference(gates, c_prev, c, dh, dc)
    for name, got, want in zip(("dz", "dc_prev"), actual, expected, strict=True):
        scale = max(float(np.abs(want).max(initial=0.0)), 1.0)
        testing.assert_close(got, want, dtype=dtype, terms=0, scale=scale, name=name)


def test_cell_backward_leaves_the_gates_alone(dtype: Number) -> None:
    z, c_prev, dh, dc = cell_arrays(3, 9, dtype)
    _, c, gates = ops.cell_forward(z, c_prev)
    before = gates.copy()
    ops.cell_backward(gates, c_prev, c, dh, dc)
    assert_same_bits(gates, before, "gates")


def test_cell_finite_differences() -> None:
    z, c_prev, _, _ = cell_arrays(3, 7, np.float64)

    def forward(z: Array, c_prev: Array) -> tuple[Array, ...]:
        return ops.cell_forward(z, c_prev)[:2]

    def gradient(projections: tuple[Array, ...], z: Array, c_prev: Array) -> dict[str, Array]:
        _, c, gates = ops.cell_forward(z, c_prev)
        dz, dc_prev = ops.cell_backward(gates, c_prev, c, *projections)
        return {"z": dz, "c_prev": dc_prev}

    testing.check_gradients(forward, gradient, {"z": z, "c_prev": c_prev}, elements=None)
