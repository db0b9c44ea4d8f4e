"""Files of Keras, models to compare them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers

h5py: Any = pytest.importorskip("h5py")


FIXTURES = Path(__file__).parents[2] / "fixtures"
EXPECTED = dict(np.load(FIXTURES / "keras.npz"))


def make_model(dtype: str = "float32") -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(4)
    return fusedlstm.Sequential(
        [
            layers.Input((None, 3)),
            layers.LSTM(6, return_sequences=True, dropout=0.1, dtype=dtype),
            layers.Dropout(0.3, seed=3, dtype=dtype),
            layers.LSTM(5, go_backwards=True, use_bias=False, dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(4, activation="relu", kernel_initializer="he_normal", dtype=dtype),
            layers.Dense(2, use_bias=False, dtype=dtype),
            layers.Activation("softmax", dtype=dtype),
        ],
        name="mine",
    )


def assert_equal_weights(model: Any, weights: list[Any]) -> None:
    for left, right in zip(model.get_weights(), weights, strict=True):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()


def weights_of(name: str) -> list[Any]:
    return [value for key, value in EXPECTED.items() if key.startswith(f"{name}/")]
