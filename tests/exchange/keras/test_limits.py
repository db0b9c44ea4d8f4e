"""Keras's files that claim more than they hold."""

from __future__ import annotations

import functools
import json
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fusedlstm
from fusedlstm import exchange, layers
from tests.refused import refused

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parents[2] / "fixtures"


# ---- zip archives and what is in them ----


def _archive(path: Path, config: bytes, weights: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    return path


def _stack() -> tuple[Any, bytes]:
    with zipfile.ZipFile(FIXTURES / "stack.keras") as archive:
        return json.loads(archive.read("config.json")), archive.read("model.weights.h5")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_keras_file_of_zeros(tmp_path: Path, method: int) -> None:
    path = _archive(tmp_path / "a.keras", json.dumps(_stack()[0]).encode(), bytes(150 << 20), method)
    refused(
        lambda: fusedlstm.load_model(path),
        r"a\.keras: expected a complete \.keras file .*(model\.weights\.h5|packed by method)",
    )


def test_a_keras_file_that_declares_less_than_it_unpacks_to(tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.keras", json.dumps(_stack()[0]).encode(), bytes(150 << 20))
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 150 << 20), struct.pack("<I", 1 << 10)))
    refused(lambda: fusedlstm.load_model(path), r"a\.keras: expected a complete \.keras file")


def test_a_keras_file_with_a_member_twice(tmp_path: Path) -> None:
    config, weights = _stack()
    path = _archive(tmp_path / "a.keras", json.dumps(config).encode(), weights)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", b"{}")
    refused(lambda: fusedlstm.load_model(path), "found 2 members config.json")


def test_a_keras_file_within_the_limit_that_is_raised() -> None:
    with pytest.raises(ValueError, match=r"stack\.keras: .* at most 1,000 bytes"):
        fusedlstm.load_model(FIXTURES / "stack.keras", max_bytes=1000)
    fusedlstm.load_model(FIXTURES / "stack.keras", max_bytes=10_000_000)


@pytest.mark.parametrize("units", [8_000, 10**5, 10**14, 10**30])
def test_a_description_that_asks_for_large_weights(tmp_path: Path, units: int) -> None:
    config, weights = _stack()
    config["config"]["layers"][1]["config"]["units"] = units
    path = _archive(tmp_path / "a.keras", json.dumps(config).encode(), weights)
    refused(lambda: fusedlstm.load_model(path), r"a\.keras: ")


def test_a_description_of_many_layers(tmp_path: Path) -> None:
    config, weights = _stack()
    relu = {"module": "keras.layers", "class_name": "Activation", "config": {"activation": "relu"}}
    config["config"]["layers"] += [relu] * 100_000
    path = _archive(tmp_path / "a.keras", json.dumps(config).encode(), weights)
    refused(lambda: fusedlstm.load_model(path), r"a\.keras: ")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 500 + "]" * 500, '{"a": 1, "a": 2}', "[]," * 10**6]
)
def test_descriptions_that_are_deep_or_long(tmp_path: Path, text: str) -> None:
    path = _archive(tmp_path / "a.keras", text.encode(), b"")
    refused(lambda: fusedlstm.load_model(path), r"a\.keras: expected a complete")


# ---- HDF5 ----


def _weights_file(path: Path, change: Callable[[Any, str], object]) -> Path:
    import h5py

    model = fusedlstm.Sequential([layers.Input((1000,)), layers.Dense(20_000, use_bias=False)])
    with h5py.File(path, "w") as file:
        change(file, "layers/dense/vars/0")
    assert path.stat().st_size < 1 << 20
    refused(lambda: model.load_weights(path), r"a\.weights\.h5: .*expected")
    return path


def test_datasets_that_are_larger_than_the_file(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path, shape = tmp_path / "a.weights.h5", (1000, 20_000)
    # Never written; written and compressed; one chunk that is larger than the dataset may be.
    _weights_file(path, lambda file, name: file.create_dataset(name, shape, "f4", chunks=(100, 100)))
    _weights_file(path, lambda file, name: file.create_dataset(name, shape, "f4", fillvalue=1))
    filters: list[dict[str, Any]] = [
        {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {"fletcher32": True},
    ]  # fmt: skip
    for given in filters:
        options = {"chunks": (100, 100), **given}
        _weights_file(path, functools.partial(_filtered, options=options, shape=shape))


def _filtered(file: Any, name: str, options: dict[str, Any], shape: tuple[int, int]) -> None:
    file.create_dataset(name, shape, "f4", **options)


def test_datasets_of_types_that_numpy_lacks(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def dates(file: Any, name: str) -> None:
        group = file.create_group(name.rpartition("/")[0]).id
        h5py.h5d.create(group, b"0", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((1000, 20_000)))

    _weights_file(tmp_path / "a.weights.h5", dates)


def test_groups_with_many_names(tmp_path: Path) -> None:
    pytest.importorskip("h5py")

    def knot(file: Any, name: str) -> None:
        del name
        group = file.create_group("layers/dense")
        for number in range(100):
            group[f"again{number}"] = group

    _weights_file(tmp_path / "a.weights.h5", knot)


def test_a_file_of_zeros_is_no_model(tmp_path: Path) -> None:
    for ending in (".keras", ".safetensors", ".onnx", ".weights.h5"):
        path = tmp_path / f"a{ending}"
        path.write_bytes(bytes(1 << 20))
        load: dict[str, Any] = {".onnx": exchange.from_onnx, ".weights.h5": _loaded_weights}
        refused(load.get(ending, fusedlstm.load_model), f"a{ending}: ", path)


def _loaded_weights(path: Path) -> None:
    fusedlstm.Sequential([layers.Input((2,)), layers.Dense(1)]).load_weights(path)


def test_names_in_hdf5_that_are_no_text(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "a.weights.h5"
    model = fusedlstm.Sequential([layers.Input((1,)), layers.Dense(1, use_bias=False)])
    model.save_weights(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"dense\0", b"den\xffe\0"))
    refused(model.load_weights, r"a\.weights\.h5: expected names in UTF-8, found b'den\\xffe'", path)
