"""Models in files: one checked .safetensors file each, without pickle; Keras's files too."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["load_model", "save_model"]


def __getattr__(name: str) -> Any:
    # They know models, which know this room's files.
    if name in __all__:
        return getattr(importlib.import_module("fusedlstm.models.saving"), name)
    raise AttributeError(f"module 'fusedlstm.io' has no attribute {name!r}")
