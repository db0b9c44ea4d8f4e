"""Fixtures of the kernel tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import ops

from .problems import REDUCED, Number

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if REDUCED:
        skip = pytest.mark.skip(reason="FUSEDLSTM_TEST_REDUCED=1")
        for item in items:
            if item.get_closest_marker("not_reduced"):
                item.add_marker(skip)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Number:
    number: Number = request.param
    return number


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    """Give the next test the number of threads that this one started with."""
    threads = ops.get_num_threads()
    yield
    ops.set_num_threads(threads)
