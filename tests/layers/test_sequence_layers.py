"""Layers that reshape, pool, repeat or disturb sequences: values, gradients, masks, shapes, files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers

from .common import RANDOM, B, I, T, X, gradient_check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANY: Any = layers  # for arguments that type checkers refuse
VECTORS = RANDOM.normal(size=(B, I))
MASK = np.array([[True, True, False, True], [False, True, False, False], [True] * 4])

CASES: list[tuple[Callable[[], layers.Layer], Any, Callable[[Any], Any]]] = [
    (lambda: layers.Flatten(dtype="float64"), X, lambda x: x.reshape(B, T * I)),
    (lambda: layers.Reshape((I, T), dtype="float64"), X, lambda x: x.reshape(B, I, T)),
    (lambda: layers.Reshape((2, -1), dtype="float64"), X, lambda x: x.reshape(B, 2, T * I // 2)),
    (lambda: layers.Permute((2, 1), dtype="float64"), X, lambda x: x.transpose(0, 2, 1)),
    (lambda: layers.Permute((1, 2), dtype="float64"), X, lambda x: x),
    (
        lambda: layers.Permute((3, 1, 2), dtype="float64"),
        X[..., None],
        lambda x: x.transpose(0, 3, 1, 2),
    ),
    (lambda: layers.RepeatVector(3, dtype="float64"), VECTORS, lambda x: np.stack([x] * 3, axis=1)),
    (lambda: layers.GlobalAveragePooling1D(dtype="float64"), X, lambda x: x.mean(axis=1)),
    (
        lambda: layers.GlobalAveragePooling1D(keepdims=True, dtype="float64"),
        X,
        lambda x: x.mean(axis=1, keepdims=True),
    ),
    (lambda: layers.GlobalMaxPooling1D(dtype="float64"), X, lambda x: x.max(axis=1)),
    (
        lambda: layers.GlobalMaxPooling1D(keepdims=True, dtype="float64"),
        X,
        lambda x: x.max(axis=1, keepdims=True),
    ),
    (lambda: layers.SpatialDropout1D(0.5, dtype="float64"), X, lambda x: x),
    (lambda: layers.GaussianNoise(0.5, dtype="float64"), X, lambda x: x),
]
IDENTITIES = (layers.SpatialDropout1D, layers.GaussianNoise)
NAMES = [f"{make().name}-{number}" for number, (make, _, _) in enumerate(CASES)]


@pytest.mark.parametrize(("make", "x", "formula"), CASES, ids=NAMES)
def test_values_shapes_and_gradients(make: Any, x: Any, formula: Any) -> None:
    layer = make()
    y = layer(x)
    np.testing.assert_allclose(y, formula(x), rtol=1e-14)
    assert layer.compute_output_shape(x.shape) == y.shape
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *y.shape[1:])
    empty = layer(x[:0])
    assert empty.shape == (0, *y.shape[1:])
    if not isinstance(layer, IDENTITIES):
        gradient_check(layer, x, T)
    layer(x, training=True)
    assert layer.backward(y, need_dx=False) is None


@pytest.mark.parametrize(("make", "x", "formula"), CASES, ids=NAMES)
def test_a_row_does_not_depend_on_the_batch(make: Any, x: Any, formula: Any) -> None:
    del formula
    layer = make()
    whole = layer(x)
    for row in range(B):
        assert layer(x[row : row + 1]).tobytes() == np.ascontiguousarray(whole[row]).tobytes()


@pytest.mark.parametrize(("make", "x", "formula"), CASES, ids=NAMES)
def test_configs_and_files(make: Any, x: Any, formula: Any, tmp_path: Path) -> None:
    del formula
    layer = make()
    again = layers.deserialize(layers.serialize(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    model = fusedlstm.Sequential([layers.Input(x.shape[1:]), layer])
    model.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(fusedlstm.load_model(tmp_path / "a.safetensors")(x), model(x))
    model.summary(print_fn=str)
    if not isinstance(layer, IDENTITIES):
        with pytest.raises(RuntimeError, match=f"{layer.name}: backward needs a forward"):
            again.backward(layer(x))


def test_masks_go_on_or_end() -> None:
    for make, x, _ in CASES:
        layer = make()
        passes = isinstance(layer, IDENTITIES)
        assert (layer.compute_mask(x, MASK) is MASK) == passes, layer
        if not passes:
            assert layer.compute_mask(x, MASK) is None


def test_reshape_of_unknown_lengths() -> None:
    assert layers.Reshape((-1, 2)).compute_output_shape((None, None, 4)) == (None, None, 2)
    assert layers.Flatten().compute_output_shape((None, None, 4)) == (None, None)
    assert layers.Permute((2, 1)).compute_output_shape((None, None, 4)) == (None, 4, None)


# ---- pooling ----


@pytest.mark.parametrize("keepdims", [False, True])
def test_means_over_real_steps(keepdims: bool) -> None:
    layer = layers.GlobalAveragePooling1D(keepdims=keepdims, dtype="float64")
    want = np.stack([row[real].mean(axis=0) for row, real in zip(X, MASK, strict=True)])
    x = np.where(MASK[..., None], X, np.inf)
    got = layer(x, mask=MASK)
    assert got.shape == ((B, 1, I) if keepdims else (B, I))
    np.testing.assert_allclose(got.reshape(B, I), want, rtol=1e-14)
    gradient_check(layer, X, T, mask=MASK)
    nothing = layer(X, mask=np.zeros((B, T), bool), training=True)
    np.testing.assert_array_equal(nothing, 0)
    np.testing.assert_array_equal(layer.backward(np.ones_like(nothing)), 0)


def test_means_in_a_model() -> None:
    model = fusedlstm.Sequential(
        [layers.Input((None, I)), layers.Masking(), layers.GlobalAveragePooling1D(), layers.Dense(2)]
    )
    x = X.astype("float32")
    padded = np.concatenate([x, np.zeros((B, 3, I), "float32")], axis=1)
    np.testing.assert_allclose(model(padded), model(x), rtol=1e-5)


def test_steps_that_share_the_maximum() -> None:
    layer = layers.GlobalMaxPooling1D(dtype="float64")
    layer(np.array([[[1.0, 5.0], [3.0, 5.0], [3.0, 4.0]]]), training=True)
    dx = layer.backward(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(dx, [[[0, 1], [0.5, 1], [0.5, 0]]])


# ---- noise ----


def test_spatial_dropout() -> None:
    layer = layers.SpatialDropout1D(0.5, seed=3, dtype="float64")
    ones = np.ones((20, T, I))
    y = layer(ones, training=True)
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(y, y[:, :1].repeat(T, axis=1))
    np.testing.assert_array_equal(layer.backward(ones), y)


def test_gaussian_noise() -> None:
    layer = layers.GaussianNoise(0.25, seed=3)
    x = np.zeros((200, 30, 10), np.float32)
    one, other = layer(x, training=True), layer(x, training=True)
    assert one.dtype == np.float32
    # 60,000 draws: both are within five standard errors.
    assert abs(one.mean()) < 5 * 0.25 / 245
    assert abs(one.std() - 0.25) < 5 * 0.25 / 346
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(layers.GaussianNoise(0.25, seed=3)(x, training=True), one)
    dy = RANDOM.normal(size=x.shape)
    _, saved = layer.forward(x, training=True)
    assert layer.backprop(saved, dy, layers.Gradients()) is dy
    model = fusedlstm.Sequential([layers.Input((30, 10)), layer])
    assert layer.seed_generators[0] in model.seed_generators


def test_streams() -> None:
    model = fusedlstm.Sequential(
        [
            layers.Input((None, I)),
            layers.Masking(),
            layers.SpatialDropout1D(0.3),
            layers.LSTM(6, return_sequences=True),
            layers.GaussianNoise(0.3),
            layers.TimeDistributed(layers.Dense(4, "softmax")),
            layers.LSTM(3, return_sequences=True, zero_output_for_mask=True),
        ]
    )
    x = np.where(MASK[..., None], X, 0).astype("float32")
    whole, stream = model(x), model.stream(batch=B)
    for t in range(T):
        np.testing.assert_array_equal(stream.step(x[:, t]), whole[:, t])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Reshape((2, -1, -1)), "target_shape: expected at most one -1"),
        (lambda: layers.Reshape((2, 0)), "target_shape: expected a positive integer, got 0"),
        (lambda: layers.Reshape((3, 7))(X), r"x: expected samples that fit \(3, 7\) for layer resh"),
        (lambda: layers.Reshape((3, -1))(X), r"x: expected samples that fit \(3, -1\) for layer resh"),
        (lambda: layers.Permute((1, 3)), r"dims: expected the numbers from 1 to 2, got \(1, 3\)"),
        (lambda: layers.Permute((0, 1)), "dims: expected a positive integer, got 0"),
        (lambda: layers.Permute((2, 1))(VECTORS), "x: expected 3 axes for layer permute"),
        (lambda: layers.RepeatVector(0), "n: expected a positive integer, got 0"),
        (
            lambda: layers.RepeatVector(2**62)(VECTORS),
            r"x: expected an array that fits into memory 4611686018427387904 times for layer repeat.*, got",
        ),
        (lambda: layers.RepeatVector(2)(X), r"x: expected 2 axes \(batch, features\) for layer repeat"),
        (lambda: layers.GlobalMaxPooling1D()(VECTORS), r"x: expected 3 axes \(batch, steps, features\)"),
        (lambda: layers.GlobalMaxPooling1D()(X[:, :0]), "x: expected at least one step for layer global"),
        (lambda: layers.GlobalAveragePooling1D()(X, mask=MASK[:, :2]), r"mask: expected shape \(3, 4\)"),
        (
            lambda: layers.GlobalMaxPooling1D(data_format="channels_first"),
            "data_format: expected None or 'channels_last', got 'channels_first'",
        ),
        (lambda: layers.GaussianNoise(1.5), r"stddev: expected a number in \[0, 1\], got 1.5"),
        (lambda: layers.GaussianNoise(-0.1), "stddev: expected a number >= 0, got -0.1"),
        (lambda: layers.SpatialDropout1D(1.0), r"rate: expected a number in \[0, 1\), got 1.0"),
        (lambda: layers.SpatialDropout1D(0.5)(VECTORS), "x: expected 3 axes"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ANY.Reshape(3), "target_shape: expected a tuple of integers, got 3"),
        (lambda: ANY.Permute("21"), "dims: expected a tuple of integers, got '21'"),
        (lambda: ANY.RepeatVector(2.0), "n: expected a positive integer, got 2.0"),
        (lambda: layers.GlobalMaxPooling1D()(X, mask=MASK), "mask: expected none for layer global_max"),
    ],
)
def test_type_errors(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()
