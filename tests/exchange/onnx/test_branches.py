"""If nodes: graphs inside of graphs, which PyTorch writes for what depends on the length of an axis."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import fusedlstm

from .graphs import Array, lstm_arrays, save

if TYPE_CHECKING:
    from pathlib import Path

# What the nodes below read.
CONSTANTS = {
    "rows": np.array([-1, 3], np.int64),
    "one": np.array([1], np.int64),
    "at": np.array(1, np.int64),
    "unit": np.array(1, np.int64),
    "scale": np.array([0.5, 2.0, -1.0], np.float32),
}


def branch(
    name: str, nodes: list[Any], output: str, axes: int, constants: dict[str, Array] | None = None
) -> Any:
    """Return a graph for a branch whose output has so many axes."""
    return helper.make_graph(
        nodes,
        name,
        [],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None] * axes)],
        [numpy_helper.from_array(array, key) for key, array in (constants or {}).items()],
    )


def model(
    nodes: list[Any], shape: list[Any], constants: dict[str, Array] | None = None, units: int = 3
) -> Any:
    """Return a graph that ends in rows of ``units`` numbers."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, units])],
        [numpy_helper.from_array(array, key) for key, array in {**CONSTANTS, **(constants or {})}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def squeeze_if_one(x: str, y: str, prefix: str = "") -> list[Any]:
    """Return what PyTorch's exporter writes for ``x.squeeze(1)``."""
    return [
        helper.make_node("Shape", [x], [f"{prefix}shape"]),
        helper.make_node("Gather", [f"{prefix}shape", "at"], [f"{prefix}length"]),
        helper.make_node("Equal", [f"{prefix}length", "unit"], [f"{prefix}is_one"]),
        helper.make_node(
            "If",
            [f"{prefix}is_one"],
            [y],
            name="squeeze",
            then_branch=branch(
                "then", [helper.make_node("Squeeze", [x, "one"], [f"{prefix}a"])], f"{prefix}a", 2
            ),
            else_branch=branch("else", [helper.make_node("Identity", [x], [f"{prefix}b"])], f"{prefix}b", 3),
        ),
    ]


ROWS = helper.make_node("Reshape", ["z", "rows"], ["y"])


def compare(made: Any, x: Array, folder: Path) -> Array:
    graph = fusedlstm.from_onnx(save(made, folder))
    (want,) = ReferenceEvaluator(made).run(None, {"x": x})
    again = pickle.loads(pickle.dumps(graph))
    for got in (graph(x), again(x)):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    return np.asarray(want)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_branch_that_the_length_chooses(steps: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, steps, 3)).astype(np.float32)
    nodes = [*squeeze_if_one("x", "z"), helper.make_node("Transpose", ["z"], ["t"])]
    rows = helper.make_node("Reshape", ["t", "rows"], ["y"])
    compare(model([*nodes, rows], ["B", "T", 3]), x, tmp_path)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_branch_that_numbers_choose(sign: int, tmp_path: Path) -> None:
    """With constants of its own and of the graph around it, values from outside, and a branch inside."""
    inner = squeeze_if_one("scaled", "inner", "inner_")
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("ReduceMax", ["positive"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["any"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["any"],
            ["z"],
            then_branch=branch("then", [helper.make_node("Add", ["positive", "scale"], ["a"])], "a", 3),
            else_branch=branch(
                "else",
                [
                    helper.make_node("Mul", ["scale", "own"], ["both"]),  # of constants alone
                    helper.make_node("Mul", ["x", "both"], ["scaled"]),
                    *inner,
                    helper.make_node("Tanh", ["inner"], ["b"]),
                ],
                "b",
                2,
                {"own": np.array([3.0], np.float32)},
            ),
        ),
        ROWS,
    ]
    x = sign * np.abs(np.random.default_rng(1).standard_normal((2, 1, 3))).astype(np.float32)
    compare(model(nodes, ["B", "T", 3]), x, tmp_path)
    with pytest.raises(ValueError, match="not a stack of layers: node 1 "):
        fusedlstm.from_onnx(save(model(nodes, ["B", "T", 3]), tmp_path)).sequential()


def test_a_condition_that_is_known(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "If",
            ["yes"],
            ["y"],
            then_branch=branch("then", [helper.make_node("Mul", ["x", "scale"], ["a"])], "a", 2),
            else_branch=branch("else", [helper.make_node("Cos", ["x"], ["b"])], "b", 2),
        )
    ]
    made = model(nodes, ["B", 3], {"yes": np.array([True])})
    with pytest.raises(ValueError, match="node 0 '': the operator 'Cos' is not supported"):
        fusedlstm.from_onnx(save(made, tmp_path))
    (other,) = [each.g for each in nodes[0].attribute if each.name == "else_branch"]
    other.node[0].op_type = "Relu"
    compare(model(nodes, ["B", 3], {"yes": np.array([True])}), np.ones((2, 3), np.float32), tmp_path)


def test_weights_inside_of_a_branch(tmp_path: Path) -> None:
    """An LSTM that the fixed number of steps chooses is a layer."""
    arrays = lstm_arrays(given=("B",))
    nodes = [
        *squeeze_if_one("x", "unused"),
        helper.make_node(
            "If",
            ["is_one"],
            ["y"],
            then_branch=branch("then2", [helper.make_node("Identity", ["x"], ["i"])], "i", 3),
            else_branch=branch(
                "else2",
                [
                    helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "h"], hidden_size=6, layout=1),
                    helper.make_node("Squeeze", ["h", "one"], ["s"]),
                ],
                "s",
                2,
                {name: arrays[name] for name in ("W", "R")},
            ),
        ),
    ]
    made = model(nodes, ["B", 5, 4], {"B": arrays["B"]}, 6)
    graph = fusedlstm.from_onnx(save(made, tmp_path))
    x = np.ascontiguousarray(arrays["X"].swapaxes(0, 1))
    plain = [
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "h"], hidden_size=6, layout=1),
        helper.make_node("Squeeze", ["h", "one"], ["y"]),
    ]
    outside = {name: arrays[name] for name in ("W", "R", "B")}
    want = fusedlstm.from_onnx(save(model(plain, ["B", 5, 4], outside, 6), tmp_path, "plain.onnx"))(x)
    np.testing.assert_array_equal(graph(x), want)
    np.testing.assert_array_equal(graph.sequential()(x), want)


def test_a_branch_that_is_a_constant(tmp_path: Path) -> None:
    """Whoever changes what it gave changes nothing of the model."""
    own = np.array([[1, 2, 3]], np.float32)
    nodes = squeeze_if_one("x", "unused")
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(own))
    nodes[3] = helper.make_node(
        "If",
        ["is_one"],
        ["y"],
        then_branch=branch("then", [constant], "c", 2),
        else_branch=branch("else", [helper.make_node("Reshape", ["x", "rows"], ["r"])], "r", 2),
    )
    graph = fusedlstm.from_onnx(save(model(nodes, ["B", "T", 3]), tmp_path))
    x = np.zeros((1, 1, 3), np.float32)
    first = graph(x)
    np.testing.assert_array_equal(first, own)
    first[...] = 0
    np.testing.assert_array_equal(graph(x), own)


def refused(made: Any, folder: Path, text: str) -> None:
    path = save(made, folder)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{text}"):
        fusedlstm.from_onnx(path)


def test_what_a_branch_may_not_have(tmp_path: Path) -> None:
    def inside(change: Any) -> Any:
        made = model([*squeeze_if_one("x", "z"), ROWS], ["B", "T", 3])
        change(made.graph.node[3].attribute[0].g)
        return made

    def outside(graph: Any) -> None:
        tensor = graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(np.ones(3, np.float32), "far"))
        external_data_helper.set_external_data(tensor, location="../far.bin")
        tensor.ClearField("raw_data")

    def negative(graph: Any) -> None:
        name = graph.output[0].name
        graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, [-1]))

    refused(inside(lambda graph: setattr(graph.node[0], "op_type", "Cos")), tmp_path, "operator 'Cos' is not")
    refused(inside(lambda graph: setattr(graph.node[0], "domain", "com.microsoft")), tmp_path, "of 'com.mic")
    refused(inside(lambda graph: graph.sparse_initializer.add()), tmp_path, "expected dense tensors only")
    refused(inside(outside), tmp_path, "tensor 'far': expected its data in a file of the model's folder")
    refused(inside(negative), tmp_path, "expected axes of known or named length, got a negative")
    loop = helper.make_node("Loop", ["one", "is_one", "x"], ["z"], body=branch("body", [], "q", 1))
    refused(inside(lambda graph: graph.node.append(loop)), tmp_path, "attribute 'body': expected numbers")


def test_conditions_that_are_none(tmp_path: Path) -> None:
    made = model([*squeeze_if_one("x", "z"), ROWS], ["B", "T", 3])
    made.graph.node[1].input[1] = "one"  # A condition with an axis of length 1 will do,
    graph = fusedlstm.from_onnx(save(made, tmp_path))
    assert graph(np.ones((2, 1, 3), np.float32)).shape == (2, 3)
    made.graph.node[2].input[0] = "shape"  # and one of several numbers will not.
    graph = fusedlstm.from_onnx(save(made, tmp_path))
    with pytest.raises(
        ValueError, match=r"node 3 'squeeze' \(If\): cond: expected one bool, got bool of sha"
    ):
        graph(np.ones((2, 1, 3), np.float32))
