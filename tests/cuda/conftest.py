"""The simulated GPU as a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusedlstm.cuda import runtime
from tests.simt.device import simulated_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simt.device import SimDevice


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
