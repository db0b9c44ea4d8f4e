"""Trainings of many kinds, which ranks share, and what they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fusedlstm
from fusedlstm import Input, callbacks, constraints, layers, losses, metrics, optimizers, utils

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N, T, F, H = 22, 5, 3, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(N, T, F))
PADDED = np.where(np.arange(T) < RANDOM.integers(0, T + 1, N)[:, None], 1.0, 0.0)[..., None] * X
IDS = RANDOM.integers(0, 7, (N, T))
CLASSES = RANDOM.integers(0, 3, N)
STEPS = RANDOM.normal(size=(N, T, 2))
WEIGHTS = RANDOM.uniform(0, 2, N)
SPARSE = "sparse_categorical_crossentropy"


class Case(NamedTuple):
    """A model, and the arguments that `fit` gets, made anew for each rank."""

    model: Callable[[], Any]
    data: Callable[[], dict[str, Any]]


def compiled(model: Any, loss: Any, optimizer: Any = "adam", **options: Any) -> Any:
    model.compile(optimizer, loss, **options)
    return model


def classifier(*more: Any, optimizer: Any = "adam", **options: Any) -> Any:
    stack = [Input((None, F)), *(more or [layers.LSTM(H)]), layers.Dense(3, "softmax")]
    return compiled(fusedlstm.Sequential(stack), SPARSE, optimizer, **{"metrics": ["accuracy"], **options})


def dropping() -> Any:
    return classifier(
        layers.LSTM(H, dropout=0.3, recurrent_dropout=0.2, zoneout_h=0.1, return_sequences=True),
        layers.GaussianNoise(0.1),
        layers.StackedLSTM(H, 2, between_dropout=0.5),
        layers.Dropout(0.5),
    )


def masked(loss: Any = "mse", optimizer: Any = "adam") -> Any:
    lstm = layers.LSTM(H, return_sequences=True, kernel_regularizer="l2")
    stack = [Input((None, F)), layers.Masking(), lstm, layers.Dense(2, bias_regularizer="l1")]
    measures: Any = {"metrics": ["mae", metrics.RootMeanSquaredError()], "weighted_metrics": ["mae"]}
    return compiled(fusedlstm.Sequential(stack), loss, optimizer, **measures)


def penalized() -> Any:
    lstm = layers.LSTM(H, activity_regularizer="l2", recurrent_constraint=constraints.MaxNorm(0.5))
    return classifier(
        lstm, layers.Dense(3, activity_regularizer="l1"), optimizer=optimizers.SGD(0.1, clipvalue=0.01)
    )


def shared() -> Any:
    """Return a model with a layer that is called twice, a frozen one, and two outputs."""
    a, b = Input((T, F), name="a"), Input((T, F), name="b")
    encoder = layers.Bidirectional(layers.LSTM(H))
    both = layers.concatenate([encoder(a), encoder(b)])
    frozen = layers.Dense(5, trainable=False)(both)
    outputs = [layers.Dense(1, name="p")(both), layers.Dense(3, "softmax", name="q")(frozen)]
    model = fusedlstm.Model([a, b], outputs)
    return compiled(
        model, ["mse", SPARSE], "rmsprop", loss_weights=[0.3, 1.0], metrics=[["mae"], ["accuracy"]]
    )


def measured() -> Any:
    """Return a model with metrics of all kinds."""
    model = fusedlstm.Sequential([Input((T, F)), layers.LSTM(H), layers.Dense(3, "sigmoid")])
    found = [metrics.AUC(name="a"), metrics.AUC(multi_label=True, name="b"), metrics.F1Score("macro")]
    more = [
        metrics.Precision(name="p"),
        metrics.R2Score(),
        metrics.CategoricalAccuracy(),
        metrics.BinaryCrossentropy(),
    ]
    return compiled(model, "binary_crossentropy", "adam", metrics=[*found, *more])


def reader() -> Any:
    stack = [Input((T,)), layers.Embedding(7, F, mask_zero=True), layers.LSTM(H), layers.Dense(1)]
    return compiled(fusedlstm.Sequential(stack), "mse", optimizers.Lion(0.01))


class Batches(utils.PyDataset):
    """Batches of several sizes, one of which has fewer samples than there are shards."""

    ends = (0, 9, 14, 17, 22)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        rows = slice(*self.ends[index : index + 2])
        return X[rows], CLASSES[rows], WEIGHTS[rows]


def endless() -> Iterator[Any]:
    random = np.random.default_rng(0)
    while True:
        rows = random.integers(0, N, 9)
        yield X[rows], CLASSES[rows]


class Rate(callbacks.Callback):
    """A user's, which changes weights, and ends a training, from its logs."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        model: Any = self.model
        if batch == 1:
            model.layers[-1].set_weights(
                [w * np.float32(logs["loss"]) for w in model.layers[-1].get_weights()]
            )
        model.stop_training = model.optimizer.iterations == 5

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        model: Any = self.model
        model.predict(X[:5], verbose=0)  # on rank 0 alone


def plain(**more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"x": X, "y": CLASSES, "batch_size": 9, "epochs": 2, **more}


def watched() -> dict[str, Any]:
    stops = callbacks.EarlyStopping("val_loss", patience=1, min_delta=10, restore_best_weights=True)
    falls = callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10)
    found = [falls, callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1)), stops]
    return {**plain(epochs=6, validation_split=0.3)(), "callbacks": found}


def masked_data(**more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"x": PADDED, "y": STEPS, "batch_size": 9, "epochs": 2, **more}


def weighing() -> Any:
    return classifier(optimizer=optimizers.Adam(clipnorm=0.1))


CASES: dict[str, Case] = {
    "classes": Case(classifier, plain()),
    "random": Case(dropping, plain()),
    "options": Case(lambda: classifier(layers.LSTM(H, coupled=True, cell_clip=0.5, use_bias=False)), plain()),
    "two directions": Case(lambda: classifier(layers.Bidirectional(layers.LSTM(H, dropout=0.3))), plain()),
    "peepholes": Case(lambda: classifier(layers.LSTM(H, use_peepholes=True, layer_norm=True)), plain()),
    "weights": Case(
        lambda: classifier(optimizer=optimizers.Adam(clipnorm=0.1)), plain(sample_weight=WEIGHTS)
    ),
    "classes' weights": Case(classifier, plain(class_weight={0: 2.0, 2: 0.5})),
    "global norm": Case(lambda: classifier(optimizer=optimizers.RMSprop(global_clipnorm=0.05)), plain()),
    "penalties": Case(penalized, plain()),
    "averages": Case(lambda: classifier(optimizer=optimizers.AdamW(use_ema=True)), plain()),
    "schedule": Case(
        lambda: classifier(optimizer=optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 5), momentum=0.9)),
        plain(),
    ),
    "masks": Case(masked, masked_data()),
    "masks and weights": Case(lambda: masked("mae"), masked_data(sample_weight=WEIGHTS)),
    "weights of steps": Case(masked, masked_data(sample_weight=RANDOM.uniform(0, 2, (N, T)))),
    "sums": Case(lambda: masked(losses.MeanSquaredError("sum"), "sgd"), masked_data()),
    "shared layer": Case(
        shared, lambda: {"x": [X, PADDED], "y": [STEPS[:, 0, :1], CLASSES], "batch_size": 9, "epochs": 2}
    ),
    "metrics": Case(
        measured, lambda: {**plain()(), "y": np.eye(3)[CLASSES], "validation_data": (X, np.eye(3)[CLASSES])}
    ),
    "ids": Case(reader, lambda: {"x": IDS, "y": STEPS[:, 0, 0], "batch_size": 9, "epochs": 2}),
    "several batches": Case(dropping, plain(batch_size=3, gradient_accumulation_steps=4)),
    "masks of several batches": Case(masked, masked_data(batch_size=3, gradient_accumulation_steps=4)),
    "dataset": Case(classifier, lambda: {"x": Batches(), "epochs": 2}),
    "generator": Case(dropping, lambda: {"x": endless(), "steps_per_epoch": 3, "epochs": 2}),
    "steps": Case(classifier, plain(steps_per_epoch=1, epochs=5)),
    "single samples": Case(classifier, plain(batch_size=8, epochs=1)),
    "callbacks": Case(dropping, watched),
    "a user's callback": Case(classifier, lambda: {**plain(epochs=4)(), "callbacks": Rate()}),
}


def made(case: str) -> Any:
    utils.set_random_seed(2)
    return CASES[case].model()


def left(model: Any, history: Any) -> dict[str, Any]:
    """Return all that a training leaves, as bytes and numbers."""
    optimizer = model.optimizer
    return {
        "weights": [w.tobytes() for w in model.get_weights()],
        "optimizer": [value.tobytes() for value in optimizer.get_state().values()],
        "rate": float(optimizer.learning_rate),
        "seeds": [seeds.state for seeds in model.seed_generators],
        "history": (history.epoch, history.history),
    }


def train(model: Any, case: str, communicator: Any, **options: Any) -> dict[str, Any]:
    model.distribute(communicator, **options)
    return left(model, model.fit(verbose=0, **CASES[case].data()))
