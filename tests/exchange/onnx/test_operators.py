"""ONNX's operators around the LSTM, against onnx's reference evaluator and ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import fusedlstm

from .graphs import Array, model_of, save

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


class Case(NamedTuple):
    """One node: its operator, inputs (None for one left out), attributes and opset."""

    operator: str
    inputs: tuple[Array | None, ...]
    attributes: dict[str, Any] = {}  # noqa: RUF012  # a default that nobody changes
    opset: int = 22
    outputs: int = 1

    def model(self) -> tuple[Any, dict[str, Array]]:
        """Return the graph and what to feed it: its first input; the others are constants."""
        names = ["" if array is None else f"in{i}" for i, array in enumerate(self.inputs)]
        arrays = {name: array for name, array in zip(names, self.inputs, strict=True) if array is not None}
        fed = {name: arrays.pop(name) for name in names[:1]}
        outputs = [f"out{i}" for i in range(self.outputs)]
        node = helper.make_node(self.operator, names, outputs, name="it", **self.attributes)
        return model_of([node], fed, outputs, arrays, self.opset), fed


def halves(*arrays: Array) -> tuple[Array, ...]:
    return tuple(array.astype(np.float16) for array in arrays)


X, I64, YES = normal(2, 3, 4), np.arange(-6, 6).reshape(3, 4), np.array([[True], [False], [True]])
TIES = RANDOM.integers(0, 3, (2, 3, 4)).astype(np.float32)
FIVE = numpy_helper.from_array(np.array([5], np.int64))
CASES = [
    *(Case(name, (X,)) for name in ("Relu", "Sigmoid", "Tanh", "Elu", "LeakyRelu", "Softplus", "Softsign")),
    *(
        Case(name, (X,))
        for name in ("HardSigmoid", "ThresholdedRelu", "Exp", "Identity", "Dropout", "Softmax")
    ),
    *(Case(name, (X,), {"alpha": 0.3}) for name in ("Elu", "LeakyRelu", "ThresholdedRelu")),
    Case("HardSigmoid", (X,), {"alpha": 0.5, "beta": 0.1}),
    Case("Relu", (X,), {}, 7),
    Case("Softmax", (X,), {"axis": 1}),
    Case("Softmax", (X.astype(np.float64),), {"axis": 0}, 13),
    Case("Softmax", (X,), {"axis": 2}, 7),
    Case("Softmax", (X,), {"axis": -1}, 11),
    Case("LogSoftmax", (10 * X,)),
    Case("LogSoftmax", (X.astype(np.float64),), {"axis": 1}, 13),
    Case("LogSoftmax", (X,), {"axis": 2}, 11),
    Case("Sqrt", (X * X,)),
    Case("Pow", (X, np.array(2.0, np.float32))),
    Case("Pow", (X * X, normal(3, 1))),
    Case("ReduceMean", (X, ints(1)), {"keepdims": 0}),
    Case("ReduceMean", (X,), {"axes": [0, 2]}, 13),
    Case("LayerNormalization", (X, normal(4), normal(4)), {}, 17, 3),
    Case("LayerNormalization", (X.astype(np.float64), normal(3, 4).astype(np.float64)), {"axis": 1}, 17),
    *(Case(name, (X, normal(3, 1))) for name in ("Add", "Sub", "Mul", "Div")),
    Case("Div", (I64, np.array([2, -2, 3, -5]))),
    Case("Equal", (I64, ints(2))),
    Case("Not", (YES,)),
    Case("Where", (YES, normal(3, 4), normal(1, 4))),
    Case("MatMul", (X, normal(4, 5))),
    Case("MatMul", (X, normal(2, 4, 5))),
    Case("MatMul", (normal(4), normal(4))),
    Case("MatMul", (X[:0], normal(4, 5))),
    Case("Gemm", (normal(3, 4), normal(4, 5))),
    Case("Gemm", (normal(3, 4), normal(5, 4), normal(5)), {"transB": 1}),
    Case("Gemm", (normal(4, 3), normal(4, 5), normal(3, 1)), {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Gemm", (normal(3, 4), normal(4, 5), normal(1)), {}, 7),
    Case("ReduceMax", (X, ints(-1)), {"keepdims": 0}),
    Case("ReduceMax", (X,), {"axes": [0, 2]}, 13),
    Case("ReduceSum", (X, ints(1)), {}),
    Case("ReduceSum", (X,), {"axes": [1], "keepdims": 0}, 11),
    Case("ReduceSum", (I64,)),
    Case("ReduceSum", (X,), {"noop_with_empty_axes": 1}),
    Case("Transpose", (X,)),
    Case("Transpose", (X,), {"perm": [1, 0, 2]}),
    Case("Squeeze", (normal(1, 3, 1),)),
    Case("Squeeze", (normal(1, 3, 1), ints(-1))),
    Case("Squeeze", (normal(1, 3, 1),), {"axes": [0]}, 11),
    Case("Unsqueeze", (X, ints(0, -1))),
    Case("Unsqueeze", (X,), {"axes": [1]}, 11),
    Case("Reshape", (X, ints(0, -1))),
    Case("Reshape", (X, ints(4, 3, 2))),
    Case("Reshape", (X[:0], ints(0, 4)), {"allowzero": 1}),
    *(Case("Flatten", (X,), {"axis": axis}) for axis in (0, 1, 2, 3, -1)),
    Case("Gather", (X, ints(1, -1)), {"axis": 1}),
    Case("Gather", (X, np.array(0))),
    Case("Slice", (X, ints(1), ints(3), ints(1))),
    Case("Slice", (X, ints(0, -1), ints(2, -(2**63)), ints(0, 2), ints(1, -1))),
    Case("Slice", (X, ints(-1), ints(-100), ints(1), ints(-2))),
    Case("Slice", (X, ints(1), ints(1000))),
    Case("Slice", (X,), {"starts": [0, 1], "ends": [1, -1], "axes": [0, 2]}, 9),
    Case("Concat", (X, normal(2, 1, 4)), {"axis": 1}),
    Case("Concat", (X, X, X), {"axis": -1}),
    Case("Shape", (X,)),
    Case("Shape", (X,), {"start": 1, "end": -1}),
    Case("ConstantOfShape", (ints(2, 3),)),
    Case("ConstantOfShape", (ints(0, 3),), {"value": FIVE}),
    Case("Expand", (normal(3, 1), ints(2, 1, 4))),
    Case("Cast", (X,), {"to": TensorProto.INT32}),
    Case("Cast", (I64,), {"to": TensorProto.BOOL}),
    Case("Dropout", (X,), {"ratio": 0.4}, 10),
    Case("Dropout", (X, np.array(0.5, np.float32), np.array(False)), {}, 22, 2),
    Case("Abs", (X,)),
    Case("Neg", (X,)),
    *(Case(name, (X, normal(3, 1), normal(4))) for name in ("Max", "Mean", "Min", "Sum")),
    Case("Max", (X,)),
    Case("Log", (X * X,)),
    Case("Clip", (X, np.array(-0.5, np.float32), np.array(0.25, np.float32))),
    Case("Clip", (X, None, np.array(0.25, np.float32))),
    Case("Clip", (X,), {"min": -0.5}, 10),
    Case("Clip", (I64, np.array(-2)), {}, 13),
    *(Case(name, (X, X[:, ::-1].copy())) for name in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual")),
    *(Case(name, (YES, YES.T)) for name in ("And", "Or")),
    Case("ReduceMin", (X, ints(-1)), {"keepdims": 0}),
    Case("ReduceL2", (X, ints(-1)), {}),
    Case("ReduceL2", (X,), {"axes": [0, 2]}, 13),
    Case("Erf", (3 * X,)),
    Case("Gelu", (3 * X,)),
    Case("Gelu", (3 * X,), {"approximate": "tanh"}),
    Case("Tile", (X, ints(1, 3, 2))),
    Case("Tile", (normal(2, 1, 3), ints(1, 0, 1))),
    Case("Split", (normal(2, 7), ints(4, 0, 3)), {"axis": 1}, 22, 3),
    Case("Split", (normal(6, 2),), {"num_outputs": 3}, 22, 3),
    Case("Split", (normal(2, 7),), {"axis": -1, "num_outputs": 3}, 18, 3),
    Case("Split", (normal(6, 2),), {}, 13, 2),
    Case("Split", (normal(6, 2),), {"split": [2, 4]}, 11, 2),
    Case("GlobalMaxPool", (normal(2, 3, 4, 5),)),
    Case("GlobalAveragePool", (X,)),
    *(
        Case(name, (normal(2, 3, 11),), {"kernel_shape": [3], **attributes}, opset)
        for name in ("MaxPool", "AveragePool")
        for attributes, opset in (
            ({}, 8),
            ({"strides": [2]}, 22),
            ({"strides": [3], "pads": [1, 2]}, 22),
            ({"strides": [4], "ceil_mode": 1}, 22),
            ({"strides": [2], "dilations": [4]}, 22),
        )
    ),
    Case("AveragePool", (normal(2, 3, 11),), {"kernel_shape": [4], "pads": [2, 1], "count_include_pad": 1}),
    Case("AveragePool", (normal(2, 3, 11),), {"kernel_shape": [4], "pads": [2, 1], "strides": [2]}),
    Case("MaxPool", (normal(2, 3, 11),), {"kernel_shape": [11], "auto_pad": "VALID"}),
    Case("Reciprocal", (X,)),
    Case("Mod", (I64, np.array([2, -2, 3, -5]))),
    Case("Mod", (I64, np.array([2, -2, 3, -5])), {"fmod": 1}),
    Case("Mod", (X, normal(3, 1)), {"fmod": 1}),
    Case("PRelu", (X, normal(4))),
    Case("PRelu", (X, normal(3, 1)), {}, 9),
    Case("ReduceProd", (X, ints(1)), {"keepdims": 0}),
    Case("ReduceProd", (X,), {"axes": [0, 2]}, 13),
    *(
        Case("CumSum", (X, np.array(axis)), {"exclusive": exclusive, "reverse": reverse})
        for axis in (1, -1)
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ),
    Case("CumSum", (I64, np.array(0)), {"exclusive": 1}),
    *(
        Case(name, (TIES,), attributes)
        for name in ("ArgMax", "ArgMin")
        for attributes in (
            {},
            {"axis": -1, "keepdims": 0},
            {"axis": 1, "select_last_index": 1},
        )
    ),
    Case("GatherElements", (X, RANDOM.integers(-3, 3, (2, 5, 4))), {"axis": 1}),
    Case("GatherElements", (X, RANDOM.integers(-4, 4, (2, 3, 6))), {"axis": 2}),
    Case("GatherND", (X, RANDOM.integers(0, 2, (5, 2)))),
    Case("GatherND", (X, RANDOM.integers(-2, 2, (2, 5, 3)))),
    Case("GatherND", (X, RANDOM.integers(0, 3, (2, 1))), {"batch_dims": 1}),
    Case("GatherND", (normal(2, 3, 4, 5), RANDOM.integers(0, 4, (2, 3, 6, 1))), {"batch_dims": 2}),
    Case("Range", (np.array(1), np.array(8), np.array(3))),
    Case("Range", (np.array(5), np.array(-2), np.array(-2))),
    Case("Range", (np.array(5), np.array(2), np.array(1))),
    Case("Range", tuple(np.array(value, np.float32) for value in (0.5, 2.0, 0.25))),
    Case("TopK", (TIES, ints(2)), {}, 22, 2),
    Case("TopK", (TIES, ints(3)), {"largest": 0, "axis": 1}, 22, 2),
    Case("TopK", (X, ints(0)), {"axis": 0}, 11, 2),
    Case("BatchNormalization", (X, normal(3), normal(3), normal(3), normal(3) ** 2), {}, 15),
    *(Case(name, halves(X)) for name in ("Sigmoid", "Softmax", "Gelu", "ReduceMean", "GlobalAveragePool")),
    *(Case(name, halves(X, normal(3, 1))) for name in ("Add", "Div")),
    Case("MatMul", halves(X, normal(4, 5))),
    Case("Gemm", halves(normal(3, 4), normal(4, 5), normal(5)), {"alpha": 0.5}),
    Case("LayerNormalization", halves(X, normal(4), normal(4)), {}, 17),
    Case("Cast", halves(X), {"to": TensorProto.FLOAT}),
    Case("Transpose", halves(X)),
]

# What onnx's evaluator does otherwise, or warns of.
OTHERWISE = [
    Case("GlobalMaxPool", (X,)),
    Case("Cast", (1e5 * X,), {"to": TensorProto.FLOAT16}),
    Case("GatherElements", (X, RANDOM.integers(-3, 3, (1, 5, 3))), {"axis": 1}),
    Case("GatherElements", (X, RANDOM.integers(-4, 4, (1, 3, 6))), {"axis": -1}),
    Case("BatchNormalization", (X[0], *(normal(4) ** 2 for _ in range(4))), {"epsilon": 0.1}, 9),
]


def named(value: Any) -> str:
    return f"{value.operator}-{value.opset}" if isinstance(value, Case) else repr(value)


def compare(actual: list[Array], expected: list[Array]) -> None:
    for got, want in zip(actual, expected, strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        # Numbers of float16 may be rounded after each operation of a node, or once.
        rtol = {"float16": 4 * 2**-11, "float32": 1e-6}.get(str(want.dtype), 1e-14)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-3 if want.dtype == np.float16 else 1e-6)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_operators(case: Case, tmp_path: Path) -> None:
    model, fed = case.model()
    before = {name: array.copy() for name, array in fed.items()}
    actual = list(fusedlstm.from_onnx(save(model, tmp_path)).run(fed).values())
    compare(actual, list(ReferenceEvaluator(model).run(None, fed)))
    for array in actual:
        array[...] = 0  # a caller's own, which neither input nor model shares
    np.testing.assert_array_equal(fed["in0"], before["in0"])


def test_softmax_before_version_13(tmp_path: Path) -> None:
    """It was over all axes from one on, which onnx's evaluator does not know."""
    model, fed = Case("Softmax", (X,), {}, 11).model()
    e = np.exp(X.astype(np.float64))
    expected = (e / e.sum(axis=(1, 2), keepdims=True)).astype(np.float32)
    compare(list(fusedlstm.from_onnx(save(model, tmp_path)).run(fed).values()), [expected])


@pytest.mark.parametrize("case", [*CASES, *OTHERWISE], ids=named)
def test_operators_in_onnx_runtime(case: Case, tmp_path: Path) -> None:
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    model, fed = case.model()
    actual = list(fusedlstm.from_onnx(save(model, tmp_path)).run(fed).values())
    session = onnxruntime.InferenceSession(model.SerializeToString())
    compare(actual, list(session.run(None, fed)))


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case("Div", (I64, ints(0))), "expected no integer division by zero"),
        (Case("Mod", (I64, ints(0))), "expected no integer division by zero"),
        (Case("PRelu", (X, normal(2, 2, 3, 4))), "slope: expected one that fits"),
        (Case("Range", (np.array(1), np.array(2), np.array(0))), "a step that is not 0, got 1, 2 and 0"),
        (
            Case("Range", tuple(np.array(value, np.float32) for value in (0, np.inf, 1))),
            "expected finite numbers",
        ),
        (Case("GatherElements", (X, np.full((2, 3, 4), 3)), {"axis": 1}), "out of bounds"),
        (Case("GatherND", (X, ints(2))), "out of bounds"),
        (Case("TopK", (X, ints(5)), {}, 22, 2), "K: expected at most the 4 numbers of an axis, got 5"),
        (Case("Gather", (X, ints(7)), {"axis": 1}), "index 7 is out of bounds"),
        (Case("Reshape", (X, ints(5, -1))), "cannot reshape"),
        (Case("Squeeze", (X, ints(0))), "cannot select an axis to squeeze out"),
        (Case("MatMul", (X, normal(3, 3))), "matmul"),
        (Case("Gemm", (normal(3, 4), normal(4, 5), normal(4))), "C: expected float32 that fits"),
        (Case("Dropout", (X, np.array(0.5, np.float32), np.array(True))), "training_mode: expected false"),
        (Case("Concat", (X, normal(3, 3, 4)), {"axis": 1}), "dimension"),
        (Case("Split", (X, ints(1, 2)), {}, 22, 2), "split: expected 2 sizes that add up to 2"),
        (Case("MaxPool", (X,), {"kernel_shape": [5]}), "kernel_shape: expected at most the 4 steps, got 5"),
        (Case("MaxPool", (X[None],), {"kernel_shape": [2, 2]}), r"expected float32 or float64 \(B, F, T\)"),
        (Case("MaxPool", (X,), {"kernel_shape": [2], "auto_pad": "SAME_UPPER"}), "auto_pad: expected NOTSET"),
        (Case("MaxPool", (X,), {"kernel_shape": [2]}, 22, 2), "expected at most 1 outputs, got 2"),
    ],
    ids=named,
)
def test_inputs_that_do_not_fit(case: Case, text: str, tmp_path: Path) -> None:
    """They are not known before the graph runs."""
    model, fed = case.model()
    path = save(model, tmp_path)
    graph = fusedlstm.from_onnx(path)
    with pytest.raises(ValueError, match=rf"^{path}: node 0 'it' \({case.operator}\): .*({text})"):
        graph.run(fed)


@pytest.mark.parametrize(
    "attributes",
    [
        {"value": numpy_helper.from_array(normal(2, 3))},
        {"value": numpy_helper.from_array(np.array(True))},
        {"value_float": 0.5},
        {"value_floats": [0.5, 0.25]},
        {"value_int": 3},
        {"value_ints": [3, 4]},
    ],
)
def test_constants(attributes: dict[str, Any], tmp_path: Path) -> None:
    nodes = [helper.make_node("Constant", [], ["c"], **attributes), helper.make_node("Shape", ["x"], ["s"])]
    model = model_of(nodes, {"x": X}, ["c", "s"])
    graph = fusedlstm.from_onnx(save(model, tmp_path))
    first, second = graph(X), graph(X)
    compare(first, list(ReferenceEvaluator(model).run(None, {"x": X})))
    first[0][...] = 0
    assert second[0].any()
