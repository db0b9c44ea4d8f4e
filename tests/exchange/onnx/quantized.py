"""Nodes of DynamicQuantizeLSTM made for tests, and how far their outputs may be from exact products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from fusedlstm import ops
from fusedlstm.exchange.onnx.contrib import DOMAIN, INPUTS, OPERATOR
from tests.exchange.rounding import OURS, assert_within, of_tensors, reach

from .graphs import DIRECTIONS, Array, lstm_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

THEIRS = of_tensors(255)
# Without such instructions, ONNX Runtime adds pairs of products up in 16 bits, which is not enough for them.
_FULL = any(part in name for name in ops.product_sets("int8") for part in ("vnni", "amx", "dot"))
needs_full_sums = pytest.mark.skipif(not _FULL, reason="ONNX Runtime's sums are cut off on this processor")
_FED = ("X", "sequence_lens", "initial_h", "initial_c")
# How matrices are rounded: for each column or in whole, with zero points or without.
KINDS: dict[str, dict[str, Any]] = {
    "columns": {},
    "tensor": {"each_column": False},
    "tensor, zero points": {"each_column": False, "zero": True},
    "unsigned columns": {"dtype": np.uint8},
    "unsigned tensor, zero points": {"dtype": np.uint8, "each_column": False, "zero": True},
}


def node_arrays(
    *, dtype: Any = np.int8, each_column: bool = True, zero: bool = False, **options: Any
) -> dict[str, Array]:
    """Return all inputs of a node by name; states are from -1 to 1, as it is known how those are rounded."""
    arrays = lstm_arrays(**options)
    random = np.random.default_rng(5)
    info = np.iinfo(dtype)
    middle = (info.min + info.max + 1) // 2
    spread = 20 if zero else 0
    for key in ("W", "R"):
        D, columns, rows = arrays[key].shape
        size = (D, columns) if each_column else (D,)
        arrays[key] = random.integers(info.min, info.max + 1, (D, rows, columns)).astype(dtype)
        arrays[f"{key}_scale"] = random.uniform(0.001, 0.003, size).astype(np.float32)
        zeros = random.integers(middle - spread, middle + spread + 1, size)
        arrays[f"{key}_zero_point"] = zeros.astype(dtype)
    return {name: np.tanh(a) if name.startswith("initial") else a for name, a in arrays.items()}


def node_model(arrays: Mapping[str, Array], *, computed: Sequence[str] = (), **attributes: Any) -> Any:
    """Return a graph of one node; X, lengths and states are inputs, and so is what is in `computed`."""
    inputs = [name if name in arrays else "" for name in INPUTS]
    node = helper.make_node(
        OPERATOR, inputs, ["Y", "Y_h", "Y_c"], name="recurrent", domain=DOMAIN, **attributes
    )
    given = {*_FED, *computed}

    def info(name: str) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(arrays[name].dtype)
        return helper.make_tensor_value_info(name, kind, [None] * arrays[name].ndim)

    outputs = [
        helper.make_tensor_value_info(name, 1, [None] * rank)
        for name, rank in (("Y", 4), ("Y_h", 3), ("Y_c", 3))
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name not in given]
    graph = helper.make_graph([node], "graph", [info(n) for n in arrays if n in given], outputs, tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def fed(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return what is not a constant in such a graph."""
    return {name: array for name, array in arrays.items() if name in _FED}


def matrix_of(arrays: Mapping[str, Array], key: str, d: int) -> Array:
    """Return a direction's W or R, (I, 4H) or (H, 4H), in float64."""
    steps = arrays[key][d].astype(np.int64) - arrays[f"{key}_zero_point"][d].astype(np.int64)
    result: Array = steps * arrays[f"{key}_scale"][d].astype(np.float64)
    return result


def as_layers_have_it(arrays: Mapping[str, Array], d: int) -> list[Array]:
    """Return a direction's kernel, recurrent kernel and bias; gates i, o, f, c~ become i, f, c~, o."""
    B = arrays["B"][d].astype(np.float64)
    columns = arrays["R"].shape[-1]
    order = np.arange(columns).reshape(4, -1)[[0, 2, 3, 1]].ravel()
    bias = B[:columns] + B[columns:]
    return [array[..., order] for array in (matrix_of(arrays, "W", d), matrix_of(arrays, "R", d), bias)]


def moved(matrices: Sequence[Array]) -> list[Array]:
    """Return how far weights move where each column is rounded to 127 steps of its own."""
    return [np.broadcast_to(np.abs(one).max(axis=0) / 254, one.shape) for one in matrices]


def check(arrays: Mapping[str, Array], direction: str, results: Sequence[Array], *, ours: bool) -> None:
    """Compare a node's outputs with exact products of its weights, row by row."""
    Y, Y_h, _ = results
    X = arrays["X"]
    T, B = X.shape[:2]
    lengths = arrays.get("sequence_lens", np.full(B, T))
    # They round all rows and steps at once, so that all of X decides how one is rounded.
    rounding = OURS if ours else THEIRS.with_x(THEIRS.x(X, np.zeros_like(X)))
    for d in range(DIRECTIONS[direction]):
        weights = as_layers_have_it(arrays, d)
        way = slice(None, None, -1 if direction == "reverse" or d == 1 else 1)
        for row, length in enumerate(lengths):
            assert not Y[length:, d, row].any()
            if not length:
                assert not Y_h[d, row].any()
                continue
            state = [arrays[name][d, row][None] for name in ("initial_h", "initial_c") if name in arrays]
            want, limit = reach(
                X[:length, row][None, way],
                weights,
                rounding,
                moved=moved(weights[:2]) if ours else None,
                state=state or None,
            )
            got = Y[:length, d, row][None, way]
            assert_within(got, want, limit)
            np.testing.assert_array_equal(got[:, -1], Y_h[d, row][None])
    assert lengths.any()
