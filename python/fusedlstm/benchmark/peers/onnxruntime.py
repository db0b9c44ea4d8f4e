"""ONNX Runtime as a contender: a model of one LSTM node, in its layout (T, B, I)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from fusedlstm.benchmark.job import Job
from fusedlstm.benchmark.peers import versions

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload

_OPSET = 14  # the first with the LSTM operator of today


class OnnxRuntime:
    """Inputs and outputs are bound to memory once, which is its fastest way to be called.

    Of int8 it is DynamicQuantizeLSTM with a factor for each column of the weights, which its own tool makes.
    """

    def __init__(self, threads: int, dtype: str) -> None:
        self.quantized = dtype == "int8"
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.log_severity_level = 3

    def version(self) -> str:
        """Return the versions of runtime and exporter."""
        return versions(("onnxruntime", "onnx"))

    def prepare(self, workload: Workload, arrays: dict[str, Array]) -> Job:
        """Make the job; see `Contender`."""
        B, T, I, H = workload.B, workload.T, workload.I, workload.H  # noqa: E741
        step = workload.kind == "step"
        x = arrays["x"][None] if step else np.ascontiguousarray(np.swapaxes(arrays["x"], 0, 1))
        feeds = {"x": x}
        if step:
            feeds |= {"h0": arrays["h0"][None], "c0": arrays["c0"][None]}
        shapes = {"y": (T, 1, B, H), "h": (1, B, H), "c": (1, B, H)}
        model = _model(arrays, feeds, shapes, I, H)
        if self.quantized:
            model = _quantized(model)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), self.options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        inputs = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        outputs = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
            for name, shape in shapes.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)

        def run() -> object:
            session.run_with_iobinding(binding)
            return outputs

        def check() -> dict[str, Array]:
            run()
            results: dict[str, Array] = {name: outputs[name].numpy()[0] for name in ("h", "c")}
            if not step:
                results["y"] = np.ascontiguousarray(np.swapaxes(outputs["y"].numpy()[:, 0], 0, 1))
            return results

        return Job(run, check)


def _model(
    arrays: dict[str, Array],
    feeds: dict[str, Array],
    shapes: dict[str, tuple[int, ...]],
    inputs: int,
    units: int,
) -> onnx.ModelProto:
    bias = np.concatenate([_reorder(arrays["bias"], units), np.zeros(4 * units, np.float32)])
    constants = {
        "W": _reorder(arrays["kernel"], units).T[None],
        "R": _reorder(arrays["recurrent_kernel"], units).T[None],
        "B": bias[None],
    }
    assert constants["W"].shape == (1, 4 * units, inputs)
    names = ["x", "W", "R", "B", *(("", "h0", "c0") if "h0" in feeds else ())]
    node = helper.make_node("LSTM", names, ["y", "h", "c"], hidden_size=units)
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    # The oldest format that knows the operator set, so that an older runtime reads a newer package's model.
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "quantized.onnx")
        onnx.save(model, source)
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
        result = onnx.load(target)
    if [node.op_type for node in result.graph.node] != ["DynamicQuantizeLSTM"]:
        raise RuntimeError("expected a node DynamicQuantizeLSTM of ONNX Runtime's quantize_dynamic")
    return result


def _reorder(weights: Array, units: int) -> Array:
    """Bring gates along the last axis from the order i, f, c~, o to ONNX's i, o, f, c~."""
    i, f, c, o = (weights[..., k * units : (k + 1) * units] for k in range(4))
    return np.concatenate([i, o, f, c], axis=-1)
