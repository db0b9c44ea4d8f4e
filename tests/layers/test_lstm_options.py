"""Options of the LSTM layer; the kernels have tests of their own in kernels/test_options.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import layers, ops, utils
from fusedlstm.testing import LSTMReference, assert_close, lstm_variant_reference

from .common import B, H, I, T, X, gradient_check

MASK = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
ZEROS = np.zeros((B, H))


def reference(layer: layers.LSTM, x: Any, options: ops.CellOptions, **more: Any) -> LSTMReference:
    kernel, recurrent_kernel, bias = layer.get_weights()
    return lstm_variant_reference(x, kernel, recurrent_kernel, bias, ZEROS, ZEROS, options=options, **more)


@pytest.mark.parametrize(
    ("activation", "recurrent_activation"),
    [("relu", "hard_sigmoid"), ("softsign", "sigmoid"), ("elu", "sigmoid"), ("linear", "hard_sigmoid")],
)
def test_activations(activation: str, recurrent_activation: str) -> None:
    # With the same weights always: where relu's slope jumps, or that of elu's, finite differences are off.
    utils.set_random_seed(0)
    layer = layers.LSTM(
        H, activation, recurrent_activation, bias_initializer="random_normal", dtype="float64"
    )
    options = ops.CellOptions(recurrent_activation, activation)
    got = layer(X)
    assert_close(got, reference(layer, X, options).h, dtype="float64", terms=I + H, steps=T)
    gradient_check(layer, X, I + H)
    copy = layers.LSTM.from_config(layer.get_config())
    copy(X)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(X), layer(X))


@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_masks(sequences: bool, zero_output: bool, backwards: bool) -> None:
    layer = layers.LSTM(
        H,
        return_sequences=sequences,
        go_backwards=backwards,
        zero_output_for_mask=zero_output,
        dtype="float64",
    )
    got = layer(X, mask=MASK)
    step = -1 if backwards else 1
    want = reference(
        layer,
        X[:, ::step],
        ops.CellOptions(),
        mask=MASK[:, ::step],
        zero_output_for_mask=zero_output,
    ).y
    # Keras's output without return_sequences is that of the last step, masked or not.
    assert_close(got, want if sequences else want[:, -1], dtype="float64", terms=I + H, steps=T)
    gradient_check(layer, X, I + H, mask=MASK)


def test_recurrent_dropout() -> None:
    layer = layers.LSTM(H, recurrent_dropout=0.5, seed=4, dtype="float64")
    calm = layer(X)
    other = layers.LSTM(H, recurrent_dropout=0.5, seed=4, dtype="float64")
    other(X)
    other.set_weights(layer.get_weights())
    first = layer(X, training=True)
    assert not np.array_equal(first, calm)
    np.testing.assert_array_equal(other(X, training=True), first)
    assert not np.array_equal(layer(X, training=True), first)  # a new mask for each batch

    # The units that the mask keeps count double, the others not at all, at every step alike.
    layer = layers.LSTM(H, recurrent_dropout=0.5, seed=4, dtype="float64")
    layer(X)
    layer.set_weights(other.get_weights())
    seed = layers.LSTM(1, seed=4).seed_generators[0].next()
    factors = ops.dropout(np.ones((B, H)), 0.5, seed)
    assert set(np.unique(factors)) == {0.0, 2.0}
    want = reference(layer, X, ops.CellOptions(), recurrent_mask=factors)
    assert_close(layer(X, training=True), want.h, dtype="float64", terms=I + H, steps=T)


def test_stateful() -> None:
    """Two halves one after the other are the whole."""
    plain = layers.LSTM(H, return_sequences=True)
    whole = plain(X)
    layer = layers.LSTM(H, return_sequences=True, stateful=True)
    layer(X)
    layer.set_weights(plain.get_weights())
    layer.reset_state()
    halves = [layer(X[:, :2]), layer(X[:, 2:])]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), whole)
    with pytest.raises(ValueError, match=r"x: expected 3 samples like the batch before, .* got 2"):
        layer(X[:2])
    layer.reset_state()
    np.testing.assert_array_equal(layer(X[:2]), whole[:2])
