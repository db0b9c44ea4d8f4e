"""Products of bytes (`compute="int8"`): exact sums, the same by every set of instructions."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import _core, ops, testing

from .problems import (
    LARGE_SHAPES,
    ONE_STEP_SHAPES,
    SHAPES,
    Array,
    Problem,
    Shape,
    assert_same_bits,
    make_problem,
    shape_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTE_SETS = ops.product_sets("int8")
# Around the 16 and 32 rows of tile registers, and the 64 rows of weights that one holds.
TILE_SHAPES: list[Shape] = [
    (2, 3, 63, 20),
    (3, 3, 64, 65),
    (16, 2, 65, 64),
    (17, 2, 31, 16),
    (33, 2, 128, 15),
    (49, 3, 1, 130),
]


@pytest.fixture(params=BYTE_SETS)
def byte_set(request: pytest.FixtureRequest) -> Iterator[str]:
    ops.set_product_set(request.param, "int8")
    yield request.param
    ops.set_product_set(None, "int8")


def packed(p: Problem) -> ops.LSTMWeights:
    return ops.LSTMWeights(*p.weights, compute="int8")


def rounded_rows(rows: Array) -> Array:
    """Round each row to multiples of 1/127 of its largest element, by float64 arithmetic."""
    top = np.abs(rows).max(axis=-1, keepdims=True, initial=0).astype(np.float32)
    factor = np.where(top > 0, np.float32(127) / np.where(top > 0, top, 1), 0).astype(np.float32)
    # One rounding, but for scalar multiply-adds, which have two.
    exact = np.float32 if ops.get_instruction_set() == "scalar" else np.float64
    integers = np.rint(rows.astype(exact) * factor.astype(exact))
    rounded: Array = integers.astype(np.float64) * (top / np.float32(127)).astype(np.float64)
    return rounded


@pytest.mark.parametrize("inputs", [1, 4, 63, 64, 65, 1301])
def test_sums_are_exact(byte_set: str, inputs: int) -> None:
    """Whole steps of rows and of columns, whose sums have no rounding error, however long they are."""
    rng = np.random.default_rng(inputs)
    rows, units = 37, 21
    steps = rng.integers(-127, 128, (rows, inputs))
    steps[:, 0] = 127
    steps[::3, 0] = -127
    whole = rng.integers(-127, 128, (inputs, 4 * units))
    whole[-1] = 127
    sums = (steps @ whole).astype(np.float64)
    # Powers of two, so that scales are exact: z = sum / 2^19.
    x = (steps[:, None] / 2**7).astype(np.float32)
    kernel = (whole / 2**12).astype(np.float32)
    zeros = np.zeros((units, 4 * units), np.float32)
    weights = ops.LSTMWeights(kernel, zeros, compute="int8")
    np.testing.assert_array_equal(weights.unpack()[0], kernel)
    expected, _, _ = testing.cell_forward_reference(sums / 2**19, np.zeros((rows, units)))
    for batch in (1, 2, 3, 17, 37):
        h = ops.lstm_forward(x[:batch], weights).h
        testing.assert_close(h, expected[:batch], dtype=np.float32, terms=4, name="h")
    assert f", int8 products by {byte_set}" in ops.last_kernel()


@pytest.mark.parametrize("shape", SHAPES[::6] + ONE_STEP_SHAPES + LARGE_SHAPES + TILE_SHAPES, ids=shape_id)
def test_steps_with_rounded_operands(byte_set: str, shape: Shape) -> None:
    """Each step from the states that the kernel itself has reached, whose rounding is exact that way."""
    p = make_problem(shape, np.float32)
    weights = packed(p)
    kernel, recurrent_kernel = weights.unpack()
    for kept, array in ((kernel, p.kernel), (recurrent_kernel, p.recurrent_kernel)):
        step = np.abs(array).max(axis=0, initial=0) / 127
        assert (np.abs(kept - array) <= step * (0.5 + 1e-4)).all()
    result = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    assert result.y is not None
    assert f", int8 products by {byte_set}" in ops.last_kernel()
    h, c = p.h0, p.c0
    for t in range(shape[1]):
        before = h, c
        h, c = ops.lstm_step(p.x[:, t], h, c, weights)
        assert_same_bits(h, result.y[:, t])
        x = rounded_rows(p.x[:, t])[:, None]
        state = rounded_rows(before[0])
        expected = testing.lstm_forward_reference(x, kernel, recurrent_kernel, p.bias, state, before[1])
        for name, actual in (("h", h), ("c", c)):
            want = getattr(expected, name)
            testing.assert_close(
                actual,
                want,
                dtype=np.float32,
                terms=p.terms,
                scale=np.maximum(np.abs(want), np.abs(want).max(initial=0)),
                name=name,
            )
    assert_same_bits(c, result.c)


def test_sets_agree() -> None:
    """Sums of integers are the same by all instructions, and whatever is made of them."""
    p = make_problem((23, 5, 70, 45), np.float32)
    found = []
    for name in BYTE_SETS:
        ops.set_product_set(name, "int8")
        found.append(ops.lstm_forward(p.x, packed(p), p.h0, p.c0).y)
    ops.set_product_set(None, "int8")
    for y in found[1:]:
        assert_same_bits(y, found[0])


@pytest.mark.usefixtures("byte_set")
def test_bits() -> None:
    """The same for any number of threads, alone or in a batch, updated, copied or new."""
    p = make_problem((37, 6, 70, 257), np.float32)
    weights = ops.LSTMWeights(np.zeros_like(p.kernel), p.recurrent_kernel, p.bias, compute="int8")
    weights.update(*p.weights)
    ops.set_num_threads(1)
    expected = ops.lstm_forward(p.x, weights, p.h0, p.c0).y
    assert expected is not None
    for threads in (2, 3):
        ops.set_num_threads(threads)
        assert_same_bits(ops.lstm_forward(p.x, packed(p), p.h0, p.c0).y, expected)
    for row in (0, 20, 36):
        alone = slice(row, row + 1)
        y = ops.lstm_forward(p.x[alone], weights, p.h0[alone], p.c0[alone]).y
        assert_same_bits(y, expected[alone])
    for twin in (pickle.loads(pickle.dumps(weights)), copy.deepcopy(weights)):
        assert (twin.compute, twin.storage) == ("int8", "int8")
        assert_same_bits(ops.lstm_forward(p.x, twin, p.h0, p.c0).y, expected)
        assert weights.factors is not None
        for ours, theirs in zip(twin.factors or (), weights.factors, strict=True):
            assert_same_bits(ours, theirs)


@pytest.mark.parametrize(
    "option", ["lengths", "peepholes", "recurrent_mask", "activation", "zoneout", "layer_norm", "projection"]
)
def test_options(byte_set: str, option: str) -> None:
    """No option leaves these kernels; results are as close as those of weights in 8 bits alone."""
    rng = np.random.default_rng(3)
    p = make_problem((19, 5, 40, 33), np.float32)
    options: dict[str, Any] = {}
    projection = None
    weights = p.weights
    h0 = p.h0
    if option == "lengths":
        options = {"lengths": np.arange(19) % 6}
    elif option == "peepholes":
        options = {"options": ops.CellOptions(peepholes=rng.normal(size=(3, 33)).astype(np.float32))}
    elif option == "recurrent_mask":
        options = {"recurrent_mask": (1.5 * rng.integers(0, 2, (19, 33))).astype(np.float32)}
    elif option == "zoneout":
        options = {"options": ops.CellOptions(zoneout_h=0.2, zoneout_c=0.1)}
    elif option == "layer_norm":
        gains = {"gamma_input": 132, "gamma_recurrent": 132, "gamma_cell": 33, "beta_cell": 33}
        arrays: dict[str, Any] = {name: np.ones(size, np.float32) for name, size in gains.items()}
        options = {"options": ops.CellOptions(layer_norm=ops.LayerNorm(**arrays))}
    elif option == "activation":
        options = {"options": ops.CellOptions(activation="relu", recurrent_activation="hard_sigmoid")}
    else:
        recurrent = (rng.normal(size=(10, 132)) / 4).astype(np.float32)
        projection = (rng.normal(size=(33, 10)) / 4).astype(np.float32)
        weights = (p.kernel, recurrent, p.bias)
        h0 = np.zeros((19, 10), np.float32)
    short = ops.LSTMWeights(*weights, projection=projection, compute="int8")
    narrow = ops.LSTMWeights(*weights, projection=projection, storage="int8")
    full = ops.LSTMWeights(*weights, projection=projection)
    y = ops.lstm_forward(p.x, short, h0, p.c0, **options).y
    assert f"int8 products by {byte_set}" in ops.last_kernel()
    close, exact = (ops.lstm_forward(p.x, kept, h0, p.c0, **options).y for kept in (narrow, full))
    assert y is not None
    assert close is not None
    assert exact is not None
    assert 0 < np.abs(y - exact).max() <= 6 * np.abs(close - exact).max()


@pytest.mark.usefixtures("byte_set")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_without_a_scale_are_nan(value: float) -> None:
    p = make_problem((35, 2, 9, 17), np.float32)
    exact = ops.lstm_forward(p.x, packed(p)).y
    for row in (1, 20, 34):
        x = p.x.copy()
        x[row, 1, 4] = value
        y = ops.lstm_forward(x, packed(p)).y
        assert y is not None
        assert exact is not None
        assert np.isnan(y[row, 1]).all()
        y[row, 1] = exact[row, 1]
        assert_same_bits(y, exact)


@pytest.mark.usefixtures("byte_set")
def test_stated_loss() -> None:
    """The largest error of y over 100 steps, as docs/performance.md states it."""
    p = make_problem((4, 100, 128, 128), np.float32)
    exact = ops.lstm_forward(p.x, p.weights).y
    result = ops.lstm_forward(p.x, packed(p)).y
    assert exact is not None
    assert result is not None
    assert 0 < float(np.abs(result - exact).max()) <= 2**-4


def test_sets_of_instructions() -> None:
    assert BYTE_SETS[-1] == ops.get_instruction_set()
    assert ops.get_product_set("int8") == BYTE_SETS[0]
    for name in BYTE_SETS:
        ops.set_product_set(name, "int8")
        assert ops.get_product_set("int8") == name
        assert ops.get_product_set() == ops.product_sets()[0]
    ops.set_product_set(None, "int8")
    with pytest.raises(ValueError, match=r"^product set: expected one of .*, got 'mmx'"):
        ops.set_product_set("mmx", "int8")
    with pytest.raises(ValueError, match=r"^compute: expected 'bfloat16' or 'int8', got 'int4'"):
        ops.product_sets("int4")
    with pytest.raises(TypeError, match=r"^compute: expected 'bfloat16' or 'int8', got NoneType"):
        ops.get_product_set(None)  # type: ignore[arg-type]
    for name in BYTE_SETS:
        ops.set_product_set(name, "int8")
        assert 0.01 < _core.measure_peak("int8", 1, 0.01) < 100_000
    ops.set_product_set(None, "int8")


def test_errors() -> None:
    p = make_problem((2, 3, 4, 9), np.float32)
    double = make_problem((2, 3, 4, 9), np.float64)
    with pytest.raises(ValueError, match=r"^compute: expected None for float64, got 'int8'"):
        ops.LSTMWeights(*double.weights, compute="int8")
    with pytest.raises(ValueError, match=r"^storage: expected None with compute"):
        ops.LSTMWeights(*p.weights, compute="int8", storage="int8")
    with pytest.raises(ValueError, match=r"^weights: expected .*compute='bfloat16', for training, got int8"):
        ops.lstm_forward(p.x, packed(p), training=True)
    long = np.zeros((2**17 + 1, 4), np.float32)
    with pytest.raises(ValueError, match=r"^compute: expected at most 131072 inputs, units and outputs with"):
        ops.LSTMWeights(long, np.zeros((1, 4), np.float32), compute="int8")
    p.kernel[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^kernel: expected finite numbers, to be kept as int8, got NaN"):
        packed(p)


def test_longest_sum() -> None:
    """The most rows that are allowed, of the largest numbers, fit 32 bits."""
    count = 2**17
    x = np.ones((3, 1, count), np.float32)
    kernel = np.full((count, 4), 2.0**-17, np.float32)
    weights = ops.LSTMWeights(kernel, np.zeros((1, 4), np.float32), compute="int8")
    for name in BYTE_SETS:
        ops.set_product_set(name, "int8")
        h = ops.lstm_forward(x, weights).h
        expected, _, _ = testing.cell_forward_reference(np.ones((3, 4)), np.zeros((3, 1)))
        testing.assert_close(h, expected, dtype=np.float32, terms=4, name=name)
    ops.set_product_set(None, "int8")


def test_strict() -> None:
    """Without instructions for it, strict mode refuses what was not asked for."""
    program = """if True:
        import numpy as np
        from fusedlstm import FallbackError, ops, set_strict
        x = np.zeros((2, 3, 4), np.float32)
        kernels = np.ones((4, 8), np.float32), np.ones((2, 8), np.float32)
        weights = ops.LSTMWeights(*kernels, compute="int8")
        ops.lstm_forward(x, weights)
        set_strict(True)
        try:
            ops.lstm_forward(x, weights)
        except FallbackError as error:
            print(error)
        ops.set_product_set(ops.get_instruction_set(), "int8")
        ops.lstm_forward(x, weights)
    """
    disabled = {"FUSEDLSTM_DISABLE": ",".join(BYTE_SETS[:-1])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | disabled,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("compute: expected instructions that multiply int8"), done.stdout
