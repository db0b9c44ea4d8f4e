"""`ops` on the device that a test runs on, for tests that make and compare NumPy arrays.

`ops` here has the functions of `fusedlstm.ops`. On the CPU it is that module. On another device, arrays among
the arguments are copied there with their layout, and results back; what a call has written on the device is
copied back too.
"""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

import fusedlstm.ops
from fusedlstm.cuda import runtime
from tests.simulated_gpu.device import SimArray, SimDevice, simulated_device

if TYPE_CHECKING:
    from numpy.typing import NDArray


NORM_ARRAYS = ("gamma_input", "gamma_recurrent", "gamma_cell", "beta_cell")


@cache
def why_no_gpu() -> str | None:
    """Return why tests cannot run on an NVIDIA GPU, or None if they can."""
    try:
        cupy: Any = importlib.import_module("cupy")
        importlib.import_module("fusedlstm._cuda")
        return None if cupy.cuda.runtime.getDeviceCount() else "there is no NVIDIA GPU"
    except Exception as error:  # CuPy's own errors, without it
        return f"no NVIDIA GPU: {type(error).__name__}: {error}"


def root_of(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class Crossing:
    """The arrays of one call, on their way to a device and back."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self._roots: dict[int, tuple[NDArray[Any], Any, int]] = {}
        self._made: dict[int, tuple[NDArray[Any], Any]] = {}

    def _memory_of(self, root: NDArray[Any]) -> tuple[Any, int]:
        """Copy the memory of a root; return it and the root's first address."""
        if id(root) not in self._roots:
            assert root.flags.forc
            low: int = root.__array_interface__["data"][0]
            shift = low % 64  # as far from an aligned address as on the host
            memory = self.device.empty((shift + root.nbytes,), np.uint8)
            host = np.ctypeslib.as_array((ctypes.c_uint8 * root.nbytes).from_address(low))
            self.device.write(memory, shift, host)
            self._roots[id(root)] = (root, memory, low - shift)
        _, memory, start = self._roots[id(root)]
        return memory, start

    def put(self, array: NDArray[Any]) -> Any:
        """Return the array on the device: the same one whenever the same array comes."""
        if id(array) not in self._made:
            memory, start = self._memory_of(root_of(array))
            offset = array.__array_interface__["data"][0] - start
            self._made[id(array)] = (array, self.device.view(memory, offset, array))
        return self._made[id(array)][1]

    def to_device(self, value: Any) -> Any:
        """Convert an argument."""
        if isinstance(value, np.ndarray):
            return value if value.dtype == object else self.put(value)
        if isinstance(value, Weights):
            return value.own
        if isinstance(value, fusedlstm.ops.CellOptions):
            norm = value.layer_norm
            if norm is not None:
                norm = replace(norm, **{name: self.to_device(getattr(norm, name)) for name in NORM_ARRAYS})
            return replace(value, peepholes=self.to_device(value.peepholes), layer_norm=norm)
        if type(value) in (tuple, list):
            return type(value)(self.to_device(part) for part in value)
        return value

    def to_host(self, value: Any) -> Any:
        """Convert a result; what was an argument becomes that again."""
        for array, made in self._made.values():
            if made is value:
                return array
        if runtime.device_of(value) is not None:
            return value.get()
        if isinstance(value, tuple):
            parts = [self.to_host(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return value

    def bring_back(self) -> None:
        """Copy what the call has written into the arguments."""
        for array, made in self._made.values():
            now = made.get()
            if now.tobytes() != array.tobytes():
                array[...] = now


class Weights:
    """Packed weights on a device."""

    def __init__(self, device: Any, own: Any) -> None:
        self._device, self.own = device, own

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.own, name)
        return crossing(self._device, value) if callable(value) else value


def crossing(device: Any, function: Any) -> Any:
    """Return a function of NumPy arrays that runs on a device."""

    def run(*args: Any, **options: Any) -> Any:
        trip = Crossing(device)
        given = [trip.to_device(value) for value in args]
        # The count of an optimizer's updates is the host's.
        named = {
            name: value if name == "iterations" else trip.to_device(value) for name, value in options.items()
        }
        try:
            result = function(*given, **named)
            if function is fusedlstm.ops.LSTMWeights:
                return Weights(device, result)
            return trip.to_host(result)
        finally:
            trip.bring_back()

    return run


class SimulatedMemory:
    """How tests copy to and from the simulated GPU."""

    def __init__(self, device: SimDevice) -> None:
        self._device = device

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._device.empty(shape, dtype)

    def write(self, memory: Any, offset: int, values: NDArray[np.uint8]) -> None:
        memory.values[offset : offset + values.size] = values

    def view(self, memory: Any, offset: int, like: NDArray[Any]) -> Any:
        values: NDArray[Any] = np.ndarray(like.shape, like.dtype, memory.values, offset, like.strides)
        values.flags.writeable = like.flags.writeable
        return SimArray(values, self._device)


class CupyMemory:
    """How tests copy to and from an NVIDIA GPU."""

    def __init__(self) -> None:
        import cupy

        self._cupy: Any = cupy

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._cupy.empty(shape, dtype)

    def write(self, memory: Any, offset: int, values: NDArray[np.uint8]) -> None:
        memory[offset : offset + values.size] = self._cupy.asarray(values)

    def view(self, memory: Any, offset: int, like: NDArray[Any]) -> Any:
        return self._cupy.ndarray(like.shape, like.dtype, memory.data + offset, like.strides)


class Ops:
    """`fusedlstm.ops` on the device of the test."""

    def __init__(self) -> None:
        self._device: Any = None

    def use(self, name: str) -> None:
        """Run on a device from now on."""
        if name == "simt":
            device = simulated_device()
            device.extension.set_order("forward")
            device.extension.set_device()
            self._device = SimulatedMemory(device)
        else:
            self._device = CupyMemory() if name == "gpu" else None

    def __getattr__(self, name: str) -> Any:
        value = getattr(fusedlstm.ops, name)
        is_plain = not callable(value) or name in ("CellOptions", "LayerNorm")
        if self._device is None or is_plain or name.startswith(("get_", "set_", "last_")):
            return value
        return crossing(self._device, value)


if TYPE_CHECKING:
    from fusedlstm import ops as ops
else:
    ops = Ops()
