"""Keras's files that are refused: descriptions and weights that do not fit, damaged archives."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers

h5py: Any = pytest.importorskip("h5py")

from .files import FIXTURES, assert_equal_weights, make_model, weights_of  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# ---- what must be refused ----


def rewritten(path: Path, change: Callable[[Any], object]) -> Path:
    """Write stack.keras with another config.json."""
    with zipfile.ZipFile(FIXTURES / "stack.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            target.writestr(name, content)
    return path


def item(config: Any, number: int) -> Any:
    return config["config"]["layers"][number]


def inside(name: str) -> Any:
    """Describe a TimeDistributed with a layer of some class inside."""
    config = {"batch_shape": [None, 3], "name": "deep"}
    layer = {"module": "keras.layers", "class_name": name, "config": config}
    return {
        "module": "keras.layers",
        "class_name": "TimeDistributed",
        "config": {"name": "outer", "layer": layer},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(class_name="Model"), r"model: expected one of the classes \['Sequential', 'Fu"),
        (lambda c: c.update(class_name="Functional"), "layer 'input_layer': inbound_nodes: expected a list"),
        (lambda c: c.update(module="os"), "model: expected a class of keras, got 'Sequential' of 'os'"),
        (lambda c: c.pop("config"), "model: config: expected a dict, got NoneType"),
        (lambda c: c["config"].pop("layers"), "model: layers: expected a list, got NoneType"),
        (lambda c: c["config"]["layers"].append(3), "layer 8: expected Keras's description of an object"),
        (lambda c: item(c, 1).update(class_name="GRU"), "layer 'first': expected one of the classes .*'GRU'"),
        (lambda c: item(c, 1).update(class_name="Lambda"), "layer 'first': .* got 'Lambda'"),
        (
            lambda c: item(c, 1).update(module="builtins", registered_name="Custom>LSTM"),
            "layer 'first': expected a class of keras.layers, got 'LSTM' of 'builtins'",
        ),
        (
            lambda c: item(c, 1).update(registered_name="Custom>LSTM"),
            "layer 'first': expected a class of ker",
        ),
        (lambda c: item(c, 1)["config"].update(wings=2), r"layer 'first' \(LSTM\): wings: unknown argument"),
        (
            lambda c: item(c, 1)["config"].update(activation="gelu"),
            r"layer 'first' \(LSTM\): activation: expected one of",
        ),
        (
            lambda c: item(c, 1)["config"].update(activation={"class_name": "function", "config": "x"}),
            r"layer 'first' \(LSTM\): activation: expected one of",
        ),
        (lambda c: item(c, 0)["config"].update(ragged=True), "ragged: expected False, got True"),
        (lambda c: item(c, 1)["config"].update(units=0), r"layer 'first' \(LSTM\): units: expected"),
        (lambda c: item(c, 1)["config"].update(units=10**14), "stack.keras: "),
        (
            lambda c: item(c, 1)["config"]["dtype"]["config"].update(name="mixed_float16"),
            r"layer 'first' \(LSTM\): dtype: expected one of",
        ),
        (
            lambda c: item(c, 1)["config"]["kernel_initializer"].update(module="os", class_name="system"),
            "kernel_initializer: expected a class of keras.initializers, got 'system' of 'os'",
        ),
        (
            lambda c: item(c, 1)["config"]["kernel_initializer"].update(class_name="Identity"),
            r"layer 'first' \(LSTM\): kernel_initializer: expected one of",
        ),
        (
            lambda c: c["config"]["layers"].insert(1, inside("InputLayer")),
            r"layer 'deep': expected one of the classes .*got 'InputLayer'",
        ),
        (lambda c: item(c, 0)["config"].update(sparse=True), "layer 'input_layer'.*sparse: expected False"),
        (
            lambda c: item(c, 5)["config"].update(units=4),
            "expected layers for the .* numbers .*got dense",
        ),
        (lambda c: c["config"]["layers"].pop(6), "expected datasets .* found layers/dense_1/vars/0"),
        (
            lambda c: c["config"]["layers"].insert(6, item(c, 5)),
            "stack.keras: layer: expected different name",
        ),
    ],
)
def test_descriptions_that_must_be_refused(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = rewritten(tmp_path / "stack.keras", change)
    with pytest.raises(ValueError, match=message) as caught:
        fusedlstm.load_model(path)
    assert str(caught.value).startswith(str(path))


def delete_and_link(file: Any, link: Any) -> None:
    del file["layers/lstm/cell/vars/0"]
    file["layers/lstm/cell/vars/0"] = link


def replace(file: Any, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__delitem__("layers"), r"expected datasets layers/dense/vars/0 of shape .*found none"),
        (lambda f: f.__delitem__("layers/dense/vars/1"), "expected datasets layers/dense/vars/1 of shape"),
        (lambda f: f.__setitem__("layers/dense/vars/2", [1.0]), "found layers/dense/vars/2"),
        (
            lambda f: replace(f, "layers/dense/vars/0", np.zeros((5, 4), "f4")),
            r"of shape \(5, 3\) in .*found",
        ),
        (
            lambda f: replace(f, "layers/dense/vars/1", np.zeros(3, "f2")),
            "float32 or float64, found .*float16",
        ),
        (lambda f: replace(f, "layers/dense/vars/1", "text"), r"float32 or float64, found \(\) of text"),
        (
            lambda f: replace(f, "layers/dense/vars/1", np.arange(3)),
            r"float32 or float64, found \(3,\) of integers",
        ),
        (
            lambda f: replace(f, "layers/dense/vars/1", np.ones(3, complex)),
            r"float32 or float64, found \(3,\) of compound values",
        ),
        (lambda f: delete_and_link(f, h5py.ExternalLink("/etc/x", "/y")), "found a link at layers/lstm/c"),
        (
            lambda f: delete_and_link(f, h5py.SoftLink("/layers/dense")),
            "found a link at layers/lstm/cell/v",
        ),
        (lambda f: f["layers"].__setitem__("circle", f["layers"]), "another name at layers/circle"),
    ],
)
def test_weights_that_must_be_refused(tmp_path: Path, change: Callable[[Any], object], message: str) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_bytes((FIXTURES / "stack.weights.h5").read_bytes())
    with h5py.File(path, "a") as file:
        change(file)
    model = fusedlstm.load_model(FIXTURES / "stack.keras")
    with pytest.raises(ValueError, match=message) as caught:
        model.load_weights(path)
    assert str(caught.value).startswith(str(path))
    assert_equal_weights(model, weights_of("stack"))


def test_numbers_of_other_files_are_not_read(tmp_path: Path) -> None:
    """Nor announced sizes believed."""
    secret, path = tmp_path / "secret", tmp_path / "a.weights.h5"
    secret.write_bytes(bytes(range(24)))
    model = fusedlstm.Sequential([layers.Input((3,)), layers.Dense(2, use_bias=False)])
    before = model.get_weights()
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (3, 2), "f4", external=[(str(secret), 0, 24)])
    with pytest.raises(ValueError, match="found a reference to another one"):
        model.load_weights(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (2**40, 2**20), "f4", chunks=True)
    with pytest.raises(ValueError, match=r"of shape \(3, 2\) in float32 or float64, found \(1099511627776"):
        model.load_weights(path)
    assert_equal_weights(model, before)


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["stack.keras", "stack.weights.h5"])
def test_truncated_files(tmp_path: Path, name: str, part: float) -> None:
    content = (FIXTURES / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * part)])
    model = fusedlstm.load_model(FIXTURES / "stack.keras")
    with pytest.raises(ValueError, match=f"{name}: expected a complete .* found"):
        fusedlstm.load_model(path) if name.endswith(".keras") else model.load_weights(path)
    assert_equal_weights(model, weights_of("stack"))


def test_damaged_archives(tmp_path: Path) -> None:
    content = (FIXTURES / "stack.keras").read_bytes()
    for position in range(0, len(content), 997):
        damaged = bytearray(content)
        damaged[position] ^= 16
        path = tmp_path / "a.keras"
        path.write_bytes(bytes(damaged))
        try:
            model = fusedlstm.load_model(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017  (damage of what is not read is no error)
        else:
            assert_equal_weights(model, weights_of("stack"))


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_incomplete_archives(tmp_path: Path, missing: str) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in {"config.json", "model.weights.h5"} - {missing}:
            archive.writestr(name, b"{}")
    (tmp_path / "a.keras").write_bytes(memory.getvalue())
    with pytest.raises(ValueError, match=rf"a\.keras: expected a complete \.keras file .*{missing}"):
        fusedlstm.load_model(tmp_path / "a.keras")


def test_missing_files() -> None:
    with pytest.raises(FileNotFoundError):
        fusedlstm.load_model("none.keras")
    with pytest.raises(FileNotFoundError):
        make_model().load_weights("none.weights.h5")


def test_without_h5py() -> None:
    code = f"""
import sys
sys.modules["h5py"] = None
import fusedlstm
try:
    fusedlstm.load_model({str(FIXTURES / "stack.keras")!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "fusedlstm[keras]"' in done.stdout
