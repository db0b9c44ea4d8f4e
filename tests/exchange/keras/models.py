"""Models that Keras and this package make from the same lines, with data and losses to compare them by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = np.random.default_rng(7)
N, T, I = 6, 5, 4  # noqa: E741
X = RANDOM.normal(size=(N, T, I)).astype("float32")
PADDED = np.where(RANDOM.random((N, T, 1)) < 0.3, 0, X).astype("float32")
IDS = RANDOM.integers(0, 9, (N, T))
IDS[:, 0] = 3  # In Keras, a row of padding only has NaN for a mean.
VECTORS = RANDOM.normal(size=(N, 2)).astype("float32")
SEQUENCES = RANDOM.normal(size=(N, T, 2)).astype("float32")
CLASSES = RANDOM.integers(0, 3, (N, T))


@dataclass(frozen=True)
class Case:
    """A model and what it is trained with.

    Parameters
    ----------
    build : callable
        Called with Keras, or with this package in its place.
    x, y, weights : array
        Inputs, labels and weights of the samples.
    loss : str
        Name of the loss.
    metrics : tuple of str
        Names of metrics.
    steps : int
        Updates to compare; 0 where training is random.
    file : bool
        Whether what Keras makes of it is in ``tests/fixtures``.
    """

    build: Callable[[Any], Any]
    x: Any
    y: Any
    loss: str = "mean_squared_error"
    metrics: tuple[str, ...] = ()
    weights: Any = None
    steps: int = 2
    file: bool = False

    def results(self, model: Any, k: Any) -> dict[str, Any]:
        """Predict, evaluate and train."""
        model.compile(optimizer=k.optimizers.SGD(0.3), loss=self.loss, metrics=list(self.metrics))
        results = {"output": model.predict(self.x, verbose=0)}
        given = {"sample_weight": self.weights, "verbose": 0}
        results["evaluated"] = np.atleast_1d(model.evaluate(self.x, self.y, **given))
        if self.steps:
            given.update(batch_size=N, epochs=self.steps, shuffle=False)
            # The loss only: metrics of Keras on JAX lose the mask in training, though not in evaluation.
            results["losses"] = np.array(model.fit(self.x, self.y, **given).history["loss"])
        results.update({f"weights/{i:02}": value for i, value in enumerate(model.get_weights())})
        return results


def text(k: Any) -> Any:
    """Tag each word of a padded sentence."""
    return k.Sequential(
        [
            k.Input((T,)),
            k.layers.Embedding(
                9,
                4,
                mask_zero=True,
                embeddings_regularizer="l2",
                embeddings_constraint=k.constraints.MaxNorm(0.05, axis=1),
            ),
            k.layers.Bidirectional(
                k.layers.LSTM(
                    3,
                    return_sequences=True,
                    kernel_regularizer="l1",
                    recurrent_regularizer=k.regularizers.L2(0.02),
                    recurrent_constraint="unit_norm",
                )
            ),
            k.layers.LayerNormalization(gamma_regularizer="l2", beta_initializer="random_normal"),
            k.layers.TimeDistributed(
                k.layers.Dense(3, activation="softmax", kernel_regularizer=k.regularizers.L1L2(0.01, 0.02))
            ),
        ],
        name="text",
    )


def pooled(k: Any) -> Any:
    """Average over real steps, with penalties of outputs."""
    return k.Sequential(
        [
            k.Input((T, I)),
            k.layers.Masking(),
            k.layers.LSTM(4, return_sequences=True, activity_regularizer="l2", bias_constraint="non_neg"),
            k.layers.GlobalAveragePooling1D(),
            k.layers.Dense(2, activity_regularizer=k.regularizers.L1(0.1)),
        ],
        name="pooled",
    )


def repeated(k: Any) -> Any:
    """Encode a sequence in a vector, and decode it."""
    return k.Sequential(
        [
            k.Input((T, I)),
            k.layers.LSTM(4, kernel_constraint=k.constraints.MinMaxNorm(0.5, 0.9, rate=0.7)),
            k.layers.RepeatVector(T),
            k.layers.LSTM(3, return_sequences=True, kernel_constraint=k.constraints.MaxNorm(0.8)),
            k.layers.TimeDistributed(k.layers.Dense(2)),
        ],
        name="repeated",
    )


def reshaped(k: Any) -> Any:
    """Lay out sequences anew, with a frozen layer among the trained ones."""
    return k.Sequential(
        [
            k.Input((T, I)),
            k.layers.Permute((2, 1)),
            k.layers.LSTM(4, return_sequences=True, kernel_regularizer="l2"),
            k.layers.Dense(4, trainable=False, kernel_regularizer="l2"),
            k.layers.Reshape((-1, 2)),
            k.layers.GlobalMaxPooling1D(keepdims=True),
            k.layers.Flatten(),
            k.layers.Dense(2, kernel_regularizer=k.regularizers.OrthogonalRegularizer(0.3, "columns")),
        ],
        name="reshaped",
    )


def noisy(k: Any) -> Any:
    """Disturb sequences in training, which is random."""
    return k.Sequential(
        [
            k.Input((T, I)),
            k.layers.SpatialDropout1D(0.2),
            k.layers.GaussianNoise(0.1),
            k.layers.Bidirectional(k.layers.LSTM(3, dropout=0.2, recurrent_dropout=0.1)),
            k.layers.Dense(2),
        ],
        name="noisy",
    )


def nested(k: Any) -> Any:
    """Run an LSTM over the steps inside of each step."""
    return k.Sequential(
        [
            k.Input((T, I)),
            k.layers.Reshape((T, 2, 2)),
            k.layers.TimeDistributed(k.layers.LSTM(3)),
            k.layers.LSTM(2),
        ],
        name="nested",
    )


def both_ways(mode: str, sequences: bool) -> Callable[[Any], Any]:
    """Run both ways over sequences with masked steps."""

    def build(k: Any) -> Any:
        return k.Sequential(
            [
                k.Input((T, I)),
                k.layers.Masking(),
                k.layers.Bidirectional(
                    k.layers.LSTM(2, return_sequences=sequences, bias_regularizer="l2"), merge_mode=mode
                ),
                k.layers.Dense(2),
            ]
        )

    return build


MODELS = {
    "text": Case(text, IDS, CLASSES, "sparse_categorical_crossentropy", ("accuracy",), file=True),
    "weighted": Case(
        text,
        IDS,
        CLASSES,
        "sparse_categorical_crossentropy",
        ("accuracy",),
        weights=RANDOM.uniform(0.5, 2, (N, T)).astype("float32"),
    ),
    "pooled": Case(pooled, PADDED, VECTORS, metrics=("mae",), file=True),
    "repeated": Case(repeated, X, SEQUENCES, file=True),
    "reshaped": Case(reshaped, X, VECTORS, file=True),
    "noisy": Case(noisy, X, VECTORS, steps=0, file=True),
    "nested": Case(nested, X, VECTORS),
    **{
        f"{mode}-{sequences}": Case(
            both_ways(mode, sequences), PADDED, SEQUENCES if sequences else VECTORS, metrics=("mae",), steps=0
        )
        for mode, sequences in (("concat", False), ("sum", True), ("mul", True), ("ave", False))
    },
}
FILES = [name for name, case in MODELS.items() if case.file]
