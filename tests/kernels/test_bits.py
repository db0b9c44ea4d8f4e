"""The same bits for any number of threads, any batch size, any position in a batch, and every call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from .devices import ops
from .operations import ONLY_CPU, OPERATIONS
from .problems import (
    REDUCED,
    Array,
    Number,
    Problem,
    Shape,
    assert_all_same_bits,
    assert_same_bits,
    make_problem,
    shape_id,
)

DEVICES = True

THREADS = (1, 2, 3, 5)
# Few rows with many units, many rows, both, neither; large enough that every way of sharing work occurs.
SHAPES: list[Shape] = [(1, 6, 40, 130), (2, 4, 70, 257), (7, 3, 33, 65), (67, 3, 28, 33), (128, 2, 128, 128)]
if REDUCED:
    SHAPES = [(1, 3, 20, 70), (26, 2, 17, 33)]


@pytest.mark.cpu
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_threads(operation: str, shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    ops.set_num_threads(1)
    expected = OPERATIONS[operation](p)
    for threads in THREADS[1:]:
        ops.set_num_threads(threads)
        for _ in range(2):
            assert_all_same_bits(OPERATIONS[operation](p), expected, f"{threads} threads")


@pytest.mark.cpu
@pytest.mark.not_reduced
@pytest.mark.parametrize("operation", OPERATIONS)
def test_threads_on_large_arrays(operation: str) -> None:
    """Elementwise operations may share work only when there is much of it."""
    p = make_problem((64, 8, 300, 300), np.float32)
    ops.set_num_threads(1)
    expected = OPERATIONS[operation](p)
    for threads in THREADS[1:]:
        ops.set_num_threads(threads)
        assert_all_same_bits(OPERATIONS[operation](p), expected, f"{threads} threads")


def rows(p: Problem, chosen: list[int]) -> Problem:
    """Make the problem that has only the chosen batch rows of `p`."""
    names = ("x", "h0", "c0", "dy", "dh", "dc")
    shape = (len(chosen), *p.shape[1:])
    return replace(p, shape=shape, **{name: getattr(p, name)[chosen] for name in names})


ROW_RESULTS = {
    "lstm_forward": ("y", "h", "c"),
    "lstm_last_state": ("h", "c"),
    "lstm_backward": ("dx", "dh0", "dc0"),
    "lstm_jvp": ("y", "h", "c"),
    "lstm_second_backward": ("ddy", "ddh", "ddc", "dx", "dh0", "dc0"),
    "lstm_step": ("h", "c"),
    "lstm_forward_normalized": ("y", "h", "c"),
    "lstm_backward_normalized": ("dx", "dh0", "dc0"),
    "lstm_step_normalized": ("h", "c"),
    "cell_forward": ("h", "c", "gates"),
    "cell_backward": ("dz", "dc_prev"),
    "dense_forward": ("y",),
    "dense_backward": ("dx",),
    "layer_norm_forward": ("y",),
    "layer_norm_backward": ("dx",),
    "ctc_loss": ("losses", "dlogits"),
}


@pytest.mark.not_gpu
@pytest.mark.parametrize(
    "shape", [(14, 3, 9, 17)] if REDUCED else [(37, 3, 9, 17), (26, 3, 40, 130)], ids=shape_id
)
@pytest.mark.parametrize("operation", ROW_RESULTS)
def test_rows_do_not_depend_on_the_batch(operation: str, shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    names, run = ROW_RESULTS[operation], OPERATIONS[operation]
    whole = run(p)
    batch = shape[0]
    random = np.random.default_rng(5)
    selections = [[b] for b in range(batch)]
    selections += [list(range(size)) for size in range(1, batch)]
    selections += [list(range(start, batch)) for start in range(1, batch, 4)]
    selections += [list(random.permutation(batch)) for _ in range(3)]
    for number, chosen in enumerate(selections):
        ops.set_num_threads(1 + number % 3)
        part = run(rows(p, chosen))
        for name in names:
            assert_same_bits(part[name], whole[name][chosen], f"{name} of rows {chosen}")


def test_elementwise_results_do_not_depend_on_the_position(dtype: Number) -> None:
    """An update or a cell treats an element alike in a vector's middle and in its tail."""
    value = np.array([0.3], dtype)
    for size in (1, 3, 8, 17, 33, 1000):
        param = np.full(size, value[0], dtype)
        m, v = np.full(size, 0.1, dtype), np.full(size, 0.2, dtype)
        ops.adam_update(
            param,
            np.full(size, 0.7, dtype),
            m,
            v,
            None,
            learning_rate=0.1,
            step=2,
            beta_1=0.9,
            beta_2=0.999,
            epsilon=1e-7,
        )
        for array in (param, m, v):
            assert_same_bits(array, np.full(size, array[0], dtype), f"size {size}")
        if size == 1:
            expected: Array = param
        assert_same_bits(param[:1], expected, f"size {size}")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_calls_do_not_influence_each_other(operation: str, dtype: Number, device: str) -> None:
    """Scratch memory is kept between calls: what an earlier one left there must not matter."""
    p = make_problem((9, 3, 17, 33), dtype)
    expected = OPERATIONS[operation](p)
    disturbing = make_problem((20, 4, 40, 70) if device == "cpu" else (10, 2, 20, 36), dtype, seed=1)
    with_nan = replace(
        disturbing, x=np.full_like(disturbing.x, np.nan), h0=np.full_like(disturbing.h0, np.nan)
    )
    for name, other in OPERATIONS.items():
        if device != "cpu" and name in ONLY_CPU:
            continue
        other(with_nan)
        assert_all_same_bits(OPERATIONS[operation](p), expected, f"after {name}")
