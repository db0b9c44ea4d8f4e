"""How models are built, changed, described and copied."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, utils

from .common import C, H, I, T, X, Y, classifier, same

# Structure.


def test_building_with_and_without_input() -> None:
    described = layers.LSTM(H, input_shape=(T, I))
    for model in (
        fusedlstm.Sequential([layers.Input((T, I)), layers.LSTM(H)]),
        fusedlstm.Sequential([layers.Input(batch_shape=(None, T, I)), layers.LSTM(H)]),
        fusedlstm.Sequential([described]),
    ):
        assert model.built
        assert model.input_shape == (None, T, I)
        assert model.output_shape == (None, H)
        assert model.count_params() == 4 * H * (I + H + 1)
    later = fusedlstm.Sequential([layers.LSTM(H), layers.Dense(2)])
    assert not later.built
    assert later.weights == []
    later.build((None, T, I))
    assert len(later.weights) == 5
    other = fusedlstm.Sequential([layers.LSTM(H)])
    assert other(X).shape == (24, H)
    assert other.built


def test_add_and_pop() -> None:
    model = fusedlstm.Sequential()
    model.add(layers.Input((T, I)))
    model.add(layers.LSTM(H, return_sequences=True))
    model.add(layers.Dense(2))
    shapes = [model.output_shape]
    assert isinstance(model.pop(), layers.Dense)
    shapes.append(model.output_shape)
    model.add(layers.LSTM(2))
    with pytest.raises(ValueError, match="x: expected 3 axes"):
        model.add(layers.LSTM(2))
    assert len(model.layers) == 2
    shapes.append(model.output_shape)
    assert shapes == [(None, T, 2), (None, T, H), (None, 2)]


def test_sequences_of_any_length() -> None:
    model = fusedlstm.Sequential([layers.Input((None, I)), layers.LSTM(H, return_sequences=True)])
    assert model.output_shape == (None, None, H)
    assert model.predict(X[:, :2], verbose=0).shape == (24, 2, H)
    assert model.predict(X, verbose=0).shape == (24, T, H)


def test_summary() -> None:
    utils.clear_session()
    text: list[str] = []
    classifier(dropout=0.5).summary(print_fn=text.append)
    lines = text[0].splitlines()
    assert lines[0] == 'Model: "sequential"'
    assert [line.split() for line in lines[4:8]] == [
        ["lstm", "(LSTM)", "(None,", f"{T},", f"{H})", "264"],
        ["dropout", "(Dropout)", "(None,", f"{T},", f"{H})", "0"],
        ["lstm_1", "(LSTM)", "(None,", f"{H})", "312"],
        ["dense", "(Dense)", "(None,", f"{C})", "21"],
    ]
    assert lines[-3:] == ["Total params: 597", "Trainable params: 597", "Non-trainable params: 0"]
    text.clear()
    fusedlstm.Sequential([layers.LSTM(2)]).summary(print_fn=text.append)
    assert "?" in text[0]
    assert "not built" in text[0]


def test_summary_of_models_within_models() -> None:
    utils.clear_session()
    inner = classifier()
    inner.layers[0].trainable = False
    start = layers.Input((T, I), name="start")
    model = fusedlstm.Model(start, layers.add([inner(start), layers.Dense(C)(layers.LSTM(H)(start))]))
    text: list[str] = []
    model.summary(print_fn=text.append)
    model.summary(100, expand_nested=True, show_trainable=True, print_fn=text.append)
    assert len(text[1].splitlines()) == len(text[0].splitlines()) + len(inner.layers)
    table = {line.strip().split(" ")[0]: line.split() for line in text[1].splitlines()}
    for layer, letter in zip(inner.layers, "N-YY", strict=True):
        assert f"  {layer.name} (" in text[1]
        assert table[layer.name][-2] == letter
        assert not any(line.startswith(f"{layer.name} (") for line in text[0].splitlines())
    assert table["start"][-2:] == ["-", "-"]
    text.clear()
    fusedlstm.Sequential([layers.Input((T, I)), inner]).summary(expand_nested=True, print_fn=text.append)
    assert "Connected to" not in text[0]
    assert inner.layers[1].name in text[0]
    with pytest.raises(TypeError, match="expand_nested: expected True or False, got 2"):
        model.summary(expand_nested=2)  # type: ignore[arg-type]


def test_get_layer() -> None:
    model = classifier()
    assert model.get_layer(index=-1) is model.layers[-1]
    assert model.get_layer(model.layers[1].name) is model.layers[1]
    with pytest.raises(ValueError, match=r"name: expected one of .*got 'nope'"):
        model.get_layer("nope")
    with pytest.raises(ValueError, match="index: expected a position among 4 layers, got 9"):
        model.get_layer(index=9)
    with pytest.raises(ValueError, match="index: expected None beside a name, got 0 and 'x'"):
        model.get_layer("x", 0)


def test_frozen_layers_do_not_change() -> None:
    model = classifier()
    for layer in model.layers[:3]:
        layer.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    assert same(before[:6], after[:6])
    assert not same(before[6:], after[6:])
    assert [v.path for v in model.trainable_weights] == [v.path for v in model.weights[6:]]


def test_weights_round_trip() -> None:
    model, other = classifier(seed=0), classifier(seed=1)
    assert not same(model.get_weights(), other.get_weights())
    other.set_weights(model.get_weights())
    assert np.array_equal(model(X), other(X))


def test_config_round_trip() -> None:
    model = classifier(dropout=0.1)
    again = fusedlstm.Sequential.from_config(json.loads(json.dumps(model.get_config())))
    assert again.get_config() == model.get_config()
    assert [v.path for v in again.weights] == [v.path for v in model.weights]
    assert again.input_shape == model.input_shape
