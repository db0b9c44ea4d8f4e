"""ONNX files that are damaged, hostile, or say what is not known here, and those of older versions."""

from __future__ import annotations

import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

import fusedlstm
from fusedlstm import layers
from tests.fuzz.case import SECONDS, least_seconds

from .graphs import Array, lstm_arrays, lstm_model, model_of, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X = np.ones((2, 3), np.float32)


def plain() -> Any:
    return lstm_model(lstm_arrays(given=("B",)))


def refused(model: Any, folder: Path, text: str) -> None:
    path = save(model, folder)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{text}"):
        fusedlstm.from_onnx(path)


def test_truncated_files(tmp_path: Path) -> None:
    model = fusedlstm.Sequential([layers.Input((None, 3)), layers.LSTM(2), layers.Dense(1)])
    path = tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    content = path.read_bytes()
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=re.escape(f"{path}: ")):
            fusedlstm.from_onnx(path)


def test_tampered_files(tmp_path: Path) -> None:
    """A changed byte is another valid model, or a clear error; nothing else happens."""
    path = save(plain(), tmp_path)
    content = bytearray(path.read_bytes())
    fed = {"X": lstm_arrays()["X"]}
    outcomes = {True: 0, False: 0}
    random = np.random.default_rng(0)
    for place in random.choice(len(content), 400, replace=False):
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            graph = fusedlstm.from_onnx(path)
            graph.run({one.name: fed["X"] for one in graph.inputs})
            outcomes[True] += 1
        except (TypeError, ValueError) as error:
            assert str(error)  # noqa: PT017  # either outcome is fine
            outcomes[False] += 1
    assert min(outcomes.values()) > 10


@pytest.mark.parametrize("content", [b"", b"no ONNX file", b"\x00" * 100])
def test_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: expected a complete ONNX file"):
        fusedlstm.from_onnx(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fusedlstm.from_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (
            helper.make_node("Cos", ["x"], ["y"], name="it"),
            "node 0 'it': the operator 'Cos' is not supported",
        ),
        (
            helper.make_node("Relu", ["x"], ["y"], name="it", domain="com.microsoft"),
            "node 0 'it': the operator 'Relu' of 'com.microsoft' is not supported",
        ),
        (helper.make_node("Relu", ["z"], ["y"], name="it"), "expected a valid ONNX graph: .*z"),
        (
            helper.make_node("Relu", ["x"], ["y"], name="it", slope=1.0),
            "expected a valid ONNX graph: .*slope",
        ),
        (helper.make_node("Relu", ["x"], ["q"], name="it"), "y"),
    ],
)
def test_bad_nodes(node: Any, text: str, tmp_path: Path) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": X}, ["y"])
    del model.graph.node[:]
    model.graph.node.append(node)
    refused(model, tmp_path, text)


@pytest.mark.parametrize(("version", "text"), [(6, r"from 7 to 28, got \[6\]"), (99, r"got \[99\]")])
def test_unknown_versions(version: int, text: str, tmp_path: Path) -> None:
    model = plain()
    model.opset_import[0].version = version
    refused(model, tmp_path, f"opset_import: .*{text}")
    del model.opset_import[:]
    refused(model, tmp_path, r"opset_import: .*got \[\]")


def test_weights_that_are_given(tmp_path: Path) -> None:
    """As PyTorch's exporter writes them with ``export_params=False``."""
    arrays = lstm_arrays(given=("B",))
    nodes = [
        helper.make_node("Transpose", ["Wt"], ["W"], perm=[0, 2, 1]),
        helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], name="recurrent", hidden_size=6),
    ]
    given = {"X": arrays["X"], "Wt": np.ascontiguousarray(arrays["W"].transpose(0, 2, 1)), "B": arrays["B"]}
    graph = fusedlstm.from_onnx(save(model_of(nodes, given, ["Y"], {"R": arrays["R"]}), tmp_path))
    want = fusedlstm.from_onnx(save(lstm_model(arrays), tmp_path))(arrays["X"])[0]
    np.testing.assert_array_equal(graph(**given), want)
    with pytest.raises(ValueError, match=r"\(LSTM\): W: expected shape \(1, 24, 4\), got \(1, 5, 4\)"):
        graph(**{**given, "Wt": given["Wt"][:, :, :5]})
    with pytest.raises(ValueError, match=r"not a stack of layers: expected one input, got 'X', 'Wt', 'B'"):
        graph.sequential()


def test_constants_that_are_computed(tmp_path: Path) -> None:
    """Weights may go through nodes as long as nothing of the input does."""
    arrays = lstm_arrays()
    nodes = [
        helper.make_node("Identity", ["R"], ["R2"]),
        helper.make_node("Transpose", ["Wt"], ["W"], perm=[0, 2, 1]),
        helper.make_node("LSTM", ["X", "W", "R2"], ["Y"], hidden_size=6),
    ]
    constants = {"R": arrays["R"], "Wt": np.ascontiguousarray(arrays["W"].transpose(0, 2, 1))}
    graph = fusedlstm.from_onnx(save(model_of(nodes, {"X": arrays["X"]}, ["Y"], constants), tmp_path))
    want = fusedlstm.from_onnx(save(lstm_model(arrays), tmp_path))(arrays["X"])[0]
    np.testing.assert_array_equal(graph(arrays["X"]), want)


def test_weights_of_wrong_types_and_shapes(tmp_path: Path) -> None:
    arrays = lstm_arrays(given=("B", "P"))
    bad = {
        "W": (arrays["W"].astype(np.float64), r"W: expected float32 like R, got float64|valid ONNX graph"),
        "R": (arrays["R"][:, :-1].copy(), r"R: expected shape \(1, 4H, H\)|valid ONNX graph"),
        "B": (arrays["B"][:, :-1].copy(), r"B: expected shape \(1, 48\)"),
        "P": (arrays["P"][:, :-1].copy(), r"P: expected shape \(1, 18\)"),
    }
    for name, (array, text) in bad.items():
        refused(lstm_model({**arrays, name: array}), tmp_path, text)


def test_tensors_of_wrong_sizes_and_types(tmp_path: Path) -> None:
    def changed(change: Callable[[Any], None]) -> Any:
        model = plain()
        change(next(tensor for tensor in model.graph.initializer if tensor.name == "B"))
        return model

    refused(changed(lambda t: t.ClearField("raw_data")), tmp_path, "B")
    refused(changed(lambda t: setattr(t, "raw_data", t.raw_data[:-1])), tmp_path, "B")
    refused(changed(lambda t: setattr(t, "data_type", TensorProto.STRING)), tmp_path, "")
    refused(changed(lambda t: setattr(t, "data_type", 77)), tmp_path, "")


def with_external(folder: Path, **entries: Any) -> Any:
    """Return a model whose tensor B lies in a file, with other entries than it should have."""
    model = plain()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "B")
    (folder / "data.bin").write_bytes(b"12345678" + tensor.raw_data)
    usual = {"location": "data.bin", "offset": 8, "length": len(tensor.raw_data)}
    external_data_helper.set_external_data(tensor, **{**usual, **entries})
    tensor.ClearField("raw_data")
    return model


def test_external_data(tmp_path: Path) -> None:
    x = lstm_arrays()["X"]
    want = fusedlstm.from_onnx(save(plain(), tmp_path))(x)[0]
    got = fusedlstm.from_onnx(save(with_external(tmp_path), tmp_path))(x)[0]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"location": "../data.bin"}, "tensor 'B': expected its data in a file of the model's folder"),
        ({"location": "link.bin"}, "tensor 'B': expected its data in a file of the model's folder"),
        ({"location": "absolute"}, "tensor 'B': expected its data in a file of the model's folder"),
        ({"location": "missing.bin"}, "tensor 'B': expected its data in a file of the model's folder"),
        ({"location": "."}, "tensor 'B': expected its data in a file of the model's folder"),
        ({"offset": 9}, "tensor 'B': expected 192 bytes in 'data.bin', got offset 9"),
        ({"length": 188}, "tensor 'B': expected 192 bytes in 'data.bin', got offset 8 and length 188"),
    ],
)
def test_external_data_that_is_refused(entries: dict[str, Any], text: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with_external(folder)
    (tmp_path / "data.bin").write_bytes((folder / "data.bin").read_bytes())
    (folder / "link.bin").symlink_to(tmp_path / "data.bin")
    if entries.get("location") == "absolute":
        entries = {"location": str(folder / "data.bin")}
    refused(with_external(folder, **entries), folder, text)


def test_external_tensors_of_many_axes(tmp_path: Path) -> None:
    """Their sizes are counted before they are multiplied, which would take minutes for as many as these."""
    for axes in (33, 65, 100_000):
        model = with_external(tmp_path)
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "B")
        tensor.dims[:] = [2**62] * axes
        text = f"tensor 'B': expected at most 32 axes, got {axes}"
        assert least_seconds(partial(refused, model, tmp_path, text)) < SECONDS


def test_functions_and_sparse_tensors(tmp_path: Path) -> None:
    model = plain()
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], [], model.opset_import))
    refused(model, tmp_path, "expected standard operators only, got the function 'F'")
    model = plain()
    model.graph.sparse_initializer.add()
    refused(model, tmp_path, "expected dense tensors only")


def test_inputs_with_defaults(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Add", ["x", "c"], ["y"])], {"x": X, "c": X}, ["y"], {"c": 2 * X})
    graph = fusedlstm.from_onnx(save(model, tmp_path))
    assert [(one.name, one.required) for one in graph.inputs] == [("x", True), ("c", False)]
    np.testing.assert_array_equal(graph(X), 3 * X)
    np.testing.assert_array_equal(graph(X, c=4 * X), 5 * X)
    model.ir_version = 3  # when every initializer had to be among the inputs
    graph = fusedlstm.from_onnx(save(model, tmp_path))
    assert [one.name for one in graph.inputs] == ["x"]
    np.testing.assert_array_equal(graph(X), 3 * X)


def test_weights_among_the_inputs_are_constants(tmp_path: Path) -> None:
    model = plain()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph = fusedlstm.from_onnx(save(model, tmp_path))
    arrays = lstm_arrays()
    assert [one.name for one in graph.inputs] == ["X"]
    with pytest.raises(ValueError, match=r"^W: expected inputs among"):
        graph.run({"X": arrays["X"], "W": arrays["W"]})


def test_calls(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "z"], ["y"]), helper.make_node("Identity", ["y"], ["w"])]
    graph = fusedlstm.from_onnx(save(model_of(nodes, {"x": X, "z": X}, ["y", "w"]), tmp_path))
    assert repr(graph).startswith("<OnnxModel ")
    assert graph.inputs[0].dtype == np.float32
    one, two = graph(X, z=X)
    assert one is not two
    one[...] = 0
    np.testing.assert_array_equal(two, 2 * X)
    calls: list[tuple[tuple[Array, ...], dict[str, Array], type[Exception], str]] = [
        ((X, X, X), {}, TypeError, "expected at most 2 inputs, got 3"),
        ((X, X), {"x": X}, TypeError, "x: expected one array, got it twice"),
        ((X,), {}, ValueError, "z: expected an array, got none of this name"),
        ((X, X), {"q": X}, ValueError, "q: expected inputs among"),
        ((X, X.astype(np.float64)), {}, TypeError, "z: expected an array of float32, got float64"),
        ((X, X[0]), {}, ValueError, "z: expected shape"),
    ]
    for arrays, named, error, text in calls:
        with pytest.raises(error, match=f"^{text}"):
            graph(*arrays, **named)


def test_fixed_sizes(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "graph",
        [info("x", TensorProto.FLOAT, ["rows", 3])],
        [info("y", TensorProto.FLOAT, ["rows", 3])],
        [numpy_helper.from_array(X, "unused")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    loaded = fusedlstm.from_onnx(save(model, tmp_path))
    assert loaded.inputs[0].shape == ("rows", 3)
    np.testing.assert_array_equal(loaded(X), X)
    with pytest.raises(ValueError, match=r"^x: expected shape \('rows', 3\), got \(2, 2\)"):
        loaded(X[:, :2])


def test_onnx_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"^from_onnx needs onnx: pip install \"fusedlstm\[onnx\]\""):
        fusedlstm.from_onnx(tmp_path / "model.onnx")
    model = fusedlstm.Sequential([layers.Input((None, 3)), layers.LSTM(2)])
    with pytest.raises(ImportError, match=r"^to_onnx needs onnx: pip install \"fusedlstm\[onnx\]\""):
        fusedlstm.to_onnx(model, tmp_path / "model.onnx")


def test_negative_axes(tmp_path: Path) -> None:
    """The checker's inference of shapes would end the process."""
    bounds = [numpy_helper.from_array(np.array([k]), name) for k, name in enumerate("se")]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [-1, 3]), ("y", ["a", "b"]))
    ]
    graph = helper.make_graph(
        [helper.make_node("Slice", ["x", "s", "e"], ["y"])], "g", *([e] for e in ends), bounds
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="'x': expected axes of known or named length, got a negative"):
        fusedlstm.from_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("operator", "shape", "attributes"),
    [("ReduceSum", (1 << 28, 0), {}), ("ReduceMean", (1 << 28, 0), {"axes": [1]})],
)
def test_results_of_nothing(
    operator: str, shape: tuple[int, ...], attributes: dict[str, Any], tmp_path: Path
) -> None:
    """Sums over an axis of no elements are as many as its others."""
    nothing = helper.make_tensor("x", TensorProto.FLOAT, shape, [])
    constants = [nothing]
    if operator == "ReduceSum":
        constants.append(numpy_helper.from_array(np.array([1]), "axes"))
    node = helper.make_node(operator, [each.name for each in constants], ["y"], keepdims=0, **attributes)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    model = helper.make_model(
        helper.make_graph([node], "g", [], [y], constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="max_bytes"):
        fusedlstm.from_onnx(tmp_path / "m.onnx")
