"""Where the extension modules of the simulated GPU are."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

BUILD = Path(os.environ.get("FUSEDLSTM_SIMT_BUILD", Path(__file__).parents[2] / "build" / "simt"))


def load(name: str) -> Any:
    """Return an extension module as `make test-simt` builds it, or from the folder FUSEDLSTM_SIMT_BUILD."""
    if not any(BUILD.glob(f"{name}.*")):
        pytest.skip(f"the simulated GPU is not built: no {name} in {BUILD}; see make test-simt")
    sys.path.insert(0, str(BUILD))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BUILD))
