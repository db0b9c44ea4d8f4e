"""CUDA: the NVIDIA GPUs of this machine, and whether the kernels can run on them.

Importing this module loads neither the compiled kernels nor CuPy; its functions do.
"""

from __future__ import annotations

from fusedlstm.cuda.devices import (
    DeviceProperties,
    architectures,
    device_count,
    device_properties,
    is_available,
    why_unavailable,
)
from fusedlstm.cuda.runtime import asarray

__all__ = [
    "DeviceProperties",
    "architectures",
    "asarray",
    "device_count",
    "device_properties",
    "is_available",
    "why_unavailable",
]
