"""Quantized layers as DynamicQuantizeLSTM nodes, ONNX Runtime's operator, there and back."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import fusedlstm
from fusedlstm import layers, ops
from fusedlstm.exchange.integers import as_integers, dequantized
from fusedlstm.exchange.onnx.contrib import DOMAIN, INPUTS, OPERATOR
from tests.exchange.rounding import OURS, Rounding, assert_within, reach

from .quantized import THEIRS, moved, needs_full_sums
from .test_writer import MASKED, listed, padded
from .written import MODELS, batch, make, run_in_onnx_runtime

if TYPE_CHECKING:
    from pathlib import Path

    from .graphs import Array

WITH_LSTMS = [name for name in MODELS if name != "dense alone"]


def small(parts: list[layers.Layer], steps: int | None = None) -> fusedlstm.Sequential:
    """Return a model with weights so small that an error in h fades."""
    model = make(parts, steps)
    model.set_weights([weight / 2 for weight in model.get_weights()])
    return model


def quantized(parts: list[layers.Layer], steps: int | None = None) -> fusedlstm.Sequential:
    model = small(parts, steps)
    model.quantize()
    return model


def nodes_of(path: Path) -> list[Any]:
    return [node for node in onnx.load(path).graph.node if "LSTM" in node.op_type]


def tensors_of(path: Path) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("name", WITH_LSTMS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    model, path = quantized(MODELS[name](), 6 if name == "flatten" else None), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    nodes, tensors = nodes_of(path), tensors_of(path)
    assert {(node.domain, node.op_type) for node in nodes} == {(DOMAIN, OPERATOR)}
    for node in nodes:
        given = {key: tensors[one] for key, one in zip(INPUTS, node.input, strict=True) if one in tensors}
        D, H = given["R"].shape[:2]
        for key in ("W", "R"):
            assert given[key].dtype == given[f"{key}_zero_point"].dtype == np.int8
            assert given[key].shape[::2] == (D, 4 * H)
            assert given[f"{key}_scale"].shape == given[f"{key}_zero_point"].shape == (D, 4 * H)
            assert (np.abs(given[key]).max(axis=1) == 127).all()
            assert not given[f"{key}_zero_point"].any()
    again = fusedlstm.from_onnx(path)
    twins: list[Any] = [again, pickle.loads(pickle.dumps(again))]
    twins += [] if "two" in name or "None" in name else [again.sequential(), again.model()]
    for x in (batch(), batch(1, 6)):
        for twin in twins:
            for got, want in zip(listed(twin(x)), listed(model(x)), strict=True):
                np.testing.assert_array_equal(got, want)
    for twin in twins[2:]:
        recurrent = [layer for layer in twin.layers if isinstance(layer, layers.LSTM | layers.Bidirectional)]
        assert recurrent
        assert {layer.dtype_policy.name for layer in recurrent} == {"int8_from_float32"}


@pytest.mark.parametrize("name", MASKED)
def test_masks(name: str, tmp_path: Path) -> None:
    model, path = quantized([layers.Masking(-2.0), *MASKED[name]()], 6), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, right_padding=True)
    assert {node.op_type for node in nodes_of(path)} == {OPERATOR}
    for got, want in zip(listed(fusedlstm.from_onnx(path)(padded())), listed(model(padded())), strict=True):
        np.testing.assert_array_equal(got, want)


def test_states_come_and_go(tmp_path: Path) -> None:
    model, path = quantized([layers.LSTM(5, return_sequences=True, name="it")]), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, initial_states=True, final_states=True)
    again, x = fusedlstm.from_onnx(path), batch(4, 6)
    y, h, c = again(x[:, :4])
    np.testing.assert_array_equal(np.concatenate([y, again(x[:, 4:], h, c)[0]], axis=1), model(x))


def test_other_layers_stay(tmp_path: Path) -> None:
    parts = [layers.LSTM(5, return_sequences=True), layers.LSTM(4), layers.Dense(2)]
    model, path = make(list(parts)), tmp_path / "model.onnx"
    model.layers[1].quantize()
    fusedlstm.to_onnx(model, path)
    assert [node.op_type for node in nodes_of(path)] == ["LSTM", OPERATOR]
    again = fusedlstm.from_onnx(path)
    np.testing.assert_array_equal(again(batch()), model(batch()))
    policies = [layer.dtype_policy.name for layer in again.sequential().layers]
    assert policies == ["float32", "int8_from_float32", "float32"]
    fusedlstm.to_onnx(make([layers.LSTM(4)]), path)
    assert [entry.domain for entry in onnx.load(path).opset_import] == [""]


def test_a_layer_that_is_called_twice(tmp_path: Path) -> None:
    a, b = layers.Input((None, 3), name="a"), layers.Input((None, 3), name="b")
    layer = layers.LSTM(4)
    model = fusedlstm.Model([a, b], layers.subtract([layer(a), layer(b)]))
    model.quantize()
    path = tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    one, two = nodes_of(path)
    assert list(one.input[1:]) == list(two.input[1:])
    again, pair = fusedlstm.from_onnx(path).model(), [batch(), batch()[:, ::-1]]
    assert sum(isinstance(one, layers.LSTM) for one in again.layers) == 1
    np.testing.assert_array_equal(
        again.predict(pair, verbose=0, batch_size=4), model.predict(pair, verbose=0, batch_size=4)
    )


def test_a_column_of_zeros(tmp_path: Path) -> None:
    """Its scale is 1, as others may divide by it."""
    model, path = quantized([layers.LSTM(4, return_sequences=True)]), tmp_path / "model.onnx"
    kernel, *rest = model.get_weights()
    kernel[:, ::3] = 0
    model.set_weights([kernel, *rest])
    fusedlstm.to_onnx(model, path)
    (scale,) = (array for name, array in tensors_of(path).items() if name.endswith("W_scale"))
    assert (scale > 0).all()
    np.testing.assert_array_equal(fusedlstm.from_onnx(path)(batch()), model(batch()))


# Integers and weights.


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_integers_stay_where_the_largest_is_127(rows: int) -> None:
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.uniform(-20, 20, 400)
    kernel, recurrent = (
        (sizes * random.standard_normal((count, 400))).astype(np.float32) for count in (rows, 100)
    )
    pairs = as_integers(kernel, recurrent)
    matrices = [dequantized(*pair) for pair in pairs]
    for (integers, factors), (again, same), matrix in zip(
        pairs, as_integers(*matrices), matrices, strict=True
    ):
        assert (np.abs(integers).max(axis=0) == 127).all()
        np.testing.assert_allclose(matrix, integers * factors.astype(np.float64), rtol=2.0**-22)
        np.testing.assert_array_equal(again, integers)
        np.testing.assert_array_equal(same, factors)


def test_factors_stay() -> None:
    """A float32 number over 127, times 127 and over 127 again is the same: for every significand there is."""
    for first in range(0, 2**23, 2**20):
        largest = (np.arange(first, first + 2**20, dtype=np.uint32) | 0x3F800000).view(np.float32)
        factors = largest / np.float32(127)
        matrix = dequantized(np.full((1, len(factors)), 127, np.int8), factors)
        np.testing.assert_array_equal(matrix[0] / np.float32(127), factors)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_others_move_by_half_a_step(dtype: Any) -> None:
    """A step is a 127th of the column's largest weight, as the kernels take it."""
    random = np.random.default_rng(0)
    info = np.iinfo(dtype)
    integers, zero = (
        random.integers(info.min, info.max + 1, shape).astype(dtype) for shape in ((100, 64), (64,))
    )
    scale = random.uniform(0.001, 0.01, 64).astype(np.float32)
    wanted = (integers.astype(np.float64) - zero) * scale
    matrix = dequantized(integers, scale, zero)
    np.testing.assert_allclose(matrix, wanted, rtol=2.0**-22)
    packed = ops.LSTMWeights(matrix, matrix[:16], compute="int8").unpack()[0]
    share = np.abs(packed - wanted) / np.abs(wanted).max(axis=0)
    # Half a step, and rounding of the factor and of the product.
    assert 0.9 / 254 < share.max() < 1 / 254 + 2.0**-22


# In ONNX Runtime.


def expected(
    model: fusedlstm.Sequential, x: Array, rounding: Rounding, *, rounded: bool
) -> tuple[Array, Array]:
    """Return what exact products give, with a model's weights, and how far one may be off who rounds so.

    With `rounded`, weights are rounded too, each column to steps of its own.
    """
    y: Array = x.astype(np.float64)
    limit: Array = np.zeros_like(y)
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            kernel, bias = layer.get_weights()
            y, limit = y @ kernel + bias, limit @ np.abs(kernel)
            continue
        several: list[Any] = [layer]
        if isinstance(layer, layers.Bidirectional):
            several = [layer.forward_layer, layer.backward_layer]
        found = []
        for one in several:
            way = slice(None, None, -1 if one.go_backwards else 1)
            weights = one.get_weights()
            off = moved(weights[:2]) if rounded else None
            pair = reach(y[:, way], weights, rounding, dx=limit[:, way], moved=off)
            found.append([each[:, way] for each in pair])
        y, limit = (np.concatenate(each, axis=-1) for each in zip(*found, strict=True))
    return y, limit


SOME: dict[str, Any] = {
    "one": lambda: [layers.LSTM(5, return_sequences=True)],
    "two": lambda: [layers.LSTM(5, return_sequences=True), layers.LSTM(4, return_sequences=True)],
    "both": lambda: [layers.Bidirectional(layers.LSTM(5, return_sequences=True))],
    "stack": lambda: [
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.LSTM(5, return_sequences=True),
        layers.Dense(2),
    ],
}


def check(graph: fusedlstm.OnnxModel, x: Array, theirs: Array, *, rounded: bool) -> None:
    """Compare both of us with exact products of the file's weights."""
    model = graph.sequential()
    want, ours_may = expected(model, x, OURS, rounded=rounded)
    _, theirs_may = expected(model, x, THEIRS, rounded=False)
    assert_within(graph(x), want, ours_may)
    assert_within(theirs, want, theirs_may)
    assert (np.abs(graph(x) - theirs) <= ours_may + theirs_may).all()


@needs_full_sums
@pytest.mark.parametrize("name", SOME)
def test_models_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    model, path, x = quantized(SOME[name]()), tmp_path / "model.onnx", batch(4, 5)
    fusedlstm.to_onnx(model, path)
    check(fusedlstm.from_onnx(path), x, run_in_onnx_runtime(path, {"input": x})[0], rounded=False)


@needs_full_sums
@pytest.mark.parametrize("name", ["one", "sequences", "zeros"])
def test_masks_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    """Rows end earlier, and are then no further off than those that go on."""
    model, path = quantized([layers.Masking(-2.0), *MASKED[name]()], 6), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, right_padding=True)
    x = padded()
    got, want = run_in_onnx_runtime(path, {"input": x})[0], model(x)
    weights = model.get_weights()
    cleared = np.where(x == -2, 0, x)
    limit = sum(reach(cleared, weights, rounding)[1].max() for rounding in (OURS, THEIRS))
    assert_within(got, want, np.full_like(want, limit))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", SOME)
def test_files_of_its_quantizer(name: str, per_channel: bool, tmp_path: Path) -> None:
    quantization: Any = pytest.importorskip("onnxruntime.quantization")
    model, plain, path = small(SOME[name]()), tmp_path / "plain.onnx", tmp_path / "quantized.onnx"
    fusedlstm.to_onnx(model, plain)
    quantization.quantize_dynamic(plain, path, op_types_to_quantize=["LSTM"], per_channel=per_channel)
    assert {node.op_type for node in nodes_of(path)} == {OPERATOR}
    graph, x = fusedlstm.from_onnx(path), batch(4, 5)
    got = graph(x)
    for twin in (graph.sequential(), graph.model()):
        np.testing.assert_array_equal(twin(x), got)
    model.quantize()
    if per_channel:
        # It rounds as the kernels do, and so has the same integers.
        np.testing.assert_array_equal(got, model(x))


@needs_full_sums
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", SOME)
def test_files_of_its_quantizer_in_onnx_runtime(name: str, per_channel: bool, tmp_path: Path) -> None:
    quantization: Any = pytest.importorskip("onnxruntime.quantization")
    plain, path, x = tmp_path / "plain.onnx", tmp_path / "quantized.onnx", batch(4, 5)
    fusedlstm.to_onnx(small(SOME[name]()), plain)
    quantization.quantize_dynamic(plain, path, op_types_to_quantize=["LSTM"], per_channel=per_channel)
    theirs = run_in_onnx_runtime(path, {"input": x})[0]
    check(fusedlstm.from_onnx(path), x, theirs, rounded=not per_channel)
