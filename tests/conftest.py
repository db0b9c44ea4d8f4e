"""Shared by all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# Before NumPy is loaded. References are products of small matrices, after each of which OpenBLAS's threads
# would spin: a quarter of the processor time of the tests.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "not_reduced: left out when FUSEDLSTM_TEST_REDUCED=1, since it would take minutes there",
    )
    config.addinivalue_line(
        "markers",
        "not_gpu: not on a real GPU, where cuBLAS rounds otherwise, or CuPy has no such arrays",
    )
    config.addinivalue_line("markers", "cpu: in a module that runs on devices, a test for the CPU alone")
