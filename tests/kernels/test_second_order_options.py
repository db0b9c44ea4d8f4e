"""Second derivatives with options of the cell, masks and recurrent dropout, against the reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fusedlstm import ops, testing

from .problems import REDUCED, Array, Number, Shape, assert_all_same_bits, shape_id
from .test_options import CELLS, MASKS, Variant, make_variant

SHAPES: list[Shape] = [(1, 1, 3, 1), (3, 4, 5, 7), (2, 3, 17, 33), (1, 6, 4, 129)]
MASKS_HERE = list(MASKS)
if REDUCED:
    SHAPES = SHAPES[1:3]
    MASKS_HERE = ["holes"]
# The others are refused: test_second_order.py.
REFUSED = {"with_layer_norm", "zoneout_h", "zoneout_c"}
DIFFERENTIABLE = [name for name, options in CELLS.items() if not REFUSED & options.keys()]


def run(variant: Variant, direction: dict[str, Array]) -> dict[str, Array]:
    """Compute tangents and second gradients along a direction through the kernels."""
    p, tape = variant.p, variant.forward().tape
    assert tape is not None
    tangents = ops.lstm_jvp(tape, **direction)
    first = ops.lstm_backward(tape, p.dy, p.dh, p.dc, keep=True)
    assert first.tape is not None
    named: dict[str, Any] = {f"dd{name}": array for name, array in direction.items()}
    second = ops.lstm_second_backward(first.tape, **named)
    arrays = {**tangents._asdict(), **second._asdict()}
    return {name: array for name, array in arrays.items() if array is not None}


def check(variant: Variant) -> None:
    """Compare tangents, and second gradients along random directions, with the reference.

    The reference has the first derivative along the direction exactly, by a complex step, in the widest
    number type of NumPy; finite differences of that are its second derivatives. As for the first ones, the
    tolerance grows by how far the reference moves when inputs move by a few units in the last place.
    """
    p = variant.p
    inputs = variant.inputs()
    random = np.random.default_rng(4)
    scales = {name: float(np.std(array)) if array.size else 1.0 for name, array in inputs.items()}
    direction = {
        name: (max(scales[name], 0.1) * random.standard_normal(array.shape)).astype(p.dtype)
        for name, array in inputs.items()
    }
    actual = run(variant, direction)
    u = float(np.finfo(p.dtype).eps)

    def moved() -> dict[str, Array]:
        return {name: a * (1 + 8 * u * random.uniform(-1, 1, a.shape)) for name, a in inputs.items()}

    def along(at: dict[str, Array]) -> testing.LSTMReference:
        tiny: Any = np.longdouble(2.0) ** -100
        found: Any = variant.reference(
            {name: a.astype(np.longdouble) + 1j * tiny * direction[name] for name, a in at.items()}
        )
        return testing.LSTMReference(*(array.imag / tiny for array in found))

    expected, others = along(inputs), [along(moved()) for _ in range(3)]
    tolerance = testing.tolerance(p.dtype, 2 * p.terms, steps=2 * p.shape[1])
    for name in ("y", "h", "c"):
        want = getattr(expected, name)
        spread = max(float(np.abs(getattr(other, name) - want).max(initial=0)) for other in others)
        allowed = tolerance * float(np.abs(want).max(initial=1.0)) + 16 * spread
        for found in (actual[name], actual[f"dd{name}"]):
            assert np.abs(found - want).max(initial=0) <= allowed, name

    neighbours = [moved() for _ in range(2)]
    for name, array in inputs.items():
        if array.size == 0:
            continue
        way = random.standard_normal(array.shape)
        if random.random() < 0.5:
            single = np.zeros(array.size)
            single[random.integers(array.size)] = 1
            way = single.reshape(array.shape)

        def derivative(at: dict[str, Array], name: str = name, way: Array = way) -> float:
            step = np.longdouble(2.0) ** -20

            def value(offset: int) -> Any:
                there = {**at, name: at[name] + offset * step * way}
                return variant.loss(along(there))

            return float((8 * (value(1) - value(-1)) - (value(2) - value(-2))) / (12 * step))

        want = derivative(inputs)
        products = actual[f"d{name}"].astype(np.float64) * way
        got, size = float(products.sum()), float(np.abs(products).sum())
        spread = max(abs(derivative(other) - want) for other in neighbours)
        rounding = float(np.finfo(np.longdouble).eps) * 2**20 * 1000
        allowed = testing.tolerance(p.dtype, 2 * p.backward_terms, steps=2 * p.shape[1]) * (
            size + abs(want) + float(np.abs(p.dy).max(initial=1))
        )
        assert abs(got - want) <= allowed + 16 * spread + rounding, (name, got, want)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("cell", DIFFERENTIABLE)
def test_cells(cell: str, shape: Shape, dtype: Number) -> None:
    check(make_variant(shape, dtype, cell))
    assert "cell with options" in ops.last_kernel()


@pytest.mark.parametrize("zero_output", [False, True], ids=["repeat", "zero"])
@pytest.mark.parametrize("shape", SHAPES[1:3], ids=shape_id)
@pytest.mark.parametrize("mask", MASKS_HERE)
def test_masks(mask: str, shape: Shape, zero_output: bool, dtype: Number) -> None:
    variant = replace(make_variant(shape, dtype, None, mask), zero_output_for_mask=zero_output)
    check(variant)
    check(replace(variant, go_backwards=True))


@pytest.mark.parametrize("shape", SHAPES[:3], ids=shape_id)
@pytest.mark.parametrize(("cell", "mask"), [(None, None), ("all", "holes"), ("softplus", "left")])
def test_recurrent_mask(cell: str | None, mask: str | None, shape: Shape, dtype: Number) -> None:
    variant = make_variant(shape, dtype, cell, mask)
    random = np.random.default_rng(1)
    factors = ((random.random(variant.p.h0.shape) < 0.7) / 0.7).astype(dtype)
    check(replace(variant, recurrent_mask=factors))


@pytest.mark.parametrize(("cell", "mask"), [("all", "holes"), ("softplus", "right"), (None, "left")])
def test_bits(cell: str | None, mask: str, dtype: Number) -> None:
    """The same for any number of threads."""
    variant = make_variant((9, 30, 12, 65), dtype, cell, mask)
    variant = replace(variant, recurrent_mask=variant.p.h0 + 1)
    direction = {name: array.astype(dtype) for name, array in variant.inputs().items()}
    ops.set_num_threads(1)
    expected = run(variant, direction)
    for threads in (2, 3):
        ops.set_num_threads(threads)
        assert_all_same_bits(run(variant, direction), expected, f"{threads} threads")
