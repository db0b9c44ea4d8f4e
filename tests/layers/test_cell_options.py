"""Options of the LSTM layer's cell: values, gradients, weights, files, streams, other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, ops
from fusedlstm.testing import assert_close, lstm_variant_reference

from .common import B, H, I, T, X, gradient_check

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: list[dict[str, Any]] = [
    {"use_peepholes": True},
    {"coupled": True},
    {"cell_clip": 0.3},
    # Without a state, h U has no variance at first: with a small epsilon the output bends too much there for
    # finite differences. Exact derivatives, in tests/kernels, need no such care.
    {"layer_norm": True, "layer_norm_epsilon": 0.1},
    {"use_peepholes": True, "coupled": True, "cell_clip": 0.4, "activation": "softsign", "use_bias": False},
    {
        "use_peepholes": True,
        "layer_norm": True,
        "layer_norm_epsilon": 0.2,
        "activation": "softplus",
        "use_bias": False,
    },
]
NORM = ("gamma_input", "gamma_recurrent", "gamma_cell", "beta_cell")
each_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))


def make(options: dict[str, Any], **more: Any) -> layers.LSTM:
    """Make a layer all of whose weights matter."""
    start = {"bias_initializer": "random_normal", "peephole_initializer": "random_normal"}
    return layers.LSTM(H, **{**start, "dtype": "float64", **options, **more})


@each_option
def test_values(options: dict[str, Any]) -> None:
    layer = make(options)
    got = layer(X)
    weights = {name: variable.numpy() for name, variable in layer._variables.items()}
    activation = options.get("activation", "tanh")
    norm = {name: weights[name] for name in NORM} if layer.layer_norm else None
    cell = ops.CellOptions(
        activation=activation,
        cell_clip=options.get("cell_clip"),
        coupled=options.get("coupled", False),
        layer_norm=None if norm is None else ops.LayerNorm(**norm, epsilon=layer.layer_norm_epsilon),
    )
    want = lstm_variant_reference(
        X,
        weights["kernel"],
        weights["recurrent_kernel"],
        weights.get("bias", np.zeros(4 * H)),
        np.zeros((B, H)),
        np.zeros((B, H)),
        options=cell,
        peepholes=weights.get("peepholes"),
        layer_norm=None if norm is None else list(norm.values()),
    )
    assert_close(got, want.h, dtype="float64", terms=I + H, steps=T)
    plain = layers.LSTM(H, activation, dtype="float64", use_bias=layer.use_bias)
    plain(X)
    plain.set_weights(layer.get_weights()[: len(plain.weights)])
    assert not np.allclose(got, plain(X))


@each_option
@pytest.mark.parametrize("sequences", [False, True])
def test_gradients(options: dict[str, Any], sequences: bool) -> None:
    # The slope of a clipped state has steps, which the differences must not cross.
    fusedlstm.utils.set_random_seed(5)
    gradient_check(make(options, return_sequences=sequences), X, I + H)


def test_peepholes_start_at_zero_and_are_trained() -> None:
    layer = layers.LSTM(H, use_peepholes=True)
    layer.build((None, T, I))
    assert [v.name for v in layer.trainable_weights] == ["kernel", "recurrent_kernel", "bias", "peepholes"]
    np.testing.assert_array_equal(layer.get_weights()[3], np.zeros((3, H)))
    assert layer.count_params() == 4 * H * (I + H + 1) + 3 * H
    model = fusedlstm.Sequential([layers.Input((T, I)), layer, layers.Dense(1)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    before = model.predict(X, verbose=0)
    model.fit(X, np.ones((B, 1)), epochs=3, verbose=0)
    peepholes = layer.get_weights()[3]
    assert np.all(peepholes != 0)
    # The kernels see the new values, also in place of those they have seen before.
    after = model.predict(X, verbose=0)
    layer.set_weights([*layer.get_weights()[:3], np.zeros((3, H))])
    assert not np.array_equal(after, before)
    assert not np.array_equal(model.predict(X, verbose=0), after)


def test_layer_norm_starts_at_ones_and_is_trained() -> None:
    layer = layers.LSTM(H, layer_norm=True)
    layer.build((None, T, I))
    names = [v.name for v in layer.trainable_weights]
    assert names == ["kernel", "recurrent_kernel", "bias", *NORM]
    assert layer.count_params() == 4 * H * (I + H + 1) + 10 * H
    starts = dict(zip(names, layer.get_weights(), strict=True))
    for name in NORM:
        np.testing.assert_array_equal(starts[name], 0 if name == "beta_cell" else 1)
    model = fusedlstm.Sequential([layers.Input((T, I)), layer, layers.Dense(1)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    model.fit(X, np.ones((B, 1)), epochs=3, verbose=0)
    for name, value in zip(names, layer.get_weights(), strict=True):
        assert not np.array_equal(value, starts[name]), name


@each_option
def test_config(options: dict[str, Any]) -> None:
    layer = make(options)
    copy = layers.deserialize(layers.serialize(layer))
    assert copy.get_config() == layer.get_config()
    layer(X)
    copy(X)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(X), layer(X))


@each_option
def test_files(options: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    last = layers.Dense(2, dtype="float64")
    model = fusedlstm.Sequential([layers.Input((T, I)), make(options), last])
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(fusedlstm.load_model(tmp_path / "model.safetensors")(X), model(X))


@each_option
@pytest.mark.parametrize("storage", [None, "int8"])
def test_streams(options: dict[str, Any], storage: str | None) -> None:
    fusedlstm.utils.set_random_seed(2)
    layer = make(options, dtype="float32", return_sequences=True)
    model = fusedlstm.Sequential([layers.Input((T, I)), layer])
    whole, stream = model(X), model.stream(batch=B, storage=storage)
    steps = np.stack([np.array(stream.step(X[:, t])) for t in range(T)], axis=1)
    if storage is None:
        np.testing.assert_array_equal(steps, whole)
    else:
        assert 0 < np.abs(steps - whole).max() < 0.02


@each_option
def test_bidirectional(options: dict[str, Any]) -> None:
    layer = layers.Bidirectional(make(options, return_sequences=True))
    gradient_check(layer, X, I + H)
    copy = layers.deserialize(layers.serialize(layer))
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_peepholes": True}, "use_peepholes: expected False, as Keras has no such option, got True"),
        ({"coupled": True}, "coupled: expected False, as Keras has no such option, got True"),
        ({"cell_clip": 2}, "cell_clip: expected None, as Keras has no such option, got 2.0"),
        ({"layer_norm": True}, "layer_norm: expected False, as Keras has no such option, got True"),
    ],
)
def test_keras_does_not_have_them(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    model = fusedlstm.Sequential([layers.Input((T, I)), layers.LSTM(H, name="a", **options)])
    for path in ("model.keras", "model.weights.h5"):
        with pytest.raises(ValueError, match=rf"^layer 'a' \(LSTM\): {message}"):
            model.save(tmp_path / path) if path.endswith(".keras") else model.save_weights(tmp_path / path)
        assert not (tmp_path / path).exists()


def test_plain_cells_still_go_to_keras(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    # Without peepholes their initializer means nothing.
    layer = layers.LSTM(H, peephole_initializer="ones")
    assert layer.options is None
    model = fusedlstm.Sequential([layers.Input((T, I)), layer])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(fusedlstm.load_model(tmp_path / "model.keras")(X), model(X))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cell_clip": 0}, ValueError, "cell_clip: expected a positive number or None, got 0"),
        ({"cell_clip": "x"}, TypeError, "cell_clip: expected a number, got 'x'"),
        ({"cell_clip": float("nan")}, ValueError, "cell_clip: expected a finite number, got nan"),
        ({"peepholes": True}, TypeError, "peepholes: unknown argument of LSTM"),
        ({"projection_units": 0}, ValueError, "projection_units: expected"),
        ({"projection_units": 1.5}, TypeError, "projection_units: expected"),
        (
            {"projection_units": 2, "projection_initializer": "one"},
            ValueError,
            "projection_initializer: expected one of",
        ),
        ({"zoneout_h": 1}, ValueError, r"zoneout_h: expected a number in \[0, 1\), got 1"),
        ({"zoneout_c": -0.5}, ValueError, r"zoneout_c: expected a number in \[0, 1\), got -0.5"),
        ({"layer_norm_epsilon": 0}, ValueError, "layer_norm_epsilon: expected a positive number, got 0"),
        ({"layer_norm_epsilon": "x"}, TypeError, "layer_norm_epsilon: expected a number, got 'x'"),
        ({"peephole_initializer": "one"}, ValueError, "peephole_initializer: expected one of"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layers.LSTM(H, **options)
