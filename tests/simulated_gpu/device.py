"""The simulated GPU as a device of `fusedlstm.cuda`, with arrays of its own.

Its arrays behave like CuPy's: they are no NumPy arrays, answer NumPy's functions by its protocols, and refuse
to become NumPy arrays by themselves. Kernels' memory is that of the simulated device, where every access is
checked.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.cuda.runtime import Device, register

from .build import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# NumPy's functions, no ufuncs among them, that the package calls on device arrays and CuPy 13 has.
FUNCTIONS = {
    "numpy.any",
    "numpy.argmax",
    "numpy.argsort",
    "numpy.argwhere",
    "numpy.broadcast_to",
    "numpy.clip",
    "numpy.concatenate",
    "numpy.count_nonzero",
    "numpy.cumsum",
    "numpy.fill_diagonal",
    "numpy.linalg.norm",
    "numpy.moveaxis",
    "numpy.ones_like",
    "numpy.searchsorted",
    "numpy.sum",
    "numpy.take",
    "numpy.take_along_axis",
    "numpy.unravel_index",
    "numpy.where",
}


class SimArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array in simulated device memory; `values` is a NumPy view of it, for the tests' own use."""

    def __init__(self, values: NDArray[Any], device: SimDevice, place: int = 0) -> None:
        self.values, self.device, self.place = values, device, place

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    itemsize = property(lambda self: self.values.itemsize)
    strides = property(lambda self: self.values.strides)
    flags = property(lambda self: self.values.flags)
    T = property(lambda self: self._wrapped(self.values.T))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def get(self) -> NDArray[Any]:
        """Copy to the host."""
        return self.values.copy()

    def _wrapped(self, result: Any) -> Any:
        """Return a result in device memory: a view as it is, anything else copied there."""
        if isinstance(result, (tuple, list)):
            return type(result)(self._wrapped(part) for part in result)
        if not isinstance(result, (np.ndarray, np.generic)):
            return result
        array = np.asarray(result)
        if array.size and array.base is not None and np.may_share_memory(array, self.values):
            return SimArray(array, self.device, self.place)
        copy = self.device.empty(array.shape, array.dtype)
        copy.values[...] = array
        return copy

    @staticmethod
    def _bare(value: Any) -> Any:
        if isinstance(value, SimArray):
            return value.values
        if isinstance(value, np.ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        if isinstance(value, (tuple, list)):
            return type(value)(SimArray._bare(part) for part in value)
        return value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            return NotImplemented  # as in CuPy
        out = options.pop("out", None)
        if out is not None:
            options["out"] = tuple(self._bare(array) for array in out)
        with np.errstate(all="ignore"):
            result = getattr(ufunc, method)(*self._bare(inputs), **options)
        return out[0] if out is not None else self._wrapped(result)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        del types
        name = f"{function.__module__}.{function.__name__}"
        if name not in FUNCTIONS:
            raise TypeError(f"{name}: expected one of the functions that CuPy 13 is known to have")
        with np.errstate(all="ignore"):
            result = function(*self._bare(args), **{k: self._bare(v) for k, v in options.items()})
        return self._wrapped(result)

    def __getitem__(self, key: Any) -> Any:
        return self._wrapped(self.values[self._bare(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.values[self._bare(key)] = self._bare(value)

    def __len__(self) -> int:
        return len(self.values)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __float__(self) -> float:
        return float(self.values)

    def __iter__(self) -> Any:
        return (self[k] for k in range(len(self)))

    def __str__(self) -> str:
        return str(self.values)

    def copy(self) -> Any:
        """Copy in C order."""
        return self._wrapped(self.values.copy())

    def astype(self, dtype: Any, order: Any = "K", copy: bool = True) -> Any:
        """Copy as another dtype, or return itself with ``copy=False``."""
        result = self.values.astype(dtype, order=order, copy=copy)
        return self if result is self.values else self._wrapped(result)

    def transpose(self, *axes: Any) -> Any:
        """Return a view with the axes in another order."""
        return self._wrapped(self.values.transpose(*axes))

    def _reduced(self, name: str, options: dict[str, Any]) -> Any:
        with np.errstate(all="ignore"):
            return self._wrapped(np.asarray(getattr(self.values, name)(**options)))

    def sum(self, **options: Any) -> Any:
        """Add up."""
        return self._reduced("sum", options)

    def mean(self, **options: Any) -> Any:
        """Return means."""
        return self._reduced("mean", options)

    def max(self, **options: Any) -> Any:
        """Return maxima."""
        return self._reduced("max", options)

    def min(self, **options: Any) -> Any:
        """Return minima."""
        return self._reduced("min", options)

    def argmax(self, **options: Any) -> Any:
        """Return where maxima are."""
        return self._reduced("argmax", options)

    def any(self, **options: Any) -> Any:
        """Tell whether any element is not zero."""
        return self._reduced("any", options)

    def all(self, **options: Any) -> Any:
        """Tell whether no element is zero."""
        return self._reduced("all", options)

    def clip(self, low: Any, high: Any) -> Any:
        """Limit the elements."""
        return self._wrapped(self.values.clip(low, high))

    def reshape(self, *shape: int) -> Any:
        """Return a view where there can be one."""
        return self._wrapped(self.values.reshape(*shape))


class SimDevice(Device):
    """The simulated GPU of a module that `make build/simt/built` makes."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.place = 0
        self.tf32 = False

    @property
    def name(self) -> str:
        """``simt:`` and a number."""
        return f"simt:{self.place}"

    @property
    def extension(self) -> Any:
        """The module."""
        return self._module

    @property
    def allows_tf32(self) -> bool:
        """Whether products may use TF32, as tests say."""
        return self.tf32

    def owns(self, value: object) -> bool:
        """Tell whether something is an array of this device."""
        return isinstance(value, SimArray)

    def check_place(self, name: str, array: Any) -> None:
        """Raise `ValueError` for an array of another place."""
        if array.place != self.place:
            raise ValueError(
                f"{name}: expected an array on the current device, {self.name}, got one on simt:{array.place}"
            )

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return a new array; its bytes are ones, NaN as floating-point numbers."""
        return SimArray(self._module.empty(tuple(shape), np.dtype(dtype)), self, self.place)

    def put(self, values: NDArray[Any]) -> Any:
        """Copy an array to the device, in C order."""
        array: SimArray = self.empty(values.shape, values.dtype)
        array.values[...] = values
        return array

    def address(self, array: Any) -> int:
        """Return where the first element lies."""
        return int(array.values.__array_interface__["data"][0])

    def stream(self) -> int:
        """Return the only stream."""
        return 0

    def matmul(self, a: Any, b: Any) -> Any:
        """Add products in the order of the inner dimension, so that rows do not depend on their number."""
        left, right = a.values, b.values
        number = np.result_type(left.dtype, np.float32)
        sums = np.zeros((left.shape[0], right.shape[1]), number)
        with np.errstate(all="ignore"):
            for k in range(left.shape[1]):
                sums += left[:, k : k + 1].astype(number) * right[k].astype(number)
            return self.put(sums.astype(left.dtype))


@cache
def simulated_device() -> SimDevice:
    """Return the simulated GPU, registered once; skip the test where it is not built."""
    device = SimDevice(load("_simt"))
    register(device)
    return device
