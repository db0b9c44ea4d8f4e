"""The simulated GPU's test module, in every order of threads."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

BUILD = Path(os.environ.get("FUSEDLSTM_SIMT_BUILD", Path(__file__).parents[2] / "build" / "simt"))


@pytest.fixture(scope="session")
def module() -> Any:
    """Return _simt_tests as `make test-simt` builds it, or from the folder FUSEDLSTM_SIMT_BUILD."""
    if not any(BUILD.glob("_simt_tests.*")):
        pytest.skip(f"the simulated GPU is not built: no _simt_tests in {BUILD}; see make test-simt")
    sys.path.insert(0, str(BUILD))
    try:
        return importlib.import_module("_simt_tests")
    finally:
        sys.path.remove(str(BUILD))


@pytest.fixture(params=["forward", "reverse", "random-1", "random-2"])
def simt(request: pytest.FixtureRequest, module: Any) -> Any:
    """Return the test module with a simulated GPU whose threads run in one order."""
    order, _, seed = request.param.partition("-")
    module.set_order(order, int(seed or 0))
    module.set_device()
    return module
