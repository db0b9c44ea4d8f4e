"""Makes the ONNX files in tests/fixtures: ``python -m tests.tools.make_onnx_fixtures``.

It needs ONNX Runtime, PyTorch and onnxscript. The files are graphs that PyTorch's two exporters write of a
``torch.nn.LSTM`` with a ``torch.nn.Linear`` on top, and what ONNX Runtime computes of them and of LSTM nodes
over the table in ``tests/exchange/onnx/graphs.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from tests.exchange.onnx.graphs import CELLS, DIRECTIONS, INPUTS, by_direction, lstm_arrays, lstm_model
from torch.export import Dim

FOLDER = Path(__file__).parents[1] / "fixtures"


class Recurrent(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not looked into
    """Returns all steps through a linear layer, and the last states."""

    def __init__(self, batch_first: bool, bidirectional: bool, num_layers: int) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, num_layers, batch_first=batch_first, bidirectional=bidirectional)
        self.linear = torch.nn.Linear(8 if bidirectional else 4, 2)

    def forward(self, x: Any) -> Any:
        """Return y, h and c."""
        y, (h, c) = self.lstm(x)
        return self.linear(y), h, c


def export(model: Any, x: Any, path: Path, dynamo: bool) -> Any:
    """Write a graph with two dynamic axes and return it as ONNX Runtime's session."""
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y", "h", "c"]}
    if dynamo:
        axes = {0: Dim("first"), 1: Dim("second")}
        torch.onnx.export(
            model, (x,), path, dynamo=True, dynamic_shapes=(axes,), external_data=False, **names
        )
    else:
        axes = {0: "first", 1: "second"}
        torch.onnx.export(model, (x,), path, dynamo=False, dynamic_axes={"x": axes}, **names)
    graph = onnx.load(path)
    # Descriptions of where in a Python program a node comes from.
    del graph.metadata_props[:], graph.graph.metadata_props[:]
    for item in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    del graph.graph.value_info[:]
    onnx.save(graph, path)
    return onnxruntime.InferenceSession(path)


def main() -> None:
    """Write all files."""
    torch.manual_seed(0)
    x = torch.randn(5, 2, 3)
    results: dict[str, Any] = {"x": x.numpy()}
    for name, options in {"time": (False, False, 1), "batch": (True, True, 2)}.items():
        model = Recurrent(*options).eval()
        for exporter in ("script", "dynamo"):
            key = f"torch_{name}_{exporter}"
            session = export(model, x, FOLDER / f"{key}.onnx", exporter == "dynamo")
            for output, array in zip("yhc", session.run(None, {"x": x.numpy()}), strict=True):
                results[f"{key}/{output}"] = array
    for direction, count in DIRECTIONS.items():
        table = [("", given) for given in INPUTS] + [(cell, "all") for cell in CELLS]
        for cell, given in table:
            arrays = lstm_arrays(directions=count, given=INPUTS[given])
            attributes = by_direction(CELLS[cell], count) if cell else {}
            node = lstm_model(arrays, direction=direction, **attributes)
            fed = {key: array for key, array in arrays.items() if key not in ("W", "R", "B", "P")}
            outputs = onnxruntime.InferenceSession(node.SerializeToString()).run(None, fed)
            for output, array in zip(("Y", "Y_h", "Y_c"), outputs, strict=True):
                results[f"{direction}/{cell}/{given}/{output}"] = array
    np.savez_compressed(FOLDER / "onnx.npz", **results)


if __name__ == "__main__":
    main()
