"""ONNX files made for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Array = np.ndarray[Any, Any]
NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def model_of(
    nodes: Sequence[Any],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Any] | None = None,
    opset: int = 22,
    **more: Any,
) -> Any:
    """Return a graph whose inputs have the types, and the numbers of axes, of arrays."""

    def info(name: str, array: Array) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, kind, [None] * array.ndim)

    graph = helper.make_graph(
        list(nodes),
        "graph",
        [info(name, array) for name, array in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    inferred = {"ir_version": 8, "opset_imports": [helper.make_opsetid("", opset)], **more}
    model = helper.make_model(graph, **inferred)
    # A graph's outputs have types; what they are follows from the rest.
    types = {one.name: one for one in onnx.shape_inference.infer_shapes(model).graph.output}
    del model.graph.output[:]
    model.graph.output.extend(types[name] for name in outputs)
    return model


def save(model: Any, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def lstm_arrays(
    *,
    directions: int = 1,
    layout: int = 0,
    steps: int = 5,
    batch: int = 3,
    inputs: int = 4,
    units: int = 6,
    dtype: Any = np.float32,
    given: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Array]:
    """Return X, W, R and other inputs of an LSTM node by name."""
    random = np.random.default_rng(seed)
    D, T, B, I, H = directions, steps, batch, inputs, units  # noqa: E741

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (scale * random.standard_normal(shape)).astype(dtype)

    def first(array: Array) -> Array:
        return np.ascontiguousarray(array.swapaxes(0, 1)) if layout else array

    arrays = {
        "X": first(normal(T, B, I)),
        "W": normal(D, 4 * H, I, scale=0.6),
        "R": normal(D, 4 * H, H, scale=0.6),
        "B": normal(D, 8 * H, scale=0.3),
        "sequence_lens": random.integers(0, T + 1, B).astype(np.int32),
        "initial_h": first(normal(D, B, H)),
        "initial_c": first(normal(D, B, H)),
        "P": normal(D, 3 * H, scale=0.5),
    }
    return {name: array for name, array in arrays.items() if name in ("X", "W", "R", *given)}


def lstm_model(arrays: Mapping[str, Array], *, opset: int = 22, **attributes: Any) -> Any:
    """Return a graph of one LSTM node whose weights are constants."""
    inputs = [name if name in arrays else "" for name in NAMES]
    while not inputs[-1]:
        inputs.pop()
    H = arrays["R"].shape[-1]
    node = helper.make_node(
        "LSTM", inputs, ["Y", "Y_h", "Y_c"], name="recurrent", hidden_size=H, **attributes
    )
    weights = {name: arrays[name] for name in ("W", "R", "B", "P") if name in arrays}
    others = {name: array for name, array in arrays.items() if name not in weights}
    return model_of([node], others, ("Y", "Y_h", "Y_c"), weights, opset)
