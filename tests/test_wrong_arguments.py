"""Wrong arguments of models: each is an error before any work, and changes nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, layers, losses, metrics, optimizers

if TYPE_CHECKING:
    from collections.abc import Callable

N, T, I, C = 10, 3, 2, 4  # noqa: E741
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(N, T, I)).astype(np.float32)
Y = RANDOM.integers(0, C, N)
ONE_HOT = np.eye(C)[Y]


class Odd(metrics.Metric):
    """A metric of the user's, which takes labels of another shape."""

    def values(self, y_true: Any, y_pred: Any) -> Any:
        if y_true.shape != y_pred.shape:
            raise ValueError("y_true: expected one-hot rows")
        return y_true[..., 0]


def make(stateful: bool = False, loss: Any = "sparse_categorical_crossentropy", **options: Any) -> Any:
    model = fusedlstm.Sequential(
        [
            layers.Input((T, I)),
            layers.Dropout(0.3),
            layers.LSTM(5, dropout=0.2, recurrent_dropout=0.2, stateful=stateful, return_sequences=True),
            layers.Bidirectional(layers.LSTM(3, stateful=stateful)),
            layers.Dense(C, activation="softmax"),
        ]
    )
    model.compile(optimizers.Adam(0.1, global_clipnorm=1.0), loss, **options)
    return model


def states_of(layer: Any) -> list[Any]:
    own = getattr(layer, "_last_states", None)
    return [*(own or ()), *(state for inner in layer._layers for state in states_of(inner))]


def everything(model: Any) -> list[bytes]:
    """All that a call could have changed."""
    states = [state for layer in model.layers for state in states_of(layer)]
    arrays = [*model.get_weights(), *states, *model.optimizer.get_state().values()]
    seeds = [repr(generator.state).encode() for generator in model.seed_generators]
    kept = [repr((model.optimizer.variables == [], model.built, model.input_shape)).encode()]
    return [np.asarray(array).tobytes() for array in arrays] + seeds + kept


def check(model: Any, call: Callable[[], object], match: str) -> None:
    before = everything(model)
    with pytest.raises((TypeError, ValueError), match=match):
        call()
    assert everything(model) == before


NAN = np.full(N, np.nan)
FITS: dict[str, tuple[dict[str, Any], str]] = {
    "x of other features": ({"x": X[..., :1]}, r"^x: expected shape"),
    "x empty": ({"x": X[:0], "y": Y[:0]}, r"^x: expected at least one sample"),
    "x complex": ({"x": X.astype(complex)}, r"^x: expected an array of real numbers"),
    "x object": ({"x": X.astype(object)}, r"^x: expected an array of real numbers"),
    "x structured": ({"x": np.zeros((N, T, I), [("a", "f4")])}, r"^x: expected an array of real numbers"),
    "x text": ({"x": "text"}, r"^x: expected an array of real numbers"),
    "x ragged": ({"x": [[1.0], [1.0, 2.0]]}, r"^x: expected an array of numbers"),
    "x with a mask of NumPy's": (
        {"x": np.ma.masked_less(X, 0)},
        r"^x: expected an array without NumPy's masks",
    ),
    "x a number": ({"x": np.float32(1)}, r"^x: expected at least one sample"),
    "x missing": ({"x": None}, r"^x: expected an array, got None"),
    "y missing": ({"y": None}, r"^y: expected an array, got None"),
    "y too short": ({"y": Y[:-1]}, r"^y: expected 10 entries"),
    "y too large": ({"y": Y + C}, r"^y: expected whole class numbers"),
    "y negative at the end": ({"y": np.append(Y[:-1], -1)}, r"^y: expected whole class numbers"),
    "y broken": ({"y": Y + 0.5}, r"^y: expected whole class numbers"),
    "y NaN": ({"y": NAN}, r"^y: expected finite numbers"),
    "y one-hot": ({"y": ONE_HOT}, r"^y: expected class numbers of shape"),
    "y complex": ({"y": Y.astype(complex)}, r"^y: expected an array of real numbers"),
    "weights too short": ({"sample_weight": np.ones(N - 1)}, r"^sample_weight: expected shape"),
    "weights NaN": ({"sample_weight": NAN}, r"^sample_weight: expected finite"),
    "weights text": ({"sample_weight": ["a"] * N}, r"^sample_weight: expected an array of real"),
    "batch size 0": ({"batch_size": 0}, r"^batch_size: expected a positive integer"),
    "batch size broken": ({"batch_size": 2.5}, r"^batch_size: expected a positive integer"),
    "batch size bool": ({"batch_size": True}, r"^batch_size: expected a positive integer"),
    "batch size huge": ({"batch_size": 2**70}, r"^batch_size: expected a positive integer below 2\^63"),
    "epochs": ({"epochs": -1}, r"^epochs: expected a positive integer"),
    "initial epoch": ({"initial_epoch": 0.5}, r"^initial_epoch: expected an integer"),
    "verbose": ({"verbose": 3}, r"^verbose: expected"),
    "callbacks a number": (
        {"callbacks": 3},
        r"^callbacks: expected Callback objects or lists .*, got 3",
    ),
    "callbacks of others": ({"callbacks": [object()]}, r"^callbacks: expected Callback objects"),
    "a callback's class": (
        {"callbacks": [callbacks.TerminateOnNaN]},
        r"^callbacks: expected Callback objects",
    ),
    "shuffle": ({"shuffle": "batch"}, r"^shuffle: expected True or False"),
    "split all": ({"validation_split": 1.0}, r"^validation_split: expected a number"),
    "split none": ({"validation_split": 0.95}, r"^validation_split: expected a share"),
    "split NaN": ({"validation_split": np.nan}, r"^validation_split: expected a finite"),
    "validation alone": ({"validation_data": X}, r"^validation_data: expected \(x, y\)"),
    "validation of 4": ({"validation_data": (X, Y, None, None)}, r"^validation_data: expected \(x, y\)"),
    "validation x": ({"validation_data": (X[:, 1:], Y)}, r"^validation_data x: expected shape"),
    "validation y": ({"validation_data": (X, Y + C)}, r"^validation_data y: expected whole class numbers"),
    "validation weights": (
        {"validation_data": (X, Y, np.ones(3))},
        r"^validation_data sample_weight: expected",
    ),
    "validation batch": (
        {"validation_data": (X, Y), "validation_batch_size": 0},
        r"^validation_batch_size: expected a positive integer",
    ),
}


@pytest.mark.parametrize(
    ("case", "built"),
    # A new model takes inputs of any number of features.
    [(case, built) for case in FITS for built in (True, False) if built or case != "x of other features"],
)
def test_fit(case: str, built: bool) -> None:
    wrong, match = FITS[case]
    model = make()
    if not built:
        model = fusedlstm.Sequential([layers.LSTM(4, dropout=0.5), layers.Dense(C, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
    arguments: dict[str, Any] = {"x": X, "y": Y, "batch_size": 4, "verbose": 0, **wrong}
    check(model, lambda: model.fit(**arguments), match)


@pytest.mark.parametrize("case", [name for name in FITS if name[:2] in ("x ", "y ", "we")])
@pytest.mark.parametrize("method", ["evaluate", "train_on_batch", "test_on_batch"])
def test_evaluation_and_single_batches(method: str, case: str) -> None:
    wrong, match = FITS[case]
    model = make()
    check(model, lambda: getattr(model, method)(**{"x": X, "y": Y, **wrong}), match)


@pytest.mark.parametrize(
    ("labels", "loss", "metric"),
    [
        (Y, "sparse_categorical_crossentropy", "categorical_accuracy"),
        (Y, "sparse_categorical_crossentropy", "mean_squared_error"),
        (Y, "sparse_categorical_crossentropy", Odd()),
        (ONE_HOT, "categorical_crossentropy", "sparse_categorical_accuracy"),
        (ONE_HOT * 2, losses.MeanSquaredError(), metrics.MeanMetric("binary_crossentropy")),
    ],
)
def test_metrics_that_do_not_fit_the_labels(labels: Any, loss: Any, metric: Any) -> None:
    model = make(loss=loss, metrics=[metric])
    check(model, lambda: model.fit(X, labels, verbose=0), r"^metrics: \w+ does not fit y: y_true: expected ")


STATEFUL: dict[str, tuple[dict[str, Any], str]] = {
    "smaller last batch": (
        {"batch_size": 4},
        r"^x: expected whole batches of 4 samples, as lstm\w* is stateful",
    ),
    "validation of another size": (
        {"batch_size": 5, "validation_data": (X[:4], Y[:4])},
        r"^validation_data: expected 5 samples like the batch before, .*, got 4",
    ),
    "smaller last batch of the validation": (
        {"batch_size": 5, "validation_data": (X[:7], Y[:7])},
        r"^validation_data: expected whole batches of 5 samples",
    ),
    "split": ({"batch_size": 4, "validation_split": 0.2}, r"^validation_data: expected 4 samples .*, got 2"),
}


@pytest.mark.parametrize("case", STATEFUL)
def test_batches_of_stateful_layers(case: str) -> None:
    """The first of them is known before the first update, not at the end of the epoch."""
    wrong, match = STATEFUL[case]
    model = make(stateful=True)
    check(model, lambda: model.fit(X, Y, verbose=0, **wrong), match)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "train_on_batch", "predict_on_batch"])
def test_batches_after_others(method: str) -> None:
    """States of five samples are there; four or a smaller last batch come."""
    model = make(stateful=True)
    model.fit(X, Y, batch_size=5, verbose=0)
    given = (X[:4],) if method.startswith("predict") else (X[:4], Y[:4])
    check(model, lambda: getattr(model, method)(*given), r"^x: expected 5 samples like the batch before")
    if "batch" not in method:
        more = (X[:7],) if method == "predict" else (X[:7], Y[:7])
        call = getattr(model, method)
        check(model, lambda: call(*more, batch_size=5), r"^x: expected whole batches of 5 samples")
    for layer in model.layers[1:3]:
        layer.reset_state()
    getattr(model, method)(*given)


def test_callbacks_may_reset_states() -> None:
    """Then the validation may have batches of its own size, and an epoch may not end with a smaller one."""
    model = make(stateful=True)

    def reset(*_: Any) -> None:
        for layer in model.layers[1:3]:
            layer.reset_state()

    class Reset(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            del epoch, logs
            reset()

        def on_test_begin(self, logs: Any = None) -> None:
            del logs
            reset()

    model.fit(X, Y, 5, 2, 0, [Reset()], validation_data=(X[:8], Y[:8]), validation_batch_size=4)
    check(
        model, lambda: model.fit(X, Y, 4, verbose=0, callbacks=[Reset()]), r"^x: expected whole batches of 4"
    )


def test_unbuilt_models_stay_so() -> None:
    """A validation that does not fit the training data is known before weights are made."""
    model = fusedlstm.Sequential([layers.LSTM(4), layers.Dense(C, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    check(
        model,
        lambda: model.fit(X, Y, verbose=0, validation_data=(X[..., :1], Y)),
        r"^validation_data x: expected shape \(None, 3, 2\), got \(10, 3, 1\)",
    )
    assert not model.built
