"""ONNX graphs that claim more than they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import exchange
from tests.refused import refused

if TYPE_CHECKING:
    from pathlib import Path

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
