"""Strides and alignment: the same values give the same bits however they lie in memory."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

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

SHAPE = (7, 5, 9, 17)
ARRAYS = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0", "dy", "dh", "dc")


def unaligned(array: Array) -> Array:
    """Copy an array to memory that starts one element after an aligned address."""
    memory = np.empty(array.nbytes + 128 + array.itemsize, np.uint8)
    offset = -memory.ctypes.data % 64 + array.itemsize
    carved = memory[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)
    carved[...] = array
    assert carved.ctypes.data % 64 == array.itemsize
    return carved


def misaligned(array: Array) -> Array:
    """Copy an array to an odd address, where not even single elements are aligned."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    carved = memory[1 : 1 + array.nbytes].view(array.dtype).reshape(array.shape)
    carved[...] = array
    assert not carved.flags.aligned
    return carved


def wide_rows(array: Array) -> Array:
    """Put an array in the first columns of a wider one, so that rows are not adjacent."""
    memory = np.full((*array.shape[:-1], array.shape[-1] + 3), np.nan, array.dtype)
    memory[..., : array.shape[-1]] = array
    return memory[..., : array.shape[-1]]


def every_second_row(array: Array) -> Array:
    memory = np.full((2 * array.shape[0], *array.shape[1:]), np.nan, array.dtype)
    memory[::2] = array
    return memory[::2]


def reversed_rows(array: Array) -> Array:
    return np.ascontiguousarray(array[::-1])[::-1]


def swapped_axes(array: Array) -> Array:
    """Store the first two axes in the other order: time-major input, transposed matrices."""
    return np.ascontiguousarray(np.swapaxes(array, 0, 1)).swapaxes(0, 1) if array.ndim > 1 else array


def sliced_time(array: Array) -> Array:
    """Take every second of twice as many steps, backwards."""
    if array.ndim != 3:
        return array
    memory = np.full((array.shape[0], 2 * array.shape[1], array.shape[2]), np.nan, array.dtype)
    memory[:, ::-2] = array
    return memory[:, ::-2]


def fortran_order(array: Array) -> Array:
    return np.asfortranarray(array)


def every_second_column(array: Array) -> Array:
    memory = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    memory[..., ::2] = array
    return memory[..., ::2]


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    function.__name__: function
    for function in (
        unaligned,
        misaligned,
        wide_rows,
        every_second_row,
        reversed_rows,
        swapped_axes,
        sliced_time,
        fortran_order,
        every_second_column,
    )
}


def with_layout(p: Problem, layout: str, names: tuple[str, ...] = ARRAYS) -> Problem:
    changed = {name: LAYOUTS[layout](getattr(p, name)) for name in names}
    for name, array in changed.items():
        np.testing.assert_array_equal(array, getattr(p, name))
    return with_arrays(p, **changed)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operation", ["lstm_forward", "lstm_last_state", "lstm_backward", "dropout"])
def test_sequences(operation: str, layout: str, dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    expected = OPERATIONS[operation](p)
    assert_all_same_bits(OPERATIONS[operation](with_layout(p, layout)), expected, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ARRAYS)
def test_one_array_at_a_time(name: str, layout: str, dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    expected = OPERATIONS["lstm_backward"](p)
    changed = with_layout(p, layout, (name,))
    assert_all_same_bits(OPERATIONS["lstm_backward"](changed), expected, f"{name} {layout}")


@pytest.mark.not_gpu
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matrices(layout: str, dtype: Number) -> None:
    p = make_problem(SHAPE, dtype)
    change = LAYOUTS[layout]
    x, dy = p.x[:, 0].copy(), p.dy[:, 0].copy()
    z = np.concatenate([p.h0, p.c0, p.dh, p.dc], axis=-1)
    weights = ops.LSTMWeights(*p.weights)
    kernel = p.kernel[:, :17].copy()

    def step(change: Callable[[Array], Array]) -> tuple[Array, ...]:
        return ops.lstm_step(change(x), change(p.h0), change(p.c0), weights)

    def cell(change: Callable[[Array], Array]) -> tuple[Array, ...]:
        h, c, gates = ops.cell_forward(change(z), change(p.c0))
        return (h, c, gates, *ops.cell_backward(change(gates), change(p.c0), change(c), change(p.dh)))

    def dense(change: Callable[[Array], Array]) -> tuple[Array, ...]:
        y = ops.dense_forward(change(x), change(kernel), change(p.bias[:17]))
        dx, dkernel, dbias = ops.dense_backward(change(x), change(kernel), change(dy))
        assert dx is not None
        assert dbias is not None
        return y, dx, dkernel, dbias

    for operation in (step, cell, dense):
        for actual, expected in zip(operation(change), operation(np.copy), strict=True):
            assert_same_bits(actual, expected, f"{operation.__name__} {layout}")


def test_updates_on_unaligned_arrays(dtype: Number) -> None:
    """In-place operations take C-contiguous arrays of any alignment."""
    p = make_problem((1, 1, 9, 17), dtype)
    expected, unaligned_param = p.kernel.copy(), unaligned(p.kernel)
    for param in (expected, unaligned_param):
        ops.sgd_update(param, unaligned(p.kernel), None, learning_rate=0.1)
    assert_same_bits(unaligned_param, expected, "param")
    assert ops.squared_norm(unaligned(p.kernel)) == ops.squared_norm(p.kernel)


@pytest.mark.not_gpu
def test_updates_on_misaligned_arrays(dtype: Number) -> None:
    """Arrays at odd addresses are refused or handled, never read as if they were aligned."""
    p = make_problem((1, 1, 9, 17), dtype)
    expected = p.kernel.copy()
    ops.sgd_update(expected, p.kernel, None, learning_rate=0.1)
    for param, grad in ((misaligned(p.kernel), p.kernel), (p.kernel.copy(), misaligned(p.kernel))):
        try:
            ops.sgd_update(param, grad, None, learning_rate=0.1)
        except ValueError as error:
            assert re.match("(param|grad): expected .*, got ", str(error))  # noqa: PT017
            assert_same_bits(param, p.kernel, "param after a refused update")
        else:
            assert_same_bits(param, expected, "param")
    assert ops.squared_norm(misaligned(p.kernel)) == ops.squared_norm(p.kernel)


def test_broadcast_rows(dtype: Number) -> None:
    """A stride of zero repeats a row."""
    p = make_problem(SHAPE, dtype)
    repeated = replace(p, x=np.broadcast_to(p.x[:1], p.x.shape), h0=np.broadcast_to(p.h0[:1], p.h0.shape))
    copied = replace(p, x=repeated.x.copy(), h0=repeated.h0.copy())
    for name in ("lstm_forward", "lstm_backward"):
        assert_all_same_bits(OPERATIONS[name](repeated), OPERATIONS[name](copied), name)


def test_step_writes_into_strided_out(dtype: Number) -> None:
    """`out` either works with strides or is refused: never a silent copy that leaves it unwritten."""
    p = make_problem((4, 1, 9, 17), dtype)
    x = p.x[:, 0].copy()
    expected = ops.lstm_step(x, p.h0, p.c0, p.weights)
    h_out, c_out = every_second_row(p.h0), every_second_row(p.c0)
    try:
        ops.lstm_step(x, p.h0, p.c0, p.weights, out=(h_out, c_out))
    except (TypeError, ValueError) as error:
        assert "out" in str(error)  # noqa: PT017
        return
    assert_same_bits(h_out, expected[0], "h")
    assert_same_bits(c_out, expected[1], "c")
