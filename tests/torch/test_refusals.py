"""Calls and modules of `fusedlstm.torch` that are refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")


import fusedlstm.torch  # noqa: E402

from .common import FEATURES, UNITS  # noqa: E402

# ---- what must be refused ----

GOOD = torch.zeros(7, 4, FEATURES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([[1.0]], TypeError, "input: expected a tensor or a PackedSequence, got list"),
        ([GOOD.double()], TypeError, "input: expected dtype torch.float32 like the parameters, got torch.f"),
        ([GOOD.half()], TypeError, "input: expected dtype torch.float32 .* got torch.float16"),
        (
            [GOOD.to("meta")],
            ValueError,
            "input: expected a dense tensor on a CPU or a CUDA device, got .* on meta",
        ),
        (
            [GOOD.to_sparse()],
            ValueError,
            "input: expected a dense tensor on a CPU or a CUDA device, got a torch.sparse_coo",
        ),
        ([GOOD[:, :, :2]], ValueError, r"input: expected 3 features, got shape \(7, 4, 2\)"),
        ([GOOD[None]], ValueError, r"input: expected 2 or 3 axes, got shape \(1, 7, 4, 3\)"),
        ([GOOD, GOOD], TypeError, r"hx: expected a pair \(h0, c0\), got Tensor"),
        ([GOOD, (None, None)], TypeError, "hx: expected tensors, got NoneType"),
        (
            [GOOD, (torch.zeros(1, 3, UNITS), torch.zeros(1, 4, UNITS))],
            ValueError,
            r"hx: expected shape \(1, 4, 5\), got \(1, 3, 5\)",
        ),
        (
            [GOOD, (torch.zeros(1, 4, UNITS), torch.zeros(1, 4, UNITS).double())],
            TypeError,
            "hx: expected dtype torch.float32 like the parameters, got torch.float64",
        ),
    ],
)
def test_calls_that_do_not_fit(arguments: list[Any], error: type[Exception], message: str) -> None:
    module = fusedlstm.torch.LSTM(FEATURES, UNITS)
    with pytest.raises(error, match=message):
        module(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"proj_size": UNITS}, ValueError, "proj_size has to be smaller than hidden_size"),
        ({"device": "meta"}, ValueError, "device: expected a CPU or a CUDA device, got meta"),
        ({"dtype": torch.float16}, TypeError, "dtype: expected torch.float32 or torch.float64, got"),
    ],
)
def test_modules_that_cannot_be_made(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fusedlstm.torch.LSTM(FEATURES, UNITS, **options)


def test_parameters_moved_elsewhere() -> None:
    module = fusedlstm.torch.LSTM(FEATURES, UNITS).to("meta")
    with pytest.raises(ValueError, match="weight_ih_l0: expected a dense tensor on a CPU or a CUDA device"):
        module(GOOD)
    with pytest.raises(TypeError, match=r"weight_ih_l0: expected torch\.float32 or torch.float64"):
        fusedlstm.torch.LSTM(FEATURES, UNITS).half()(GOOD.half())


def test_the_package_alone_does_not_import_torch() -> None:
    code = "import sys, fusedlstm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
