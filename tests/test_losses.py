"""Losses: values, gradients, exactness at the extremes, weights, labels, names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fusedlstm import activations, losses
from fusedlstm.testing import assert_close, check_gradients

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (6, 5))
SHARES = activations.softmax(LOGITS)
CLASSES = RANDOM.integers(0, 5, 6)
ONE_HOT = np.eye(5)[CLASSES]
SOFT = RANDOM.dirichlet(np.ones(5), 6)
# Far from 0, where the derivatives of a logarithm are too high for finite differences; sums are not 1.
POSITIVE = RANDOM.uniform(0.6, 1.6, (6, 5))
MIDDLE = RANDOM.uniform(0.3, 0.7, (6, 5))
BITS = RANDOM.integers(0, 2, (6, 5))

CASES: dict[str, tuple[losses.Loss, Any, Any]] = {
    "mse": (losses.MeanSquaredError(), SOFT, LOGITS),
    "mae": (losses.MeanAbsoluteError(), SOFT, LOGITS),
    "binary": (losses.BinaryCrossentropy(), BITS, MIDDLE),
    "binary logits": (losses.BinaryCrossentropy(from_logits=True), SOFT, LOGITS),
    "binary smooth": (losses.BinaryCrossentropy(True, label_smoothing=0.2), BITS, LOGITS),
    "categorical": (losses.CategoricalCrossentropy(), ONE_HOT, POSITIVE),
    "categorical soft": (losses.CategoricalCrossentropy(label_smoothing=0.1), SOFT, POSITIVE),
    "categorical logits": (losses.CategoricalCrossentropy(from_logits=True), SOFT * 0.5, LOGITS),
    "sparse": (losses.SparseCategoricalCrossentropy(), CLASSES, POSITIVE),
    "sparse logits": (losses.SparseCategoricalCrossentropy(from_logits=True), CLASSES, LOGITS),
}


def by_hand(key: str, labels: Any, predictions: Any) -> list[float]:
    """Each sample's loss in plain Python, from the definition."""
    result = []
    for label, row in zip(labels.tolist(), predictions.tolist(), strict=True):
        if key == "mse":
            terms = [(p - y) ** 2 for p, y in zip(row, label, strict=True)]
            result.append(math.fsum(terms) / len(row))
        elif key == "mae":
            result.append(math.fsum(abs(p - y) for p, y in zip(row, label, strict=True)) / len(row))
        elif key.startswith("binary"):
            smooth = 0.2 if "smooth" in key else 0.0
            p_row = row if key == "binary" else [1 / (1 + math.exp(-z)) for z in row]
            y_row = [y * (1 - smooth) + smooth / 2 for y in label]
            pairs = zip(p_row, y_row, strict=True)
            terms = [-y * math.log(p) - (1 - y) * math.log(1 - p) for p, y in pairs]
            result.append(math.fsum(terms) / len(row))
        else:
            weights = [math.exp(z) for z in row] if "logits" in key else row
            shares = [w / math.fsum(weights) for w in weights]
            smooth = 0.1 if "soft" in key else 0.0
            y_row = np.eye(len(row))[label].tolist() if "sparse" in key else label
            y_row = [y * (1 - smooth) + smooth / len(row) for y in y_row]
            result.append(-math.fsum(y * math.log(p) for p, y in zip(shares, y_row, strict=True)))
    return result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("key", CASES)
def test_values(key: str, dtype: str) -> None:
    loss, labels, predictions = CASES[key]
    rounded = predictions.astype(dtype)
    expected = by_hand(key, labels, rounded.astype(np.float64))
    twin = losses.get(type(loss))
    twin.__dict__.update(loss.__dict__ | {"reduction": "none"})
    per_sample = twin(labels, rounded)
    # A logarithm's error is relative to its argument's: at most 10 where log(1 - p) meets p close to 1.
    scale = np.maximum(10.0, np.abs(expected))
    assert_close(per_sample, expected, dtype=dtype, terms=5, scale=scale)
    assert loss(labels, rounded) == pytest.approx(float(np.mean(per_sample, dtype=np.float64)), rel=1e-15)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("key", CASES)
def test_gradients(key: str, weighted: bool, reduction: str) -> None:
    loss, labels, predictions = CASES[key]
    loss = losses.get(type(loss))
    loss.__dict__.update(CASES[key][0].__dict__ | {"reduction": reduction})
    weights = np.arange(6.0) if weighted else None
    check_gradients(
        lambda p: np.array(loss(labels, p, weights)),
        lambda dl, p: {"p": dl[0] * loss.gradient(labels, p, weights)},
        {"p": predictions},
        terms=30,
        elements=None,
    )


def test_sequence_outputs() -> None:
    logits = RANDOM.normal(size=(2, 3, 4))
    labels = RANDOM.integers(0, 4, (2, 3))
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    each = losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    assert each.shape == (2, 3)
    assert loss(labels, logits) == pytest.approx(each.mean(), rel=1e-15)
    assert loss(labels[..., None], logits) == loss(labels, logits)
    # A weight per row counts for each of its steps.
    assert loss(labels, logits, [1, 0]) == pytest.approx(each[0].sum() / 6, rel=1e-15)
    assert loss(labels, logits, [[1, 0, 0], [0, 0, 2]]) == pytest.approx((each[0, 0] + 2 * each[1, 2]) / 6)


def test_logits_are_exact_at_extremes() -> None:
    logits = np.array([[1000, 0, -1000]], "f")
    sparse = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert [sparse([k], logits) for k in range(3)] == [0, 1000, 2000]
    assert sparse.gradient([2], logits).tolist() == [[1, 0, -1]]
    binary = losses.BinaryCrossentropy(from_logits=True)
    assert binary([[1, 0]], np.array([[1000, 1000]], "f")) == 500
    assert binary.gradient([[1, 0]], np.array([[1000, 1000]], "f")).tolist() == [[0, 0.5]]
    # Small losses keep their digits: log(1 + exp(-20)) is about exp(-20).
    assert binary([[1]], np.array([[20]], "f")) == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)


def test_probabilities_are_clipped() -> None:
    limit = -math.log(1e-7)
    assert losses.SparseCategoricalCrossentropy()([1], [[1.0, 0.0]]) == pytest.approx(limit, rel=1e-6)
    assert losses.BinaryCrossentropy()([[1.0]], np.array([[0.0]])) == pytest.approx(limit, rel=1e-12)
    assert not losses.SparseCategoricalCrossentropy().gradient([1], [[1.0, 0.0]]).any()


def test_reductions_and_weights() -> None:
    y, p = np.zeros((4, 1)), np.array([[1], [2], [3], [4]])
    assert losses.MeanSquaredError("sum")(y, p) == 30
    assert losses.MeanSquaredError("mean")(y, p) == losses.MeanSquaredError()(y, p) == 7.5
    assert losses.MeanSquaredError(None)(y, p).tolist() == [1, 4, 9, 16]
    # Keras divides by the number of samples, not by the sum of their weights.
    assert losses.MeanSquaredError()(y, p, [1, 0, 0, 1]) == 17 / 4
    assert losses.MeanSquaredError("none")(y, p, [1, 0, 0, 2]).tolist() == [1, 0, 0, 32]


def test_a_missing_or_extra_last_axis_of_one() -> None:
    loss = losses.BinaryCrossentropy()
    assert loss([1, 0], [[0.5], [0.5]]) == loss([[1], [0]], [[0.5], [0.5]]) == loss([[1], [0]], [0.5, 0.5])


def test_integer_predictions_and_lists() -> None:
    assert losses.MeanSquaredError()([0, 1], [2, 1]) == 2


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("mse", losses.MeanSquaredError),
        ("mean_squared_error", losses.MeanSquaredError),
        ("mae", losses.MeanAbsoluteError),
        ("binary_crossentropy", losses.BinaryCrossentropy),
        ("CategoricalCrossentropy", losses.CategoricalCrossentropy),
        ("sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy),
        (losses.mean_squared_error, losses.MeanSquaredError),
        (losses.categorical_crossentropy, losses.CategoricalCrossentropy),
        (losses.MeanSquaredError, losses.MeanSquaredError),
    ],
)
def test_names(name: Any, cls: type) -> None:
    assert type(losses.get(name)) is cls


def test_functions_are_unreduced_classes() -> None:
    for function, labels, predictions in (
        (losses.mean_squared_error, SOFT, LOGITS),
        (losses.mean_absolute_error, SOFT, LOGITS),
        (losses.binary_crossentropy, BITS, SHARES),
        (losses.categorical_crossentropy, ONE_HOT, SHARES),
        (losses.sparse_categorical_crossentropy, CLASSES, SHARES),
    ):
        each = function(labels, predictions)
        assert each.shape == (6,)
        assert losses.get(function)(labels, predictions) == pytest.approx(each.mean(), rel=1e-15)


SPARSE = losses.SparseCategoricalCrossentropy()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.get("mean_squared"), r"loss: expected one of \[.*'mse'.*got 'mean_squared'"),
        (lambda: losses.get(print), "loss: expected one of"),
        (lambda: losses.MeanSquaredError("average"), "reduction: expected one of .*got 'average'"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), r"label_smoothing: .*\[0, 1\], got 2"),
        (
            lambda: SPARSE([0, 5], SHARES[:2]),
            r"y_true: expected whole class .*\[0, 5\), got 5 at index \(1,\)",
        ),
        (lambda: SPARSE([0, -1], SHARES[:2]), r"whole class numbers in \[0, 5\), got -1 at index \(1,\)"),
        (lambda: SPARSE([0, 0.5], SHARES[:2]), r"whole class numbers in \[0, 5\), got 0.5 at index"),
        (lambda: SPARSE([0, np.nan], SHARES[:2]), r"y_true: expected finite numbers, got nan at index"),
        (lambda: SPARSE(ONE_HOT, SHARES), r"got shape \(6, 5\); for one-hot rows use categorical_cross"),
        (lambda: losses.CategoricalCrossentropy()(CLASSES, SHARES), r"got \(6,\); for class numbers use sp"),
        (lambda: losses.CategoricalCrossentropy()(ONE_HOT * 2, SHARES), r"in \[0, 1\], got 2.0 at index"),
        (lambda: losses.BinaryCrossentropy()(BITS - 1, SHARES), r"y_true: .*in \[0, 1\], got -1 at index"),
        (lambda: losses.MeanSquaredError()(SOFT[:3], LOGITS), r"expected shape \(6, 5\) .*got \(3, 5\)"),
        (
            lambda: losses.MeanSquaredError()(SOFT * np.inf, LOGITS),
            "y_true: expected finite numbers, got inf",
        ),
        (lambda: losses.MeanSquaredError()(SOFT, LOGITS, [1, 2]), r"sample_weight: .*\(6,\), got \(2,\)"),
        (
            lambda: losses.MeanSquaredError()(SOFT, LOGITS, np.full(6, np.nan)),
            "sample_weight: expected finite",
        ),
        (lambda: losses.MeanSquaredError("none").gradient(SOFT, LOGITS), "reduction: .*got 'none'"),
        (lambda: losses.MeanSquaredError()(1, 2), "y_pred: expected at least 1 axis"),
        (lambda: losses.MeanSquaredError()(None, LOGITS), "y_true: expected an array, got None"),
        (lambda: losses.MeanSquaredError()([[1], [2, 3]], LOGITS), "y_true: expected an array of numbers"),
    ],
)
def test_value_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("labels", [["a"], [1j], [object()], [None]])
def test_type_errors(labels: Any) -> None:
    with pytest.raises(TypeError, match="y_true: expected an array of real numbers, got list of dtype"):
        losses.MeanSquaredError()(labels, [1.0])
