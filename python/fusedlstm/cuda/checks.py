"""Checks of device arrays, with the errors of csrc/bindings/checks.h."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import _core
from fusedlstm.cuda.runtime import device_of

if TYPE_CHECKING:
    from fusedlstm.cuda.runtime import Device

WIDE = ("float32", "float64")
NUMBERS = (*WIDE, "float16", "bfloat16")
# An axis of an expected shape: its letter, and its length once that is known.
Dim = tuple[str, "int | None"]


def fall_back(reason: str) -> None:
    """Raise `FallbackError` in strict mode: every slower way that a call may take by itself begins here."""
    if _core.get_strict():
        raise _core.FallbackError(f"{reason} (in strict mode this is an error)")


def kind_of(value: object) -> str:
    """Name what came, for errors."""
    if isinstance(value, np.ndarray):
        return "a NumPy array"
    device = device_of(value)
    return type(value).__name__ if device is None else f"an array on {device.name}"


def shape_text(dims: tuple[Dim, ...]) -> str:
    """Return an expected shape, such as ``(B=3, H)``."""
    parts = [letter if length is None else f"{letter}={length}" for letter, length in dims]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


class Call:
    """What the arrays of a call have in common: a device and a number type.

    Attributes
    ----------
    device : Device
    dtype : dtype
    number : str
        The number type, as the extension names it.
    states : Call
        The same for cell states and peepholes, which have float32 beside 16-bit numbers.
    """

    def __init__(self, device: Device, dtype: np.dtype[Any]) -> None:
        self.device, self.dtype = device, dtype
        # NumPy puts names together anew whenever they are asked for.
        self.number = dtype.name
        self.states = Call(device, np.dtype(np.float32)) if dtype.itemsize == 2 else self

    @staticmethod
    def of(name: str, array: Any, numbers: tuple[str, ...] = WIDE) -> Call:
        """Take both from the call's first array, whose number type must be one of those."""
        device = device_of(array)
        if device is None:
            raise TypeError(f"{name}: expected an array on a device, got {kind_of(array)}")
        device.check_place(name, array)
        _check_number(name, array, numbers, device)
        return Call(device, np.dtype(array.dtype))

    @property
    def extension(self) -> Any:
        """The device's kernels."""
        return self.device.extension

    def empty(self, *shape: int) -> Any:
        """Return a new array of the number type."""
        return self.device.empty(shape, self.dtype)

    def zeros(self, *shape: int) -> Any:
        """Return a new array of zeros."""
        return self.device.zeros(shape, self.dtype)

    def address(self, array: Any) -> int | None:
        """Return where an array lies, None for None."""
        return None if array is None else self.device.address(array)

    def strided(self, array: Any) -> Any:
        """Return where a (B, T, features) array lies, and how."""
        row, step = array.strides[:2]
        return self.extension.StridedAddress(self.device.address(array), row, step)

    def own(self, name: str, array: Any) -> Any:
        """Return the array if it is one of the device."""
        if not self.device.owns(array):
            raise TypeError(f"{name}: expected an array on {self.device.name}, got {kind_of(array)}")
        self.device.check_place(name, array)
        return array

    def any_shape(self, name: str, array: Any) -> Any:
        """Return the array if it has the number type."""
        self.own(name, array)
        if array.dtype != self.dtype:
            _check_number(name, array, NUMBERS, self.device)
            raise TypeError(f"{name}: expected dtype {self.dtype} to fit the other arrays, got {array.dtype}")
        return array

    def checked(self, name: str, array: Any, *dims: Dim) -> Any:
        """Return the array if it also has the shape."""
        self.any_shape(name, array)
        shape = array.shape
        fits = len(shape) == len(dims) and all(
            length is None or length == actual for (_, length), actual in zip(dims, shape, strict=True)
        )
        if not fits:
            raise ValueError(f"{name}: expected shape {shape_text(dims)}, got shape {tuple(shape)}")
        return array

    def _in_c_order(self, array: Any) -> bool:
        # Strides follow from the shape then.
        contiguous: bool = array.flags.c_contiguous
        return contiguous and self.device.address(array) % self.dtype.itemsize == 0

    def _aligned(self, array: Any) -> bool:
        size = array.itemsize
        return self.device.address(array) % size == 0 and all(step % size == 0 for step in array.strides)

    def readable(self, name: str, array: Any, *dims: Dim) -> Any:
        """Return it as one that the kernels of steps read: aligned, its last dimension contiguous."""
        self.checked(name, array, *dims)
        if self._in_c_order(array):
            return array
        last = array.strides[-1] == array.itemsize or array.shape[-1] <= 1 or array.size == 0
        if last and self._aligned(array):
            return array
        return _copied(name, array, "an aligned array whose last dimension is contiguous")

    def contiguous(self, name: str, array: Any, *dims: Dim) -> Any:
        """Return it in C order."""
        return self._direct(name, self.checked(name, array, *dims))

    def contiguous_of_any_shape(self, name: str, array: Any) -> Any:
        """Return an array of any shape in C order."""
        return self._direct(name, self.any_shape(name, array))

    def optional(self, name: str, array: Any, *dims: Dim) -> Any:
        """Return it in C order, or None."""
        return None if array is None else self.contiguous(name, array, *dims)

    def _direct(self, name: str, array: Any) -> Any:
        if self._in_c_order(array):
            return array
        return _copied(name, array, "an aligned C-contiguous array")

    def written(self, name: str, array: Any, *dims: Dim) -> Any:
        """Return an array that will be written: in C order, never copied."""
        return self._check_written(name, self.checked(name, array, *dims))

    def like(self, name: str, array: Any, other: Any, *, written: bool) -> Any:
        """Return an array of another's shape in C order, never copied."""
        self.any_shape(name, array)
        if array.shape != other.shape:
            raise ValueError(f"{name}: expected shape {tuple(other.shape)}, got shape {tuple(array.shape)}")
        return self._check_written(name, array, written)

    def _check_written(self, name: str, array: Any, written: bool = True) -> Any:
        if not self._in_c_order(array):
            raise ValueError(f"{name}: expected an aligned C-contiguous array, got one of another layout")
        # CuPy's arrays are all writable and have no such flag.
        if written and not getattr(array.flags, "writeable", True):
            raise ValueError(f"{name}: expected a writable array, got a read-only one")
        return array

    def overlap(self, a: Any, b: Any) -> bool:
        """Tell whether two arrays in C order share memory."""
        return _core.overlap(
            self.device.address(a), int(a.nbytes), self.device.address(b), int(b.nbytes), 1, 0
        )

    def piece(self, array: Any, written: bool) -> tuple[int, int, bool]:
        """Return an array in C order as `_core.first_conflict` takes it."""
        return self.device.address(array), int(array.nbytes), written


def _check_number(name: str, array: Any, numbers: tuple[str, ...], device: Device) -> None:
    if array.dtype.name not in numbers or not array.dtype.isnative:
        expected = " or ".join((", ".join(numbers[:-1]), numbers[-1]))
        raise TypeError(
            f"{name}: expected an array of {expected} on {device.name}, got an array of {array.dtype}"
        )


def _copied(name: str, array: Any, expected: str) -> Any:
    fall_back(f"{name}: expected {expected}, got one that must be copied")
    return array.copy()


def whole(value: Any, name: str, below: int = 2**63) -> Any:
    """Return a device array as integers in C order, as `fusedlstm.base.checks.whole` does."""
    device = device_of(value)
    if device is None:
        raise TypeError(f"{name}: expected an array on a device, got {kind_of(value)}")
    device.check_place(name, value)
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected an array of real numbers, got one of dtype {value.dtype}")
    if value.dtype.kind == "f":
        wrong = ~(np.abs(value) < 2.0**63) | (value != np.floor(value))
        if bool(np.any(wrong)):
            place = first_place(wrong)
            raise ValueError(f"{name}: expected whole numbers, got {float(value[place])} at index {place}")
    elif value.dtype == np.uint64 and value.size and int(value.max()) >= below:
        place = first_place(value >= below)
        raise ValueError(
            f"{name}: expected whole numbers in [0, {below}), got {int(value[place])} at index {place}"
        )
    integers = value.astype(np.int64)
    return integers if integers.flags.c_contiguous else integers.copy()


def first_place(wrong: Any) -> tuple[int, ...]:
    """Return the index of the first True."""
    flat = int(np.argmax(wrong.reshape(-1)))
    return tuple(int(k) for k in np.unravel_index(flat, wrong.shape))


def ids(value: Any, name: str, limit: int) -> None:
    """Raise `ValueError` with the place if one of `whole` numbers is not in [0, limit)."""
    wrong = (value < 0) | (value >= limit)
    if bool(np.any(wrong)):
        place = first_place(wrong)
        raise ValueError(
            f"{name}: expected whole numbers in [0, {limit}), got {int(value[place])} at index {place}"
        )
