"""With Keras: it reads our files, and models go both ways in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers

h5py: Any = pytest.importorskip("h5py")

from .files import EXPECTED, assert_equal_weights, make_model  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


def test_no_model_of_keras() -> None:
    with pytest.raises(TypeError, match=r"model: expected a keras\.Sequential or .*, got fusedlstm\.models"):
        fusedlstm.from_keras(make_model())


# ---- with Keras ----


@pytest.mark.filterwarnings("ignore")
def test_keras_reads_our_files(keras: Any, tmp_path: Path) -> None:
    model, x = make_model(), EXPECTED["x"]
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    theirs = keras.saving.load_model(tmp_path / "a.keras")
    assert theirs.name == "mine"
    assert_equal_weights(theirs, model.get_weights())
    assert np.allclose(np.asarray(theirs(x)), model(x), atol=1e-6)
    theirs.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    theirs.load_weights(tmp_path / "a.weights.h5")
    assert_equal_weights(theirs, model.get_weights())
    theirs.save(tmp_path / "b.keras")
    assert_equal_weights(fusedlstm.load_model(tmp_path / "b.keras"), model.get_weights())


@pytest.mark.filterwarnings("ignore")
def test_models_in_memory(keras: Any) -> None:
    model, x = make_model(), EXPECTED["x"]
    model.layers[0].trainable = False
    theirs = fusedlstm.to_keras(model)
    assert [layer.name for layer in theirs.layers] == [layer.name for layer in model.layers]
    assert [layer.trainable for layer in theirs.layers] == [layer.trainable for layer in model.layers]
    assert np.allclose(np.asarray(theirs(x)), model(x), atol=1e-6)
    again = fusedlstm.from_keras(theirs)
    assert again.get_config() == model.get_config()
    assert_equal_weights(again, model.get_weights())
    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.from_keras(keras.Sequential([keras.layers.LSTM(3)]))
    with pytest.raises(ValueError, match=r"layer 'gru.*': expected one of the classes .* got 'GRU'"):
        fusedlstm.from_keras(keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(3)]))

    class Own(keras.Model):  # type: ignore[misc]
        pass

    inputs = keras.Input((3,))
    with pytest.raises(TypeError, match=r"model: expected a keras\.Sequential or .*, got .*Own"):
        fusedlstm.from_keras(Own(inputs, keras.layers.Dense(2)(inputs)))


@pytest.mark.filterwarnings("ignore")
def test_log_softmax(keras: Any) -> None:
    model = fusedlstm.Sequential([layers.Input((3,)), layers.Dense(4, activation="log_softmax")])
    theirs, x = fusedlstm.to_keras(model), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert theirs.layers[0].activation is keras.activations.log_softmax
    assert np.allclose(np.asarray(theirs(x)), model(x), atol=1e-6)
    assert fusedlstm.from_keras(theirs).get_config() == model.get_config()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("activation", "recurrent_activation"),
    [
        ("tanh", "sigmoid"),
        ("relu", "hard_sigmoid"),
        ("softsign", "sigmoid"),
        ("elu", "hard_sigmoid"),
        ("softplus", "sigmoid"),
        ("leaky_relu", "sigmoid"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
def test_options_and_masks_are_those_of_keras(
    keras: Any, activation: str, recurrent_activation: str, backwards: bool, zero_output: bool
) -> None:
    """Masked steps with holes, options of the cell, both orders: outputs of a model that comes from Keras."""
    random = np.random.default_rng(4)
    theirs = keras.Sequential(
        [
            keras.Input((7, 5)),
            keras.layers.Masking(),
            keras.layers.LSTM(
                6,
                activation=activation,
                recurrent_activation=recurrent_activation,
                return_sequences=True,
                go_backwards=backwards,
                zero_output_for_mask=zero_output,
                bias_initializer="random_normal",
            ),
        ]
    )
    x = random.normal(size=(9, 7, 5)).astype("float32")
    x[random.random((9, 7)) < 0.4] = 0
    ours = fusedlstm.from_keras(theirs)
    assert np.allclose(ours(x), np.asarray(theirs(x)), atol=1e-5)


def test_types_nested_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dtype of such a type takes time and memory by the square of its depth, so that none may be made."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    for _ in range(1500):
        kind = h5py.h5t.vlen_create(kind)
    with h5py.File(tmp_path / "a.weights.h5", "w", libver="latest") as file:
        kind.commit(file.id, b"kind")
        group = file.require_group("layers/dense/vars")
        for number in range(2):
            h5py.h5d.create(group.id, str(number).encode(), kind, h5py.h5s.create_simple((1,)))
    model = fusedlstm.Sequential([fusedlstm.Input((3,)), layers.Dense(1)])
    monkeypatch.setattr(h5py.Dataset, "dtype", property(lambda _: pytest.fail("a dtype was made")))
    with pytest.raises(ValueError, match="in float32 or float64, found"):
        model.load_weights(tmp_path / "a.weights.h5")
