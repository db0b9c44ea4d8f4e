"""Trainings from generators and datasets, with steps and weights of classes: Keras's numbers."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T, I, C, SIZE = 6, 3, 3, 5  # noqa: E741
RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(30, T, I)).astype("float32")
Y = RANDOM.integers(0, C, 30)
FACTORS = {0: 3.0, 2: 0.2}


def generator(batches: int) -> Iterator[Any]:
    for number in range(batches):
        start = number * SIZE % len(X)
        yield X[start : start + SIZE], Y[start : start + SIZE]


def dataset(package: Any) -> Any:
    """Return batches that change from epoch to epoch."""

    class Batches(package.utils.PyDataset):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.order = np.arange(len(X))
            self.drawn = np.random.default_rng(0)

        def __len__(self) -> int:
            return len(X) // SIZE

        def __getitem__(self, index: int) -> Any:
            rows = self.order[index * SIZE : (index + 1) * SIZE]
            return X[rows], Y[rows]

        def on_epoch_end(self) -> None:
            self.drawn.shuffle(self.order)

    return Batches()


def loader(_: Any) -> Any:
    torch: Any = pytest.importorskip("torch")
    data = torch.utils.data
    return data.DataLoader(data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=SIZE)


def plateau(package: Any) -> Any:
    """Return a schedule that takes each epoch after the first for a plateau."""
    return package.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=9.0, min_lr=1e-3)


# What `fit` is called with, by the package.
CASES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "generator": lambda _: {"x": generator(18), "epochs": 3, "steps_per_epoch": 6},
    "generator and its validation": lambda _: {
        "x": generator(8),
        "epochs": 2,
        "steps_per_epoch": 4,
        "validation_data": generator(5),
        "validation_steps": 5,
        "validation_freq": 2,
    },
    "dataset": lambda package: {"x": dataset(package), "epochs": 3, "validation_data": dataset(package)},
    "dataset by steps": lambda package: {"x": dataset(package), "epochs": 4, "steps_per_epoch": 4},
    "classes of a dataset": lambda package: {
        "x": dataset(package),
        "epochs": 3,
        "class_weight": FACTORS,
        "callbacks": [plateau(package)],
    },
    "classes of arrays": lambda _: {
        "x": X,
        "y": Y,
        "batch_size": 7,
        "epochs": 3,
        "class_weight": FACTORS,
        "validation_split": 0.3,
    },
    "arrays by steps": lambda _: {
        "x": X,
        "y": Y,
        "epochs": 5,
        "steps_per_epoch": 4,
        "validation_data": (X, Y),
        "validation_steps": 2,
        "validation_batch_size": 4,
        "validation_freq": [1, 3],
    },
    "loader": lambda package: {"x": loader(package), "epochs": 2, "validation_data": loader(package)},
}


def models(keras: Any, loss: str = "sparse_categorical_crossentropy") -> tuple[Any, Any]:
    """Return two models with the same weights, of Keras and of this package."""
    made = []
    for package in (keras, fusedlstm):
        layers = package.layers
        model = package.Sequential(
            [layers.Input((T, I)), layers.LSTM(5), layers.Dense(C, activation="softmax")]
        )
        model.compile(package.optimizers.Adam(0.02), loss, metrics=["accuracy"])
        made.append(model)
    theirs, ours = made
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def assert_alike(theirs: Any, ours: Any, histories: list[Any]) -> None:
    for one, other in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        assert np.allclose(one, other, atol=1e-5)
    expected, found = (history.history for history in histories)
    assert set(expected) == set(found)
    for key, values in expected.items():
        assert np.allclose(values, found[key], rtol=1e-5, atol=1e-6), key


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_training(keras: Any, name: str) -> None:
    theirs, ours = models(keras)
    histories = [
        model.fit(**CASES[name](package), shuffle=False, verbose=0)
        for model, package in ((theirs, keras), (ours, fusedlstm))
    ]
    assert_alike(theirs, ours, histories)


@pytest.mark.filterwarnings("ignore")
def test_classes_of_a_generator_which_keras_takes_from_datasets_only(keras: Any) -> None:
    theirs, ours = models(keras)
    options = {"class_weight": FACTORS, "shuffle": False, "verbose": 0}

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            return X[index * SIZE : (index + 1) * SIZE], Y[index * SIZE : (index + 1) * SIZE]

    histories = [
        theirs.fit(Batches(), epochs=3, **options),
        ours.fit(generator(18), epochs=3, steps_per_epoch=6, **options),
    ]
    assert_alike(theirs, ours, histories)


@pytest.mark.filterwarnings("ignore")
def test_classes_of_one_hot_rows(keras: Any) -> None:
    both = models(keras, "categorical_crossentropy")
    rows = np.eye(C, dtype="float32")[Y]
    histories = [model.fit(X, rows, class_weight=FACTORS, shuffle=False, verbose=0) for model in both]
    assert_alike(*both, histories)
    expected, found = (model.train_on_batch(X, rows, class_weight=FACTORS) for model in both)
    assert np.allclose(expected, found, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_evaluation_and_prediction(keras: Any) -> None:
    theirs, ours = models(keras)
    for make, options in (
        (lambda _: generator(4), {}),
        (lambda _: generator(9), {"steps": 4}),
        (dataset, {}),
        (loader, {"steps": 2}),
    ):
        expected, found = (
            model.evaluate(make(package), verbose=0, **options)
            for model, package in ((theirs, keras), (ours, fusedlstm))
        )
        assert np.allclose(expected, found, rtol=1e-5)
        one, other = (
            model.predict(make(package), verbose=0, **options)
            for model, package in ((theirs, keras), (ours, fusedlstm))
        )
        assert np.allclose(one, other, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_arguments_have_the_places_that_they_have_in_keras(keras: Any) -> None:
    for name in ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"):
        ours, theirs = (
            [
                parameter.name
                for parameter in inspect.signature(getattr(package.Model, name)).parameters.values()
                if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            ]
            for package in (fusedlstm, keras)
        )
        assert ours == theirs, name
