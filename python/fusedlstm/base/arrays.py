"""Arrays that there are kernels for: NumPy's, and those on a device.

What tells the latter is imported when the first value comes that is no usual one.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from numpy import ndarray

# What often comes, and needs no look at devices.
_ON_HOST = (ndarray, float, int, list, tuple)


def on_device(value: object) -> bool:
    """Tell whether something is an array on a device."""
    if isinstance(value, _ON_HOST):
        return False
    return _runtime().device_of(value) is not None


@cache
def _runtime() -> Any:
    return importlib.import_module("fusedlstm.cuda.runtime")


def is_array(value: object) -> bool:
    """Tell whether something is an array that there are kernels for, on the CPU or on a device."""
    return isinstance(value, ndarray) or on_device(value)
