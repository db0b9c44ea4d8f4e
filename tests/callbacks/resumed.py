"""Trainings of many kinds, for tests that interrupt them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import fusedlstm
from fusedlstm import callbacks, layers, metrics, optimizers, utils

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

N, T, F = 26, 4, 3
X = np.random.default_rng(0).normal(size=(N, T, F)).astype("float32")
Y = X.sum((1, 2), keepdims=True)[:, 0]
CLASSES = np.arange(N) % 3


def regression(*first: Any, optimizer: Any = "adam", **options: Any) -> fusedlstm.Sequential:
    inner = [*(first or [layers.LSTM(3, dropout=0.2)]), layers.Dropout(0.2), layers.Dense(1)]
    for number, layer in enumerate(inner):
        layer.name = str(number)  # not one that counts up
    model = fusedlstm.Sequential([layers.Input((T, F), name="x"), *inner], name="model")
    model.compile(optimizer, "mse", **options)
    return model


def classification(**options: Any) -> fusedlstm.Sequential:
    model = fusedlstm.Sequential(
        [layers.Input((T, F)), layers.LSTM(3, recurrent_dropout=0.2), layers.Dense(3, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def two_outputs() -> fusedlstm.Model:
    x = fusedlstm.Input((T, F), name="x")
    h = layers.LSTM(4, dropout=0.1)(x)
    model = fusedlstm.Model(
        x, [layers.Dense(1, name="a")(h), layers.Dense(3, activation="softmax", name="b")(h)]
    )
    model.compile(
        "sgd",
        ["mse", "sparse_categorical_crossentropy"],
        loss_weights=[0.5, 1.0],
        metrics=[["mae"], ["accuracy"]],
        weighted_metrics=[["mae"], []],
    )
    return model


class Shuffled(utils.PyDataset):
    """A dataset with an order of its own, and with noise of NumPy's generator."""

    def __init__(self, seed: int = 3, noise: float = 0.0) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.order = np.arange(N)
        self.noise = noise

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        rows = self.order[index * 7 : index * 7 + 7]
        x = X[rows]
        if self.noise:
            x = x + self.noise * np.random.normal(size=x.shape).astype("float32")  # noqa: NPY002
        return x, Y[rows]

    def on_epoch_end(self) -> None:
        self.random.shuffle(self.order)


class ByNumpy(Shuffled):
    """A dataset whose order and noise come from NumPy's generator, one between the other."""

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)  # noqa: NPY002


class Noisy(Shuffled):
    """A dataset that draws from its generator for each batch, and says where that is."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + self.random.normal(size=x.shape).astype("float32"), y

    def get_state(self) -> Any:
        return {"random": self.random.bit_generator.state, "order": self.order}

    def set_state(self, state: Any) -> None:
        self.random.bit_generator.state = state["random"]
        self.order = state["order"]


def endless(seed: int = 0) -> Iterator[Any]:
    random = np.random.default_rng(seed)
    while True:
        rows = random.integers(0, N, 6)
        yield X[rows], Y[rows]


class Loader:
    """Yields batches of a new order in each pass, as PyTorch's loaders do."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(1)

    def __iter__(self) -> Iterator[Any]:
        order = self.random.permutation(N)
        for start in range(0, N, 8):
            yield X[order[start : start + 8]], Y[order[start : start + 8]]


class Losses(callbacks.Callback):
    """A callback of a user, which keeps all that it saw, and changes the model by that."""

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self.seen: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.begun = epoch
        rate: Any = self.model.optimizer.learning_rate  # type: ignore[union-attr]
        rate.assign(float(rate) * 0.9)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.seen.append(logs["loss"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert self.begun == epoch
        logs["total"] = sum(self.seen)

    def get_state(self) -> Any:
        return {"seen": self.seen} if hasattr(self, "seen") else {}

    def set_state(self, state: Any) -> None:
        self.seen = state["seen"]


class Resetting(callbacks.Callback):
    """Lets a stateful model start from zeros in each epoch, and freezes a layer in the second one."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        model: Any = self.model
        model.layers[0].reset_state()
        model.layers[-1].trainable = epoch != 1


class Counted(metrics.Metric):
    """A metric of a user, with sums of its own, and another metric inside."""

    def __init__(self) -> None:
        super().__init__("counted")
        self.inner = metrics.MeanAbsoluteError()
        self.batches = [0]

    def reset_state(self) -> None:
        super().reset_state()
        self.batches = [0]
        self.inner.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.batches.append(self.batches[-1] + 1)
        self.inner.update_state(y_true, y_pred, sample_weight)

    def check(self, y_true: Any, shape: Any) -> None:
        pass

    def result(self) -> Any:
        return self.inner.result() * self.batches[-1]


ARRAYS: dict[str, Any] = {"x": X, "y": Y, "batch_size": 8, "epochs": 3}
CLASSED: dict[str, Any] = {**ARRAYS, "y": CLASSES}
EVEN: dict[str, Any] = {**ARRAYS, "x": X[:24], "y": Y[:24]}


def watching(folder: Path) -> list[callbacks.Callback]:
    return [
        callbacks.EarlyStopping("val_loss", min_delta=0.5, patience=1, restore_best_weights=True),
        callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=10.0),
        callbacks.ModelCheckpoint(
            folder / "{epoch}-{batch}.safetensors", "loss", save_freq=3, save_best_only=True
        ),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.TerminateOnNaN(),
    ]


# Model, arguments, callbacks by the folder of their files.
Case = tuple[
    "Callable[[], Any]", "Callable[[], dict[str, Any]]", "Callable[[Path], list[callbacks.Callback]]"
]


def none(_: Path) -> list[callbacks.Callback]:
    return []


CASES: dict[str, Case] = {
    "arrays": (regression, lambda: {**ARRAYS, "validation_split": 0.2}, none),
    "no shuffle": (regression, lambda: {**ARRAYS, "shuffle": False}, none),
    "stateful": (
        lambda: regression(layers.LSTM(3, stateful=True, zoneout_h=0.1), layers.GaussianNoise(0.1)),
        lambda: EVEN,
        lambda _: [Resetting()],
    ),
    "stateful stack": (
        lambda: regression(layers.StackedLSTM(3, 2, stateful=True, between_dropout=0.2)),
        lambda: {**EVEN, "validation_data": (X[:8], Y[:8])},
        none,
    ),
    "class weights": (
        lambda: classification(metrics=["accuracy"], weighted_metrics=["accuracy"]),
        lambda: {**CLASSED, "class_weight": {0: 2.0, 2: 0.25}},
        none,
    ),
    "sample weights": (
        lambda: classification(weighted_metrics=["accuracy"]),
        lambda: {**CLASSED, "sample_weight": np.linspace(0, 2, N)},
        none,
    ),
    "metrics": (
        lambda: regression(metrics=["mae", "r2_score", "cosine_similarity", Counted()]),
        lambda: ARRAYS,
        none,
    ),
    "steps": (
        regression,
        lambda: {**ARRAYS, "steps_per_epoch": 3, "validation_data": (X, Y), "validation_steps": 2},
        none,
    ),
    "validation at times": (
        regression,
        lambda: {**ARRAYS, "validation_data": (X, Y), "validation_freq": [1, 3]},
        none,
    ),
    "two outputs": (
        two_outputs,
        lambda: {**ARRAYS, "y": [Y, CLASSES], "sample_weight": [np.linspace(0, 2, N), np.ones(N)]},
        none,
    ),
    "initial epoch": (regression, lambda: {**ARRAYS, "initial_epoch": 1, "epochs": 4}, none),
    "accumulation": (
        regression,
        lambda: {**ARRAYS, "batch_size": 3, "gradient_accumulation_steps": 2, "epochs": 2},
        none,
    ),
    "averages": (
        lambda: regression(optimizer=optimizers.Nadam(0.01, use_ema=True, ema_momentum=0.5, clipnorm=1.0)),
        lambda: ARRAYS,
        none,
    ),
    "schedule": (
        lambda: regression(
            optimizer=optimizers.AdamW(optimizers.schedules.ExponentialDecay(1e-2, 3, 0.5), amsgrad=True)
        ),
        lambda: ARRAYS,
        none,
    ),
    "callbacks": (regression, lambda: {**ARRAYS, "epochs": 4, "validation_data": (X, Y)}, watching),
    "rates": (
        regression,
        lambda: ARRAYS,
        lambda _: [callbacks.LearningRateScheduler(lambda _, rate: rate * 0.7)],
    ),
    "of a user": (regression, lambda: ARRAYS, lambda _: [Losses()]),
    "dataset": (regression, lambda: {"x": Shuffled(), "validation_data": Shuffled(4), "epochs": 3}, none),
    "dataset with steps": (regression, lambda: {"x": Shuffled(), "steps_per_epoch": 3, "epochs": 3}, none),
    "dataset with noise": (regression, lambda: {"x": Shuffled(noise=0.5), "epochs": 3}, none),
    "dataset by NumPy": (regression, lambda: {"x": ByNumpy(noise=0.5), "epochs": 3}, none),
    "dataset with a state": (regression, lambda: {"x": Noisy(), "epochs": 3}, none),
    "generator": (
        regression,
        lambda: {
            "x": endless(),
            "steps_per_epoch": 3,
            "epochs": 3,
            "validation_data": endless(1),
            "validation_steps": 2,
        },
        none,
    ),
    "loader": (
        regression,
        lambda: {"x": Loader(), "epochs": 3, "validation_data": Loader(), "validation_steps": 2},
        none,
    ),
    "loader with steps": (
        regression,
        lambda: {"x": Loader(), "epochs": 3, "steps_per_epoch": 3, "gradient_accumulation_steps": 1},
        none,
    ),
}


def run(name: str, folder: Path, *hooks: callbacks.Callback, seed: int = 0) -> fusedlstm.Model:
    """Make a training's model and data as a new process would, train, and return the model."""
    utils.set_random_seed(seed)
    make, arguments, own = CASES[name]
    model: fusedlstm.Model = make()
    folder.mkdir(exist_ok=True)
    model.fit(**arguments(), verbose=0, callbacks=[*own(folder), *hooks])
    return model


def everything(model: fusedlstm.Model) -> dict[str, Any]:
    """Return all that a training has moved, by names, as bytes and texts that `==` compares bit by bit."""
    from fusedlstm.models.states import get_flags, get_states

    assert model.optimizer is not None
    assert model.history is not None
    found: dict[str, Any] = {f"weight {n}": w.tobytes() for n, w in enumerate(model.get_weights())}
    found.update(
        {f"slot {n}": value.tobytes() for n, value in enumerate(model.optimizer.get_state().values())}
    )
    found.update({f"state {place}": value.tobytes() for place, value in get_states(model).items()})
    found["seeds"] = [seeds.state for seeds in model.seed_generators]
    found["rate"] = float(model.optimizer.learning_rate)
    found["flags"] = get_flags(model)
    found["history"] = repr(model.history.history)
    found["epochs"] = model.history.epoch
    found["next draws"] = (utils.SeedGenerator().next(), np.random.random())  # noqa: NPY002
    return found
