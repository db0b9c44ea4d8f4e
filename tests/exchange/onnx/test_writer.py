"""`to_onnx`: models and layers that are written compute the same, here and in ONNX Runtime."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import fusedlstm
from fusedlstm import layers

from .written import (
    CELLS,
    MODELS,
    POINTWISE,
    Array,
    assert_equal,
    batch,
    bidirectional,
    evaluate,
    make,
    run_in_onnx_runtime,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
MASKED: dict[str, Callable[[], list[layers.Layer]]] = {
    "one": lambda: [layers.LSTM(5)],
    "sequences": lambda: [layers.LSTM(5, return_sequences=True)],
    "zeros": lambda: [layers.LSTM(5, return_sequences=True, zero_output_for_mask=True)],
    "backwards": lambda: [layers.LSTM(5, return_sequences=True, go_backwards=True), layers.LSTM(4)],
    "stack": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.Dense(3),
        layers.LSTM(4, return_sequences=True),
        layers.Flatten(),
    ],
    **{
        f"bidirectional {mode}": partial(bidirectional, mode, return_sequences=True)
        for mode in ("concat", None)
    },
    "bidirectional, last": lambda: bidirectional("sum"),
}


# Layers that `from_onnx` does not read.
AROUND: dict[str, Callable[[], list[layers.Layer]]] = {
    "average": lambda: [layers.LSTM(5, return_sequences=True), layers.GlobalAveragePooling1D()],
    "average of the input": lambda: [layers.GlobalAveragePooling1D(), layers.Dense(2)],
    "average, axis kept": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.GlobalAveragePooling1D(keepdims=True),
        layers.LSTM(4),
    ],
    "maximum": lambda: [layers.LSTM(5, return_sequences=True), layers.GlobalMaxPooling1D()],
    "maximum of the input": lambda: [layers.GlobalMaxPooling1D(keepdims=True), layers.Dense(2)],
    "maximum, axis kept": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.GlobalMaxPooling1D(keepdims=True),
        layers.LSTM(4, return_sequences=True),
    ],
    "normalized": lambda: [
        layers.LayerNormalization(epsilon=0.25),
        layers.LSTM(5, return_sequences=True),
        layers.LayerNormalization(scale=False),
        layers.LSTM(4),
        layers.LayerNormalization(center=False),
        layers.LayerNormalization(scale=False, center=False),
    ],
    "each step": lambda: [
        layers.TimeDistributed(layers.Dense(4, activation="softmax", name="one")),
        layers.LSTM(5, return_sequences=True),
        layers.TimeDistributed(layers.Dense(4, name="one")),
        layers.TimeDistributed(layers.LayerNormalization()),
        layers.TimeDistributed(layers.Activation("tanh")),
        layers.TimeDistributed(layers.Dropout(0.5)),
    ],
    "noise": lambda: [
        layers.GaussianNoise(0.5),
        layers.LSTM(5, return_sequences=True),
        layers.SpatialDropout1D(0.5),
    ],
    "repeated": lambda: [layers.LSTM(5), layers.RepeatVector(3), layers.LSTM(4, return_sequences=True)],
    "repeated, shown": lambda: [layers.LSTM(5), layers.RepeatVector(3)],
    "reshaped": lambda: [
        layers.LSTM(6, return_sequences=True),
        layers.Reshape((-1, 2, 3)),
        layers.Reshape((4, 9)),
        layers.LSTM(3),
    ],
    "permuted": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.Permute((2, 1)),
        layers.LSTM(4, return_sequences=True),
        layers.Permute((2, 1)),
    ],
}
OF_IDS: dict[str, Callable[[], list[layers.Layer]]] = {
    "alone": lambda: [layers.Embedding(9, 3)],
    "LSTM": lambda: [layers.Embedding(9, 3), layers.LSTM(5, return_sequences=True)],
    "masked": lambda: [layers.Embedding(9, 3, mask_zero=True), layers.LSTM(5)],
    "masked, sequences": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.SpatialDropout1D(0.25),
        layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        layers.LayerNormalization(),
        layers.TimeDistributed(layers.Dense(3)),
        layers.LSTM(4, return_sequences=True),
    ],
    "masked, average": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.LSTM(5, return_sequences=True),
        layers.GlobalAveragePooling1D(),
    ],
    "masked, average, axis kept": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.GlobalAveragePooling1D(keepdims=True),
        layers.LSTM(4),
    ],
    "masked, maximum": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.LSTM(5, return_sequences=True),
        layers.GlobalMaxPooling1D(),
    ],
}


def padded(batch_rows: int = 5, steps: int = 6) -> Array:
    x = batch(batch_rows, steps)
    for row, length in enumerate((6, 3, 1, 0, 4)):
        x[row, length:] = -2.0
    return x


def listed(result: Any) -> list[Array]:
    return list(result) if isinstance(result, list | tuple) else [result]


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, tmp_path: Path) -> None:
    model, path = make(MODELS[name](), steps=6 if name == "flatten" else None), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    onnx.checker.check_model(path, full_check=True)
    again = fusedlstm.from_onnx(path)
    for x in (batch(), batch(1, 6), batch(2, 1), batch(3, 17)):
        if name == "flatten" and x.shape[1] != 6:
            continue
        want = listed(model(x))
        assert_equal(
            evaluate(path, {"input": x}, plain=name not in ("bidirectional, two kinds", "options")), want
        )
        assert_equal(listed(again(x)), want)


@pytest.mark.parametrize("name", MODELS)
def test_models_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    model, path = make(MODELS[name](), steps=6 if name == "flatten" else None), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    for x in (batch(), batch(1, 6)):
        assert_equal(run_in_onnx_runtime(path, {"input": x}), listed(model(x)))


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", AROUND)
def test_layers_around(name: str, runtime: bool, tmp_path: Path) -> None:
    fixed = name in ("reshaped", "permuted")
    model, path = make(AROUND[name](), steps=6 if fixed else None), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    run = run_in_onnx_runtime if runtime else evaluate
    for x in (batch(), batch(1, 6), *([] if fixed else [batch(3, 17)])):
        assert_equal(run(path, {"input": x}), [model(x)])


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", OF_IDS)
def test_embedding(name: str, runtime: bool, tmp_path: Path) -> None:
    model, path = fusedlstm.Sequential([layers.Input((None,)), *OF_IDS[name]()]), tmp_path / "model.onnx"
    random = np.random.default_rng(7)
    model.set_weights([random.standard_normal(weight.shape) for weight in model.get_weights()])
    fusedlstm.to_onnx(model, path, right_padding="masked" in name)
    ids = random.integers(1, 9, (5, 6))
    for row, length in enumerate((6, 3, 1, 0, 4)):
        ids[row, length:] = 0
    run = run_in_onnx_runtime if runtime else evaluate
    for x in (ids, ids[:1, :2]):
        assert_equal(run(path, {"input": x}), [model(x)])


def test_float64_around(tmp_path: Path) -> None:
    parts = [
        layers.LSTM(5, return_sequences=True, dtype="float64"),
        layers.LayerNormalization(epsilon=2.0**-10, dtype="float64"),
        layers.GlobalAveragePooling1D(dtype="float64"),
    ]
    model, path = make(list(parts)), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    x = batch(dtype="float64")
    assert_equal(evaluate(path, {"input": x}, plain=True), [model(x)])


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", [*CELLS, *(f"dense {name}" for name in POINTWISE)])
def test_activations(name: str, runtime: bool, tmp_path: Path) -> None:
    layer: layers.Layer
    if name in CELLS:
        layer = layers.LSTM(5, return_sequences=True, **CELLS[name])
    else:
        layer = layers.Dense(4, activation=name.removeprefix("dense "))
    model, path = make([layer]), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    x, run = batch(), run_in_onnx_runtime if runtime else evaluate
    assert_equal(run(path, {"input": x}), [model(x)])
    assert_equal(listed(fusedlstm.from_onnx(path)(x)), [model(x)])


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", MASKED)
def test_masking(name: str, runtime: bool, tmp_path: Path) -> None:
    model, path = make([layers.Masking(-2.0), *MASKED[name]()], steps=6), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, right_padding=True)
    x, run = padded(), run_in_onnx_runtime if runtime else evaluate
    # `Sequential` hands masks on.
    want = listed(model(x))
    assert not np.allclose(want[0], listed(make(MASKED[name](), steps=6)(x))[0], atol=1e-3)
    assert_equal(run(path, {"input": x}), want)
    assert_equal(listed(fusedlstm.from_onnx(path)(x)), want)


@pytest.mark.parametrize("runtime", [False, True])
def test_masking_of_nan(runtime: bool, tmp_path: Path) -> None:
    """Steps of NaN are masked in the file too, though NaN equals nothing."""
    model, path = make([layers.Masking(np.nan), layers.LSTM(3)], steps=6), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, right_padding=True)
    x, run = padded(), run_in_onnx_runtime if runtime else evaluate
    x[x == -2.0] = np.nan
    want = listed(model(x))
    assert np.isfinite(want[0]).all()
    assert_equal(run(path, {"input": x}), want)
