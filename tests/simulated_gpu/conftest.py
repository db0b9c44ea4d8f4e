"""The simulated GPU's modules, in every order of threads, and the simulated GPU as a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm.cuda import runtime

from .build import load
from .calls import Calls
from .device import simulated_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .device import SimDevice


def in_order(module: Any, order: str) -> Any:
    """Return the module with a fresh simulated GPU whose threads run in the given order."""
    name, _, seed = order.partition("-")
    module.set_order(name, int(seed or 0))
    module.set_device()
    return module


ORDERS = ["forward", "reverse", "random-1", "random-2"]
# The project's kernels have the most tests: tests/kernels runs them forward, `device` in random order.
KERNEL_ORDERS = ["reverse", "random-1"]


@pytest.fixture(scope="session")
def module() -> Any:
    """Return _simt_tests, the module of the simulator's own tests."""
    return load("_simt_tests")


@pytest.fixture(params=ORDERS)
def simt(request: pytest.FixtureRequest, module: Any) -> Any:
    """Return the test module with a simulated GPU whose threads run in one order."""
    return in_order(module, request.param)


@pytest.fixture(params=KERNEL_ORDERS)
def kernels(request: pytest.FixtureRequest) -> Any:
    """Return _simt, the project's kernels, with a simulated GPU whose threads run in one order."""
    return Calls(in_order(load("_simt"), request.param))


@pytest.fixture
def device() -> Iterator[SimDevice]:
    """Return the simulated GPU; arrays made here belong to it."""
    device = simulated_device()
    assert device in runtime._devices
    device.extension.set_order("random", 3)
    device.extension.set_device()
    yield device
    device.place, device.tf32 = 0, False
    device.extension.set_order("forward")
