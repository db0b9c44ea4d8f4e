"""Fused LSTM kernels, forward and backward, with Keras's names on top."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fusedlstm import (
    activations,
    backend,
    callbacks,
    config,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    utils,
)
from fusedlstm.layers import Input
from fusedlstm.models import Sequential, load_model
from fusedlstm.variable import Variable

if TYPE_CHECKING:
    from types import ModuleType

    from fusedlstm import datasets, io, testing

__version__ = "0.1.0"

__all__ = [
    "Input",
    "Sequential",
    "Variable",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "config",
    "datasets",
    "initializers",
    "io",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "testing",
    "utils",
]

# Imported when first used, which keeps `import fusedlstm` short.
_LAZY = ("datasets", "io", "testing")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"fusedlstm.{name}")
    raise AttributeError(f"module 'fusedlstm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
