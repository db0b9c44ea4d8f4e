"""Limits: small files that announce, or unpack to, very much, and the option that lets them."""

from __future__ import annotations

import functools
import gzip
import json
import os
import struct
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import exchange, layers
from fusedlstm.base import limits
from fusedlstm.datasets.idx import read_idx
from fusedlstm.datasets.mnist import load_mnist
from fusedlstm.io import safetensors
from tests.fuzz.case import MEMORY, Peak

if TYPE_CHECKING:
    from collections.abc import Callable

FIXTURES = Path(__file__).parents[1] / "fixtures"


def refused(load: Callable[..., object], message: str, *arguments: Any) -> None:
    """Check that a loader refuses its arguments, soon and at no cost."""
    peak, start = Peak(), time.process_time()
    with pytest.raises(ValueError, match=message):
        load(*arguments)
    assert time.process_time() - start < 1
    assert peak.grown() < MEMORY


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


# ---- ONNX ----


def _graph(path: Path, nodes: list[Any], constants: dict[str, Any], axes: int = 2) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * axes)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(operator, inputs, [output], **attributes)


def test_constants_that_grow_in_a_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    ones, sizes = np.ones((1, 64), np.float32), np.asarray([40_000, 40_000], np.int64)
    row, index = ones.repeat(200, 1), np.zeros(30_000, np.int64)
    last = _node("Add", ["x", "big"], "y")
    doubling = [_node("Concat", [f"a{n}", f"a{n}"], f"a{n + 1}", axis=0) for n in range(30)]
    grown: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "Concat": ([*doubling, _node("Identity", ["a30"], "big")], {"a0": ones}),
        "ConstantOfShape": ([_node("ConstantOfShape", ["sizes"], "big")], {"sizes": sizes}),
        "Expand": ([_node("Expand", ["one", "sizes"], "big")], {"one": ones[:, :1], "sizes": sizes}),
        "Add": ([_node("Add", ["row", "column"], "big")], {"row": row, "column": row.T}),
        "MatMul": ([_node("MatMul", ["column", "row"], "big")], {"row": row, "column": row.T}),
        "Gather": ([_node("Gather", ["rows", "index"], "big")], {"rows": row, "index": index}),
    }  # fmt: skip
    for name, (nodes, constants) in grown.items():
        path = _graph(tmp_path / f"{name}.onnx", [*nodes, last], constants)
        assert path.stat().st_size < 1 << 20
        refused(exchange.from_onnx, rf"{name}\.onnx: .*max_bytes raises the limit", path)
    nodes, constants = grown["Concat"]
    path = _graph(tmp_path / "some.onnx", [*nodes[:17], _node("Identity", ["a17"], "big"), last], constants)
    with pytest.raises(ValueError, match="max_bytes raises the limit"):
        exchange.from_onnx(path)
    exchange.from_onnx(path, max_bytes=1 << 28)


@pytest.mark.parametrize("end", [1 << 40, 1 << 62])
def test_ranges_of_a_short_file(end: int, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    numbers = {"a": np.asarray(0), "b": np.asarray(end), "c": np.asarray(1)}
    nodes = [_node("Range", ["a", "b", "c"], "r"), _node("Cast", ["r"], "f", to=1)]
    path = _graph(tmp_path / "a.onnx", [*nodes, _node("Add", ["x", "f"], "y")], numbers)
    refused(exchange.from_onnx, r"a\.onnx: node 0 .*max_bytes raises the limit", path)


def test_operators_that_claim_what_they_take() -> None:
    """No result is larger than what was claimed for it, so that an operator without an entry is safe too."""
    pytest.importorskip("onnx")
    from fusedlstm.exchange.onnx.sizes import needed_bytes
    from fusedlstm.exchange.onnx.steps import _OPERATORS

    x, ids = np.ones((3, 4), np.float32), np.asarray([2, 1, 0, 2, 2, 1], np.int64)
    given: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "Cast": ([x], {"to": 11}),
        "LayerNormalization": ([x[:, None], x[None], x[None]], {}),
        "Pow": ([x[:, None], x[None].astype(np.float64)], {}),
        "ReduceMean": ([x], {"axes": [0]}),
        "Concat": ([x, x, x], {"axis": 0}),
        "ConstantOfShape": ([ids[:2]], {}),
        "Expand": ([x, np.asarray([5, 3, 4])], {}),
        "Gather": ([x, ids], {"axis": 0}),
        "Gemm": ([x, x.T], {}),
        "MatMul": ([np.ones((2, 3, 4), np.float32), np.ones((2, 4, 5), np.float32)], {}),
        "Reshape": ([x, np.asarray([-1])], {}),
        "Slice": ([x, ids[:1] * 0, ids[:1]], {}),
        "Squeeze": ([x[None], np.asarray([0])], {}),
        "Unsqueeze": ([x, np.asarray([0])], {}),
        "Where": ([x > 0, x[:, :1], x], {}),
        "Not": ([x > 0], {}),
        "And": ([x > 0, x[:, :1] > 0], {}),
        "Or": ([x > 0, x[:, :1] > 0], {}),
        "Constant": ([], {"value_floats": [1.0, 2.0]}),
        "ReduceMax": ([x], {"axes": [0]}),
        "ReduceSum": ([x, np.asarray([0])], {}),
        "MaxPool": ([x[None]], {"kernel_shape": [2], "pads": [1, 1]}),
        "AveragePool": ([x[None]], {"kernel_shape": [3], "ceil_mode": 1, "strides": [3]}),
        "GlobalMaxPool": ([x[None]], {}),
        "GlobalAveragePool": ([x[None]], {}),
        "Split": ([x, np.asarray([1, 2])], {"axis": 0, "num_outputs": 2}),
        "Tile": ([x, np.asarray([5, 3])], {}),
        "ArgMax": ([x[:1] > 0], {}),
        "ArgMin": ([x[:1] > 0], {}),
        "BatchNormalization": ([x, *[x[0]] * 4], {}),
        "CumSum": ([x, np.asarray(0)], {}),
        "GatherElements": ([x, np.zeros((50, 4), np.int32)], {"axis": 0}),
        "GatherND": ([x, np.zeros((50, 1), np.int32)], {}),
        "Mod": ([ids[:, None], ids + 1], {}),
        "PRelu": ([x, x[:, :1]], {}),
        "Range": ([np.asarray(0), np.asarray(999), np.asarray(1)], {}),
        "TopK": ([x > 0, np.asarray([2])], {}),
    }
    views = {
        "Constant",
        "Expand",
        "Flatten",
        "Identity",
        "Reshape",
        "Shape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
    pairs = {"Add", "Div", "Equal", "Mul", "Sub"}
    for name, operator in _OPERATORS.items():
        inputs, attributes = given.get(
            name, ([x, x] if name in pairs or name.startswith(("Greater", "Less")) else [x], {})
        )
        results = operator(inputs, attributes, 17)
        taken = sum(result.nbytes for result in results)
        assert name in views or needed_bytes(name, inputs, attributes) >= taken, name


def test_weights_that_many_nodes_share(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from onnx import helper

    nodes = [helper.make_node("LSTM", ["x", "W", "R"], ["", f"h{n}"], hidden_size=64) for n in range(2000)]
    weights = {"W": np.ones((1, 256, 64), np.float32), "R": np.ones((1, 256, 64), np.float32)}
    path = _graph(tmp_path / "a.onnx", [*nodes, _node("Identity", ["h0"], "y")], weights, 3)
    refused(lambda: exchange.from_onnx(path), r"a\.onnx: node .*max_bytes raises the limit")


def test_tensors_whose_sizes_are_wrong(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = _graph(tmp_path / "a.onnx", [_node("Add", ["x", "a"], "y")], {"a": np.ones(4, np.float32)})
    for dims in ([2**62, 4], [-4], [-2, -2], [2**31, 2**31, 2**31], [1] * 40 + [4]):
        model = onnx.load(path)
        model.graph.initializer[0].dims[:] = dims
        (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
        refused(lambda: exchange.from_onnx(tmp_path / "b.onnx"), r"b\.onnx: ")


def test_graphs_inside_of_graphs(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = _node("Identity", ["x"], "y")
    for _ in range(20):
        inner = onnx.helper.make_graph([node], "inner", [], [])
        node = _node("Identity", ["x"], "y", body=inner)
    path = _graph(tmp_path / "a.onnx", [node], {})
    refused(lambda: exchange.from_onnx(path), r"a\.onnx: node 0 .*attribute 'body'")


@pytest.mark.parametrize("field", [b"\x0a", b"\x2a", b"\x5a", b"\x62", b"\x6a", b"\x72"])
def test_many_empty_messages(tmp_path: Path, field: bytes) -> None:
    """Nodes, constants, inputs, outputs, values, annotations: a file of 2 MB can hold a million of each."""
    onnx = pytest.importorskip("onnx")
    path = _graph(tmp_path / "a.onnx", [_node("Identity", ["x"], "y")], {})
    model = onnx.load(path)
    graph = model.graph.SerializeToString() + (field + b"\0") * 1_000_000
    model.ClearField("graph")
    size = len(graph)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString() + b"\x3a" + length + graph)
    refused(exchange.from_onnx, r"b\.onnx: graph: expected a description", tmp_path / "b.onnx")


def test_many_nodes(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = _graph(tmp_path / "a.onnx", [_node("Identity", ["x"], "y")] * 50_000, {})
    refused(exchange.from_onnx, r"a\.onnx: ", path)


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
