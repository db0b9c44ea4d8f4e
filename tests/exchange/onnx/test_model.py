"""Graphs with several inputs and outputs, merges, shared layers and states, as models of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

import fusedlstm
from fusedlstm import Input, Model, layers, utils

from .graphs import lstm_arrays, model_of, save
from .test_graph_writer import CASES, OTHER, SIGNAL, F, T, of, signals
from .written import MODELS, batch, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VECTORS = np.random.default_rng(5).normal(size=(4, 5)).astype("float32")


def round_trip(model: Model, folder: Path, **options: bool) -> Model:
    fusedlstm.to_onnx(model, folder / "model.onnx", **options)
    return fusedlstm.from_onnx(folder / "model.onnx").model()


def listed(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return list(outputs.values())
    return outputs if isinstance(outputs, list) else [outputs]


def assert_same(again: Model, model: Model, x: Any, fed: Any = None) -> None:
    """Compare outputs, bit by bit, and the numbers of weights: what is shared stays so. Train it."""
    wanted = listed(model(x if fed is None else fed))
    for got, want in zip(listed(again(x)), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    assert again.count_params() == model.count_params()
    if again.weights:
        again.compile("sgd", "mse")
        labels = [np.zeros_like(one) for one in wanted]
        again.fit(x, labels if len(labels) > 1 else labels[0], verbose=0)


# Those with masks and with normalized products are refused.
TAKEN = [name for name in CASES if "mask" not in name and name != "products"]


@pytest.mark.parametrize("name", TAKEN)
def test_graphs(name: str, tmp_path: Path) -> None:
    function, fed = CASES[name]
    utils.set_random_seed(0)
    model = function()
    again = round_trip(model, tmp_path)
    assert again.input_names == model.input_names
    assert_same(again, model, list(fed.values()), fed)


@pytest.mark.parametrize("name", MODELS)
def test_stacks(name: str, tmp_path: Path) -> None:
    model = make(MODELS[name](), steps=6 if name == "flatten" else None)
    again = round_trip(model, tmp_path)
    for got, want in zip(listed(again(batch())), listed(model(batch())), strict=True):
        np.testing.assert_array_equal(got, want)


def two_inputs() -> tuple[Model, list[Any]]:
    a, b = Input((T, F), name="a"), Input((5,), name="b")
    x = layers.concatenate([layers.LSTM(5)(a), layers.Dense(2, "tanh")(b)])
    return Model([a, b], layers.Dense(1)(x)), [SIGNAL, VECTORS]


def siamese() -> tuple[Model, list[Any]]:
    a, b = Input((None,), name="a"), Input((None,), name="b")
    table, encoder = layers.Embedding(9, 3), layers.Bidirectional(layers.LSTM(4))
    one, two = encoder(table(a)), encoder(table(b))
    y = layers.Dense(1, "sigmoid")(layers.subtract([one, two]))
    words = np.random.default_rng(1).integers(0, 9, (2, 4, T))
    return Model([a, b], [y, layers.dot([one, two], axes=1)]), list(words)


def products() -> tuple[Model, list[Any]]:
    a, b = signals()
    one, two = layers.LSTM(F)(a), layers.LSTM(F)(b)
    pairs = [layers.dot([one, two], axes=1), layers.dot([a, b], axes=2), layers.dot([a, b], axes=1)]
    pairs += [layers.dot([a, one], axes=(2, 1)), layers.dot([one, b], axes=(1, 2))]
    return Model([a, b], pairs), [SIGNAL, OTHER]


def several_outputs() -> tuple[Model, list[Any]]:
    x = Input((None, F), name="x")
    y = layers.LSTM(5, return_sequences=True)(x)
    level = layers.Dense(1)(layers.GlobalAveragePooling1D()(y))
    return Model(x, [level, layers.Dense(3, "softmax")(layers.LSTM(4)(y)), y]), [SIGNAL]


def autoencoder() -> tuple[Model, list[Any]]:
    x = Input((T, F))
    code = layers.LayerNormalization()(layers.LSTM(3)(x))
    y = layers.LSTM(4, return_sequences=True)(layers.RepeatVector(T)(code))
    return Model(x, [layers.TimeDistributed(layers.Dense(F))(y), layers.Flatten()(y)]), [SIGNAL]


def states_along() -> tuple[Model, list[Any]]:
    """Make a chain of states, of which some are used, some are not, and some go through layers."""
    x = Input((None, F))
    y, h, c = layers.LSTM(4, return_state=True, return_sequences=True)(x)
    z, h2, c2 = layers.LSTM(4, return_state=True, return_sequences=True)(y, initial_state=[h, c])
    states = [layers.Dense(2)(one) for one in (h, h2)]
    last = layers.LSTM(2)(z, initial_state=states)
    _, _, ends = layers.LSTM(4, return_state=True)(z, initial_state=[h, c])
    return Model(x, [layers.concatenate([last, ends]), c2]), [SIGNAL]


def a_step_at_a_time() -> tuple[Model, list[Any]]:
    x, h, c = Input((1, F), name="x"), Input((5,), name="h"), Input((5,), name="c")
    y, *states = layers.LSTM(5, return_state=True, name="decoder")(x, initial_state=[h, c])
    return Model([x, h, c], [layers.Dense(2)(y), *states]), [SIGNAL[:, :1], VECTORS, VECTORS[::-1].copy()]


def directions() -> tuple[Model, list[Any]]:
    """Make what is read of both directions in more than one way."""
    x = Input((None, F))
    y, *ends = layers.Bidirectional(layers.LSTM(4, return_sequences=True, return_state=True), "mul")(x)
    one, two = layers.Bidirectional(layers.LSTM(4), merge_mode=None)(x)
    back = layers.LSTM(3, return_sequences=True, return_state=True, go_backwards=True)(x)
    return Model(x, [y, layers.concatenate([ends[0], ends[2]]), ends[3], one, two, *back]), [SIGNAL]


def backwards_first() -> tuple[Model, list[Any]]:
    """Make two directions of which the first one reads backwards, in all ways, that start from states."""
    a, b = signals()
    _, *states = layers.Bidirectional(layers.LSTM(4, return_state=True))(a)
    outputs = []
    for mode in (None, "concat", "ave", "mul"):
        for sequences in (True, False):
            lstm = layers.LSTM(4, return_sequences=sequences, go_backwards=True, return_state=True)
            found = layers.Bidirectional(lstm, mode)(b, initial_state=states)
            outputs += [*found[: 2 if mode is None else 1], found[-1], found[-4]]
    return Model([a, b], outputs), [SIGNAL, OTHER]


def cells() -> tuple[Model, list[Any]]:
    a, b = signals()
    lstm = layers.LSTM(4, "softsign", use_peepholes=True, use_bias=False, return_sequences=True)
    return Model([a, b], layers.maximum([lstm(a), lstm(b)])), [SIGNAL, OTHER]


def names_of_layers() -> tuple[Model, list[Any]]:
    """Make a model whose inputs have names that layers have by themselves."""
    utils.clear_session()
    a, b = Input((None, F), name="lstm"), Input((None, F), name="lstm_1")
    model = Model([a, b], layers.concatenate([layers.LSTM(2, name=n)(x) for n, x in (("x", a), ("y", b))]))
    utils.clear_session()
    return model, [SIGNAL, OTHER]


MADE: dict[str, Callable[[], tuple[Model, list[Any]]]] = {
    function.__name__: function
    for function in (
        two_inputs,
        siamese,
        products,
        several_outputs,
        autoencoder,
        states_along,
        a_step_at_a_time,
        directions,
        backwards_first,
        cells,
        names_of_layers,
    )
}


@pytest.mark.parametrize("name", MADE)
def test_models(name: str, tmp_path: Path) -> None:
    utils.set_random_seed(0)
    model, x = MADE[name]()
    assert_same(round_trip(model, tmp_path), model, x if len(x) > 1 else x[0])


def test_float64(tmp_path: Path) -> None:
    a, b = (Input((None, F), name=name, dtype="float64") for name in "ab")
    y = layers.add([layers.LSTM(F, dtype="float64", return_sequences=True)(a), b], dtype="float64")
    model = Model([a, b], y)
    assert_same(round_trip(model, tmp_path), model, [SIGNAL.astype(float), OTHER.astype(float)])


def test_states_of_the_file(tmp_path: Path) -> None:
    """Those that may be left out are zeros; those at the end are outputs."""
    a, b = signals()
    y = layers.LSTM(5, name="one")(a)
    model = Model([a, b], layers.concatenate([y, layers.LSTM(5, name="other")(b)]))
    again = round_trip(model, tmp_path, initial_states=True, final_states=True)
    found = again([SIGNAL, OTHER])
    assert len(found) == 5
    np.testing.assert_array_equal(found[0], model([SIGNAL, OTHER]))
    np.testing.assert_array_equal(np.concatenate([found[1], found[3]], axis=1), found[0])


def test_averages(tmp_path: Path) -> None:
    """As programs in PyTorch write them: sums times one over their number, or divided by it."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["y"]),
        helper.make_node("Div", ["sum", "two"], ["z"]),
    ]
    fed = {"a": SIGNAL, "b": OTHER}
    constants = {"half": np.float32(0.5), "two": np.array([2], np.float32)}
    graph = fusedlstm.from_onnx(save(model_of(nodes, fed, ["y", "z", "sum"], constants), tmp_path))
    model = graph.model()
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["InputLayer", "InputLayer", "Average", "Average", "Add"]
    for got, want in zip(model([SIGNAL, OTHER]), graph(SIGNAL, OTHER), strict=True):
        np.testing.assert_array_equal(got, want)


def test_numbers_without_an_axis_of_features(tmp_path: Path) -> None:
    """A sum of (B, T) and of (B, T, 1), from which the last axis is taken, is none of layers' outputs."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["column"]),
        helper.make_node("MatMul", ["column", "one"], ["product"]),
        helper.make_node("Squeeze", ["product", "axis"], ["row"]),
        helper.make_node("Add", ["row", "x"], ["y"]),
    ]
    constants = {"axis": np.array([2]), "one": np.ones((1, 1), np.float32)}
    graph = fusedlstm.from_onnx(save(model_of(nodes, {"x": SIGNAL[:, :, 0]}, ["y"], constants), tmp_path))
    with pytest.raises(ValueError, match="not a graph of layers: node"):
        graph.model()


def test_a_dense_layer_with_and_without_its_bias(tmp_path: Path) -> None:
    """Two layers: one of them would have to return two outputs."""
    nodes = [
        helper.make_node("MatMul", ["x", "k"], ["plain"]),
        helper.make_node("Add", ["plain", "b"], ["y"]),
    ]
    constants = {"k": VECTORS[:F], "b": VECTORS[0]}
    graph = fusedlstm.from_onnx(save(model_of(nodes, {"x": SIGNAL}, ["plain", "y"], constants), tmp_path))
    for got, want in zip(graph.model()(SIGNAL), graph(SIGNAL), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([("Pow", ["a", "b"], "y")], r"node 0 '' \(Pow\): expected one of \['Add', .* got Pow"),
        ([("Relu", ["a"], "x"), ("Div", ["x", "none"], "y")], r"node 1 '' \(Div\): there is no layer"),
        ([("Add", ["a", "b"], "x"), ("Div", ["two", "x"], "y")], r"node 1 '' \(Div\): there is no layer"),
        ([("Unsqueeze", ["a", "at"], "t"), ("Mul", ["t", "b"], "y")], r"node 1 .*expected values that meet"),
        ([("Sum", ["a", "b", "c"], "y")], r"node 0 '' \(Sum\): expected one layer after the other"),
        ([("Transpose", ["a"], "t"), ("Mul", ["t", "b"], "y")], r"node 1 .*expected values that meet, got a"),
        ([("MatMul", ["a", "b"], "y")], r"node 0 .*products of rows of matrices \(B, T, F\), got a tensor"),
        ([("Add", ["a", "b"], "x"), ("Exp", ["x"], "t"), ("Cos", ["t"], "y")], "Cos"),
        ([("Transpose", ["a"], "y")], "output 'y': expected layers whose output has the batch rows first"),
    ],
)
def test_what_is_no_layer(nodes: list[Any], text: str, tmp_path: Path) -> None:
    x, two = np.ones((3, 3), np.float32), np.float32(2)
    made = [helper.make_node(operator, inputs, [output]) for operator, inputs, output in nodes]
    with pytest.raises(ValueError, match=text):
        fusedlstm.from_onnx(
            save(
                model_of(
                    made,
                    {"a": x, "b": x},
                    ["y"],
                    {"c": x, "two": two, "none": 0 * two, "at": np.array([1])},
                    opset=17,
                ),
                tmp_path,
            )
        ).model()


def test_no_inputs(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["c"], ["y"])]
    graph = fusedlstm.from_onnx(save(model_of(nodes, {}, ["y"], {"c": SIGNAL}), tmp_path))
    with pytest.raises(ValueError, match="not a graph of layers: expected inputs, got none"):
        graph.model()


def test_states_that_do_not_fit(tmp_path: Path) -> None:
    arrays = lstm_arrays(given=("initial_h",))
    fed = {"X": arrays["X"], "initial_h": arrays["initial_h"]}
    node = helper.make_node("LSTM", ["X", "W", "R", "", "", "initial_h"], ["", "h"], hidden_size=6)
    made = model_of([node], fed, ["h"], {"W": arrays["W"], "R": arrays["R"]})
    with pytest.raises(ValueError, match=r"\(LSTM\): initial_h: expected \(D, B, H\) for 1 directions"):
        fusedlstm.from_onnx(save(made, tmp_path)).model()


@pytest.mark.parametrize(
    ("make_it", "text"),
    [
        (lambda a, b: layers.add([layers.Masking()(a), b]), "not a graph of layers: node"),
        (lambda a, b: layers.dot([a, b], axes=2, normalize=True), "ReduceSum"),
        (lambda a, b: layers.add([layers.Permute((2, 1))(layers.Dense(T)(a)), b]), "expected"),
    ],
)
def test_what_is_not_taken_back(make_it: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text):
        round_trip(of(make_it), tmp_path, right_padding=True)
