"""Limits: large files that are made of very many small things are refused before any of them is made."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import exchange
from fusedlstm.base import limits
from fusedlstm.datasets.idx import read_idx
from fusedlstm.io import json_text
from tests.refused import refused

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parents[1] / "fixtures"

DESCRIBED = r"expected a description that takes at most 67,108,864 bytes .* max_bytes raises the limit"


# ---- lists of axes ----


def _layer(name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": name, "config": config, "registered_name": None}


def _constraint(axes: list[int]) -> dict[str, Any]:
    return {"module": "keras.constraints", "class_name": "MaxNorm", "config": {"axis": axes}}


LISTS: dict[str, Callable[[list[int]], dict[str, Any]]] = {
    "batch_shape": lambda many: {"layers": [_layer("InputLayer", batch_shape=many)]},
    "build_input_shape": lambda many: {"layers": [_layer("Dense", units=1)], "build_input_shape": many},
    "target_shape": lambda many: {"layers": [_layer("Reshape", target_shape=many)]},
    "dims": lambda many: {"layers": [_layer("Permute", dims=many)]},
    "axis": lambda many: {"layers": [_layer("Dense", units=1, kernel_constraint=_constraint(many))]},
}


@pytest.mark.parametrize("count", [33, 50_000])
@pytest.mark.parametrize("name", LISTS)
def test_lists_of_axes_are_counted_first(tmp_path: Path, name: str, count: int) -> None:
    with zipfile.ZipFile(FIXTURES / "stack.keras") as archive:
        description, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    description["config"] = {"name": "model", **LISTS[name]([2**62] * count)}
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(description))
        archive.writestr("model.weights.h5", weights)
    message = rf"a\.keras: .*{name}: expected at most 32 axes, got {count}"
    refused(fusedlstm.load_model, message, tmp_path / "a.keras")


def test_own_descriptions_of_many_axes(tmp_path: Path) -> None:
    model = {"name": "model", "trainable": True, "layers": [], "build_shape": [2**62] * 50_000}
    with pytest.raises(ValueError, match="input_shape: expected at most 32 axes, got 50000"):
        fusedlstm.Sequential.from_config(model)
    shape = {"dtype": "F32", "shape": [2**62] * 50_000, "data_offsets": [0, 4]}
    refused(fusedlstm.load_model, "expected at most 32 axes, got 50000", _header(tmp_path, {"a": shape}))


# ---- JSON ----


def _header(folder: Path, members: dict[str, Any], data: bytes = bytes(4)) -> Path:
    metadata = {"format": "fusedlstm", "format_version": "1"}
    return _text(folder, json.dumps({"__metadata__": metadata, **members}).encode(), data)


def _text(folder: Path, text: bytes, data: bytes = b"") -> Path:
    path = folder / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


UNITS = ["[{}],", "[],", "{},", '{"":0},', '"ab",', "0,", "[[[[[[[[]]]]]]]],", '{"a":[{"b":1.5}]},']


@pytest.mark.parametrize("unit", UNITS)
def test_headers_of_many_values(tmp_path: Path, unit: str) -> None:
    text = b'{"a":[' + unit.encode() * (20_000_000 // len(unit)) + b"0]}"
    refused(fusedlstm.load_model, rf"a\.safetensors: .*header: {DESCRIBED}", _text(tmp_path, text))


def test_headers_of_many_tensors(tmp_path: Path) -> None:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    path = _header(tmp_path, {str(number): empty for number in range(100_000)})
    refused(fusedlstm.load_model, rf"a\.safetensors: .*{DESCRIBED}", path)


@pytest.mark.parametrize(
    "text",
    [
        *(f"[{unit * 5000}0]" for unit in UNITS),
        "{" + ",".join(f'"{number}":{number}.5' for number in range(5000)) + "}",
        "[" + ",".join('{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}' for _ in range(1000)) + "]",
        "[" + ",".join("{" + ",".join(f'"{n}":"{n:03}"' for n in range(11)) + "}" for _ in range(500)) + "]",
        json.dumps('\\"[{,:' * 10_000),
        '["' + "\U0001f600" + "a" * 50_000 + '"]',
        "[" + '"\U0001f600",' * 5000 + "0]",
    ],
)
def test_what_a_text_claims_is_what_its_value_takes(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """At least: an estimate that is too low would let a file take more than its limit."""
    claimed: list[int] = []
    monkeypatch.setattr(limits, "claim_description", lambda size, _: claimed.append(size))
    content = text.encode()
    value = json_text.parse(content, "text")
    del value
    total = sum(claimed)
    tracemalloc.start()
    try:
        value = json.loads(content.decode())
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken <= total
    assert value is not None


def test_characters_in_strings_are_no_values() -> None:
    """A text in a text, as metadata hold descriptions, is counted once: where it is parsed."""
    inside = json.dumps([{"a": [1, "\\", '"', '\\"']}] * 1000)
    assert json_text._expansion(json.dumps(inside).encode()) == json_text._STRING
    # Across pieces too, where a string may begin in one and end in another.
    split = b'"' + b"[" * (json_text._PIECE - 1) + b'[",[{'
    assert json_text._expansion(split) == json_text._STRING + sum(json_text._EXPANSION[c] for c in ",[{")


def test_texts_of_other_encodings(tmp_path: Path) -> None:
    """They could be read by the module json, and hide what is to be counted."""
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        path = _text(tmp_path, '{"__metadata__":{}}'.encode(encoding))
        refused(fusedlstm.load_model, r"a\.safetensors: .*header: expected JSON, found", path)


# ---- archives ----


def _with_entries(path: Path, count: int) -> Path:
    """Write a model with many more empty members in the directory of its archive."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(FIXTURES / "stack.keras") as theirs,
        zipfile.ZipFile(content, "w") as archive,
    ):
        for name in theirs.namelist():
            archive.writestr(name, theirs.read(name))
    data = content.getvalue()
    end = data.rindex(b"PK\5\6")
    start = struct.unpack("<L", data[end + 16 : end + 20])[0]
    fields = (20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    entry = b"PK\1\2" + struct.pack("<4B4HL2L5H2L", *fields)
    directory = data[start:end] + b"".join(entry + b"%05d" % (n % 100_000) for n in range(count))
    ending = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 65535, 65535, len(directory), start, 0)
    path.write_bytes(data[:start] + directory + ending)
    return path


def test_archives_of_many_entries(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    message = rf"a\.keras: .*members of the archive: {DESCRIBED}"
    refused(fusedlstm.load_model, message, _with_entries(tmp_path / "a.keras", 400_000))
    path = _with_entries(tmp_path / "a.keras", 66_000)
    refused(fusedlstm.load_model, message, path)
    fusedlstm.load_model(path, max_bytes=1 << 30)
    fusedlstm.load_model(_with_entries(tmp_path / "a.keras", 1000))


def test_hdf5_files_of_many_groups(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("layers")
        for number in range(27_000):
            group.create_group(str(number))
    model = fusedlstm.Sequential([fusedlstm.layers.Input((1,)), fusedlstm.layers.Dense(1)])
    refused(model.load_weights, rf"a\.weights\.h5: groups and datasets: {DESCRIBED}", path)


# ---- gzip ----

IMAGE = struct.pack(">4B3I", 0, 0, 8, 3, 1, 2, 3) + bytes(range(6))


def _read(path: Path) -> Any:
    return read_idx(path, ndim=3)


@pytest.mark.parametrize("before", [False, True])
def test_gzip_files_of_many_members(tmp_path: Path, before: bool) -> None:
    path, image, empty = tmp_path / "a.gz", gzip.compress(IMAGE), gzip.compress(b"")
    for count in (5000, 500_000):
        path.write_bytes(empty * count + image if before else image + empty * count)
        if count == 5000:
            np.testing.assert_array_equal(_read(path).reshape(-1), np.arange(6))
        else:
            refused(_read, rf"a\.gz: members of the file: {DESCRIBED}", path)


def test_gzip_files_whose_data_lie_in_several_members(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    pieces = [gzip.compress(IMAGE[place : place + 1]) for place in range(len(IMAGE))]
    path.write_bytes(bytes(3).join(pieces))
    np.testing.assert_array_equal(_read(path).reshape(-1), np.arange(6))
    path.write_bytes(b"".join(pieces)[:-1])
    refused(_read, r"a\.gz: expected a complete gzip file, found a damaged one \(the file ends inside", path)
    path.write_bytes(b"".join(pieces) + b"\0\0x")
    refused(_read, r"a\.gz: expected a complete gzip file, found a damaged one", path)
    path.write_bytes(b"\0" + b"".join(pieces))
    refused(_read, r"a\.gz: expected a complete gzip file, found a damaged one", path)


def test_gzip_files_that_end_in_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(IMAGE) + bytes(50 << 20))
    refused(lambda: read_idx(path, ndim=3, sha256="0"), "expected content of SHA-256 0")
    np.testing.assert_array_equal(_read(path).reshape(-1), np.arange(6))


# ---- ONNX ----


def _number(value: int) -> bytes:
    """Return a number of variable length, as protobuf has it."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _graph(folder: Path, more: bytes) -> Path:
    """Write a graph y = x with more fields in it."""
    from onnx import helper

    infos = [helper.make_tensor_value_info(name, 1, [None]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.ClearField("graph")
    path = folder / "a.onnx"
    path.write_bytes(model.SerializeToString() + _field(7, graph.SerializeToString() + more))
    return path


TENSOR, NODE, ATTRIBUTE = 5, 1, 5  # fields of a graph, and of a node


@pytest.mark.parametrize("count", [500_000, 10_000_000])
def test_onnx_files_of_many_numbers(tmp_path: Path, count: int) -> None:
    """One by one or packed; few enough to be parsed, they are still more than there are axes."""
    pytest.importorskip("onnx")
    large = count > 1_000_000
    dims = _field(TENSOR, b"\x08\x01" * count + b"\x10\x01")
    message = rf"a\.onnx: graph: {DESCRIBED}" if large else f"expected at most 32 axes, got {count}"
    refused(exchange.from_onnx, message, _graph(tmp_path, dims))
    packed = _field(TENSOR, _field(1, b"\x01" * count) + b"\x10\x01")
    message = r"a\.onnx: numbers of the graph: expected content that takes at most" if large else message
    refused(exchange.from_onnx, message, _graph(tmp_path, packed))
    axes = _field(ATTRIBUTE, _field(1, b"axes") + b"\x40\x01" * count + b"\xa0\x01\x07")
    node = _field(NODE, _field(1, b"x") + _field(2, b"z") + _field(4, b"Unsqueeze") + axes)
    message = rf"a\.onnx: graph: {DESCRIBED}" if large else f"'axes': expected at most 32 axes, got {count}"
    refused(exchange.from_onnx, message, _graph(tmp_path, node))


def test_onnx_files_of_many_unknown_fields(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = _graph(tmp_path, b"\xf8\x7f\x01" * 5_000_000)
    refused(exchange.from_onnx, rf"a\.onnx: graph: {DESCRIBED}", path)


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Reshape", "ReduceSum", "Unsqueeze"])
def test_constant_lists_of_many_axes(tmp_path: Path, operator: str) -> None:
    """The checker makes a message of each size of a shape that it infers."""
    pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    name = [] if operator == "ConstantOfShape" else ["x"]
    for count in (33, 1_000_000):
        sizes = numpy_helper.from_array(np.full(count, 2**62), "sizes")
        node = _field(NODE, helper.make_node(operator, [*name, "sizes"], ["z"]).SerializeToString())
        constant = helper.make_node("Constant", [], ["sizes"], value=sizes).SerializeToString()
        message = rf"a\.onnx: node \d .*{operator}.*: expected at most 32 axes, got {count}"
        path = _graph(tmp_path, node + _field(TENSOR, sizes.SerializeToString()))
        refused(exchange.from_onnx, message, path)
        refused(exchange.from_onnx, message, _graph(tmp_path, _field(NODE, constant) + node))


# ---- files of any size ----


def test_a_file_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of holes takes no room on the disk."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(10))

    def read(path: Path) -> bytes:
        del path
        raise MemoryError

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(OSError, match=r"no memory for a file of 10 bytes"):
        fusedlstm.load_model(path)
