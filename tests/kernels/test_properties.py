"""Properties that hold for every shape and option, over shapes that hypothesis draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusedlstm import ops, testing

from .problems import REDUCED, Array, Number, Shape, assert_same_bits, make_problem

SETTINGS = settings(
    max_examples=5 if REDUCED else 60, deadline=None, derandomize=True, database=None, print_blob=True
)
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 50), st.integers(1, 70))
DTYPES = st.sampled_from([np.float32, np.float64])
THREADS = st.integers(1, 4)


def choose(flags: list[bool], arrays: tuple[Array, ...]) -> list[Array | None]:
    return [array if flag else None for flag, array in zip(flags, arrays, strict=True)]


@SETTINGS
@given(shape=SHAPES, dtype=DTYPES, threads=THREADS, flags=st.lists(st.booleans(), min_size=7, max_size=7))
def test_forward_and_backward_match_the_reference(
    shape: Shape, dtype: Number, threads: int, flags: list[bool]
) -> None:
    p = make_problem(shape, dtype)
    ops.set_num_threads(threads)
    h0, c0, dy, dh, dc = choose(flags[:5], (p.h0, p.c0, p.dy, p.dh, p.dc))
    go_backwards, need_dx = flags[5:]
    options: dict[str, Any] = {"go_backwards": go_backwards}
    result = ops.lstm_forward(p.x, p.weights, h0, c0, training=True, **options)
    expected = testing.lstm_forward_reference(p.x, *p.weights, h0, c0, **options)
    for name in ("y", "h", "c"):
        want = getattr(expected, name)
        testing.assert_close(
            getattr(result, name),
            want,
            dtype=dtype,
            terms=p.terms,
            steps=shape[1],
            scale=np.maximum(np.abs(want), 1.0),
            name=name,
        )
    assert result.tape is not None
    gradients = ops.lstm_backward(result.tape, dy, dh, dc, need_dx=need_dx)
    wanted = testing.lstm_backward_reference(p.x, *p.weights, h0, c0, dy, dh, dc, **options)
    assert (gradients.dx is None) == (not need_dx)
    for name, actual in gradients._asdict().items():
        if actual is None:
            continue
        want = getattr(wanted, name)
        testing.assert_close(
            actual,
            want,
            dtype=dtype,
            terms=p.backward_terms,
            steps=shape[1],
            scale=max(float(np.abs(want).max()), np.sqrt(shape[0] * shape[1])),
            name=name,
        )


@SETTINGS
@given(shape=SHAPES, dtype=DTYPES, threads=THREADS, cut=st.integers(0, 6))
def test_a_sequence_may_be_cut_anywhere(shape: Shape, dtype: Number, threads: int, cut: int) -> None:
    """Running the first steps and then the rest from there gives the same bits as running all."""
    p = make_problem(shape, dtype)
    cut = min(cut, shape[1])
    weights = ops.LSTMWeights(*p.weights)
    ops.set_num_threads(threads)
    whole = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    first = ops.lstm_forward(p.x[:, :cut], weights, p.h0, p.c0)
    second = ops.lstm_forward(p.x[:, cut:], weights, first.h, first.c)
    assert first.y is not None
    assert second.y is not None
    assert whole.y is not None
    assert_same_bits(np.concatenate([first.y, second.y], axis=1), whole.y, "y")
    assert_same_bits(second.c, whole.c, "c")


@SETTINGS
@given(shape=SHAPES, dtype=DTYPES, row=st.integers(0, 39), threads=THREADS)
def test_a_row_is_computed_alone(shape: Shape, dtype: Number, row: int, threads: int) -> None:
    p = make_problem(shape, dtype)
    b = slice(row % shape[0], row % shape[0] + 1)
    weights = ops.LSTMWeights(*p.weights)
    ops.set_num_threads(threads)
    whole = ops.lstm_forward(p.x, weights, p.h0, p.c0, training=True)
    alone = ops.lstm_forward(p.x[b], weights, p.h0[b], p.c0[b], training=True)
    assert_same_bits(alone.h, whole.h[b], "h")
    assert whole.tape is not None
    assert alone.tape is not None
    gradients = ops.lstm_backward(whole.tape, p.dy, p.dh, p.dc)
    gradients_alone = ops.lstm_backward(alone.tape, p.dy[b], p.dh[b], p.dc[b])
    for name in ("dx", "dh0", "dc0"):
        assert_same_bits(getattr(gradients_alone, name), getattr(gradients, name)[b], name)


@SETTINGS
@given(shape=SHAPES, threads=THREADS)
def test_gradients_are_linear_in_powers_of_two(shape: Shape, threads: int) -> None:
    """Doubling the outputs' gradients doubles every gradient bit for bit: a scale is exact in binary."""
    p = make_problem(shape, np.float64)
    ops.set_num_threads(threads)
    results = [ops.lstm_forward(p.x, p.weights, p.h0, p.c0, training=True) for _ in range(2)]
    once, twice = (
        ops.lstm_backward(result.tape, factor * p.dy, factor * p.dh, factor * p.dc)
        for result, factor in zip(results, (1.0, 2.0), strict=True)
        if result.tape is not None
    )
    for name, value in once._asdict().items():
        if value is not None:
            assert_same_bits(getattr(twice, name), 2 * value, name)
