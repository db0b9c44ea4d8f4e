"""ONNX files made for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Array = np.ndarray[Any, Any]
NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")

DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
INPUTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "bias": ("B",),
    "lengths": ("B", "sequence_lens"),
    "states": ("B", "initial_h", "initial_c"),
    "one state": ("initial_c",),
    "peepholes": ("B", "P"),
    "all": ("B", "sequence_lens", "initial_h", "initial_c", "P"),
}
# For one direction: each activation in each place, with parameters and, where ONNX has them, without.
CELLS: dict[str, dict[str, Any]] = {
    "clip": {"clip": 0.4},
    "input_forget": {"input_forget": 1},
    "clip and input_forget": {"clip": 0.4, "input_forget": 1},
    "relu": {"activations": ["Sigmoid", "Relu", "Tanh"]},
    "hard sigmoid": {"activations": ["HardSigmoid", "Tanh", "Tanh"]},
    "hard sigmoid of Keras": {
        "activations": ["HardSigmoid", "Tanh", "Softsign"],
        "activation_alpha": [1 / 6],
        "activation_beta": [0.5],
    },
    "leaky": {"activations": ["Sigmoid", "LeakyRelu", "LeakyRelu"], "activation_alpha": [0.3]},
    "affine": {
        "activations": ["Sigmoid", "Affine", "ScaledTanh"],
        "activation_alpha": [0.7, 1.4],
        "activation_beta": [-0.2, 0.8],
    },
    "threshold": {
        "activations": ["Sigmoid", "ThresholdedRelu", "Elu"],
        "activation_alpha": [0.25, 0.6],
        "clip": 0.5,
    },
    "soft": {"activations": ["Softsign", "Softplus", "Elu"]},
    "any case": {"activations": ["sigmoid", "TANH", "softSign"]},
}


def by_direction(attributes: dict[str, Any], directions: int) -> dict[str, Any]:
    """Give the second direction the activations of the first one in another order."""
    if directions == 1 or "activations" not in attributes:
        return attributes
    lists = ("activations", "activation_alpha", "activation_beta")
    plain = {"activations": ["Tanh", "Sigmoid", "Relu"]}
    return {
        key: [*value, *plain.get(key, [])] if key in lists else value for key, value in attributes.items()
    }


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
    # A graph's outputs have types; what they are follows from the rest, or only from the data.
    inferred_outputs = list(onnx.shape_inference.infer_shapes(model).graph.output)
    if not all(one.type.tensor_type.HasField("shape") for one in inferred_outputs):
        results = ReferenceEvaluator(model).run(None, dict(inputs))
        inferred_outputs = [info(name, result) for name, result in zip(outputs, results, strict=True)]
    del model.graph.output[:]
    model.graph.output.extend(inferred_outputs)
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

    lengths = random.integers(1, T + 1, B) if T else np.zeros(B)
    lengths[1::3] = 0

    arrays = {
        "X": first(normal(T, B, I)),
        "W": normal(D, 4 * H, I, scale=0.6),
        "R": normal(D, 4 * H, H, scale=0.6),
        "B": normal(D, 8 * H, scale=0.3),
        "sequence_lens": lengths.astype(np.int32),
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
