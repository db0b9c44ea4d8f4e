"""NaN, infinities, saturated gates, denormal numbers, and the caller's floating-point state."""

from __future__ import annotations

import ctypes
import platform
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .operations import OPERATIONS
from .problems import (
    Array,
    Number,
    Problem,
    assert_all_same_bits,
    assert_same_bits,
    make_problem,
    with_arrays,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICES = True

SHAPE = (13, 4, 9, 17)
BATCH = SHAPE[0]


def bad_row(array: Array, row: int, value: float) -> Array:
    changed = array.copy()
    changed[row] = value
    return changed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["x", "h0", "c0"])
@pytest.mark.parametrize("row", [0, 5, BATCH - 1])
def test_a_bad_row_stays_alone(row: int, name: str, value: float, dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    bad = with_arrays(p, **{name: bad_row(getattr(p, name), row, value)})
    others = np.arange(BATCH) != row
    clean, dirty = OPERATIONS["lstm_forward"](p), OPERATIONS["lstm_forward"](bad)
    clean_back, dirty_back = OPERATIONS["lstm_backward"](p), OPERATIONS["lstm_backward"](bad)
    for key in ("y", "h", "c"):
        assert_same_bits(dirty[key][others], clean[key][others], key)
    for key in ("dx", "dh0", "dc0"):
        assert_same_bits(dirty_back[key][others], clean_back[key][others], key)
    if np.isnan(value):
        assert np.isnan(dirty["y"][row]).all()
        assert np.isnan(dirty["c"][row]).all()
        assert np.isnan(dirty_back["dkernel"]).all()


def test_nan_in_one_step_spares_the_steps_before(dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    x = p.x.copy()
    x[:, 2] = np.nan
    clean, dirty = OPERATIONS["lstm_forward"](p), OPERATIONS["lstm_forward"](replace(p, x=x))
    assert_same_bits(dirty["y"][:, :2], clean["y"][:, :2], "y")
    assert np.isnan(dirty["y"][:, 2:]).all()


@pytest.mark.parametrize("unit", [0, 8, 16])
@pytest.mark.parametrize("gate", range(4))
def test_a_bad_column_stays_in_its_unit(gate: int, unit: int, dtype: Number) -> None:
    """A NaN in one unit's bias reaches the other units only through the next step."""
    p = make_problem((5, 1, 9, 17), dtype)
    bias = p.bias.copy()
    bias[gate * 17 + unit] = np.nan
    clean, dirty = OPERATIONS["lstm_forward"](p), OPERATIONS["lstm_forward"](replace(p, bias=bias))
    others = np.arange(17) != unit
    assert_same_bits(dirty["h"][:, others], clean["h"][:, others], "h")
    assert np.isnan(dirty["h"][:, unit]).all()
    assert np.isnan(dirty["c"][:, unit]).all() == (gate != 3)


def test_dense_keeps_bad_rows_and_columns_apart(dtype: Number) -> None:
    random = np.random.default_rng(0)
    x, kernel = random.standard_normal((13, 9)).astype(dtype), random.standard_normal((9, 17)).astype(dtype)
    clean = ops.dense_forward(x, kernel)
    assert_same_bits(ops.dense_forward(bad_row(x, 4, np.nan), kernel)[5:], clean[5:], "rows")
    kernel_bad = kernel.copy()
    kernel_bad[3, 7] = np.nan
    dirty = ops.dense_forward(x, kernel_bad)
    others = np.arange(17) != 7
    assert_same_bits(dirty[:, others], clean[:, others], "columns")
    assert np.isnan(dirty[:, 7]).all()


def with_values(p: Problem, random: Any, values: list[float]) -> Problem:
    """Replace a third of x, h0 and c0 by extreme values."""

    def mix(array: Array) -> Array:
        chosen = random.choice(np.array(values), array.shape).astype(p.dtype)
        return np.where(random.random(array.shape) < 1 / 3, chosen, array)

    return replace(p, x=mix(p.x), h0=mix(p.h0), c0=mix(p.c0))


def test_large_inputs_saturate(dtype: Number) -> None:
    """Inputs of ten thousand give gates of exactly 0 or 1 nearly everywhere, and no NaN."""
    p = with_values(make_problem((20, 5, 9, 17), dtype), np.random.default_rng(1), [1e4, -1e4])
    result = OPERATIONS["lstm_forward"](p)
    gradients = OPERATIONS["lstm_backward"](p)
    for key, value in {**result, **gradients}.items():
        assert np.isfinite(value).all(), key
    assert (np.abs(result["y"]) <= 1).all()
    # Saturated gates forget the rounding of their large pre-activations: the cells stay comparable, except
    # where a huge sum happens to cancel to a small one. Those are few.
    expected = p.reference(h0=p.h0, c0=p.c0).y
    close = np.abs(result["y"] - expected) <= 1e4 * testing.tolerance(dtype, p.terms, steps=5)
    assert close.mean() > 0.99


@pytest.mark.parametrize("gate", range(4))
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_pre_activations(gate: int, value: float, dtype: Number) -> None:
    """An infinite pre-activation gives the saturated gate, as in NumPy."""
    random = np.random.default_rng(2)
    z = random.standard_normal((3, 4, 17)).astype(dtype)
    z[:, gate] = value
    z = z.reshape(3, 68)
    c_prev = random.standard_normal((3, 17)).astype(dtype)
    actual, expected = ops.cell_forward(z, c_prev), testing.cell_forward_reference(z, c_prev)
    for name, got, want in zip(("h", "c", "gates"), actual, expected, strict=True):
        testing.assert_close(got, want, dtype=dtype, terms=0, scale=4.0, name=name)
    dz, dc_prev = ops.cell_backward(actual[2], c_prev, actual[1], np.ones_like(c_prev))
    assert np.isfinite(dz).all()
    assert np.isfinite(dc_prev).all()
    assert (np.abs(dz.reshape(3, 4, 17)[:, gate]) <= 4 * np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -1e30])
def test_infinite_cell_state(value: float, dtype: Number) -> None:
    z = np.random.default_rng(3).standard_normal((3, 68)).astype(dtype)
    c_prev = np.full((3, 17), value, dtype)
    h, c, _ = ops.cell_forward(z, c_prev)
    expected = testing.cell_forward_reference(z, c_prev)
    testing.assert_close(h, expected[0], dtype=dtype, terms=0, name="h")
    testing.assert_close(c, expected[1], dtype=dtype, terms=0, name="c")


def flushed(array: Array) -> Array:
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, array.dtype.type(0), array)


@pytest.mark.cpu
@pytest.mark.parametrize(
    "operation", ["lstm_forward", "lstm_backward", "lstm_step", "cell_forward", "cell_backward"]
)
def test_denormal_inputs_count_as_zeros(operation: str, dtype: Number) -> None:
    denormal = float(np.finfo(dtype).tiny) / 8
    p = with_values(make_problem(SHAPE, dtype), np.random.default_rng(4), [denormal, -denormal])
    kernel = p.kernel.copy()
    kernel[::2] = denormal
    p = replace(p, kernel=kernel, dh=np.full_like(p.dh, denormal))
    assert (p.x != flushed(p.x)).any()
    names = ("x", "kernel", "h0", "c0", "dh")
    zeros = with_arrays(p, **{name: flushed(getattr(p, name)) for name in names})
    actual, expected = OPERATIONS[operation](p), OPERATIONS[operation](zeros)
    for name, value in actual.items():
        np.testing.assert_array_equal(value, expected[name], name)


@pytest.mark.cpu
def test_results_are_never_denormal(dtype: Number) -> None:
    tiny = float(np.finfo(dtype).tiny)
    p = make_problem(SHAPE, dtype)
    p = replace(p, dy=p.dy * dtype(tiny), dh=p.dh * dtype(tiny), dc=p.dc * dtype(tiny))
    for name, value in OPERATIONS["lstm_backward"](p).items():
        assert_same_bits(np.abs(value), np.abs(flushed(value)), name)
        assert (np.count_nonzero(value) > 0) or name, name


def denormals_work() -> bool:
    """Tell whether this thread computes with denormal numbers: an FMA-free product of run-time values."""
    single = np.full(64, 1e-30, np.float32) * np.full(64, 1e-10, np.float32)
    double = np.full(64, 1e-200) * np.full(64, 1e-120)
    sums = np.full(64, 1e-40, np.float32) + np.full(64, 1e-40, np.float32)
    return bool((single != 0).all() and (double != 0).all() and (sums != 0).all())


@pytest.mark.cpu
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_denormals_work_after_a_call(operation: str, threads: int) -> None:
    ops.set_num_threads(threads)
    p = make_problem((64, 3, 33, 65), np.float32)
    assert denormals_work()
    OPERATIONS[operation](p)
    assert denormals_work()

    seen: list[bool] = []

    def in_thread() -> None:
        OPERATIONS[operation](p)
        seen.append(denormals_work())

    for thread in [threading.Thread(target=in_thread) for _ in range(2)]:
        thread.start()
        thread.join()
    assert seen == [True, True]
    with pytest.raises((TypeError, ValueError)):
        ops.lstm_forward(p.x[0], p.weights)
    assert denormals_work()


# fesetround's constants, from the C libraries' fenv.h.
UPWARD = {"x86_64": 0x800, "AMD64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}


@pytest.mark.cpu
@pytest.mark.parametrize("operation", OPERATIONS)
def test_rounding_mode_is_kept(operation: str) -> None:
    upward = UPWARD.get(platform.machine())
    library = {"Linux": "libm.so.6", "Darwin": "libSystem.dylib"}.get(platform.system())
    if upward is None or library is None:
        pytest.skip("no known C library or rounding mode on this machine")
    libm = ctypes.CDLL(library)
    p = make_problem((5, 3, 9, 17), np.float64)
    nearest = libm.fegetround()
    run: Callable[[Problem], dict[str, Array]] = OPERATIONS[operation]
    try:
        assert libm.fesetround(upward) == 0
        run(p)
        after = libm.fegetround()
    finally:
        libm.fesetround(nearest)
    assert after == upward
    expected = run(p)
    assert libm.fegetround() == nearest
    assert_all_same_bits(run(p), expected, "after another rounding mode")
