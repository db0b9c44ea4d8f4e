"""Devices by name, and the copies between NumPy's arrays and those of a device.

None stands for the CPU. Code that runs on both calls NumPy's functions, which device arrays answer by NumPy's
protocols; what those do not reach, such as conversions and new arrays, is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from fusedlstm.base import arrays

if TYPE_CHECKING:
    from fusedlstm.cuda.runtime import Device

__all__ = [
    "beside",
    "bring",
    "check",
    "contiguous",
    "empty",
    "find",
    "name_of",
    "place_of",
    "put",
    "to_host",
    "zeros",
]


def find(name: str) -> Device | None:
    """Return the device that a name means.

    Parameters
    ----------
    name : {"cpu", "cuda", "auto"}
        ``"cuda"`` is the current device of CuPy, ``"auto"`` that or the CPU: whether there is one is what
        `fusedlstm.cuda.is_available` says.

    Raises
    ------
    ValueError
        If the name is unknown.
    RuntimeError
        If there is no CUDA device to compute on; the message says why.
    ImportError
        If there is one, but no CuPy.
    """
    if name == "cpu":
        return None
    from fusedlstm import cuda
    from fusedlstm.cuda import runtime

    if name == "auto":
        return runtime.named("cuda") if cuda.is_available() else None
    return runtime.named(name)


def name_of(device: Device | None) -> str:
    """Return the name from which `find` finds the device again."""
    return "cpu" if device is None else device.kind


def put(array: Any, device: Device | None) -> Any:
    """Return an array in C order on a device; a NumPy array is copied there, others are there already."""
    if device is not None and isinstance(array, ndarray):
        return device.put(array)
    return contiguous(array)


def check(array: Any, device: Device | None, name: str, owner: str) -> None:
    """Raise an error for an array on another device than what takes it: only NumPy arrays are copied.

    Raises
    ------
    TypeError
        It lies on a device, and what takes it on the CPU or on another kind of device.
    ValueError
        It is on another device of the same kind than the present one.
    """
    if type(array) is ndarray:
        return
    if device is not None and device.owns(array):
        device.check_place(name, array)
        return
    if not arrays.on_device(array):
        return
    from fusedlstm.cuda.checks import kind_of

    here = "the CPU" if device is None else device.name
    hint = "" if device is None else f" or one on {here}"
    raise TypeError(
        f"{name}: expected a NumPy array{hint}, as {owner} is on {here}, got {kind_of(array)}; "
        "its method `to` moves it"
    )


def bring(array: Any, device: Device | None, name: str, owner: str) -> Any:
    """Return an argument on the device of what takes it; errors as `check`."""
    check(array, device, name, owner)
    return device.put(array) if device is not None and isinstance(array, ndarray) else array


def to_host(array: Any) -> Any:
    """Return a NumPy array: itself, or a copy of a device array."""
    return array if isinstance(array, ndarray) or not arrays.on_device(array) else array.get()


def read_only(array: Any) -> Any:
    """Return a view of an array that nobody can write to; on a device the array itself."""
    if not isinstance(array, ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def beside(values: Any, other: Any) -> Any:
    """Return new NumPy values where another array lies."""
    return values if type(other) is ndarray else put(values, place_of(other))


def place_of(array: Any) -> Device | None:
    """Return the device that an array lies on."""
    if isinstance(array, ndarray):
        return None
    from fusedlstm.cuda import runtime

    return runtime.device_of(array)


def empty(shape: tuple[int, ...], dtype: Any, device: Device | None) -> Any:
    """Return a new array on a device, without values."""
    return np.empty(shape, dtype) if device is None else device.empty(shape, np.dtype(dtype))


def zeros(shape: tuple[int, ...], dtype: Any, device: Device | None) -> Any:
    """Return a new array of zeros on a device."""
    return np.zeros(shape, dtype) if device is None else device.zeros(shape, np.dtype(dtype))


def contiguous(array: Any) -> Any:
    """Return the array in C order, as `numpy.ascontiguousarray` does, which takes NumPy's arrays only."""
    return array if array.flags.c_contiguous else array.copy()
