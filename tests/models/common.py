"""Models and data that these tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedlstm
from fusedlstm import layers, utils

B, T, I, H, C = 8, 5, 4, 6, 3  # noqa: E741
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, T, I))
Y = RANDOM.integers(0, C, 24)


def classifier(dtype: str = "float32", dropout: float = 0.0, seed: int = 0) -> fusedlstm.Sequential:
    utils.set_random_seed(seed)
    return fusedlstm.Sequential(
        [
            layers.Input((T, I)),
            layers.LSTM(H, return_sequences=True, dtype=dtype),
            layers.Dropout(dropout, dtype=dtype),
            layers.LSTM(H, dropout=dropout, dtype=dtype),
            layers.Dense(C, activation="softmax", dtype=dtype),
        ]
    )


def compiled(optimizer: Any = "adam", **settings: Any) -> fusedlstm.Sequential:
    model = classifier(**settings)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def same(ours: Any, theirs: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def stack(*items: Any) -> fusedlstm.Sequential:
    return fusedlstm.Sequential(list(items))
