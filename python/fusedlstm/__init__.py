"""Fused LSTM kernels, forward and backward, with Keras's names on top."""

from __future__ import annotations

import importlib
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

try:
    from fusedlstm import _core  # noqa: F401
except ImportError as error:  # a wrong environment variable, or a library that is not there
    # The package comes before its command line, which would end in a traceback.
    _program = PurePath(sys.argv[0] if sys.argv else "").stem
    _module = ("-m", "fusedlstm") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    if _program != "fusedlstm" and not (_program == "-m" and _module):
        raise
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2)

from fusedlstm import (
    activations,
    backend,
    callbacks,
    config,
    constraints,
    distributed,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    regularizers,
    utils,
)
from fusedlstm._core import FallbackError
from fusedlstm.base.scales import ScaleWarning
from fusedlstm.base.symbolic import KerasTensor
from fusedlstm.base.variable import Variable
from fusedlstm.layers import Input
from fusedlstm.models import Model, Sequential, load_model
from fusedlstm.ops import last_kernel
from fusedlstm.ops.strict import get_strict, set_strict, strict

if TYPE_CHECKING:
    from fusedlstm import comparison, cuda, datasets, exchange, io, plots, preprocessing, testing
    from fusedlstm.comparison import compare_data
    from fusedlstm.exchange import from_keras, from_onnx, from_torch, to_keras, to_onnx, to_torch

__version__ = "0.1.0"

__all__ = [
    "FallbackError",
    "Input",
    "KerasTensor",
    "Model",
    "ScaleWarning",
    "Sequential",
    "Variable",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "compare_data",
    "comparison",
    "config",
    "constraints",
    "cuda",
    "datasets",
    "distributed",
    "exchange",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_strict",
    "initializers",
    "io",
    "last_kernel",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "optimizers",
    "plots",
    "preprocessing",
    "regularizers",
    "set_strict",
    "strict",
    "testing",
    "to_keras",
    "to_onnx",
    "to_torch",
    "utils",
]

# Imported when first used, which keeps `import fusedlstm` short.
_LAZY = ("comparison", "cuda", "datasets", "exchange", "io", "plots", "preprocessing", "testing")
_EXCHANGE = ("from_keras", "from_onnx", "from_torch", "to_keras", "to_onnx", "to_torch")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"fusedlstm.{name}")
    if name == "compare_data":
        return importlib.import_module("fusedlstm.comparison").compare_data
    if name in _EXCHANGE:
        return getattr(importlib.import_module("fusedlstm.exchange"), name)
    raise AttributeError(f"module 'fusedlstm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
