"""DynamicQuantizeLSTM nodes as others write them: read, and what is refused of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import fusedlstm
from fusedlstm.exchange.integers import dequantized
from fusedlstm.exchange.onnx.contrib import DOMAIN
from fusedlstm.exchange.onnx.lstm import LSTMOperator

from .graphs import CELLS, DIRECTIONS, Array, by_direction, save
from .graphs import INPUTS as GIVEN
from .quantized import (
    KINDS,
    as_layers_have_it,
    check,
    fed,
    needs_full_sums,
    node_arrays,
    node_model,
)
from .written import run_in_onnx_runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The bounds are of the usual cell.
SOME = {name: given for name, given in GIVEN.items() if "B" in given and "P" not in given}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", SOME)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_nodes(direction: str, given: str, kind: str, tmp_path: Path) -> None:
    arrays = node_arrays(directions=DIRECTIONS[direction], given=SOME[given], **KINDS[kind])
    path = save(node_model(arrays, direction=direction, hidden_size=6), tmp_path)
    results = fusedlstm.from_onnx(path).run(fed(arrays))
    check(arrays, direction, list(results.values()), ours=True)


@needs_full_sums
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", SOME)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_nodes_in_onnx_runtime(direction: str, given: str, kind: str, tmp_path: Path) -> None:
    """Its weights stay the file's, so that the bounds are narrower: that is how the operator is read."""
    arrays = node_arrays(directions=DIRECTIONS[direction], given=SOME[given], **KINDS[kind])
    path = save(node_model(arrays, direction=direction, hidden_size=6), tmp_path)
    check(arrays, direction, run_in_onnx_runtime(path, fed(arrays)), ours=False)


@pytest.mark.parametrize("cell", ["usual", *CELLS])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_attributes_are_those_of_lstm(direction: str, cell: str, tmp_path: Path) -> None:
    D = DIRECTIONS[direction]
    arrays = node_arrays(directions=D, given=GIVEN["all"])
    attributes = {"direction": direction, **by_direction(CELLS.get(cell, {}), D)}
    model = node_model(arrays, **attributes)
    # What a file keeps of numbers.
    attributes = {one.name: helper.get_attribute_value(one) for one in model.graph.node[0].attribute}
    attributes = {
        key: [item.decode() if isinstance(item, bytes) else item for item in value]
        if isinstance(value, list)
        else value.decode()
        if isinstance(value, bytes)
        else value
        for key, value in attributes.items()
    }
    weights = {name: arrays[name] for name in ("B", "P")}
    for key in ("W", "R"):
        parts = [arrays[key], arrays[f"{key}_scale"], arrays[f"{key}_zero_point"]]
        weights[key] = np.stack([dequantized(*(part[d] for part in parts)).T for d in range(D)])
    given = [arrays.get(name) for name in ("X", "", "", "", "sequence_lens", "initial_h", "initial_c")]
    want = LSTMOperator(attributes, weights, [True], compute="int8")(given)
    got = fusedlstm.from_onnx(save(model, tmp_path)).run(fed(arrays)).values()
    for one, two in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, two)


def stack_of(arrays: dict[str, Array]) -> Any:
    """Return a graph from batch rows first to the last states of both directions, joined."""
    model = node_model(arrays, direction="bidirectional")
    model.graph.input[0].name = "input"
    model.graph.node.insert(0, helper.make_node("Transpose", ["input"], ["X"], perm=[1, 0, 2]))
    model.graph.node.extend(
        [
            helper.make_node("Transpose", ["Y_h"], ["rows"], perm=[1, 0, 2]),
            helper.make_node("Reshape", ["rows", "shape"], ["output"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([0, -1]), "shape"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("output", 1, [None, None]))
    return model


def test_layers_have_the_files_weights(tmp_path: Path) -> None:
    arrays = node_arrays(directions=2, given=("B",), each_column=False, zero=True)
    graph = fusedlstm.from_onnx(save(stack_of(arrays), tmp_path))
    x = arrays["X"].transpose(1, 0, 2)
    for made in (graph.sequential(), graph.model()):
        np.testing.assert_array_equal(made(x), graph(x))
        weights = made.get_weights()
        for d in range(2):
            for got, want in zip(weights[3 * d : 3 * d + 3], as_layers_have_it(arrays, d), strict=True):
                np.testing.assert_allclose(got, want, rtol=2.0**-22, atol=2.0**-22)


def test_files_that_list_constants_as_inputs(tmp_path: Path) -> None:
    """Older versions have to, and weights of a packed node may not be overridden in newer ones."""
    arrays = node_arrays(given=("B",))
    want = fusedlstm.from_onnx(save(node_model(arrays), tmp_path)).run(fed(arrays))
    for version in (3, 8):
        model = node_model(arrays)
        model.ir_version = version
        for tensor in model.graph.initializer:
            shape = list(tensor.dims)
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
        again = fusedlstm.from_onnx(save(model, tmp_path))
        assert [one.name for one in again.inputs] == ["X"]
        for name, array in again.run(fed(arrays)).items():
            np.testing.assert_array_equal(array, want[name])


def test_in_a_branch(tmp_path: Path) -> None:
    """With its weights in the branch, or outside of it."""
    arrays = node_arrays(given=("B",))
    one, other = node_model(arrays), node_model(arrays)
    want = fusedlstm.from_onnx(save(one, tmp_path)).run(fed(arrays))["Y"]
    for graph, keep in ((one.graph, False), (other.graph, True)):
        del graph.input[:], graph.output[1:]
        if not keep:
            del graph.initializer[:]
        for node in graph.node:
            del node.output[1:]
    for tensor in other.graph.initializer:
        tensor.name += "2"
    inner = other.graph.node[0]
    inner.output[0] = other.graph.output[0].name = "Y2"
    inner.input[:] = [name and name + "2" * (name != "X") for name in inner.input]
    model = node_model(arrays)
    choice = helper.make_node("If", ["which"], ["Y"], then_branch=one.graph, else_branch=other.graph)
    del model.graph.node[:], model.graph.output[1:]
    model.graph.node.append(choice)
    model.graph.input.append(helper.make_tensor_value_info("which", 9, []))
    graph = fusedlstm.from_onnx(save(model, tmp_path))
    for which in (True, False):
        np.testing.assert_array_equal(graph(arrays["X"], which=np.asarray(which)), want)


# What is refused.


def other(name: str, array: Any) -> Callable[[dict[str, Array]], Any]:
    return lambda arrays: node_model({**arrays, name: np.asarray(array)})


def without(name: str) -> Callable[[dict[str, Array]], Any]:
    return lambda arrays: node_model({key: array for key, array in arrays.items() if key != name})


def changed(change: Callable[[Any], object]) -> Callable[[dict[str, Array]], Any]:
    def made(arrays: dict[str, Array]) -> Any:
        model = node_model(arrays)
        change(model)
        return model

    return made


def elsewhere(model: Any) -> None:
    """Let another node read W."""
    model.graph.node.append(helper.make_node("Shape", ["W"], ["shape"]))


def as_output(model: Any) -> None:
    model.graph.output.append(helper.make_tensor_value_info("W", 3, None))


def wrong_sum(model: Any) -> None:
    """Add outputs to lengths: onnx's checker refuses it, if it knows the node before."""
    model.graph.node.append(helper.make_node("Shape", ["Y"], ["shape"]))
    model.graph.node.append(helper.make_node("Add", ["Y", "shape"], ["sum"]))


def constant(model: Any) -> None:
    tensor = model.graph.initializer[0]
    model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[0]


SHAPE = np.zeros((1, 3, 24), np.int8)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (other("R", SHAPE), r"node 0 'recurrent' \(.*\): R: expected shape \(1, H, 4H\), got \(1, 3, 24\)"),
        (other("R", SHAPE[0]), r"R: expected shape \(1, H, 4H\), got \(3, 24\)"),
        (other("R", np.zeros((1, 0, 0), np.int8)), r"R: expected shape \(1, H, 4H\), got \(1, 0, 0\)"),
        (other("W", SHAPE[..., :20]), r"W: expected shape \(1, I, 24\), got \(1, 3, 20\)"),
        (other("W", SHAPE[:, :0]), r"W: expected shape \(1, I, 24\), got \(1, 0, 24\)"),
        (other("W", SHAPE.astype(np.float32)), r"W: expected int8 or uint8, got float32"),
        (other("R", np.zeros((1, 6, 24), np.uint8)), r"R: expected int8, got uint8"),
        (
            other("W_scale", np.ones(24, np.float32)),
            r"W_scale: expected shape \(1,\) or \(1, 24\), got \(24,\)",
        ),
        (other("W_scale", np.ones(1)), r"W_scale: expected float32, got float64"),
        (
            other("R_scale", np.asarray([-1], np.float32)),
            r"R_scale: expected numbers from 0 to 1e\+36, got -1",
        ),
        (
            other("R_scale", np.asarray([np.nan], np.float32)),
            r"R_scale: expected numbers from 0 to 1e\+36, got nan",
        ),
        (
            other("W_scale", np.asarray([2e36], np.float32)),
            r"W_scale: expected numbers from 0 to 1e\+36, got",
        ),
        (other("W_zero_point", np.asarray([0], np.uint8)), r"W_zero_point: expected int8, got uint8"),
        (
            other("R_zero_point", np.asarray([[0]], np.int8)),
            r"R_zero_point: expected shape \(1,\) or .*, got \(1, 1\)",
        ),
        (other("B", np.ones((1, 3), np.float32)), r"B: expected shape \(1, 48\), got \(1, 3\)"),
        (
            without("R_scale"),
            r"node 0 'recurrent' \(DynamicQuantizeLSTM\): R_scale: expected an input, got none",
        ),
        (without("R_zero_point"), r"R_zero_point: expected an input, got none"),
        (
            lambda arrays: node_model(arrays, computed=["W_scale"]),
            r"W_scale: expected a constant, got 'W_scale'",
        ),
        (
            lambda arrays: node_model(arrays, computed=["W"]),
            r"input 'W': expected a tensor of one of float32",
        ),
        (lambda arrays: node_model(arrays, layout=0), r"expected attributes among \[.*\], got 'layout'"),
        (lambda arrays: node_model(arrays, hidden_size=5), r"hidden_size: expected 6 as in R, got 5"),
        (lambda arrays: node_model(arrays, direction="both"), r"direction: expected one of"),
        (lambda arrays: node_model(arrays, clip=-1.0), r"clip: expected a positive number, got -1.0"),
        (
            changed(lambda m: m.graph.node[0].input.pop()),
            r"expected 12 inputs, from X to R_zero_point, got 11",
        ),
        (changed(lambda m: m.graph.node[0].input.append("X")), r"expected 12 inputs, .*, got 13"),
        (
            changed(lambda m: m.opset_import.pop()),
            r"opset_import: expected 'com.microsoft' in version 1, got \[\]",
        ),
        (
            changed(lambda m: setattr(m.opset_import[1], "version", 2)),
            r"opset_import: expected 'com.microsoft' in version 1, got \[2\]",
        ),
        (
            changed(lambda m: setattr(m.graph.node[0], "domain", "")),
            r"node 0 'recurrent': the operator 'DynamicQuantizeLSTM' is not supported",
        ),
        (
            changed(lambda m: setattr(m.graph.node[0], "domain", "other")),
            r"the operator 'DynamicQuantizeLSTM' of 'other' is not supported",
        ),
        (
            changed(lambda m: setattr(m.graph.node[0], "op_type", "QAttention")),
            r"the operator 'QAttention' of 'com.microsoft' is not supported",
        ),
        (
            changed(lambda m: setattr(m.graph.node[0], "op_type", "LSTM")),
            r"the operator 'LSTM' of 'com.microsoft' is not supported",
        ),
        (
            changed(elsewhere),
            r"tensor 'W': expected int8 as weights of DynamicQuantizeLSTM alone, got something",
        ),
        (
            changed(as_output),
            r"tensor 'W': expected int8 as weights of DynamicQuantizeLSTM alone, got something",
        ),
        (changed(constant), r"tensor 'W': expected element types float32, .*, got ONNX's type 3"),
        (changed(wrong_sum), r"expected a valid ONNX graph: "),
        (changed(lambda m: m.graph.node[0].output.append("more")), r"expected a valid ONNX graph: "),
        (
            changed(lambda m: setattr(m.graph.initializer[0], "raw_data", b"1")),
            r"expected a valid ONNX graph: ",
        ),
    ],
)
def test_what_is_refused(make: Callable[[dict[str, Array]], Any], text: str, tmp_path: Path) -> None:
    arrays = dict(node_arrays(given=("B",), each_column=False))
    # W is the first initializer.
    arrays = {name: arrays[name] for name in ("X", "W", *(name for name in arrays if name not in ("X", "W")))}
    path = save(make(arrays), tmp_path)
    with pytest.raises(ValueError, match=rf"^{path}: .*{text}") as caught:
        fusedlstm.from_onnx(path)
    if "valid ONNX" not in text:
        assert "\n" not in str(caught.value)


def test_x_is_float32(tmp_path: Path) -> None:
    """Onnx's checker asks only that all of its numbers are of one type."""
    arrays = {
        name: array.astype(np.float64) if name in ("X", "B") else array
        for name, array in node_arrays(given=("B",)).items()
    }
    model = node_model(arrays)
    for output in model.graph.output:
        output.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(
        ValueError, match=r"node 0 'recurrent' \(.*\): B: expected float32 like R, got float64"
    ):
        fusedlstm.from_onnx(save(model, tmp_path))
    del arrays["B"]
    model = node_model(arrays)
    for output in model.graph.output:
        output.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    graph = fusedlstm.from_onnx(save(model, tmp_path))
    with pytest.raises(
        ValueError, match=r"node 0 'recurrent' \(.*\): X: expected float32 with 3 axes, got float64"
    ):
        graph(arrays["X"])


def test_biases_without_a_sum(tmp_path: Path) -> None:
    """They make NaN, as any infinite one would, and no warning when the file is read."""
    arrays = node_arrays(given=("B",))
    arrays["B"][:, 0], arrays["B"][:, 24] = np.inf, -np.inf
    arrays["B"][:, 1] = arrays["B"][:, 25] = 3e38
    assert np.isnan(fusedlstm.from_onnx(save(node_model(arrays), tmp_path))(arrays["X"])[0]).any()


def test_memory_is_limited(tmp_path: Path) -> None:
    """Bytes of weights become floats: a limit counts those."""
    arrays = node_arrays(inputs=100, units=50)
    path = save(node_model(arrays), tmp_path)
    size = path.stat().st_size
    assert fusedlstm.from_onnx(path, max_bytes=40 * size)(arrays["X"])
    with pytest.raises(ValueError, match="max_bytes"):
        fusedlstm.from_onnx(path, max_bytes=8 * size)


def test_the_file_is_left_as_it_was() -> None:
    """Onnx's checker sees other nodes, for so long as it looks."""
    from fusedlstm.exchange.onnx.contrib import stand_ins

    model = node_model(node_arrays(given=("B",)), hidden_size=6)
    before = model.SerializeToString()
    with stand_ins([model.graph]):
        assert (model.graph.node[0].op_type, model.graph.node[0].domain) == ("LSTM", "")
        assert DOMAIN not in str(model.graph)
    assert model.SerializeToString() == before
