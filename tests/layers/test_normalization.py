"""LayerNormalization: values against the float64 reference, gradients, arguments, models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers
from fusedlstm.testing import assert_close, layer_norm_reference

from .common import RANDOM, B, I, T, X, gradient_check

if TYPE_CHECKING:
    from pathlib import Path

ANY: Any = layers  # for arguments that type checkers refuse


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("shape", [(B, I), (B, T, I), (2, 0, I), (2, 3, 2, 33)], ids=str)
def test_values(dtype: str, center: bool, scale: bool, shape: tuple[int, ...]) -> None:
    layer = layers.LayerNormalization(
        epsilon=0.01,
        center=center,
        scale=scale,
        beta_initializer="random_normal",
        gamma_initializer="random_normal",
        dtype=dtype,
    )
    x = RANDOM.normal(size=shape).astype(dtype)
    y = layer(x)
    names = [weight.name for weight in layer.weights]
    assert names == ["gamma"] * scale + ["beta"] * center
    arguments: dict[str, Any] = dict(zip(names, layer.get_weights(), strict=True))
    want = layer_norm_reference(x, epsilon=0.01, **arguments)
    assert_close(y, want, dtype=dtype, terms=3 * shape[-1])


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("scale", [False, True])
def test_gradients(center: bool, scale: bool) -> None:
    layer = layers.LayerNormalization(
        center=center, scale=scale, gamma_initializer="random_normal", dtype="float64"
    )
    gradient_check(layer, X, 10 * I)
    layer(X, training=True)
    assert layer.backward(X, need_dx=False) is None
    with pytest.raises(RuntimeError, match=f"{layer.name}: backward needs a forward"):
        layer.backward(X)


def test_masks_pass_and_streams_go_on() -> None:
    model = fusedlstm.Sequential(
        [
            layers.Input((None, I)),
            layers.Masking(),
            layers.LayerNormalization(beta_initializer="random_normal"),
            layers.LSTM(6, return_sequences=True),
            layers.LayerNormalization(axis=2),
            layers.TimeDistributed(layers.LayerNormalization()),
        ]
    )
    x = X.astype("float32")
    x[1, 2] = 0
    whole, stream = model(x), model.stream(batch=B)
    np.testing.assert_array_equal(whole[1, 2], whole[1, 1])
    for t in range(T):
        np.testing.assert_array_equal(stream.step(x[:, t]), whole[:, t])


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = fusedlstm.Sequential(
        [
            layers.Input((T, I)),
            layers.LayerNormalization(-1, 0.1, beta_regularizer="l2", gamma_constraint="non_neg"),
        ]
    )
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again(X), model(X))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.LayerNormalization(axis=(1, 2)), r"axis: expected one axis, the last, got \(1, 2\)"),
        (lambda: ANY.LayerNormalization(axis="x"), "axis: expected one axis, the last, got 'x'"),
        (lambda: layers.LayerNormalization(axis=1)(X), r"axis: expected the last axis of inputs .*, got 1"),
        (lambda: layers.LayerNormalization(epsilon=0), "epsilon: expected a positive number, got 0"),
        (lambda: layers.LayerNormalization(epsilon=-1), "epsilon: expected a number >= 0, got -1"),
        (lambda: layers.LayerNormalization(rms_scaling=True), "rms_scaling: expected False, got True"),
        (lambda: layers.LayerNormalization()(np.ones(3)), "x: expected at least 2 axes"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
