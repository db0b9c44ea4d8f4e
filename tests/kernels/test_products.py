"""Products of bfloat16 (`compute`): exact for operands that are rounded, by every set of instructions."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from fusedlstm import _core, ops, testing

from .problems import (
    LARGE_SHAPES,
    ONE_STEP_SHAPES,
    SHAPES,
    Problem,
    Shape,
    assert_same_bits,
    make_problem,
    shape_id,
)
from .products import PRODUCT_SETS, packed, product_set, rounded

__all__ = ["product_set"]  # the fixture

# Around the 16 and 32 rows of tile registers, and the 32 rows of weights that one holds.
TILE_SHAPES: list[Shape] = [
    (16, 2, 32, 64),
    (17, 2, 31, 16),
    (31, 2, 33, 65),
    (32, 2, 64, 15),
    (49, 3, 1, 130),
]


@pytest.mark.parametrize("shape", SHAPES[::6] + ONE_STEP_SHAPES + LARGE_SHAPES + TILE_SHAPES, ids=shape_id)
def test_steps_with_rounded_operands(product_set: str, shape: Shape) -> None:
    """Each step from the states that the kernel itself has reached, whose rounding is exact that way."""
    p = make_problem(shape, np.float32)
    weights = packed(p)
    kernel, recurrent_kernel = weights.unpack()
    np.testing.assert_array_equal(kernel, rounded(p.kernel))
    np.testing.assert_array_equal(recurrent_kernel, rounded(p.recurrent_kernel))
    result = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    assert result.y is not None
    assert f", bfloat16 products by {product_set}" in ops.last_kernel()
    h, c = p.h0, p.c0
    for t in range(shape[1]):
        before = h, c
        h, c = ops.lstm_step(p.x[:, t], h, c, weights)
        assert_same_bits(h, result.y[:, t])
        expected = testing.lstm_forward_reference(
            rounded(p.x[:, t : t + 1]), kernel, recurrent_kernel, p.bias, rounded(before[0]), before[1]
        )
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


@pytest.mark.usefixtures("product_set")
def test_bits() -> None:
    """The same for any number of threads, alone or in a batch, updated or new."""
    p = make_problem((37, 6, 70, 257), np.float32)
    weights = ops.LSTMWeights(np.zeros_like(p.kernel), p.recurrent_kernel, p.bias, compute="bfloat16")
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


@pytest.mark.parametrize("option", ["lengths", "peepholes", "recurrent_mask", "cell_clip", "activation"])
def test_options(product_set: str, option: str) -> None:
    """All other rounding is float32's: of weights, inputs and states that are bfloat16 nothing is lost.

    One step each, from states that are.
    """
    rng = np.random.default_rng(3)
    p = make_problem((19, 1, 40, 33), np.float32)
    h0, x = rounded(p.h0).astype(np.float32), rounded(p.x).astype(np.float32)
    kernel, recurrent_kernel = (rounded(one).astype(np.float32) for one in (p.kernel, p.recurrent_kernel))
    options: dict[str, Any] = {}
    if option == "lengths":
        options = {"lengths": np.arange(19) % 2}
    elif option == "peepholes":
        options = {"options": ops.CellOptions(peepholes=rng.normal(size=(3, 33)).astype(np.float32))}
    elif option == "recurrent_mask":
        # Powers of two, so that the products with them are bfloat16 too.
        options = {"recurrent_mask": (2.0 * rng.integers(0, 2, (19, 33))).astype(np.float32)}
    elif option == "cell_clip":
        options = {"options": ops.CellOptions(cell_clip=0.25)}
    else:
        options = {"options": ops.CellOptions(activation="relu", recurrent_activation="hard_sigmoid")}
    exact = ops.lstm_forward(x, (kernel, recurrent_kernel, p.bias), h0, p.c0, **options)
    weights = ops.LSTMWeights(kernel, recurrent_kernel, p.bias, compute="bfloat16")
    result = ops.lstm_forward(x, weights, h0, p.c0, **options)
    for name in ("y", "h", "c"):
        want = getattr(exact, name)
        testing.assert_close(
            getattr(result, name),
            want.astype(np.float64),
            dtype=np.float32,
            terms=p.terms,
            scale=np.abs(want).max(),
            name=name,
        )
    assert f"bfloat16 products by {product_set}" in ops.last_kernel()


@pytest.mark.usefixtures("product_set")
def test_projection() -> None:
    """The projection's operands are rounded too: m and its weights."""
    rng = np.random.default_rng(4)
    p = make_problem((19, 1, 40, 33), np.float32)
    recurrent_kernel, projection = (
        rng.normal(size=shape).astype(np.float32) / 4 for shape in ((10, 132), (33, 10))
    )
    zeros = np.zeros((19, 10), np.float32)
    weights = ops.LSTMWeights(p.kernel, recurrent_kernel, p.bias, projection=projection, compute="bfloat16")
    result = ops.lstm_forward(p.x, weights, zeros, p.c0)
    plain = ops.lstm_forward(p.x, ops.LSTMWeights(*p.weights, compute="bfloat16"), None, p.c0)
    m = plain.h  # Without a state before, the recurrent weights do not matter.
    want = rounded(m) @ rounded(projection)
    testing.assert_close(result.h, want, dtype=np.float32, terms=33, scale=np.abs(want).max(), name="h")
    assert_same_bits(result.c, plain.c)


@pytest.mark.usefixtures("product_set")
def test_nan_and_infinity() -> None:
    """They stay in their rows."""
    p = make_problem((35, 2, 9, 17), np.float32)
    weights = packed(p)
    exact = ops.lstm_forward(p.x, weights).y
    for row, value in ((1, np.nan), (20, np.inf), (34, -np.inf)):
        x = p.x.copy()
        x[row, 1, 4] = value
        y = ops.lstm_forward(x, weights).y
        assert y is not None
        assert exact is not None
        if np.isnan(value):
            assert np.isnan(y[row, 1]).all()
        y[row, 1] = exact[row, 1]
        assert_same_bits(y, exact)


@pytest.mark.usefixtures("product_set")
def test_stated_loss() -> None:
    """The largest error of y over 100 steps, as docs/performance.md states it."""
    p = make_problem((4, 100, 128, 128), np.float32)
    exact = ops.lstm_forward(p.x, p.weights).y
    result = ops.lstm_forward(p.x, packed(p)).y
    assert exact is not None
    assert result is not None
    assert 0 < float(np.abs(result - exact).max()) <= 2**-6


def test_sets_of_instructions() -> None:
    assert PRODUCT_SETS[-1] == ops.get_instruction_set()
    assert ops.get_product_set() == PRODUCT_SETS[0]
    for name in PRODUCT_SETS:
        ops.set_product_set(name)
        assert ops.get_product_set() == name
    ops.set_product_set(None)
    with pytest.raises(ValueError, match=r"^product set: expected one of .*, got 'mmx'"):
        ops.set_product_set("mmx")
    with pytest.raises(TypeError, match=r"^name: expected a str or None, got int"):
        ops.set_product_set(3)  # type: ignore[arg-type]


def test_errors() -> None:
    p = make_problem((2, 3, 4, 9), np.float32)
    double = make_problem((2, 3, 4, 9), np.float64)
    wrong: list[tuple[Problem, dict[str, Any], type[Exception], str]] = [
        (p, {"compute": "int4"}, ValueError, r"^compute: expected None, 'bfloat16' or 'int8', got 'int4'"),
        (p, {"compute": 8}, TypeError, r"^compute: expected None, 'bfloat16' or 'int8', got int"),
        (double, {"compute": "bfloat16"}, ValueError, r"^compute: expected None for float64, got 'bfloat16'"),
        (p, {"compute": "bfloat16", "storage": "int8"}, ValueError, r"^storage: expected None with compute"),
    ]
    for problem, options, error, text in wrong:
        with pytest.raises(error, match=text):
            ops.LSTMWeights(*problem.weights, **options)
    tape = ops.lstm_forward(p.x, packed(p), training=True).tape
    assert tape is not None
    with pytest.raises(ValueError, match=r"^tape: expected one without products of bfloat16 for second der"):
        ops.lstm_jvp(tape, x=p.x)


def test_strict() -> None:
    """Without instructions for it, strict mode refuses what was not asked for."""
    program = """if True:
        import numpy as np
        from fusedlstm import FallbackError, ops, set_strict
        x = np.zeros((2, 3, 4), np.float32)
        kernels = np.ones((4, 8), np.float32), np.ones((2, 8), np.float32)
        weights = ops.LSTMWeights(*kernels, compute="bfloat16")
        ops.lstm_forward(x, weights)
        set_strict(True)
        try:
            ops.lstm_forward(x, weights)
        except FallbackError as error:
            print(error)
        ops.set_product_set(ops.get_instruction_set())
        ops.lstm_forward(x, weights)
    """
    disabled = {"FUSEDLSTM_DISABLE": ",".join(PRODUCT_SETS[:-1])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | disabled,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("compute: expected instructions that multiply bfloat16"), done.stdout


@pytest.mark.usefixtures("product_set")
def test_peak() -> None:
    """A core's rate is measured in each way to multiply, and is one that a core may have."""
    assert 0.01 < _core.measure_peak("bfloat16", 1, 0.01) < 100_000
    with pytest.raises(ValueError, match=r"dtype: expected .*int8, got 'int4'"):
        _core.measure_peak("int4", 1, 0.01)
