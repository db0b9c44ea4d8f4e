"""The estimators for scikit-learn: its own checks, 3-D input, padding, weights, pickling, model selection."""

from __future__ import annotations

import pickle
import pickletools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fusedlstm.sklearn import EXPECTED_FAILED_CHECKS, LSTMClassifier, LSTMRegressor


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [LSTMClassifier(units=8, random_state=0), LSTMRegressor(units=8, random_state=0)],
    expected_failed_checks=lambda estimator: dict(EXPECTED_FAILED_CHECKS),  # noqa: ARG005
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def sequences(samples: int = 120, steps: int = 9, features: int = 3) -> tuple[Any, Any]:
    """Return sequences and the class of each: which of its features has the largest sum."""
    x = np.random.default_rng(0).normal(size=(samples, steps, features))
    return x, x.sum(axis=1).argmax(axis=1)


X, Y = sequences()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"units": [12, 8], "dropout": 0.1},
        {"units": (12,), "bidirectional": True, "recurrent_dropout": 0.1},
        {"optimizer": "rmsprop", "dtype": "float64", "batch_size": 16},
    ],
    ids=str,
)
def test_classifier(arguments: dict[str, Any]) -> None:
    names = np.array(["a", "b", "c"])[Y]
    model = LSTMClassifier(epochs=60, random_state=0, **arguments).fit(X, names)
    assert model.n_features_in_ == 3
    assert list(model.classes_) == ["a", "b", "c"]
    assert model.score(X, names) > 0.9
    assert model.n_iter_ == len(model.history_["loss"]) == 60
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p, rtol=1e-4)
    np.testing.assert_array_equal(model.classes_[model.decision_function(X).argmax(axis=1)], model.predict(X))
    # Sequences of another length, at which the weights are the same.
    assert model.predict(X[:, :4]).shape == (len(X),)


@pytest.mark.parametrize("targets", [None, 1, 2])
def test_regressor(targets: int | None) -> None:
    sums = 1000 + 50 * X.sum(axis=1)
    y = sums[:, 0] if targets is None else sums[:, :targets]
    model = LSTMRegressor(units=16, epochs=80, random_state=0).fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.9


def test_fits_repeat_and_leave_other_generators_alone() -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    arguments: dict[str, Any] = {"units": [5, 4], "dropout": 0.3, "recurrent_dropout": 0.2, "epochs": 3}
    fits = [LSTMClassifier(**arguments, random_state=seed).fit(X, Y).predict_proba(X) for seed in (1, 1, 2)]
    assert np.random.random() == expected  # noqa: NPY002
    np.testing.assert_array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])


def test_padding() -> None:
    """A filled-up sequence is the shorter one, in training and prediction."""
    lengths = np.random.default_rng(1).integers(1, 10, len(X))
    padded = X.copy()
    padded[np.arange(9) >= lengths[:, None]] = -1e6
    model = LSTMClassifier(units=8, padding_value=-1e6, epochs=40, random_state=0).fit(padded, Y)
    for length in (1, 5):
        rows = lengths == length
        np.testing.assert_array_equal(
            model.predict_proba(padded[rows]), model.predict_proba(X[rows, :length])
        )
    labels = np.array([x[:n].sum(axis=0).argmax() for x, n in zip(X, lengths, strict=True)])
    assert model.fit(padded, labels).score(padded, labels) > 0.8


def test_weights() -> None:
    # Samples without weight have no say: labels of theirs that are all wrong do not matter.
    wrong = np.where(np.arange(len(X)) < 60, Y, (Y + 1) % 3)
    weights = (np.arange(len(X)) < 60).astype(float)
    model = LSTMClassifier(epochs=60, random_state=0).fit(X, wrong, sample_weight=weights)
    assert model.score(X[:60], Y[:60]) > 0.9
    # And so for classes.
    model = LSTMClassifier(epochs=10, random_state=0, class_weight={0: 1, 1: 1, 2: 0}).fit(X, Y)
    assert (model.predict(X) == 2).sum() < 5
    one = LSTMClassifier(epochs=2, random_state=0, class_weight="balanced").fit(X, Y)
    factors = len(Y) / (3 * np.bincount(Y))
    other = LSTMClassifier(epochs=2, random_state=0).fit(X, Y, sample_weight=factors[Y])
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_early_stopping() -> None:
    noise = np.random.default_rng(2).integers(0, 2, len(X))
    model = LSTMClassifier(
        units=16, early_stopping=True, n_iter_no_change=3, epochs=200, random_state=0, validation_fraction=0.3
    ).fit(X, noise)
    losses = model.history_["val_loss"]
    assert model.n_iter_ == len(losses) < 200
    assert np.argmin(losses) == len(losses) - 4
    regressor = LSTMRegressor(units=4, early_stopping=True, epochs=3, random_state=0)
    assert len(regressor.fit(X, Y, sample_weight=np.ones(len(X))).history_["val_loss"]) == 3


def test_warm_start() -> None:
    whole = LSTMClassifier(units=5, epochs=6, random_state=0).fit(X, Y)
    parts = LSTMClassifier(units=5, epochs=3, random_state=0, warm_start=True).fit(X, Y)
    assert not np.array_equal(parts.predict_proba(X), whole.predict_proba(X))
    np.testing.assert_array_equal(parts.fit(X, Y).predict_proba(X), whole.predict_proba(X))
    with pytest.raises(ValueError, match=r"y: expected the classes \[0 1 2\] of the fit before"):
        parts.fit(X, Y + 1)
    regressor = LSTMRegressor(units=5, epochs=1, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="y: expected 1 outputs as in the fit before"):
        regressor.fit(X, np.stack([Y, Y], axis=1))


@pytest.mark.parametrize("make", [LSTMClassifier, LSTMRegressor])
def test_pickling(make: Any) -> None:
    model = make(
        units=[6, 4],
        bidirectional=True,
        dropout=0.2,
        padding_value=0,
        epochs=2,
        random_state=0,
        warm_start=True,
    ).fit(X, Y)
    content = pickle.dumps(model)
    again = pickle.loads(content)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.get_params() == model.get_params()
    # Training goes on to the same bits, the optimizer's moments and the random streams included.
    np.testing.assert_array_equal(again.fit(X, Y).predict(X), model.fit(X, Y).predict(X))
    # No classes of this package but the estimator itself: later versions can read it.
    modules = {
        argument.split()[0]
        for _, argument, _ in pickletools.genops(pickle.dumps(model, 0))
        if isinstance(argument, str) and argument.startswith("fusedlstm")
    }
    assert modules == {"fusedlstm.sklearn.estimators"}


def test_clone() -> None:
    model = LSTMClassifier(units=[3], epochs=1, class_weight="balanced").fit(X, Y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "model_")


def test_model_selection() -> None:
    scale = FunctionTransformer(lambda x: (x - x.mean()) / x.std())
    pipeline = make_pipeline(scale, LSTMClassifier(epochs=30, random_state=0))
    search = GridSearchCV(pipeline, {"lstmclassifier__units": [1, 16]}, cv=3).fit(100 * X, Y)
    assert search.best_params_ == {"lstmclassifier__units": 16}
    assert search.best_score_ > 0.75
    table = make_pipeline(StandardScaler(), LSTMRegressor(units=8, epochs=40, random_state=0))
    assert cross_val_score(table, X[:, :, 0], X[:, :, 0].sum(axis=1), cv=3).mean() > 0.6


def test_tables_are_sequences_of_one_feature() -> None:
    table = X[:, :, 0]
    one = LSTMClassifier(units=4, epochs=2, random_state=0).fit(table, Y)
    other = LSTMClassifier(units=4, epochs=2, random_state=0).fit(table[:, :, None], Y)
    np.testing.assert_array_equal(one.predict_proba(table), other.predict_proba(table[:, :, None]))
    assert (one.n_features_in_, other.n_features_in_) == (9, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.predict(X[:, :, :2]), ValueError, "X has 2 features, but LSTMClassifier is expecting 3"),
        (lambda m: m.predict(X[:, :, 0]), ValueError, r"X: expected 3 axes as in fit, got shape \(120, 9\)"),
        (lambda m: m.fit(X[:, :0], Y), ValueError, r"X: expected at least one step, got shape \(120, 0, 3\)"),
        (lambda m: m.fit(X, Y[1:]), ValueError, "inconsistent numbers of samples"),
        (lambda m: m.fit(np.full(X.shape, np.nan), Y), ValueError, "Input X contains NaN"),
        (lambda m: m.set_params(units=0).fit(X, Y), ValueError, "units: expected a positive integer"),
        (lambda m: m.set_params(units=[]).fit(X, Y), ValueError, "units: expected at least one number"),
        (lambda m: m.set_params(dropout=1).fit(X, Y), ValueError, "dropout: expected a number in"),
        (lambda m: m.set_params(optimizer="x").fit(X, Y), ValueError, "optimizer: expected one of"),
        (lambda m: m.set_params(optimizer=3).fit(X, Y), TypeError, "optimizer: expected a name, got int"),
        (lambda m: m.set_params(learning_rate=-1).fit(X, Y), ValueError, "learning_rate: expected a number"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    model = LSTMClassifier(units=2, epochs=1).fit(X, Y)
    with pytest.raises(error, match=message):
        call(model)


@pytest.mark.parametrize("estimator", [LSTMClassifier, LSTMRegressor])
@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"epochs": 2.5},
        {"dropout": 1.0},
        {"learning_rate": -1.0},
        {"optimizer": "none"},
        {"units": []},
        {"early_stopping": True, "validation_fraction": 2.0},
        {"early_stopping": True, "n_iter_no_change": 0},
        {"verbose": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_fit_that_fails_leaves_the_one_before(
    estimator: Any, wrong: dict[str, Any], warm_start: bool
) -> None:
    model = estimator(units=4, epochs=1, random_state=0, warm_start=warm_start).fit(X, Y)
    before, expected = dict(model.__dict__), model.predict(X)
    model.set_params(**wrong)
    try:
        model.fit(2 * X[:, :, :2], 3 * Y + 1)
    except (TypeError, ValueError):
        model.set_params(**{name: before[name] for name in wrong})
        assert model.__dict__ == before
        np.testing.assert_array_equal(model.predict(X), expected)
    else:
        # Scikit-learn takes numbers that are not used, as those of a network that is there already.
        assert warm_start


def test_padding_of_nan() -> None:
    """Whole steps of NaN are left out; a step with some NaN, and NaN without such padding, are refused."""
    padded, zeros = X.copy(), X.copy()
    padded[::2, 6:], zeros[::2, 6:] = np.nan, 0.0
    options: dict[str, Any] = {"units": 4, "epochs": 2, "random_state": 0}
    model = LSTMClassifier(padding_value=np.nan, **options).fit(padded, Y)
    same = LSTMClassifier(padding_value=0.0, **options).fit(zeros, Y)
    np.testing.assert_array_equal(model.predict_proba(padded), same.predict_proba(zeros))
    padded[1, 2, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"^X: expected steps whose features are all NaN or none, .* \(1, 2\)$"
    ):
        model.predict(padded)
    with pytest.raises(ValueError, match="NaN"):
        same.fit(padded, Y)
