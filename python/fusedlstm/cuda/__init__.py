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

__all__ = [
    "DeviceProperties",
    "architectures",
    "device_count",
    "device_properties",
    "is_available",
    "why_unavailable",
]
