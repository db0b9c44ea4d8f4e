"""Loaders fill models: no start values are drawn, no seed is taken, and sizes come before memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import threading
import time
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import initializers, layers
from fusedlstm.base.filling import filling
from fusedlstm.base.seeds import SeedGenerator, draw_seed, set_random_seed
from fusedlstm.io.safetensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

F, H = 3, 4
X = np.random.default_rng(0).normal(size=(8, 5, F)).astype(np.float32)
Y = np.zeros((8, 2))


def make(units: int = H, **options: Any) -> fusedlstm.Sequential:
    set_random_seed(1)
    options = {"dropout": 0.2, **options}
    parts = [
        layers.Input((5, F)),
        layers.Bidirectional(layers.LSTM(units, return_sequences=True, name="b", **options)),
        layers.Dropout(0.3),
        layers.LSTM(units, name="l", **options),
        layers.Dense(2, name="d"),
    ]
    return fusedlstm.Sequential(parts)


def from_safetensors(folder: Path) -> Callable[[], fusedlstm.Model]:
    model = make(layer_norm=True, projection_units=2, use_peepholes=True, kernel_regularizer="l2")
    model.add(layers.Dense(3, kernel_constraint="unit_norm"))
    model.compile("adam", "mse")
    model.save(folder / "a.safetensors")
    return lambda: fusedlstm.load_model(folder / "a.safetensors")


def from_keras_file(folder: Path) -> Callable[[], fusedlstm.Model]:
    make().save(folder / "a.keras")
    return lambda: fusedlstm.load_model(folder / "a.keras")


def from_onnx_file(folder: Path) -> Callable[[], fusedlstm.Model]:
    pytest.importorskip("onnx")
    fusedlstm.to_onnx(make(), folder / "a.onnx")
    return lambda: fusedlstm.from_onnx(folder / "a.onnx").sequential()


def from_torch_weights(_folder: Path) -> Callable[[], fusedlstm.Model]:
    random = np.random.default_rng(3)
    sizes = {"weight_ih": (4 * H, F), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}
    weights = {f"{name}_l0": random.normal(size=shape) for name, shape in sizes.items()}
    return lambda: fusedlstm.from_torch(weights)


def from_pickled_estimator(_folder: Path) -> Callable[[], fusedlstm.Model]:
    pytest.importorskip("sklearn")
    from fusedlstm.sklearn import LSTMClassifier

    estimator = LSTMClassifier(4, epochs=1, dropout=0.2, bidirectional=True, random_state=2)
    content = pickle.dumps(estimator.fit(X, np.arange(8) % 2))
    return lambda: pickle.loads(content).model_


LOADERS = [from_safetensors, from_keras_file, from_onnx_file, from_torch_weights, from_pickled_estimator]


@pytest.mark.parametrize("prepare", LOADERS)
def test_nothing_is_drawn(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], Callable[[], fusedlstm.Model]],
) -> None:
    load = prepare(tmp_path)
    set_random_seed(7)
    wanted = draw_seed()
    set_random_seed(7)
    with monkeypatch.context() as patch:
        patch.setattr(initializers.Initializer, "__call__", lambda *_: pytest.fail("an initializer ran"))
        model = load()
    assert draw_seed() == wanted
    assert model.built
    assert model.predict(X, verbose=0).shape[0] == len(X)
    # The same training from here: streams without a saved state take their seeds when they are used.
    again = load()
    for one in (model, again):
        set_random_seed(11)
        one.compile("adam", "mse")
        target = np.zeros(one.predict(X, verbose=0).shape)
        one.fit(X, target, epochs=2, batch_size=4, verbose=0)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    # Layers that are made now draw as always.
    set_random_seed(7)
    assert SeedGenerator().state == (wanted, 0)


@pytest.mark.filterwarnings("ignore")
def test_keras_model_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    theirs = keras.Sequential([keras.layers.Input((5, F)), keras.layers.LSTM(H), keras.layers.Dropout(0.2)])
    set_random_seed(7)
    wanted = draw_seed()
    set_random_seed(7)
    with monkeypatch.context() as patch:
        patch.setattr(initializers.Initializer, "__call__", lambda *_: pytest.fail("an initializer ran"))
        model = fusedlstm.from_keras(theirs)
    assert draw_seed() == wanted
    for ours, other in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, other)


def test_streams_that_wait_for_their_seed() -> None:
    set_random_seed(7)
    wanted = draw_seed()
    set_random_seed(7)
    with filling():
        first, second, given = SeedGenerator(), SeedGenerator(), SeedGenerator(5)
        initializer = initializers.RandomNormal()
    copy = pickle.loads(pickle.dumps(second))
    assert copy.state == second.state == (wanted, 0)
    assert given.state == (5, 0)
    assert len({first.next(), second.next(), initializer.seed}) == 3
    assert initializer.get_config()["seed"] is None


def test_weights_that_a_layer_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initializers.Initializer, "__call__", lambda *_: pytest.fail("an initializer ran"))
    table = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(layers.Embedding(2, 3, weights=table).get_weights()[0], table)
    with pytest.raises(ValueError, match="weights: expected"):
        layers.Embedding(10**8, 10**8, weights=table)


def test_new_layers_are_drawn_while_another_thread_loads() -> None:
    """What is said for one thread holds for that thread."""
    seen: list[Any] = []

    def build() -> None:
        layer = layers.Dense(3)
        layer.build((None, 4))
        seen.append(layer.kernel.numpy())

    with filling():
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    assert seen[0].any()


# ---- sizes ----


def wide_safetensors(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "a.safetensors"
    make(2).save(path)
    tensors, metadata = read_tensors(path)
    description = json.loads(metadata["model"])
    change(description["layers"][2]["config"])
    write_tensors(path, tensors, {**metadata, "model": json.dumps(description)})
    return path


def wide_keras(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "a.keras"
    make(2).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(parts["config.json"])
    change(description["config"]["layers"][3]["config"])
    parts["config.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("write", [wide_safetensors, wide_keras])
@pytest.mark.parametrize("units", [3, 8000, 10**6, 2**40, 10**30])
def test_more_units_than_the_file_has_numbers_for(
    tmp_path: Path, write: Callable[[Path, Callable[[dict[str, Any]], object]], Path], units: int
) -> None:
    path = write(tmp_path, lambda config: config.update(units=units))
    assert path.stat().st_size < 40_000
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(ValueError, match=rf"{path.name}: .*(numbers that there are|expected)"):
            fusedlstm.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 2


def test_more_layers_than_the_file_describes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    fusedlstm.Sequential([layers.Input((5, F)), layers.StackedLSTM(2)]).save(path)
    tensors, metadata = read_tensors(path)
    description = json.loads(metadata["model"])
    description["layers"][0]["config"].update(units=2, num_layers=10**9)
    write_tensors(path, tensors, {**metadata, "model": json.dumps(description)})
    with pytest.raises(ValueError, match="units: expected a list with the units of each layer"):
        fusedlstm.load_model(path)


@pytest.mark.parametrize("packed", [False, True])
def test_datasets_without_bytes(tmp_path: Path, packed: bool) -> None:
    """An HDF5 file may announce an array of any size that it holds nothing of."""
    h5py = pytest.importorskip("h5py")
    path = wide_keras(tmp_path, lambda config: config.update(units=8000))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    memory = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(memory, "r+") as file:
        group = file["layers/lstm/cell/vars"]
        for name, shape in (("0", (4, 32000)), ("1", (8000, 32000)), ("2", (32000,))):
            del group[name]
            options = (
                {"compression": "gzip", "chunks": (1000,) * len(shape)} if packed and name != "0" else {}
            )
            group.create_dataset(name, shape=shape, dtype="float32", **options)
    parts["model.weights.h5"] = memory.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="numbers that there are"):
            fusedlstm.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_loading_takes_less_than_drawing(tmp_path: Path) -> None:
    def seconds(work: Callable[[], object], times: int) -> float:
        best = np.inf
        for _ in range(times):
            start = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - start)
        return float(best)

    def build() -> fusedlstm.Model:
        return fusedlstm.Sequential([layers.Input((None, 16)), layers.LSTM(512)])

    build().save(tmp_path / "a.safetensors")
    drawn = seconds(build, 2)
    assert seconds(lambda: fusedlstm.load_model(tmp_path / "a.safetensors"), 5) < drawn / 3
