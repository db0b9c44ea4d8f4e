"""Layers called on arrays: values, gradients, dropout, weights, arguments."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fusedlstm import Variable, layers, utils
from fusedlstm.testing import (
    assert_close,
    check_gradients,
    dense_forward_reference,
    lstm_forward_reference,
)

from .common import RANDOM, B, H, I, T, X, gradient_check

ANY: Any = layers  # for arguments that type checkers refuse
STATES = [RANDOM.normal(size=(B, H)) for _ in range(2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("sequences", "state", "backwards", "bias", "initial"),
    list(itertools.product([False, True], repeat=5)),
)
def test_lstm_values(
    sequences: bool, state: bool, backwards: bool, bias: bool, initial: bool, dtype: str
) -> None:
    layer = layers.LSTM(
        H,
        use_bias=bias,
        return_sequences=sequences,
        return_state=state,
        go_backwards=backwards,
        bias_initializer="random_normal",
        dtype=dtype,
    )
    result = layer(X, initial_state=STATES if initial else None)
    h0, c0 = [state.astype(dtype) for state in STATES] if initial else (None, None)
    kernel, recurrent, *biases = layer.get_weights()
    want = lstm_forward_reference(
        X.astype(dtype), kernel, recurrent, biases[0] if bias else None, h0, c0, go_backwards=backwards
    )
    output, *rest = result if state else [result]
    assert_close(output, want.y if sequences else want.h, dtype=dtype, terms=I + H, steps=T)
    assert len(rest) == (2 if state else 0)
    for got, expected in zip(rest, (want.h, want.c), strict=False):
        assert_close(got, expected, dtype=dtype, terms=I + H, steps=T)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_lstm_gradients(sequences: bool, backwards: bool) -> None:
    layer = layers.LSTM(H, return_sequences=sequences, go_backwards=backwards, dtype="float64")
    gradient_check(layer, X, I + H)


def test_lstm_gradients_of_states() -> None:
    layer = layers.LSTM(H, return_state=True, dtype="float64")
    layer(X)

    def function(h: Any, c: Any) -> Any:
        return tuple(layer(X, initial_state=[h, c]))

    def gradient(d: Any, h: Any, c: Any) -> Any:
        layer(X, initial_state=[h, c], training=True)
        assert layer.backward(d[0], need_dx=False, dstates=(d[1], d[2])) is None
        assert layer.state_gradients is not None
        return dict(zip(("h", "c"), layer.state_gradients, strict=True))

    check_gradients(function, gradient, dict(zip(("h", "c"), STATES, strict=True)), terms=I + H, steps=T)


def test_lstm_dropout_has_one_mask_for_all_steps() -> None:
    """With weights that pass x through unchanged signs, dropped inputs show in the input's gradient."""
    layer = layers.LSTM(H, dropout=0.5, return_sequences=True, seed=3, dtype="float64")
    y = layer(X, training=True)
    dx = layer.backward(np.ones_like(y))
    assert dx is not None
    dropped = dx == 0
    assert 0 < dropped.sum() < dropped.size
    assert (dropped == dropped[:, :1]).all()
    # The output is that of the masked and scaled input.
    masked = np.where(dropped, 0, X * 2)
    assert_close(y, layer(masked), dtype="float64", terms=I + H, steps=T)


def test_dropout_masks_change_from_call_to_call_and_repeat_with_the_seed() -> None:
    for make in (lambda: layers.LSTM(H, dropout=0.5, seed=1), lambda: layers.Dropout(0.5, seed=1)):
        utils.set_random_seed(0)
        one = make()
        first, second = one(X, training=True), one(X, training=True)
        assert not np.array_equal(first, second)
        utils.set_random_seed(0)
        other = make()
        assert np.array_equal(first, other(X, training=True))
        assert np.array_equal(second, other(X, training=True))
        # Inference drops nothing.
        assert np.array_equal(one(X), one(X))


def test_dropout() -> None:
    x = np.ones((200, 100))
    layer = layers.Dropout(0.25, seed=5, dtype="float64")
    y = layer(x, training=True)
    kept = y != 0
    assert np.array_equal(np.unique(y), [0, 1 / 0.75])
    # A binomial share of 20,000 draws: 5 standard deviations.
    assert abs(kept.mean() - 0.75) < 5 * (0.25 * 0.75 / x.size) ** 0.5
    dx: Any = layer.backward(np.ones_like(x))
    assert np.array_equal(dx, y)
    assert layer(x, training=False) is not None
    assert np.array_equal(layer(x), x)


def test_dropout_of_zero_passes_through() -> None:
    layer = layers.Dropout(0.0)
    x = X.astype("float32")
    assert np.array_equal(layer(x, training=True), x)
    dx: Any = layer.backward(x)
    assert np.array_equal(dx, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5), (2, 3, 2, 5), (0, 5)])
def test_dense_values(shape: tuple[int, ...], dtype: str) -> None:
    x = RANDOM.normal(size=shape).astype(dtype)
    layer = layers.Dense(4, bias_initializer="random_normal", dtype=dtype)
    y = layer(x)
    kernel, bias = layer.get_weights()
    want = dense_forward_reference(x.reshape(-1, 5), kernel, bias).reshape(*shape[:-1], 4)
    assert_close(y, want, dtype=dtype, terms=5)


@pytest.mark.parametrize("activation", [None, "tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("bias", [False, True])
def test_dense_gradients(activation: str | None, bias: bool) -> None:
    gradient_check(layers.Dense(4, activation, use_bias=bias, dtype="float64"), X, 5)


def test_activation_and_flatten() -> None:
    gradient_check(layers.Activation("softmax", dtype="float64"), X, 5)
    gradient_check(layers.Flatten(dtype="float64"), X, 1)
    assert layers.Flatten()(X).shape == (B, T * I)
    assert layers.Flatten().compute_output_shape((None, None, 3)) == (None, None)
    assert layers.Flatten()(np.ones(3)).shape == (3, 1)


def test_weights_are_in_keras_layout() -> None:
    layer = layers.LSTM(H)
    layer(X)
    assert [(v.name, v.path, v.shape) for v in layer.weights] == [
        ("kernel", f"{layer.name}/kernel", (I, 4 * H)),
        ("recurrent_kernel", f"{layer.name}/recurrent_kernel", (H, 4 * H)),
        ("bias", f"{layer.name}/bias", (4 * H,)),
    ]
    bias = layer.get_weights()[2]
    assert (bias[H : 2 * H] == 1).all()
    assert bias.sum() == H
    plain = layers.LSTM(H, unit_forget_bias=False)
    plain(X)
    assert not plain.get_weights()[2].any()
    assert layer.count_params() == 4 * H * (I + H + 1)


def test_changed_weights_are_seen() -> None:
    layer = layers.LSTM(H)
    before = layer(X)
    packed = layer.packed()
    version = packed.version
    layer(X)
    assert packed.version == version  # nothing has changed: not packed again
    layer.set_weights([w * 0 for w in layer.get_weights()])
    assert not layer(X).any()
    assert before.any()
    assert packed.version == version + 1


def test_variables_change_only_through_assign() -> None:
    layer = layers.Dense(2)
    layer(np.ones((1, 3)))
    with pytest.raises(ValueError, match="read-only"):
        layer.kernel.value[0, 0] = 1
    version = layer.kernel.version
    view = layer.kernel.value
    layer.kernel.assign(np.ones((3, 2)))
    assert layer.kernel.version == version + 1
    assert (view == 1).all()
    assert np.asarray(layer.kernel).sum() == 6
    with pytest.raises(ValueError, match=r"kernel: expected shape \(3, 2\), got \(2, 3\)"):
        layer.kernel.assign(np.ones((2, 3)))


def test_variable_description() -> None:
    variable = Variable(np.zeros((2, 3), "float32"), "kernel", "lstm/kernel")
    assert (variable.ndim, variable.size, variable.dtype.name) == (2, 6, "float32")
    assert repr(variable) == "<Variable path=lstm/kernel, shape=(2, 3), dtype=float32>"
    with pytest.raises(ValueError, match="copy: a variable"):
        variable.__array__(copy=False)


def test_set_weights_is_all_or_nothing() -> None:
    layer = layers.LSTM(H)
    layer(X)
    before = layer.get_weights()
    wrong = [before[0] * 0, before[1] * 0, np.zeros(3)]
    with pytest.raises(ValueError, match=r"weights: expected shape \(24,\) for lstm.*/bias, got \(3,\)"):
        layer.set_weights(wrong)
    with pytest.raises(ValueError, match="weights: expected 3 arrays, got 2"):
        layer.set_weights(before[:2])
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))
    with pytest.raises(ValueError, match="expected a built layer"):
        layers.LSTM(H).set_weights(before)


def test_inference_from_several_threads() -> None:
    layer = layers.LSTM(H, dtype="float64")
    want = layer(X)
    layer.set_weights(layer.get_weights())  # the first to come packs the weights again
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(y, want) for y in pool.map(lambda _: layer(X), range(32)))


def test_integer_and_list_inputs_are_converted() -> None:
    layer = layers.Dense(2)
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    y = layer(x)
    assert y.dtype == np.float32
    assert np.array_equal(y, layer(x.tolist()))


def test_strided_input() -> None:
    layer = layers.LSTM(H, dtype="float64")
    wide = RANDOM.normal(size=(T, B, 2 * I))
    view = wide.transpose(1, 0, 2)[:, :, ::2]
    assert np.array_equal(layer(view), layer(view.copy()))


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(3, dropout=0.1, seed=4, go_backwards=True, use_bias=False, name="a", dtype="float64"),
        layers.Dense(3, "relu", kernel_initializer="he_normal", trainable=False),
        layers.Dropout(0.3, seed=2),
        layers.Activation("tanh"),
        layers.Flatten(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_round_trip(layer: layers.Layer) -> None:
    again = layers.deserialize(layers.serialize(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


def test_automatic_names() -> None:
    utils.clear_session()
    assert [layers.LSTM(1).name, layers.LSTM(1).name, layers.Dense(1).name] == ["lstm", "lstm_1", "dense"]


def test_backward_needs_its_forward() -> None:
    for layer, x in (
        (layers.LSTM(2), X),
        (layers.Dense(2), X),
        (layers.Dropout(0.5), X),
        (layers.Flatten(), X),
    ):
        y = layer(x)
        with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, training=True\)"):
            layer.backward(y)
        layer(x, training=True)
        layer.backward(y)
        with pytest.raises(RuntimeError, match="backward needs a forward"):
            layer.backward(y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.LSTM(0), "units: expected a positive integer, got 0"),
        (lambda: layers.LSTM(-3), "units: expected a positive integer, got -3"),
        (lambda: layers.LSTM(4, activation="softmax"), "activation: expected one of tanh, .*got 'softmax'"),
        (lambda: layers.LSTM(4, recurrent_activation="gelu"), "recurrent_activation: expected one of"),
        (lambda: layers.LSTM(4, dropout=1.0), r"dropout: expected a number in \[0, 1\), got 1.0"),
        (
            lambda: layers.LSTM(4, recurrent_dropout=1),
            r"recurrent_dropout: expected a number in \[0, 1\), got 1",
        ),
        (lambda: layers.LSTM(4, kernel_regularizer="l3"), "kernel_regularizer: expected one of .*'l3'"),
        (lambda: layers.LSTM(4, kernel_initializer="orthogonl"), "kernel_initializer: expected one of"),
        (lambda: layers.LSTM(4, dtype="float16"), "dtype: expected one of .*got 'float16'"),
        (lambda: layers.LSTM(4, name="a/b"), "name: expected a non-empty string without '/'"),
        (lambda: layers.LSTM(4, name="a\0b"), "name: expected a non-empty string without NUL"),
        (lambda: layers.Dense(4, name="a\ud800"), "name: expected a non-empty string without NUL"),
        (lambda: ANY.Dense(4, name=3), "name: expected a non-empty string without NUL"),
        (lambda: layers.Dense(3, "sofmax"), "activation: expected one of .*got 'sofmax'"),
        (lambda: layers.Dropout(1), r"rate: expected a number in \[0, 1\), got 1"),
        (lambda: layers.Dropout(0.5, noise_shape=(1, 2)), "noise_shape: expected None, got"),
        (
            lambda: layers.Flatten(data_format="channels_first"),
            "data_format: expected None or 'channels_last'",
        ),
        (lambda: layers.Input(), "shape: expected either shape or batch_shape"),
        (lambda: layers.Input((0, 3)), "shape: expected a positive integer, got 0"),
        (lambda: layers.Input((3,), dtype="complex64"), "dtype: expected a real number type"),
        (
            lambda: layers.deserialize({"class_name": "GRU", "config": {}}),
            "class_name: expected one of .*'GRU'",
        ),
        (lambda: layers.LSTM(4)(np.ones((2, 3))), r"x: expected 3 axes .*got shape \(2, 3\)"),
        (lambda: layers.LSTM(4)(np.ones((2, 3, 0))), "x: expected a positive number of features"),
        (lambda: layers.Dense(4)(np.ones(3)), r"x: expected at least 2 axes .*got shape \(3,\)"),
        (lambda: ANY.LSTM(4)(X, initial_state=STATES[0]), r"initial_state: expected a pair \[h, c\]"),
        (
            lambda: layers.LSTM(4)(X, initial_state=STATES),
            r"initial_state: expected shape \(3, 4\), got \(3, 6\)",
        ),
        (lambda: layers.LSTM(4)([[1, 2], [3]]), "x: expected an array of numbers, got list"),
        (lambda: ANY.LSTM(4)(None), "x: expected an array, got None"),
    ],
)
def test_value_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ANY.LSTM(4.0), "units: expected a positive integer, got 4.0"),
        (lambda: layers.LSTM(True), "units: expected a positive integer, got True"),
        (lambda: ANY.LSTM("4"), "units: expected a positive integer, got '4'"),
        (lambda: layers.LSTM(4, dropot=0.1), "dropot: unknown argument of LSTM"),
        (lambda: ANY.Dropout("0.5"), "rate: expected a number, got '0.5'"),
        (
            lambda: layers.LSTM(4)(np.ones((2, 3, 4)) * 1j),
            "x: expected an array of real numbers, got ndarray of",
        ),
        (lambda: layers.LSTM(4)([["a"]]), "x: expected an array of real numbers, got list of dtype"),
        (lambda: ANY.LSTM(4)(layers.InputLayer((3, 4))), r"x: expected an array.*Sequential\(\[...\]\)"),
    ],
)
def test_type_errors(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_features_are_checked_after_building() -> None:
    for layer in (layers.LSTM(4), layers.Dense(4)):
        layer(X)
        with pytest.raises(ValueError, match=r"x: expected 5 features for .*got shape \(3, 4, 6\)"):
            layer(np.ones((B, T, I + 1)))


def test_hints_of_keras_are_accepted() -> None:
    layer = layers.LSTM(4, unroll=True, use_cudnn=False, recurrent_dropout=0, stateful=False)
    assert layer(X).shape == (B, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Conv1D", "has no Conv1D: .*'LSTM'.*convolutions, attention and other cells are Keras's"),
        ("GRU", "has no GRU: "),
        ("nothing", r"module 'fusedlstm.layers' has no attribute 'nothing'"),
    ],
)
def test_layers_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(layers, name)
    assert not hasattr(layers, name)
