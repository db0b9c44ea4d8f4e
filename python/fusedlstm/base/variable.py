"""`Variable`: a named array whose changes are counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusedlstm.base import arrays, devices, versions
from fusedlstm.base.copying import owned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusedlstm.base.types import Array, Penalty, Projection, Seen


class Variable:
    """A named array, on the CPU or on a device, that changes only through `assign` or an optimizer.

    Packed copies of weights stay valid as long as `version` stays the same.

    A call of another thread that is inside of a model or layer keeps what it began with (`versions`): a
    change meanwhile is made in a new array. Each change of a single variable is one of its own;
    `Sequential.set_weights` and optimizers change all their variables at once.

    Parameters
    ----------
    value : array_like
        Start value; copied, and kept C-contiguous.
    name : str
        Short name, such as ``"kernel"``.
    path : str, optional
        Name that is unique in a model, such as ``"lstm/kernel"``; ``name`` by default.
    trainable : bool
        Whether optimizers update it.
    regularizer : Regularizer, optional
        Penalty that models add to their loss while the variable is trained.
    constraint : Constraint, optional
        What optimizers apply after each update.

    Attributes
    ----------
    grad : ndarray or None
        Gradient, same shape, that the owning layer's ``backward`` leaves; models leave none.
    version : int
        Grows with every change.
    """

    __slots__ = (
        "_data",
        "_device",
        "_view",
        "constraint",
        "grad",
        "name",
        "path",
        "regularizer",
        "trainable",
        "version",
    )

    _copied = ("constraint", "name", "path", "regularizer", "trainable", "version")

    def __init__(
        self,
        value: npt.ArrayLike,
        name: str = "variable",
        path: str | None = None,
        *,
        trainable: bool = True,
        regularizer: Penalty | None = None,
        constraint: Projection | None = None,
    ) -> None:
        self._keep(np.array(value, order="C"))
        self._device: devices.Device = devices.CPU
        self.name = name
        self.path = name if path is None else path
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.grad: Array | None = None
        self.version = 0

    @property
    def value(self) -> Array:
        """The array, read-only on the CPU.

        It follows later changes, until the variable is moved, or changed while another thread is inside of a
        call on a model or layer. Within such a call it is the version that the call began with.
        """
        view = self._view
        if not versions.changing and not versions.keeping:
            return view
        array: Array = self.seen()[0]
        return array

    def newest(self) -> Seen:
        """Return the array and its version, whatever the calling thread sees."""
        return self._view, self.version

    def seen(self) -> Seen:
        """Return `value` and its version."""
        # Looked at twice: a change in place that ends in between has left the number of the old content.
        quiet = not versions.changing
        newest = self._view, self.version
        if quiet and not versions.changing and not versions.keeping:
            return newest
        return versions.seen(self)

    @property
    def device(self) -> devices.Device:
        """Where the array lies."""
        return self._device

    def move(self, device: devices.Device) -> None:
        """Move the array to a device, and drop the gradient."""
        if device is self._device:
            return
        with versions.writing((self,)) as change:
            change.move(self, device.put(self.numpy()), device)

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's number type."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._data.size

    def numpy(self) -> Array:
        """Return a copy of the array, a NumPy array always."""
        array: Any = self.value
        host: Array = array.copy() if isinstance(array, np.ndarray) else devices.to_host(array)
        return host

    def writable(self) -> Array:
        """Return the array for an update in place, which is counted as a change.

        Within `versions.writing` it may be a copy, which takes effect at the end.
        """
        change = versions.change_of(self) if versions.changing else None
        if change is None:
            self.version += 1
            return self._data
        return change.writable(self, self._data)

    def assign(self, value: npt.ArrayLike) -> Variable:
        """Replace the array's content.

        Parameters
        ----------
        value : array_like
            Numbers of exactly this variable's shape, converted to its dtype and copied to where it lies.

        Returns
        -------
        Variable
            This variable.

        Raises
        ------
        ValueError
            If the shape differs; nothing is changed then.
        """
        array: Any = value if type(value) is not np.ndarray and arrays.on_device(value) else np.asarray(value)
        if array.shape != self.shape:
            raise ValueError(f"{self.path}: expected shape {self.shape}, got {array.shape}")
        # Converted first, so that a failing conversion leaves the old content.
        converted = array.astype(self.dtype, copy=False)
        there = self._device.take(converted)
        change = versions.change_of(self) if versions.changing else None
        if change is None:
            with versions.writing((self,)) as change:
                change.assign(self, self._data, there)
        else:
            change.assign(self, self._data, there)
        return self

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Let NumPy functions take a variable; the result shares no memory with it."""
        if copy is False:
            raise ValueError("copy: a variable can only be converted to an array by copying")
        return self.numpy().astype(self.dtype if dtype is None else dtype, copy=False)

    def _keep(self, data: Array) -> None:
        """Take an array as this variable's own."""
        self._data: Array = data
        self._view: Array = devices.read_only(data)

    # Copies and pickles, shallow ones too, have an array of their own and no gradient.

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, the array as one of NumPy that no later change is written into."""
        with versions.reading():
            version, value = self.seen()[1], self.numpy()
        state = {name: getattr(self, name) for name in self._copied}
        return {**state, "version": version, "value": value, "device": self._device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the variable where the other one was."""
        for name in self._copied:
            setattr(self, name, state[name])
        self._device, self.grad = state["device"], None
        data = owned(state["value"])
        self._keep(self._device.put(data))

    def __copy__(self) -> Variable:
        made = type(self).__new__(type(self))
        made.__setstate__(self.__getstate__())
        return made

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}>"


def unique_paths(variables: Iterable[Variable]) -> list[str]:
    """Return each variable's path, with a number behind one that another variable before it has.

    Names are unique among the layers of a model, but not among those inside of them.
    """
    seen: Counter[str] = Counter()
    paths = []
    for variable in variables:
        paths.append(f"{variable.path}#{seen[variable.path]}" if seen[variable.path] else variable.path)
        seen[variable.path] += 1
    return paths
