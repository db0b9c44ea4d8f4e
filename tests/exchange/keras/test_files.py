"""Keras's files: read without Keras, written, and what is not written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import exchange, layers
from fusedlstm.testing import assert_close

h5py: Any = pytest.importorskip("h5py")

from .files import EXPECTED, FIXTURES, assert_equal_weights, make_model, weights_of  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["stack", "double"]


# ---- files that Keras wrote ----


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_keras(name: str) -> None:
    model = fusedlstm.load_model(FIXTURES / f"{name}.keras")
    assert model.name == name
    # The one was saved compiled, the other was not.
    assert (None if model.optimizer is None else model.optimizer.name) == (
        "adam" if name == "stack" else None
    )
    if name == "stack":
        assert [layer.name for layer in model.layers][:2] == ["first", "dropout"]
        assert [layer.trainable for layer in model.layers] == [True] * 4 + [False] + [True] * 2
    assert_equal_weights(model, weights_of(name))
    expected = EXPECTED[name]
    got = model.predict(EXPECTED["x"], verbose=0)
    assert_close(got, expected, dtype=expected.dtype, terms=20, steps=16)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_keras(name: str) -> None:
    model = fusedlstm.load_model(FIXTURES / f"{name}.keras")
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    model.load_weights(FIXTURES / f"{name}.weights.h5")
    assert_equal_weights(model, weights_of(name))


def test_weights_are_converted_to_the_model() -> None:
    model = fusedlstm.Sequential([layers.Input((6, 3)), layers.LSTM(2)])
    model.load_weights(FIXTURES / "double.weights.h5")
    assert_equal_weights(model, [weight.astype(np.float32) for weight in weights_of("double")])


def test_a_loaded_model_trains() -> None:
    model = fusedlstm.load_model(FIXTURES / "stack.keras")
    model.compile("adam", "mean_squared_error")
    model.fit(EXPECTED["x"], np.zeros((4, 2), np.float32), verbose=0)


# ---- files of our own ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    model = make_model(dtype)
    model.save(tmp_path / "a.keras")
    loaded = fusedlstm.load_model(tmp_path / "a.keras")
    assert loaded.get_config() == model.get_config()
    assert_equal_weights(loaded, model.get_weights())
    loaded.save(tmp_path / "b.keras")
    assert (tmp_path / "b.keras").read_bytes() == (tmp_path / "a.keras").read_bytes()
    model.save_weights(tmp_path / "a.weights.h5")
    loaded.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    loaded.load_weights(tmp_path / "a.weights.h5")
    assert_equal_weights(loaded, model.get_weights())


def test_nothing_is_written_for_what_keras_does_not_have(tmp_path: Path) -> None:
    class MyLayer(layers.Activation):
        pass

    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.Sequential([layers.LSTM(3)]).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.Sequential([layers.LSTM(3)]).save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.Sequential([layers.LSTM(3)]).load_weights(FIXTURES / "double.weights.h5")
    with pytest.raises(ValueError, match=r"model: expected layers of the classes .*, got <MyLayer"):
        fusedlstm.Sequential([layers.Input((3,)), MyLayer("relu")]).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match=r"path: expected a file name that ends in \.weights\.h5, got"):
        make_model().save_weights(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"path: expected a file name that ends in \.keras, got"):
        exchange.save_keras(make_model(), tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())
