"""Embedding: values, gradients, masks, ids on their way through models and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers
from fusedlstm.testing import check_gradients

if TYPE_CHECKING:
    from pathlib import Path

ANY: Any = layers  # for arguments that type checkers refuse
V, E, H = 7, 5, 6
IDS = np.random.default_rng(0).integers(1, V, (4, 6))
IDS[1, 4:] = IDS[2, :2] = IDS[3] = 0


def make_model(mask_zero: bool = True, **options: Any) -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(1)
    return fusedlstm.Sequential(
        [
            layers.Input((None,)),
            layers.Embedding(V, E, mask_zero=mask_zero, **options),
            layers.LSTM(H, return_sequences=True),
            layers.LSTM(H),
            layers.Dense(2),
        ]
    )


@pytest.mark.parametrize("shape", [(4,), (4, 6), (2, 3, 4), (0, 3)], ids=str)
def test_values_and_gradients(shape: tuple[int, ...]) -> None:
    layer = layers.Embedding(V, E, dtype="float64")
    ids = np.resize(IDS, shape)
    assert layer.compute_output_shape(shape) == (*shape, E)
    y = layer(ids)
    np.testing.assert_array_equal(y, layer.get_weights()[0][ids])

    def function(table: Any) -> Any:
        layer.set_weights([table])
        return layer(ids)

    def gradient(dy: Any, table: Any) -> Any:
        layer.set_weights([table])
        layer(ids, training=True)
        assert layer.backward(dy[0]) is None
        return {"table": layer.embeddings.grad}

    check_gradients(function, gradient, {"table": layer.embeddings.numpy()}, terms=ids.size + 1)


def test_zero_is_padding() -> None:
    """A padded row gives what its real steps give alone, and its padding's vector is not trained."""
    model, x = make_model(), IDS.copy()
    got = model(x)
    np.testing.assert_array_equal(model(x[1:2, :4])[0], got[1])
    np.testing.assert_array_equal(model(x[2:3, 2:])[0], got[2])
    model.compile("sgd", "mse")
    before = model.get_weights()[0]
    model.train_on_batch(x, np.ones((4, 2)))
    after = model.get_weights()[0]
    np.testing.assert_array_equal(before[0], after[0])
    for row in range(1, V):
        assert (before[row] != after[row]).any() == (row in x)
    assert ANY.Embedding(V, E).compute_mask(x, None) is None


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "list"])
def test_ids_of_every_type(kind: str) -> None:
    model = make_model()
    want = model(IDS)
    given: Any = IDS.tolist() if kind == "list" else IDS.astype(kind)
    np.testing.assert_array_equal(model(given), want)
    np.testing.assert_array_equal(model.predict(given, batch_size=3, verbose=0), want)
    np.testing.assert_array_equal(model.predict_on_batch(given), want)
    model.compile("sgd", "mse")
    model.fit(given, np.ones((4, 2)), verbose=0)


def test_ids_beyond_what_a_float32_holds() -> None:
    """2**24 + 1 is no float32: inputs of a model with an Embedding never become numbers."""
    count = 2**24 + 2
    table = np.zeros((count, 1), np.float32)
    table[-1] = 3
    model = fusedlstm.Sequential([layers.Input((1,)), layers.Embedding(count, 1, weights=table)])
    np.testing.assert_array_equal(model.predict([[count - 1], [count - 2]], verbose=0), [[[3]], [[0]]])


def test_reshaped_ids() -> None:
    table = np.arange(V * E).reshape(V, E)
    model = fusedlstm.Sequential(
        [layers.Input((6,)), layers.Reshape((2, 3)), layers.Embedding(V, E, weights=[table])]
    )
    np.testing.assert_array_equal(model(IDS), table[IDS.reshape(4, 2, 3)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (V, r"x: expected whole numbers in \[0, 7\), got 7 at index \(3, 5\)"),
        (-1, r"x: expected whole numbers in \[0, 7\), got -1 at index \(3, 5\)"),
        (1.5, r"x: expected whole numbers, got 1\.5 at index \(3, 5\)"),
    ],
)
def test_wrong_ids_change_nothing(wrong: float, message: str) -> None:
    model = make_model()
    model.compile("sgd", "mse")
    before = model.get_weights()
    x = IDS.astype(float)
    x[3, 5] = wrong
    y = np.ones((4, 2))
    for call in (
        lambda: model.fit(x, y, batch_size=1, shuffle=False, verbose=0),
        lambda: model.evaluate(x, y, verbose=0),
        lambda: model.predict(x, verbose=0),
        lambda: model(x),
        lambda: model.layers[0](x),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match="validation_data " + message):
        model.fit(IDS, y, validation_data=(x, y), verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = make_model(embeddings_regularizer="l2", embeddings_constraint="max_norm", input_length=6)
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again(IDS), model(IDS))


@pytest.mark.parametrize("mask_zero", [False, True])
def test_streams(mask_zero: bool) -> None:
    model = make_model(mask_zero)
    stream = model.stream(batch=len(IDS))
    for t in range(IDS.shape[1]):
        np.testing.assert_array_equal(stream.step(IDS[:, t]), model(IDS[:, : t + 1]))
    with pytest.raises(ValueError, match=r"x: expected shape \(4,\), got \(4, 1\)"):
        stream.step(IDS[:, :1])
    states = stream.states
    with pytest.raises(ValueError, match=r"x: expected whole numbers in \[0, 7\), got 9 at index \(1,\)"):
        stream.step([1, 9, 1, 1])
    np.testing.assert_array_equal(stream.states, states)


def test_errors() -> None:
    for make, message in (
        (lambda: layers.Embedding(0, 3), "input_dim: expected a positive integer, got 0"),
        (lambda: layers.Embedding(3, -1), "output_dim: expected a positive integer, got -1"),
        (lambda: layers.Embedding(3, 2, weights=np.ones((2, 3))), r"weights: expected shape \(3, 2\)"),
        (lambda: layers.Embedding(3, 2, lora_rank=4), "lora_rank: expected None, got 4"),
        (lambda: layers.Embedding(3, 2, input_length=0), "input_length: expected a positive integer"),
        (lambda: layers.Embedding(3, 2)(2), r"x: expected a batch axis for layer embedding"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="kernel_regularizer: unknown argument of Embedding"):
        ANY.Embedding(3, 2, kernel_regularizer="l2")
    with pytest.raises(RuntimeError, match=r"embedding.*: backward needs a forward"):
        layers.Embedding(3, 2).backward(np.ones((1, 2)))
