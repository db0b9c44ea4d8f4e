"""Losses: values, gradients, exactness at the extremes, weights, labels, names."""

from __future__ import annotations

import json
import math
import operator
from functools import partial
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import activations, losses
from fusedlstm.losses import crossentropy, functions
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
    "mape": (losses.MeanAbsolutePercentageError(), POSITIVE, LOGITS),
    "msle": (losses.MeanSquaredLogarithmicError(), SOFT, POSITIVE),
    "huber": (losses.Huber(1.3), SOFT, LOGITS),
    "log_cosh": (losses.LogCosh(), SOFT, LOGITS),
    "cosine": (losses.CosineSimilarity(), SOFT, LOGITS),
    "kl": (losses.KLDivergence(), SOFT, MIDDLE),
    "poisson": (losses.Poisson(), SOFT, POSITIVE),
    "hinge": (losses.Hinge(), 2 * BITS - 1, LOGITS),
    "squared hinge": (losses.SquaredHinge(), BITS, LOGITS),
    "categorical hinge": (losses.CategoricalHinge(), ONE_HOT, LOGITS),
    "binary focal": (losses.BinaryFocalCrossentropy(True, 0.3, 1.5), BITS, MIDDLE),
    "binary focal logits": (losses.BinaryFocalCrossentropy(gamma=0, from_logits=True), BITS, LOGITS),
    "categorical focal": (losses.CategoricalFocalCrossentropy(), ONE_HOT, POSITIVE),
    "categorical focal logits": (
        losses.CategoricalFocalCrossentropy([0.1, 0.2, 0.3, 0.4, 0.5], 0.7, True, 0.1),
        ONE_HOT,
        LOGITS,
    ),
}
# Means over the last axis of these.
ELEMENTS: dict[str, Any] = {
    "mse": lambda y, p: (p - y) ** 2,
    "mae": lambda y, p: abs(p - y),
    "mape": lambda y, p: 100 * abs(p - y) / abs(y),
    "msle": lambda y, p: (math.log(1 + p) - math.log(1 + y)) ** 2,
    "huber": lambda y, p: (p - y) ** 2 / 2 if abs(p - y) <= 1.3 else 1.3 * (abs(p - y) - 0.65),
    "log_cosh": lambda y, p: math.log(math.cosh(p - y)),
    "poisson": lambda y, p: p - y * math.log(p + 1e-7),
    "hinge": lambda y, p: max(1 - y * p, 0),
    "squared hinge": lambda y, p: max(1 - (2 * y - 1) * p, 0) ** 2,
    "binary focal": lambda y, p: (
        -0.3 * (1 - p) ** 1.5 * math.log(p) if y else -0.7 * p**1.5 * math.log(1 - p)
    ),
    "binary focal logits": lambda y, z: math.log(1 + math.exp(-z if y else z)),
}
# Numbers for one row.
ROWS: dict[str, Any] = {
    "cosine": lambda y, p: -math.fsum(map(operator.mul, y, p)) / math.hypot(*y) / math.hypot(*p),
    "kl": lambda y, p: math.fsum(a * math.log(a / b) for a, b in zip(y, p, strict=True)),
    "categorical hinge": lambda y, p: max(
        0, 1 + max((1 - a) * b for a, b in zip(y, p, strict=True)) - p[y.index(1)]
    ),
}


def by_hand(key: str, labels: Any, predictions: Any) -> list[float]:
    """Each sample's loss in plain Python, from the definition."""
    result = []
    for label, row in zip(labels.tolist(), predictions.tolist(), strict=True):
        if key in ELEMENTS:
            result.append(math.fsum(map(ELEMENTS[key], label, row)) / len(row))
        elif key in ROWS:
            result.append(ROWS[key](label, row))
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
            smooth = 0.1 if key in ("categorical soft", "categorical focal logits") else 0.0
            y_row = np.eye(len(row))[label].tolist() if "sparse" in key else label
            y_row = [y * (1 - smooth) + smooth / len(row) for y in y_row]
            factors = [1.0] * len(row)
            if key == "categorical focal":
                factors = [0.25 * (1 - p) ** 2 for p in shares]
            elif key == "categorical focal logits":
                factors = [0.1 * (n + 1) * (1 - p) ** 0.7 for n, p in enumerate(shares)]
            terms = [f * y * math.log(p) for f, p, y in zip(factors, shares, y_row, strict=True)]
            result.append(-math.fsum(terms))
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


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
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
    by_weight = losses.MeanSquaredError("mean_with_sample_weight")
    assert by_weight(y, p) == 7.5
    assert by_weight(y, p, [1, 0, 0, 2]) == 33 / 3
    assert by_weight(y, p, [[1], [0], [0], [2]]) == 33 / 3
    assert by_weight(y, p, np.zeros(4)) == 0
    assert not by_weight.gradient(y, p, np.zeros(4)).any()


def test_weights_and_masks_where_a_mean_is_by_weight() -> None:
    loss = losses.MeanSquaredError("mean_with_sample_weight")
    y, p = RANDOM.normal(size=(2, 2, 3, 4))
    mask = np.array([[True, True, False], [True, False, False]])
    weights = RANDOM.uniform(1, 2, (2, 3))
    value, gradient = loss.value_and_gradient(y, p, weights, mask)
    assert value == pytest.approx(loss(y, p, weights * mask), rel=1e-15)
    assert_close(gradient, loss.gradient(y, p, weights * mask), dtype="float64", terms=4)
    with pytest.raises(ValueError, match="expected one other than 'mean_with_sample_weight' where"):
        loss.value_and_gradient(y, p, weights, None, samples=4)


def test_a_missing_or_extra_last_axis_of_one() -> None:
    loss = losses.BinaryCrossentropy()
    assert loss([1, 0], [[0.5], [0.5]]) == loss([[1], [0]], [[0.5], [0.5]]) == loss([[1], [0]], [0.5, 0.5])


def test_integer_predictions_and_lists() -> None:
    assert losses.MeanSquaredError()([0, 1], [2, 1]) == 2


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        *((name, cls) for name, cls in losses.REGISTRY.names.items()),
        *((cls.__name__, cls) for cls in losses.REGISTRY.names.values()),
        *((getattr(losses, name), cls) for name, cls in losses.REGISTRY.names.items() if len(name) > 4),
        (losses.MeanSquaredError, losses.MeanSquaredError),
    ],
)
def test_names(name: Any, cls: type) -> None:
    assert type(losses.get(name)) is cls


def test_spellings() -> None:
    """Those that Keras 3 has."""
    for name in ("mse", "mae", "mape", "msle", "kld", "bce"):
        assert type(losses.get(name)) is type(losses.get(name.upper()))
    assert type(losses.get("huber")) is losses.Huber
    assert losses.get("Huber").name == "huber_loss"


@pytest.mark.parametrize("key", CASES)
def test_functions_are_unreduced_classes(key: str) -> None:
    loss, labels, predictions = CASES[key]
    function = next(function for function, cls in functions.CLASSES.items() if cls is type(loss))
    options = {
        name: value for name, value in loss.get_config().items() if name not in ("name", "reduction", "axis")
    }
    each = function(labels, predictions, **options)
    assert each.shape == (6,)
    assert np.mean(each) == pytest.approx(loss(labels, predictions), rel=1e-12)


@pytest.mark.parametrize("key", CASES)
def test_descriptions(key: str) -> None:
    loss, labels, predictions = CASES[key]
    again = losses.get(json.loads(json.dumps(losses.serialize(loss))))
    assert again is not loss
    assert again(labels, predictions) == loss(labels, predictions)


# ---- functions ----


def cubed(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    difference = y_pred - y_true
    return (np.abs(difference) ** 3).mean(axis=-1), 3 * difference * np.abs(difference) / y_pred.shape[-1]


@pytest.mark.parametrize("weights", [None, np.arange(6.0)])
def test_a_function_with_its_gradient(weights: Any) -> None:
    loss = losses.get(cubed)
    assert type(loss) is losses.LossFunctionWrapper
    assert loss.name == "cubed"
    assert losses.get(partial(cubed)).name == "cubed"
    check_gradients(
        lambda p: np.array(loss(SOFT, p, weights)),
        lambda dl, p: {"p": dl[0] * loss.gradient(SOFT, p, weights)},
        {"p": LOGITS},
        terms=30,
        elements=None,
    )


def test_a_function_trains_as_the_class_does() -> None:
    def squared(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        difference = y_pred - y_true
        return (difference * difference).mean(axis=-1), difference * (2 / y_pred.shape[-1])

    x = RANDOM.normal(size=(8, 3))
    results = []
    for loss in (squared, losses.LossFunctionWrapper(squared, name="mine"), "mse"):
        fusedlstm.utils.set_random_seed(1)
        model = fusedlstm.Sequential([fusedlstm.Input((3,)), fusedlstm.layers.Dense(1)])
        model.compile("sgd", loss)
        results.append(model.fit(x, x[:, 0], epochs=2, verbose=0).history["loss"])
    assert results[0] == results[1] == results[2]


def test_functions_see_labels_as_they_are() -> None:
    """Apart from a last axis of length 1, which is made that of the predictions."""
    seen = []

    def watch(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        seen.append(y_true.shape)
        return np.zeros(y_pred.shape[:-1]), np.zeros_like(y_pred)

    for labels in (CLASSES, ONE_HOT, CLASSES[:, None]):
        losses.get(watch)(labels, LOGITS)
    losses.get(watch)(CLASSES, LOGITS[:, :1])
    assert seen == [(6,), (6, 5), (6, 1), (6, 1)]


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (
            LOGITS[:, 0],
            TypeError,
            r"expected fn to return \(losses, gradients\), since there is no automatic",
        ),
        ((LOGITS, LOGITS), ValueError, r"expected losses of fn of shape \(6,\), got \(6, 5\)"),
        ((LOGITS[:, 0], LOGITS[:, 0]), ValueError, r"gradients of fn of shape \(6, 5\), got \(6,\)"),
        ((["a"], LOGITS), TypeError, r"losses of fn: expected an array of real numbers"),
    ],
)
def test_functions_without_a_gradient(result: Any, error: type[Exception], message: str) -> None:
    def fn(_y_true: Any, _y_pred: Any) -> Any:
        return result

    with pytest.raises(error, match=f"loss: .*{message}"):
        losses.get(fn)(SOFT, LOGITS)


def test_a_function_of_other_samples() -> None:
    with pytest.raises(ValueError, match=r"y_true: expected 6 samples like the predictions, got \(5, 5\)"):
        losses.get(cubed)(SOFT[:5], LOGITS)
    wrong: Any = 3
    with pytest.raises(TypeError, match="fn: expected a function of y_true and y_pred, got 3"):
        losses.LossFunctionWrapper(wrong)


SPARSE = losses.SparseCategoricalCrossentropy()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.CosineSimilarity(0)(SOFT, LOGITS), r"axis: .*last one .*\(6, 5\), got 0"),
        (lambda: losses.CategoricalFocalCrossentropy([1, 2])(ONE_HOT, SHARES), r"alpha: .*5 .*\(2,\)"),
        (lambda: losses.Huber(0), "delta: expected a positive number, got 0"),
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_many_classes(dtype: type[np.floating[Any]], weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 256 on a kernel computes them, class 0 and masked steps too; infinities and NaN are the same."""
    rng = np.random.default_rng(0)
    logits = (4 * rng.normal(size=(5, 7, 300))).astype(dtype)
    labels = rng.integers(0, 300, (5, 7))
    labels[0, 0], labels[1, 1], logits[1, 1, 0] = 0, 0, -np.inf
    logits[2, 2, labels[2, 2]] = -np.inf
    logits[3, 3, 17] = np.nan
    logits[4, 4, (labels[4, 4] + 1) % 300] = np.inf
    logits[0, 6] += 1e4
    mask = rng.random((5, 7)) < 0.7
    weights = rng.random((5, 7)).astype(dtype) if weighted else None
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    prepared = loss.prepare(labels, logits.shape)

    def computed(least: int) -> Any:
        monkeypatch.setattr(crossentropy, "_MANY_CLASSES", least)
        with np.errstate(invalid="ignore"):
            each, gradient = loss.terms(prepared, logits)
            # A finite part of them, since one number sums all up.
            part = slice(0, 1)
            some = None if weights is None else weights[part]
            total, scaled = loss.value_and_gradient(prepared[part], logits[part], some, mask[part])
        return each, gradient, total, scaled

    kernel, plain = computed(256), computed(10**9)
    scale = float(np.finfo(dtype).eps) * 8 * math.sqrt(300)  # as `testing.tolerance`: sums of 300 terms
    for found, expected in zip(kernel, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=scale, atol=scale)
    assert np.isinf(kernel[0][2, 2])
    assert kernel[1][2, 2, labels[2, 2]] == -1
    assert np.isnan(kernel[0][3, 3])
    assert np.isnan(kernel[1][3, 3]).all()
