"""Names and arguments of Keras 2 that programs still use, and arguments that change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import backend, initializers, layers, utils


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: layers.Dense(2, input_dim=5), (None, 5)),
        (lambda: layers.Dense(2, input_shape=(5,)), (None, 5)),
        (lambda: layers.Dense(2, batch_input_shape=(8, 5)), (None, 5)),
        (lambda: layers.LSTM(2, input_dim=5), (None, None, 5)),
        (lambda: layers.LSTM(2, input_dim=5, input_length=3), (None, 3, 5)),
        (lambda: layers.LSTM(2, input_shape=(4, 6), input_dim=5), (None, 4, 6)),
        (lambda: layers.LSTM(2, batch_input_shape=(8, 3, 5), stateful=True), (None, 3, 5)),
        (lambda: layers.LSTM(2, batch_shape=(8, None, 5)), (None, None, 5)),
        (lambda: layers.Bidirectional(layers.LSTM(2), input_shape=(3, 5)), (None, 3, 5)),
    ],
)
def test_shapes_of_first_layers(layer: Any, shape: tuple[int | None, ...]) -> None:
    model = fusedlstm.Sequential([layer()])
    assert model.built
    assert model.input_shape == shape
    config = model.get_config()
    assert fusedlstm.Sequential.from_config(config).input_shape == shape


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: layers.Dense(2, input_dim=0), "^input_dim: expected a positive integer, got 0"),
        (lambda: layers.LSTM(2, input_dim="5"), "^input_dim: "),
        (lambda: layers.LSTM(2, batch_input_shape="ab"), "^batch_input_shape: "),
        (lambda: layers.LSTM(2, time_major=True), r"^time_major: expected False, got True"),
        (lambda: layers.LSTM(2, implementation=3), "^implementation: expected 0 or 1 or 2, got 3"),
    ],
)
def test_wrong_arguments(layer: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        layer()


def test_arguments_that_change_nothing() -> None:
    x = np.ones((2, 3, 4), np.float32)
    outputs = []
    ignored: dict[str, Any] = {"implementation": 1, "time_major": False, "unroll": True, "use_cudnn": "auto"}
    for options in ({}, ignored):
        utils.set_random_seed(1)
        outputs.append(layers.LSTM(5, **options)(x))
    assert np.array_equal(*outputs)


def test_shorter_names() -> None:
    assert layers.GlobalMaxPool1D is layers.GlobalMaxPooling1D
    assert layers.GlobalAvgPool1D is layers.GlobalAveragePooling1D


@pytest.mark.parametrize("name", sorted(set(initializers.REGISTRY.names) - {"normal", "uniform"}))
def test_initializers_in_small_letters(name: str) -> None:
    made = getattr(initializers, name)()
    assert type(made) is type(initializers.get(name))
    assert made((3, 4)).shape == (3, 4)


def test_states_are_reset_by_the_older_name() -> None:
    x = np.ones((2, 3, 4), np.float32)
    inner = layers.LSTM(2, stateful=True)
    stack = layers.StackedLSTM(2, 2, stateful=True)
    both = layers.Bidirectional(layers.LSTM(2, stateful=True))
    for layer in (inner, stack, both):
        first = layer(x)
        assert not np.array_equal(layer(x), first)
        layer.reset_states()
        assert np.array_equal(layer(x), first)
    assert inner.states is not None
    assert [state.shape for state in inner.states] == [(2, 2), (2, 2)]


def test_states_of_a_model_are_reset() -> None:
    """Stateful layers inside of models start anew too."""
    x = np.ones((2, 3, 4), np.float32)
    inner = fusedlstm.Sequential(
        [layers.Input((3, 4)), layers.LSTM(2, stateful=True, return_sequences=True), layers.Dense(2)]
    )
    start = layers.Input((3, 4))
    both = layers.Bidirectional(layers.LSTM(2, stateful=True))
    model = fusedlstm.Model(start, [both(inner(start)), layers.LSTM(2)(start)])
    first, fixed = model.predict(x, verbose=0)
    for reset in (model.reset_state, model.reset_states):
        later, same = model.predict(x, verbose=0)
        assert not np.array_equal(later, first)
        assert np.array_equal(same, fixed)
        reset()
        assert np.array_equal(model.predict(x, verbose=0)[0], first)


@pytest.mark.parametrize("clear", [backend.clear_session, utils.clear_session])
def test_names_start_again(clear: Any) -> None:
    clear()
    assert [layers.LSTM(1).name, layers.LSTM(1).name] == ["lstm", "lstm_1"]
    clear()
    assert layers.LSTM(1).name == "lstm"
