"""Devices: the CPU, and those of device arrays, which `fusedlstm.cuda.runtime` has.

Code that runs on all of them calls NumPy's functions, which device arrays answer by NumPy's protocols; what
those do not reach, such as conversions and new arrays, is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from fusedlstm.base import arrays

if TYPE_CHECKING:
    from collections.abc import Sequence


class Device(ABC):
    """A kind of arrays, and where they lie."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let copies be this device, and pickles the one of this kind where they are read."""
        return find, (self.kind,)

    @property
    @abstractmethod
    def name(self) -> str:
        """How errors and `last_kernel` name the present device."""

    @property
    def kind(self) -> str:
        """The name without the number, by which models are told to use it."""
        return self.name.partition(":")[0]

    @abstractmethod
    def owns(self, value: object) -> bool:
        """Tell whether something is an array of this kind."""

    @abstractmethod
    def check_place(self, name: str, array: Any) -> None:
        """Raise `ValueError` for an array on another device than the present one."""

    @abstractmethod
    def put(self, values: Any) -> Any:
        """Copy a NumPy array to the device, in C order."""

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return a new array in C order."""

    @abstractmethod
    def zeros(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return a new array of zeros."""

    def take(self, array: Any) -> Any:
        """Return an array in C order here; a NumPy array is copied, others are here already."""
        return self.put(array) if isinstance(array, ndarray) else contiguous(array)

    def check(self, array: Any, name: str, owner: str) -> None:
        """Raise an error for an array on another device than its `owner`: only NumPy arrays are copied.

        Raises
        ------
        TypeError
            It lies on a device, and what takes it on the CPU or on another kind of device.
        ValueError
            It is on another device of the same kind than the present one.
        """
        if type(array) is ndarray:
            return
        if self.owns(array):
            self.check_place(name, array)
            return
        if not arrays.on_device(array):
            return
        from fusedlstm.cuda.checks import kind_of

        hint = "" if self is CPU else f" or one on {self.name}"
        raise TypeError(
            f"{name}: expected a NumPy array{hint}, as {owner} is on {self.name}, got {kind_of(array)}; "
            "its method `to` moves it"
        )

    def bring(self, array: Any, name: str, owner: str) -> Any:
        """Return an argument here, where its `owner` is; errors as `check`."""
        self.check(array, name, owner)
        return self.put(array) if isinstance(array, ndarray) else array


class _CPU(Device):
    name = "the CPU"
    kind = "cpu"

    def owns(self, value: object) -> bool:
        return isinstance(value, ndarray)

    def check_place(self, name: str, array: Any) -> None:
        """Do nothing: there is one place."""

    def put(self, values: Any) -> Any:
        return contiguous(values)

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def zeros(self, shape: Sequence[int], dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    def take(self, array: Any) -> Any:
        return contiguous(array if type(array) is ndarray else to_host(array))

    def bring(self, array: Any, name: str, owner: str) -> Any:
        self.check(array, name, owner)
        return array


CPU = _CPU()


def find(name: str) -> Device:
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
        return CPU
    from fusedlstm import cuda
    from fusedlstm.cuda import runtime

    if name == "auto":
        return runtime.named("cuda") if cuda.is_available() else CPU
    return runtime.named(name)


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
    return values if type(other) is ndarray else place_of(other).take(values)


def place_of(array: Any) -> Device:
    """Return the device that an array lies on."""
    if isinstance(array, ndarray):
        return CPU
    from fusedlstm.cuda import runtime

    found = runtime.device_of(array)
    assert found is not None
    return found


def contiguous(array: Any) -> Any:
    """Return the array in C order, as `numpy.ascontiguousarray` does, which takes NumPy's arrays only."""
    return array if array.flags.c_contiguous else array.copy()
