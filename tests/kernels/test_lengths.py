"""Sequences of different lengths: each row equals the same row run alone, and padding is never read."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import REDUCED, Array, Number, Problem, Shape, assert_same_bits, make_problem, shape_id

DEVICES = True

Lengths: TypeAlias = npt.NDArray[np.int64]
Run: TypeAlias = tuple[ops.LSTMResult, ops.LSTMGradients]

SHAPES: list[Shape] = [(1, 4, 5, 9), (7, 5, 9, 17), (34, 6, 17, 33), (3, 9, 70, 130), (130, 3, 8, 31)]
if REDUCED:
    SHAPES = [(1, 4, 5, 9), (27, 4, 5, 17)]


def lengths_of(p: Problem) -> Lengths:
    """Lengths from 0 to T in an order that sorting has to change; 0 and T occur where the batch allows."""
    B, T = p.shape[:2]
    lengths = np.random.default_rng(B).integers(0, T + 1, B)
    lengths[-1] = T
    if B > 1:
        lengths[0] = 0
    return lengths


def run(p: Problem, lengths: Lengths | None, states: bool = True) -> Run:
    h0, c0 = (p.h0, p.c0) if states else (None, None)
    result = ops.lstm_forward(p.x, p.weights, h0, c0, lengths=lengths, training=True)
    assert result.tape is not None
    return result, ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)


def assert_same(got: Run, want: Run) -> None:
    for result, expected in ((got[0]._asdict(), want[0]._asdict()), (got[1]._asdict(), want[1]._asdict())):
        for name, value in expected.items():
            if name != "tape":
                assert_same_bits(result[name], value, name)


def alone(p: Problem, b: int, length: int) -> Problem:
    """Make the problem of one row's real steps."""
    return Problem(
        shape=(1, length, *p.shape[2:]),
        dtype=p.dtype,
        x=p.x[b : b + 1, :length],
        kernel=p.kernel,
        recurrent_kernel=p.recurrent_kernel,
        bias=p.bias,
        h0=p.h0[b : b + 1],
        c0=p.c0[b : b + 1],
        dy=p.dy[b : b + 1, :length],
        dh=p.dh[b : b + 1],
        dc=p.dc[b : b + 1],
    )


@pytest.mark.not_gpu
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_rows_equal_rows_alone(shape: Shape, states: bool, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    lengths = lengths_of(p)
    result, gradients = run(p, lengths, states)
    assert result.y is not None
    assert gradients.dx is not None
    for b, length in enumerate(lengths):
        expected, expected_gradients = run(alone(p, b, int(length)), None, states)
        assert expected.y is not None
        assert expected_gradients.dx is not None
        row = slice(b, b + 1)
        assert_same_bits(result.y[row, :length], expected.y, "y")
        assert_same_bits(result.h[row], expected.h, "h")
        assert_same_bits(result.c[row], expected.c, "c")
        assert_same_bits(gradients.dx[row, :length], expected_gradients.dx, "dx")
        assert_same_bits(gradients.dh0[row], expected_gradients.dh0, "dh0")
        assert_same_bits(gradients.dc0[row], expected_gradients.dc0, "dc0")
        assert not result.y[b, length:].any()
        assert not gradients.dx[b, length:].any()


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_weight_gradients_are_the_rows_sums(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    lengths = lengths_of(p)
    _, gradients = run(p, lengths)
    B, T = shape[:2]
    for name in ("dkernel", "drecurrent_kernel", "dbias"):
        expected: Array = np.zeros_like(getattr(gradients, name), np.float64)
        for b, length in enumerate(lengths):
            q = alone(p, b, int(length))
            wanted = testing.lstm_backward_reference(q.x, *q.weights, q.h0, q.c0, dy=q.dy, dh=q.dh, dc=q.dc)
            expected += getattr(wanted, name)
        testing.assert_close(
            getattr(gradients, name),
            expected,
            dtype=dtype,
            terms=p.backward_terms,
            steps=T,
            scale=max(float(np.sqrt(B * T)), float(np.abs(expected).max())),
            name=name,
        )


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("shape", [*SHAPES, (64, 5, 100, 128)], ids=shape_id)
def test_threads(shape: Shape, threads: int, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    lengths = lengths_of(p)
    ops.set_num_threads(1)
    expected = run(p, lengths)
    ops.set_num_threads(threads)
    assert_same(run(p, lengths), expected)


def test_padding_is_not_read(dtype: Number) -> None:
    p = make_problem((9, 6, 7, 17), dtype)
    lengths = lengths_of(p)
    expected = run(p, lengths)
    for b, length in enumerate(lengths):
        p.x[b, length:] = np.nan
        p.dy[b, length:] = np.nan
    assert_same(run(p, lengths), expected)


def test_last_states_without_sequences(dtype: Number) -> None:
    p = make_problem((9, 6, 7, 17), dtype)
    lengths = lengths_of(p)
    expected, _ = run(p, lengths)
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, lengths=lengths, return_sequences=False)
    assert result.y is None
    assert_same_bits(result.h, expected.h, "h")
    assert_same_bits(result.c, expected.c, "c")


def test_full_lengths_are_no_lengths(dtype: Number) -> None:
    p = make_problem((9, 6, 7, 17), dtype)
    assert_same(run(p, np.full(9, 6, np.uint8)), run(p, None))


def test_later_changes_of_lengths_are_not_seen(dtype: Number) -> None:
    p = make_problem((9, 6, 7, 17), dtype)
    lengths = lengths_of(p)
    _, expected = run(p, lengths)
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, lengths=lengths, training=True)
    lengths[:] = 0
    assert result.tape is not None
    assert_same_bits(ops.lstm_backward(result.tape, p.dy, p.dh, p.dc).dkernel, expected.dkernel, "dkernel")


@pytest.mark.parametrize(
    ("lengths", "error", "text"),
    [
        ([1, 2, 3], TypeError, r"^lengths: expected an array of integers, got list"),
        (np.array([1.0, 2.0, 3.0]), TypeError, r"^lengths: expected an array of integers, got .*float64"),
        (np.array([1, 2]), ValueError, r"^lengths: expected shape \(B=3,\), got shape \(2,\)"),
        (np.array([[1, 2, 3]]), ValueError, r"^lengths: expected shape \(B=3,\), got shape \(1, 3\)"),
        (np.array([1, 5, 3]), ValueError, r"^lengths: expected numbers from 0 to T=4, got 5"),
        (np.array([1, -1, 3]), ValueError, r"^lengths: expected numbers from 0 to T=4, got -1"),
        (np.array([2**63, 1, 3], np.uint64), ValueError, r"from 0 to T=4, got 9223372036854775808$"),
        (np.array([1, 2**64 - 1, 3], np.uint64), ValueError, r"from 0 to T=4, got 18446744073709551615$"),
    ],
)
def test_wrong_lengths(lengths: Any, error: type[Exception], text: str) -> None:
    p = make_problem((3, 4, 5, 6), np.float32)
    with pytest.raises(error, match=text):
        ops.lstm_forward(p.x, p.weights, lengths=lengths)
