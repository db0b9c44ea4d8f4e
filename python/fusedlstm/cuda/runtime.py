"""Devices: whose memory arrays lie in, and which extension module has kernels for it.

All that the rest of this package knows of CuPy is here. Besides, it calls NumPy's functions on device arrays,
which CuPy answers by NumPy's protocols. Tests register a device whose GPU is simulated.
"""

from __future__ import annotations

import importlib
import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import devices
from fusedlstm.cuda.devices import compiled_module

if TYPE_CHECKING:
    from collections.abc import Sequence


class Device(devices.Device):
    """A kind of device arrays, and of kernels for them."""

    @property
    @abstractmethod
    def extension(self) -> Any:
        """The module of csrc/cuda/bindings.h."""

    @abstractmethod
    def address(self, array: Any) -> int:
        """Return where the first element lies."""

    @abstractmethod
    def stream(self) -> int:
        """Return the stream that kernels are launched on, as a number."""

    @abstractmethod
    def matmul(self, a: Any, b: Any) -> Any:
        """Multiply two matrices, with sums in float32 at least."""

    @property
    def allows_tf32(self) -> bool:
        """Whether products of float32 numbers may round them to TF32."""
        return False

    def zeros(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return a new array of zeros."""
        array = self.empty(shape, dtype)
        array[...] = 0
        return array


class CupyDevice(Device):
    """CuPy's current device, stream and memory pool.

    Matrices are multiplied by cuBLAS, in float32 without TF32 unless CuPy is told otherwise with CUPY_TF32=1
    in the environment; the kernels then use it too, where the GPU has it (compute capability 8.0).
    """

    def __init__(self) -> None:
        self._cupy: Any = importlib.import_module("cupy")
        self._array: Any = self._cupy.ndarray
        self._present: Any = self._cupy.cuda.runtime.getDevice
        self._current_stream: Any = self._cupy.cuda.get_current_stream
        self._extension: Any = None

    @property
    def name(self) -> str:
        """``cuda:`` and the number of the current device."""
        return f"cuda:{self._present()}"

    @property
    def kind(self) -> str:
        """``cuda``."""
        return "cuda"

    @property
    def extension(self) -> Any:
        """``fusedlstm._cuda``; ImportError with the reason where there is none."""
        if self._extension is None:
            module = compiled_module()
            if isinstance(module, str):
                raise ImportError(f"CuPy arrays: expected kernels for them, but {module}")
            self._extension = module
        return self._extension

    @property
    def allows_tf32(self) -> bool:
        """Whether CuPy's products do, by the same rule."""
        if os.environ.get("CUPY_TF32") != "1":
            return False
        return int(self._cupy.cuda.Device().compute_capability) >= 80

    def owns(self, value: object) -> bool:
        """Tell whether something is a CuPy array."""
        return isinstance(value, self._array)

    def check_place(self, name: str, array: Any) -> None:
        """Raise `ValueError` for an array on another device than the current one."""
        place = array.device.id
        if place != self._present():
            raise ValueError(
                f"{name}: expected an array on the current device, {self.name}, got one on cuda:{place}"
            )

    def put(self, values: Any) -> Any:
        """Copy a NumPy array to the current device, on the current stream."""
        return self._cupy.array(values, order="C")

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return a new array in memory of CuPy's pool."""
        return self._array(tuple(shape), dtype)

    def zeros(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return a new array of zeros, whose bytes the driver sets on the current stream: no kernel does."""
        array = self.empty(shape, dtype)
        array.data.memset_async(0, array.nbytes)
        return array

    def address(self, array: Any) -> int:
        """Return where the first element lies."""
        return int(array.data.ptr)

    def stream(self) -> int:
        """Return CuPy's current stream."""
        return int(self._current_stream().ptr)

    def matmul(self, a: Any, b: Any) -> Any:
        """Multiply two matrices by cuBLAS.

        That is what `cupy.matmul` does with matrices, once it has looked at all that it is not given here.
        """
        return a.dot(b)


_devices: list[Device] = []


def register(device: Device) -> None:
    """Let arrays of a kind be found from now on."""
    _devices.append(device)


def _cupy_device() -> Device:
    for device in _devices:
        if isinstance(device, CupyDevice):
            return device
    device = CupyDevice()
    register(device)
    return device


def named(name: object) -> Device:
    """Return a device by its `Device.kind`; errors as `fusedlstm.base.devices.find`."""
    if name != "cuda":
        for device in _devices:
            if device.kind == name:
                return device
        raise ValueError(f"device: expected 'cpu', 'cuda' or 'auto', got {name!r}")
    from fusedlstm import cuda

    reason = cuda.why_unavailable()
    if reason is not None:
        raise RuntimeError(f"device: expected a CUDA device for 'cuda', but {reason}")
    try:
        return _cupy_device()
    except ImportError as error:
        raise ImportError(
            f"device: expected CuPy for 'cuda', which the extra brings: pip install \"fusedlstm[cuda13]\" or "
            f'"fusedlstm[cuda12]" ({error})'
        ) from error


def device_of(value: object) -> Device | None:
    """Return the device that something is an array of, or None."""
    for device in _devices:
        if device.owns(value):
            return device
    # CuPy is never imported for the sake of looking.
    if type(value).__module__.partition(".")[0] == "cupy":
        device = _cupy_device()
        if device.owns(value):
            return device
    return None


def asarray(value: Any) -> Any:
    """Return the memory of an array on a CUDA device as a CuPy array, without a copy.

    Parameters
    ----------
    value : CuPy array, or any object with ``__dlpack__`` and ``__dlpack_device__``
        Such as a CUDA tensor of PyTorch, or a JAX array on a GPU. The result shares its memory and waits, on
        CuPy's current stream, for what its owner still does with it.

    Returns
    -------
    cupy.ndarray

    Raises
    ------
    TypeError
        It is no such object.
    ValueError
        It does not lie on a CUDA device; nothing is copied there in silence.
    """
    found = device_of(value)
    if found is not None:
        return value
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack_device__"):
        raise TypeError(
            "value: expected an array on a CUDA device, as CuPy's or one that DLPack exchanges, "
            f"got {type(value).__name__}"
        )
    kind, number = value.__dlpack_device__()
    cuda, managed = 2, 13  # DLPack's kDLCUDA and kDLCUDAManaged
    if int(kind) not in (cuda, managed):
        raise ValueError(
            f"value: expected an array on a CUDA device, got {type(value).__name__} on DLPack's device "
            f"({int(kind)}, {number})"
        )
    return importlib.import_module("cupy").from_dlpack(value)
