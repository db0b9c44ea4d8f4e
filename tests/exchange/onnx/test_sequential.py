"""Graphs that are stacks of layers, as models of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

import fusedlstm
from fusedlstm import layers

from .graphs import lstm_arrays, lstm_model, model_of, save
from .written import CELLS, MODELS, POINTWISE, assert_equal, batch, make

if TYPE_CHECKING:
    from pathlib import Path

# What these models do is no layer's work once they are graphs.
NOT_LAYERS = ("bidirectional None", "bidirectional, last, two")


def round_trip(model: fusedlstm.Sequential, folder: Path) -> fusedlstm.Sequential:
    fusedlstm.to_onnx(model, folder / "model.onnx")
    return fusedlstm.from_onnx(folder / "model.onnx").sequential()


def assert_equal_weights(one: fusedlstm.Sequential, two: fusedlstm.Sequential) -> None:
    for ours, theirs in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in NOT_LAYERS])
def test_models(name: str, tmp_path: Path) -> None:
    model = make(MODELS[name](), steps=6 if name == "flatten" else None)
    again = round_trip(model, tmp_path)
    if name != "bidirectional, two kinds":  # A bias of one direction is one of both in ONNX.
        assert_equal_weights(again, model)
    assert again.input_shape == model.input_shape
    x = batch()
    np.testing.assert_array_equal(again(x), model(x))
    again.compile("sgd", "mse")  # They can be trained.
    again.fit(x, np.zeros_like(model(x)), verbose=0)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
def test_bidirectional_layers_that_begin_backwards(mode: str, sequences: bool, tmp_path: Path) -> None:
    layer = layers.LSTM(4, return_sequences=sequences, go_backwards=True)
    model = make([layers.Bidirectional(layer, mode), layers.Dense(2)])
    np.testing.assert_allclose(round_trip(model, tmp_path)(batch()), model(batch()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("last", [[], [layers.Dense(1)]], ids=len)
def test_a_single_step_and_feature(last: list[layers.Layer], tmp_path: Path) -> None:
    parts = [layers.LSTM(1, return_sequences=True), layers.Dense(1), layers.Flatten(), *last]
    model = make(parts, steps=1, features=1)
    x = batch(steps=1)[:, :, :1]
    np.testing.assert_allclose(round_trip(model, tmp_path)(x), model(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell: str, tmp_path: Path) -> None:
    model = make([layers.LSTM(5, return_sequences=True, **CELLS[cell])])
    np.testing.assert_array_equal(round_trip(model, tmp_path)(batch()), model(batch()))


@pytest.mark.parametrize("activation", POINTWISE)
def test_activations(activation: str, tmp_path: Path) -> None:
    model = make([layers.Dense(4, activation=activation)])
    np.testing.assert_array_equal(round_trip(model, tmp_path)(batch()), model(batch()))


def test_float64(tmp_path: Path) -> None:
    model = make([layers.LSTM(5, dtype="float64"), layers.Dense(2, activation="tanh", dtype="float64")])
    again, x = round_trip(model, tmp_path), batch(dtype="float64")
    assert_equal_weights(again, model)
    assert_equal([again(x)], [model(x)])


@pytest.mark.parametrize("name", NOT_LAYERS)
def test_what_is_no_stack(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    fusedlstm.to_onnx(make(MODELS[name]()), path)
    with pytest.raises(ValueError, match=rf"^{path}: not a stack of layers: "):
        fusedlstm.from_onnx(path).sequential()


def test_masks_are_no_layers(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    fusedlstm.to_onnx(make([layers.Masking(), layers.LSTM(3)]), path, right_padding=True)
    with pytest.raises(ValueError, match="not a stack of layers: node"):
        fusedlstm.from_onnx(path).sequential()


def test_states_that_may_be_left_out(tmp_path: Path) -> None:
    model, path = make([layers.LSTM(3)]), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, initial_states=True, final_states=True)
    again = fusedlstm.from_onnx(path).sequential()
    assert_equal_weights(again, model)
    np.testing.assert_array_equal(again(batch()), model(batch()))


def test_the_last_step_of_an_lstm(tmp_path: Path) -> None:
    """As programs in PyTorch take it: ``y[:, -1]``."""
    arrays = lstm_arrays(given=("B",))
    x = np.ascontiguousarray(arrays.pop("X").swapaxes(0, 1))
    constants: dict[str, Any] = {**arrays, "one": np.array([1]), "last": np.array(-1)}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "W", "R", "B"], ["Y"], hidden_size=6),
        helper.make_node("Squeeze", ["Y", "one"], ["s"]),
        helper.make_node("Transpose", ["s"], ["rows"], perm=[1, 0, 2]),
        helper.make_node("Gather", ["rows", "last"], ["y"], axis=1),
    ]
    graph = fusedlstm.from_onnx(save(model_of(nodes, {"x": x}, ["y"], constants), tmp_path))
    np.testing.assert_array_equal(graph.sequential()(x), graph(x))


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        # A connection that skips a layer.
        ([("Relu", ["x"], "a"), ("Add", ["x", "a"], "y")], "expected one layer after the other"),
        ([("Sub", ["x", "c"], "y")], "Sub"),
        ([("Mul", ["x", "c"], "y")], "Mul"),
        ([("HardSigmoid", ["x"], "y")], "alpha: expected 0.16.*, which hard_sigmoid has here, got 0.2"),
        ([("LeakyRelu", ["x"], "y")], "alpha: expected 0.2, which leaky_relu has here, got 0.01"),
        ([("Transpose", ["x"], "y")], "expected layers whose output has the batch rows first"),
    ],
)
def test_nodes_that_are_no_layers(nodes: list[Any], text: str, tmp_path: Path) -> None:
    x = np.ones((2, 3), np.float32)
    made = [helper.make_node(operator, inputs, [output]) for operator, inputs, output in nodes]
    graph = fusedlstm.from_onnx(save(model_of(made, {"x": x}, ["y"], {"c": x[0]}), tmp_path))
    graph(x)
    with pytest.raises(ValueError, match=f"not a stack of layers: .*{text}"):
        graph.sequential()


@pytest.mark.parametrize(
    "attributes",
    [
        {"clip": 0.5},
        {"activations": ["HardSigmoid", "Tanh", "Tanh"]},
        {"activations": ["Sigmoid", "Tanh", "Relu"]},
    ],
)
def test_cells_that_no_layer_has(attributes: dict[str, Any], tmp_path: Path) -> None:
    arrays = lstm_arrays()
    x = np.ascontiguousarray(arrays.pop("X").swapaxes(0, 1))
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R"], ["", "h"], hidden_size=6, layout=1, **attributes),
        helper.make_node("Squeeze", ["h", "one"], ["y"]),
    ]
    constants: dict[str, Any] = {**arrays, "one": np.array([1])}
    graph = fusedlstm.from_onnx(save(model_of(nodes, {"x": x}, ["y"], constants), tmp_path))
    graph(x)
    with pytest.raises(ValueError, match=r"not a stack of layers: .*(clip|activations): expected"):
        graph.sequential()


def test_raw_outputs_are_no_model(tmp_path: Path) -> None:
    model = lstm_model(lstm_arrays())
    del model.graph.output[1:]
    with pytest.raises(ValueError, match=r"whose output has the batch rows first, got .* \(T, 1, B, F\)"):
        fusedlstm.from_onnx(save(model, tmp_path)).sequential()
