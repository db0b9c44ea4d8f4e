"""Models to write as ONNX graphs, and what computes them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import fusedlstm
from fusedlstm import layers
from fusedlstm.testing import tolerance

from .reference import LSTM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Array = np.ndarray[Any, Any]
POINTWISE = (
    "relu",
    "elu",
    "leaky_relu",
    "exponential",
    "softsign",
    "hard_sigmoid",
    "sigmoid",
    "softplus",
    "tanh",
    "softmax",
    "log_softmax",
)


def bidirectional(merge_mode: str | None, **options: Any) -> list[layers.Layer]:
    layer = layers.LSTM(4, **options)
    return [layers.Bidirectional(layer, merge_mode), *([layers.Dense(2)] if merge_mode else [])]


def two_kinds() -> list[layers.Layer]:
    one = layers.LSTM(4, return_sequences=True, use_bias=False)
    other = layers.LSTM(4, activation="softsign", go_backwards=True, return_sequences=True)
    return [layers.Bidirectional(one, "mul", backward_layer=other)]


MODELS: dict[str, Callable[[], list[layers.Layer]]] = {
    "one": lambda: [layers.LSTM(5)],
    "sequences": lambda: [layers.LSTM(5, return_sequences=True, use_bias=False)],
    "backwards": lambda: [layers.LSTM(5, go_backwards=True)],
    "backwards, sequences": lambda: [layers.LSTM(5, return_sequences=True, go_backwards=True)],
    "stack": lambda: [
        layers.LSTM(5, return_sequences=True, dropout=0.2),
        layers.Dropout(0.3),
        layers.Dense(4, activation="tanh"),
        layers.LSTM(6, return_sequences=True, go_backwards=True),
        layers.Activation("relu"),
        layers.LSTM(3),
        layers.Dense(2, activation="softmax", use_bias=False),
    ],
    "options": lambda: [
        layers.LSTM(5, return_sequences=True, use_peepholes=True, activation="softsign"),
        layers.Bidirectional(layers.LSTM(4, use_peepholes=True, use_bias=False, coupled=True)),
    ],
    "stacked": lambda: [
        layers.StackedLSTM([4, 3], bidirectional=True, between_dropout=0.2, return_sequences=True),
        layers.StackedLSTM(3),
    ],
    "dense alone": lambda: [layers.Dense(3), layers.Activation("linear")],
    "flatten": lambda: [layers.LSTM(3, return_sequences=True), layers.Flatten(), layers.Dense(2)],
    **{
        f"bidirectional {mode}": partial(bidirectional, mode, return_sequences=True)
        for mode in ("concat", "sum", "mul", "ave", None)
    },
    "bidirectional, last": lambda: bidirectional("concat"),
    "bidirectional, last, two": lambda: bidirectional(None),
    "bidirectional, turned": lambda: bidirectional("concat", return_sequences=True, go_backwards=True),
    "bidirectional, two kinds": two_kinds,
    "bidirectional, stack": lambda: [
        *bidirectional("ave", return_sequences=True)[:1],
        *bidirectional("concat", return_sequences=True)[:1],
        layers.LSTM(3),
    ],
}
CELLS: dict[str, Any] = {
    **{
        name: {"activation": name}
        for name in POINTWISE
        if name not in ("exponential", "log_softmax", "sigmoid", "softmax")
    },
    "linear": {"activation": "linear", "recurrent_activation": "hard_sigmoid"},
    "relu and softsign": {"activation": "relu", "recurrent_activation": "softsign"},
}


def make(parts: list[layers.Layer], steps: int | None = None, features: int = 3) -> fusedlstm.Sequential:
    """Return a built model with weights that are nowhere zero."""
    model = fusedlstm.Sequential([layers.Input((steps, features)), *parts])
    random = np.random.default_rng(7)
    model.set_weights([0.5 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    return model


def batch(batch_rows: int = 4, steps: int = 6, dtype: str = "float32") -> Array:
    return np.random.default_rng(8).standard_normal((batch_rows, steps, 3)).astype(dtype)


def assert_equal(got: list[Array], want: list[Array]) -> None:
    for one, two in zip(got, want, strict=True):
        assert one.dtype == two.dtype
        assert one.shape == two.shape
        limit = tolerance(two.dtype, 30, steps=18) * max(1.0, float(np.abs(two).max(initial=0)))
        np.testing.assert_allclose(one, two, rtol=0, atol=limit)


def evaluate(path: Path, fed: dict[str, Array], *, plain: bool = False) -> list[Array]:
    """Evaluate by onnx's reference; unless `plain`, with the LSTM operator of this folder."""
    return list(ReferenceEvaluator(str(path), new_ops=[] if plain else [LSTM]).run(None, fed))


def run_in_onnx_runtime(path: Path, fed: dict[str, Array]) -> list[Array]:
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    return list(onnxruntime.InferenceSession(path).run(None, fed))
