"""What a file may ask for: the allowance, IDX and safetensors files that claim more."""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fusedlstm
from fusedlstm import exchange, layers
from fusedlstm.base import limits
from fusedlstm.datasets.idx import read_idx
from fusedlstm.datasets.mnist import load_mnist
from fusedlstm.io import safetensors
from tests.refused import refused

if TYPE_CHECKING:
    from collections.abc import Callable


# ---- the allowance ----


def test_the_allowance_follows_from_the_size() -> None:
    with limits.reading(1000):
        limits.claim(limits.FREE, "one")
        limits.claim(1000 * limits.FACTOR, "two")
        with pytest.raises(
            ValueError, match=r"three: expected content that takes at most 33,570,432 bytes .*33,570,433"
        ):
            limits.claim(1, "three")
    limits.claim(1 << 60, "outside of reading nothing is counted")


def test_max_bytes_is_another_allowance() -> None:
    with limits.reading(1000, 10):
        limits.claim(10, "all")
        limits.grant(1000)
        with pytest.raises(ValueError, match=r"more: .* at most 10 bytes"):
            limits.claim(1, "more")
    for wrong, kind in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(kind, match="max_bytes: expected a positive integer"), limits.reading(1, wrong):  # type: ignore[arg-type]
            pass


def test_another_file_adds_to_the_allowance() -> None:
    with limits.reading(0):
        limits.grant(10)
        limits.claim(limits.FREE + 10 * limits.FACTOR, "all")


@pytest.mark.parametrize("ending", [".keras", ".safetensors", ".onnx", ".gz"])
def test_pipes_are_refused(tmp_path: Path, ending: str) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    path = tmp_path / f"a{ending}"
    os.mkfifo(path)
    load: dict[str, Any] = {".onnx": exchange.from_onnx, ".gz": lambda path: read_idx(path, ndim=3)}
    with pytest.raises(ValueError, match="expected a file, found a pipe or a device"):
        load.get(ending, fusedlstm.load_model)(path)


# ---- IDX ----


def _idx(shape: tuple[int, int, int]) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *shape)


def test_an_idx_file_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(_idx((100, 1024, 1024)))
        for _ in range(100):
            file.write(bytes(1 << 20))
    refused(lambda: read_idx(path, ndim=3), "a.gz: expected content that takes at most .* max_bytes")
    assert read_idx(path, ndim=3, max_bytes=100 << 20).shape == (100, 1024, 1024)


def test_an_idx_file_with_more_than_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(_idx((1, 2, 3)) + bytes(6)) + gzip.compress(bytes(200 << 20), 1))
    refused(lambda: read_idx(path, ndim=3), "found more bytes after them")


def test_the_option_reaches_the_files_of_a_folder() -> None:
    folder = Path(fusedlstm.datasets.mnist.__file__).parent / "mnist_subset"
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz: .* at most 100 bytes"):
        load_mnist(folder, max_bytes=100)


# ---- the package's own files ----


def _resigned(path: Path, header: dict[str, Any], data: bytes = b"") -> Path:
    metadata = {"format": "fusedlstm", "format_version": "1", **header.pop("__metadata__", {})}
    metadata["sha256"] = safetensors.checksum({}, metadata)
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": [], "shape": [1], "data_offsets": [0, 4]}, "dtype F32"),
        ({"dtype": {"F32": 1}, "shape": [1], "data_offsets": [0, 4]}, "dtype F32"),
        ({"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}, "complete"),
        ({"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4]}, "shape and offsets"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}, "shape and offsets"),
        ({"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}, "shape and offsets"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, "complete"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0]}, "complete"),
        ({"dtype": "F32", "shape": [1], "data_offsets": None}, "shape and offsets"),
        ({"dtype": "F32", "shape": [1] * 40, "data_offsets": [0, 4]}, "at most 32 axes, got 40"),
        ([], "dtype F32"),
    ],
)
def test_headers_that_announce_what_is_not_there(tmp_path: Path, entry: Any, message: str) -> None:
    path = _resigned(tmp_path / "a.safetensors", {"a": entry}, bytes(4))
    refused(lambda: fusedlstm.load_model(path), rf"a\.safetensors: .*expected .*{message}")


@pytest.mark.parametrize(
    "change",
    [
        lambda _, training: training.update(seeds=[[float("inf"), 0]] * len(training["seeds"])),
        lambda _, training: training.update(seeds=3),
        lambda _, training: training.update(targets="lstm/kernel"),
        lambda _, training: training.update(optimizer=[]),
        lambda _, training: training["optimizer"].update(module=["optimizers"]),
        lambda _, training: training["optimizer"].update(config=[1]),
        lambda _, training: training["optimizer"]["config"].update(learning_rate=10**400),
        lambda _, training: training["optimizer"]["config"].update(name=[]),
        lambda model, _: model.pop("name"),
        lambda model, _: model.update(layers={}),
        lambda model, _: model.update(build_shape=[None, "x"]),
        lambda model, _: model["layers"][0].pop("config"),
        lambda model, _: model["layers"][0].update(class_name=["LSTM"]),
        lambda model, _: model["layers"][0]["config"].update(units=10**30),
        lambda model, _: model["layers"][0]["config"].update(cell_clip=10**400),
        lambda model, _: model["layers"][0]["config"].update(
            kernel_initializer={"class_name": "RandomUniform", "config": {"minval": -1e308, "maxval": 1e308}}
        ),
        lambda model, _: model["layers"][0]["config"].update(
            kernel_initializer={"class_name": "Zeros", "config": []}
        ),
        lambda model, _: model["layers"][0]["config"].update(
            kernel_constraint={"class_name": "UnitNorm", "config": {"axis": 10**30}}
        ),
        lambda model, _: model["layers"].append(
            {"class_name": "TimeDistributed", "config": {"layer": "Dense"}}
        ),
        lambda model, _: model["layers"].append({"class_name": "Bidirectional", "config": {}}),
        lambda model, _: model["layers"].append({"class_name": "Masking", "config": {"mask_value": 10**400}}),
    ],
)
def test_descriptions_of_wrong_types(tmp_path: Path, change: Callable[[Any, Any], object]) -> None:
    model = fusedlstm.Sequential([layers.Input((4, 3)), layers.LSTM(2)])
    model.compile("adam", "mse")
    model.save(tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    description, training = json.loads(metadata["model"]), json.loads(metadata["training"])
    change(description, training)
    metadata.update(model=json.dumps(description), training=json.dumps(training))
    del metadata["sha256"]
    tensors, _ = safetensors.read_tensors(tmp_path / "a.safetensors")
    metadata["sha256"] = safetensors.checksum(tensors, metadata)
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    (tmp_path / "b.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    refused(
        lambda: fusedlstm.load_model(tmp_path / "b.safetensors"),
        r"b\.safetensors: expected a model that this version of fusedlstm can make",
    )
