"""ctc_loss against all paths, against a recursion in wider numbers, and finite differences."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import REDUCED, SIZES, Array, Number, assert_same_bits

DEVICES = True

# B, T, L, C
Size = tuple[int, int, int, int]
COUNT = len(SIZES)
SMALL: list[Size] = [
    (2, 40, SIZES[(j + k) % COUNT], SIZES[k] + 1) for j in range(COUNT) for k in range(COUNT)
]
LARGE: list[Size] = [(3, 150, 40, 28), (2, 31, 20, 5000), (1, 2000, 90, 30)]


def problem(
    size: Size, dtype: Number, scale: float = 2.0, blank: int = 0
) -> tuple[Array, Array, Array, Array]:
    """Make logits, labels with repetitions, and lengths, some of which leave no path."""
    B, T, L, C = size
    random = np.random.default_rng(size)
    logits = (scale * random.standard_normal((B, T, C))).astype(dtype)
    labels = random.integers(0, C - 1, (B, L))
    labels += labels >= blank
    repeated = random.random((B, L)) < 0.3
    for j in range(1, L):
        labels[:, j] = np.where(repeated[:, j], labels[:, j - 1], labels[:, j])
    steps = random.integers(max(0, T - 5), T + 1, B)
    counts = random.integers(max(0, L - 3), L + 1, B)
    steps[0], counts[0] = T, L
    return logits, labels, steps, counts


def check(logits: Array, labels: Array, steps: Any = None, counts: Any = None, blank: int = 0) -> float:
    dtype, (_, T, C) = logits.dtype, logits.shape
    losses, dlogits = ops.ctc_loss(logits, labels, steps, counts, blank)
    assert dlogits is not None
    expected = testing.ctc_loss_reference(logits, labels, steps, counts, blank)
    # Each step's factors of a path are exponentials, off by the rounding of their arguments, which add up to
    # the loss, and sums of softmax. Errors of different steps are independent.
    options: dict[str, Any] = {"dtype": dtype, "terms": C, "steps": math.isqrt(T) + 1}
    finite = np.where(np.isfinite(expected.losses), expected.losses, 0)
    scale = 1 + finite / max(T, 1)
    worst = testing.assert_close(losses, expected.losses, scale=scale, name="losses", **options)
    worst = max(
        worst,
        testing.assert_close(
            dlogits, expected.dlogits, scale=scale[:, None, None], name="dlogits", **options
        ),
    )
    for b, length in enumerate(np.full(len(logits), T) if steps is None else steps):
        assert not dlogits[b, length:].any()
        assert np.isfinite(losses[b]) or not dlogits[b].any()
    alone = ops.ctc_loss(logits, labels, steps, counts, blank, need_dlogits=False)
    assert alone.dlogits is None
    assert_same_bits(alone.losses, losses)
    return worst


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5] if REDUCED else [0, 1, 2, 3, 4, 5, 6])
def test_all_paths(steps: int, blank: int, dtype: Number) -> None:
    random = np.random.default_rng((steps, blank))
    for row in ([], [0], [0, 0], [0, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0, 1]):
        labels = np.array([label + (label >= blank) for label in row], np.int64)
        logits = (2 * random.standard_normal((1, steps, 3))).astype(dtype)
        losses, dlogits = ops.ctc_loss(logits, labels[None], blank=blank)
        assert dlogits is not None
        expected = testing.ctc_paths_reference(logits[0], labels, blank)
        options: dict[str, Any] = {"dtype": dtype, "terms": 3, "steps": max(steps, 1)}
        scale = 1.0 + (expected.losses if np.isfinite(expected.losses) else 0)
        testing.assert_close(losses[0], expected.losses, scale=scale, name=f"loss of {row}", **options)
        testing.assert_close(dlogits[0], expected.dlogits, scale=scale, name=f"dlogits of {row}", **options)
        recursion = testing.ctc_loss_reference(logits, labels[None], blank=blank)
        np.testing.assert_allclose(recursion.losses[0], expected.losses, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(recursion.dlogits[0], expected.dlogits, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", SMALL[::9] if REDUCED else SMALL[::3], ids=str)
def test_sizes(size: Size, dtype: Number) -> None:
    check(*problem(size, dtype))
    assert "ctc_loss" in ops.last_kernel()


@pytest.mark.not_reduced
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_large_sizes(size: Size, dtype: Number) -> None:
    blank = size[3] - 1
    check(*problem(size, dtype, blank=blank), blank)


@pytest.mark.parametrize("scale", [50.0, 1e3, 1e4])
def test_extreme_logits(scale: float, dtype: Number) -> None:
    """States that one step holds differ by factors that no format has, up to exp(20000) a step."""
    check(*problem((5, 60, 17, 9), dtype, scale))


@pytest.mark.parametrize("height", [30.0, 1e2, 1e4, 1e5])
@pytest.mark.parametrize("peak", [0, 1, 7])
def test_confident_of_something_else(peak: int, height: float, dtype: Number) -> None:
    """All steps say one class, the blank, a label of the row or another: the paths there are pay for others.

    Only the states that are least probable in each step lead to the end.
    """
    for L, T in ((33, 40), (33, 70), (9, 200)):
        logits: Array = np.random.default_rng(3).standard_normal((1, T, 9)).astype(dtype)
        logits[:, :, peak] += height
        labels = 1 + np.arange(L)[None] % 5
        check(logits, labels)


def test_a_path_that_neither_end_sees(dtype: Number) -> None:
    """The best prefix and the best suffix do not meet, and what joins them is lost to both at first."""
    T, C = 30, 4
    logits = np.zeros((1, T, C), dtype)
    logits[0, :, 3] = -200
    logits[0, :15, 0] += 300
    logits[0, 15:, 2] += 300
    labels = np.array([[1, 2, 1, 3, 2, 1, 2]])
    check(logits, labels)


def test_classes_of_probability_zero(dtype: Number) -> None:
    logits, labels, steps, counts = problem((6, 50, 12, 8), dtype)
    logits[0, :, labels[0, 3]] = -np.inf  # no path
    logits[1, 10, labels[1, 3]] = -np.inf
    logits[2, ::2, 0] = -np.inf
    logits[3, 5:9, 1:] = -np.inf
    logits[4, 20] = [-np.inf] * 3 + [1.0] + [-np.inf] * 4
    logits[5, :, 3] = -1e9
    check(logits[:5], labels[:5], steps[:5], counts[:5])
    assert np.isinf(ops.ctc_loss(logits, labels, steps, counts).losses[0])
    labels[5] = 1 + np.arange(12) % 2
    zero = logits.copy()
    zero[5, :, 3] = -np.inf
    for got, want in zip(
        ops.ctc_loss(logits, labels, steps, counts),
        ops.ctc_loss(zero, labels, steps, counts),
        strict=True,
    ):
        assert got is not None
        assert want is not None
        assert_same_bits(got[5], want[5])


def test_rows_without_paths(dtype: Number) -> None:
    labels = np.array([[1, 2, 3, 4], [1, 1, 2, 2], [1, 2, 0, 0], [3, 3, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    counts = np.array([4, 4, 2, 2, 0, 1])
    logits = np.random.default_rng(1).standard_normal((6, 5, 5)).astype(dtype)
    steps = np.array([3, 5, 1, 2, 0, 0])
    losses, dlogits = ops.ctc_loss(logits, labels, steps, counts)
    assert dlogits is not None
    assert losses.tolist() == [np.inf] * 4 + [0.0, np.inf]
    assert not dlogits.any()
    losses, dlogits = ops.ctc_loss(logits, labels, steps, counts, zero_infinity=True)
    assert dlogits is not None
    assert not losses.any()
    assert not dlogits.any()
    check(logits, labels, np.minimum(steps + 1, 5), counts)


@pytest.mark.parametrize("shape", [(0, 5, 3), (0, 0, 3), (3, 0, 3)], ids=str)
def test_empty(shape: tuple[int, int, int], dtype: Number) -> None:
    for L in (0, 2):
        losses, dlogits = ops.ctc_loss(np.zeros(shape, dtype), np.ones((shape[0], L), np.int64))
        assert dlogits is not None
        assert dlogits.shape == shape
        assert losses.tolist() == [np.inf if L else 0.0] * shape[0]


def test_padding_is_ignored(dtype: Number) -> None:
    logits, labels, steps, counts = problem((7, 30, 9, 11), dtype)
    want = ops.ctc_loss(logits, labels, steps, counts)
    for b in range(7):
        logits[b, steps[b] :] = np.nan
        labels[b, counts[b] :] = (-5, 0, 10**12)[b % 3]
    got = ops.ctc_loss(logits, labels.astype(np.float64), steps, counts.astype(np.uint8))
    assert_same_bits(got.losses, want.losses)
    assert_same_bits(got.dlogits, want.dlogits)


def test_row_weights(dtype: Number) -> None:
    logits, labels, steps, counts = problem((5, 30, 9, 11), dtype)
    plain = ops.ctc_loss(logits, labels, steps, counts)
    weights = np.array([2.0, 0.0, -1.0, 0.3, 1.0], dtype)
    losses, dlogits = ops.ctc_loss(logits, labels, steps, counts, row_weights=weights)
    assert_same_bits(losses, plain.losses)
    assert plain.dlogits is not None
    assert dlogits is not None
    want = plain.dlogits * weights[:, None, None]
    testing.assert_close(dlogits, want, dtype=dtype, terms=2, scale=np.abs(weights)[:, None, None])


def test_strides(dtype: Number) -> None:
    logits, labels, *_ = problem((8, 30, 9, 12), dtype)
    for view in (logits[::2, ::3, 1:9], logits[::-1, :, :8], logits.transpose(1, 0, 2)[:8, :, :8]):
        B, T, C = view.shape
        marks = 1 + labels[:B, :4] % (C - 1)
        copy = np.ascontiguousarray(view)
        for got, want in zip(ops.ctc_loss(view, marks), ops.ctc_loss(copy, marks), strict=True):
            assert_same_bits(got, want)
        assert T >= 8


@pytest.mark.cpu
def test_finite_differences() -> None:
    logits, labels, steps, counts = problem((4, 12, 3, 5), np.float64, scale=1.0)

    def function(logits: Array) -> Array:
        return ops.ctc_loss(logits, labels, steps, counts, need_dlogits=False).losses

    def gradient(projections: tuple[Array, ...], logits: Array) -> dict[str, Array]:
        dlogits = ops.ctc_loss(logits, labels, steps, counts, row_weights=projections[0]).dlogits
        assert dlogits is not None
        return {"logits": dlogits}

    testing.check_gradients(function, gradient, {"logits": logits}, terms=5, steps=12, elements=None)


def test_nan_stays_in_its_row(dtype: Number) -> None:
    logits, labels, steps, counts = problem((5, 30, 9, 12), dtype)
    want = ops.ctc_loss(logits, labels, steps, counts)
    spoilt = logits.copy()
    spoilt[1, 3, 7] = np.nan
    spoilt[2, 0, 0] = np.inf
    spoilt[3, steps[3] - 1] = -np.inf
    losses, dlogits = ops.ctc_loss(spoilt, labels, steps, counts)
    assert dlogits is not None
    assert want.dlogits is not None
    for b in (1, 2, 3):
        assert np.isnan(losses[b])
        assert np.isnan(dlogits[b, : steps[b]]).all()
        assert not dlogits[b, steps[b] :].any()
    for b in (0, 4):
        assert_same_bits(losses[b], want.losses[b])
        assert_same_bits(dlogits[b], want.dlogits[b])


@pytest.mark.cpu
@pytest.mark.not_reduced
def test_threads_on_rows_of_many_lengths(dtype: Number) -> None:
    logits, labels, _, counts = problem((64, 100, 20, 28), dtype)
    steps = np.random.default_rng(2).integers(0, 101, 64)

    def run() -> ops.CTCResult:
        return ops.ctc_loss(logits, labels, steps, counts)

    ops.set_num_threads(1)
    expected = run()
    for threads in (2, 3, 5):
        ops.set_num_threads(threads)
        for got, want in zip(run(), expected, strict=True):
            assert_same_bits(got, want, f"{threads} threads")
    # Where others have the cores, a call after a pause does without threads.
    deadline = time.monotonic() + 60
    while f"{threads} threads" not in ops.last_kernel():
        assert time.monotonic() < deadline, ops.last_kernel()
        run()


def test_errors(dtype: Number, device: str) -> None:
    logits, labels = np.zeros((2, 6, 4), dtype), np.array([[1, 2], [3, 3]])
    other = np.float64 if dtype is np.float32 else np.float32
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"logits": logits[0]}, ValueError, r"^logits: expected shape \(B, T, C\), got shape \(6, 4\)"),
        ({"logits": logits.astype(np.int64)}, TypeError, "^logits: expected "),
        ({"labels": labels[0]}, ValueError, r"^labels: expected shape \(B=2, L\), got shape \(2,\)"),
        ({"labels": labels[:1]}, ValueError, r"^labels: expected shape \(B=2, L\), got shape \(1, 2\)"),
        ({"labels": labels + 0.5}, ValueError, r"^labels: expected whole numbers, got 1.5 at index \(0, 0\)"),
        (
            {"labels": labels + 1},
            ValueError,
            r"^labels: expected classes in \[0, C=4\) other than the blank, 0, got 4 at index \(1, 0\)",
        ),
        ({"labels": -labels}, ValueError, r"^labels: .*got -1 at index \(0, 0\)"),
        ({"labels": labels * (labels < 3)}, ValueError, r"^labels: .*the blank, 0, got 0 at index \(1, 0\)"),
        ({"blank": 3}, ValueError, r"^labels: .*the blank, 3, got 3 at index \(1, 0\)"),
        ({"blank": 4}, ValueError, r"^blank: expected a class in \[0, C=4\), got 4"),
        ({"blank": -1}, ValueError, "^blank: expected an integer >= 0, got -1"),
        ({"blank": 0.0}, TypeError, "^blank: expected an integer >= 0, got 0.0"),
        ({"logit_lengths": np.array([6])}, ValueError, r"^logit_lengths: expected shape \(B=2,\), got"),
        (
            {"logit_lengths": np.array([6, 7])},
            ValueError,
            r"^logit_lengths: expected numbers from 0 to T=6, got 7 at index \(1,\)",
        ),
        (
            {"label_lengths": np.array([3, 2])},
            ValueError,
            r"^label_lengths: expected numbers from 0 to L=2, got 3 at index \(0,\)",
        ),
        ({"label_lengths": np.array([-1, 2])}, ValueError, "^label_lengths: .*got -1 at index"),
        ({"row_weights": np.ones(3, dtype)}, ValueError, r"^row_weights: expected shape \(B=2,\), got"),
        ({"row_weights": np.ones(2, other)}, TypeError, "^row_weights: expected "),
        ({"zero_infinity": 2}, TypeError, "^zero_infinity: expected True or False, got 2"),
    ]
    if device == "cpu":  # a list would stay there, and the labels beside it would not
        wrong.append(({"logits": [[[1.0]]]}, TypeError, "^logits: expected "))
    for change, error, text in wrong:
        with pytest.raises(error, match=text):
            ops.ctc_loss(**{"logits": logits, "labels": labels, **change})
    with pytest.raises(ValueError, match=r"^blank: expected a class in \[0, C=0\), got 0"):
        ops.ctc_loss(logits[:, :, :0], labels)
