"""Graphs of other libraries' exporters, and what ONNX Runtime computed.

The files in ``tests/fixtures`` are those of ``tests/tools/make_onnx_fixtures.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fusedlstm
from fusedlstm.testing import tolerance

from .graphs import CELLS, DIRECTIONS, INPUTS, by_direction, lstm_arrays, lstm_model, save

FIXTURES = Path(__file__).parents[1] / "fixtures"
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
