"""`Variable`: a named array whose changes are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fusedlstm.constraints import Constraint
    from fusedlstm.regularizers import Regularizer

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int | None, ...]
Mask: TypeAlias = npt.NDArray[np.bool_]


class Variable:
    """A named array that changes only through `assign` or an optimizer.

    Packed copies of weights stay valid as long as `version` stays the same.

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
        Gradient of the loss, same shape, written by the owning layer's ``backward``.
    version : int
        Grows with every change.
    """

    __slots__ = (
        "_data",
        "_view",
        "constraint",
        "grad",
        "name",
        "path",
        "regularizer",
        "trainable",
        "version",
    )

    def __init__(
        self,
        value: npt.ArrayLike,
        name: str = "variable",
        path: str | None = None,
        *,
        trainable: bool = True,
        regularizer: Regularizer | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        self._data: Array = np.array(value, order="C")
        self._view = self._data.view()
        self._view.flags.writeable = False
        self.name = name
        self.path = name if path is None else path
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.grad: Array | None = None
        self.version = 0

    @property
    def value(self) -> Array:
        """The array, as a read-only view that follows later changes."""
        return self._view

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
        """Return a copy of the array."""
        return self._data.copy()

    def writable(self) -> Array:
        """Return the array for an update in place, which is counted as a change."""
        self.version += 1
        return self._data

    def assign(self, value: npt.ArrayLike) -> Variable:
        """Replace the array's content.

        Parameters
        ----------
        value : array_like
            Numbers of exactly this variable's shape, converted to its dtype.

        Returns
        -------
        Variable
            This variable.

        Raises
        ------
        ValueError
            If the shape differs; nothing is changed then.
        """
        array = np.asarray(value)
        if array.shape != self.shape:
            raise ValueError(f"{self.path}: expected shape {self.shape}, got {array.shape}")
        # Converted first, so that a failing conversion leaves the old content.
        converted = array.astype(self.dtype, copy=False)
        np.copyto(self.writable(), converted)
        return self

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Let NumPy functions take a variable; the result shares no memory with it."""
        if copy is False:
            raise ValueError("copy: a variable can only be converted to an array by copying")
        return self._data.astype(self.dtype if dtype is None else dtype, copy=True)

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}>"
