"""Models, data and callbacks that these tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedlstm
from fusedlstm import callbacks, layers

X = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
Y = np.arange(10) % 3


def small_model(**options: Any) -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(0)
    model = fusedlstm.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile(
        **{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **options}
    )
    return model


class Watcher(callbacks.Callback):
    """Notes whether anything was begun."""

    begun = False

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self.begun = True
