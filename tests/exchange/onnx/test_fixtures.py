"""Graphs of other libraries' exporters, and what ONNX Runtime computed.

The files in ``tests/fixtures`` are those of ``tests/tools/make_onnx_fixtures.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import fusedlstm
from fusedlstm.testing import tolerance

from .graphs import CELLS, DIRECTIONS, INPUTS, by_direction, lstm_arrays, lstm_model, model_of, save

FIXTURES = Path(__file__).parents[2] / "fixtures"
EXPECTED = dict(np.load(FIXTURES / "onnx.npz"))
TORCH = [f"torch_{layout}_{exporter}" for layout in ("time", "batch") for exporter in ("script", "dynamo")]


@pytest.mark.parametrize("name", TORCH)
def test_graphs_of_pytorch(name: str) -> None:
    model = fusedlstm.from_onnx(FIXTURES / f"{name}.onnx")
    assert [one.name for one in model.inputs] == ["x"]
    assert model.outputs == ("y", "h", "c")
    for output, array in model.run({"x": EXPECTED["x"]}).items():
        want = EXPECTED[f"{name}/{output}"]
        assert array.shape == want.shape
        np.testing.assert_allclose(array, want, rtol=0, atol=tolerance(np.float32, 20, steps=10))
    # Both axes are dynamic, but for the newer exporter, which fixes the number of steps.
    steps = 0 if name.startswith("torch_time") else 1
    shape = [7, 7, 3]
    if name.endswith("dynamo"):
        shape[steps] = EXPECTED["x"].shape[steps]
    assert model(np.zeros(shape, np.float32))[0].shape == (*shape[:2], 2)


@pytest.mark.parametrize("name", TORCH)
def test_graphs_of_pytorch_as_models(name: str) -> None:
    """Zero states are constants, views of one, or computed from sizes; states are outputs too."""
    model = fusedlstm.from_onnx(FIXTURES / f"{name}.onnx").sequential()
    x, want = EXPECTED["x"], EXPECTED[f"{name}/y"]
    if name.startswith("torch_time"):
        x, want = x.swapaxes(0, 1), want.swapaxes(0, 1)
    got = model(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance(np.float32, 20, steps=10))
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(x, np.zeros_like(got), verbose=0)
    assert all((new != old).any() for new, old in zip(model.get_weights(), before, strict=True))


@pytest.mark.parametrize(
    ("operator", "domain"),
    [("QLinearAdd", "com.microsoft"), ("DynamicQuantizeLinear", ""), ("Scan", ""), ("Loop", "")],
)
def test_graphs_of_others_are_refused_by_name(operator: str, domain: str, tmp_path: Path) -> None:
    """As ONNX Runtime quantizes them, and as converters unroll what they do not know."""
    node = helper.make_node(operator, ["x"], ["y"], name="it", domain=domain)
    info = [helper.make_tensor_value_info(name, 1, [2, 3]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "graph", info[:1], info[1:]))
    with pytest.raises(ValueError, match=rf"node 0 'it': the operator '{operator}'.* is not supported"):
        fusedlstm.from_onnx(save(model, tmp_path))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_nodes_as_onnx_runtime_computes_them(direction: str, tmp_path: Path) -> None:
    count = DIRECTIONS[direction]
    for cell, given in [*(("", given) for given in INPUTS), *((cell, "all") for cell in CELLS)]:
        arrays = lstm_arrays(directions=count, given=INPUTS[given])
        attributes = by_direction(CELLS[cell], count) if cell else {}
        model = fusedlstm.from_onnx(save(lstm_model(arrays, direction=direction, **attributes), tmp_path))
        fed = {name: array for name, array in arrays.items() if name not in ("W", "R", "B", "P")}
        for output, array in model.run(fed).items():
            want = EXPECTED[f"{direction}/{cell}/{given}/{output}"]
            limit = 2 * tolerance(np.float32, 20, steps=8) * max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(array, want, rtol=0, atol=limit, err_msg=f"{cell} {given} {output}")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_graphs_in_the_style_of_tf2onnx(bidirectional: bool, sequences: bool, tmp_path: Path) -> None:
    """As of Keras: an LSTM over (B, T, I) with states of zeros that Expand makes."""
    count = 2 if bidirectional else 1
    arrays = lstm_arrays(directions=count, given=("B",), units=6, inputs=4)
    x = np.ascontiguousarray(arrays.pop("X").swapaxes(0, 1))
    shapes = {"one": [1], "first": [0], "second": [1], "tail": [6], "count": [count], "same": [0, 0, -1]}
    constants = {
        **arrays,
        **{name: np.array(value, np.int64) for name, value in shapes.items()},
        "zero": np.zeros((), np.float32),
        "dense": np.linspace(-1, 1, 6 * count * 3, dtype=np.float32).reshape(6 * count, 3),
        "bias": np.array([0.1, -0.2, 0.3], np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "first", "one", "first"], ["batch"]),
        node("Concat", ["count", "batch", "tail"], ["states"], axis=0),
        node("Expand", ["zero", "states"], ["h0"]),
        node("Transpose", ["x"], ["steps_first"], perm=[1, 0, 2]),
        node(
            "LSTM",
            ["steps_first", "W", "R", "B", "", "h0", "h0"],
            ["Y", "Y_h", "Y_c"],
            direction="bidirectional" if bidirectional else "forward",
            hidden_size=6,
        ),
    ]
    if sequences:
        nodes += [
            node("Transpose", ["Y"], ["rows"], perm=[2, 0, 1, 3]),
            node("Reshape", ["rows", "same"], ["merged"]),
        ]
    elif bidirectional:
        nodes += [
            node("Slice", ["Y_h", "first", "one", "first"], ["f"]),
            node("Slice", ["Y_h", "one", "count", "first"], ["b"]),
            node("Squeeze", ["f", "first"], ["f2"]),
            node("Squeeze", ["b", "first"], ["b2"]),
            node("Concat", ["f2", "b2"], ["merged"], axis=-1),
        ]
    else:
        nodes += [node("Squeeze", ["Y_h", "first"], ["merged"])]
    nodes += [
        node("MatMul", ["merged", "dense"], ["product"]),
        node("Add", ["product", "bias"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    graph = model_of(nodes, {"x": x}, ["probabilities"], constants, 15)
    loaded = fusedlstm.from_onnx(save(graph, tmp_path))
    want = ReferenceEvaluator(graph).run(None, {"x": x})[0]
    for got in (loaded(x), loaded.sequential()(x)):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance(np.float32, 20, steps=8))
