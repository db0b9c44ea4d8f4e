"""Checked samples and their batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fusedlstm.base import checks, devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusedlstm.base.types import Array, Shape

AnyArray: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """Inputs with what belongs to them.

    Parameters
    ----------
    x : list of ndarray, shape (N, ...)
        The model's inputs, of any real dtype; batches are converted one at a time.
    y : list of (ndarray or None), shape (N, ...)
        Labels of each output, as its loss prepared them.
    weights : list of (ndarray or None), shape (N, ...)
        Weights of the samples, for each output.
    """

    x: list[AnyArray]
    y: list[AnyArray | None] = field(default_factory=list)
    weights: list[AnyArray | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.x[0])

    def batches(
        self,
        batch_size: int,
        dtypes: Sequence[str],
        order: npt.NDArray[np.intp] | None = None,
        device: devices.Device = devices.CPU,
        first: int = 0,
    ) -> Iterator[tuple[list[Array], list[AnyArray | None], list[AnyArray | None]]]:
        """Yield ``(x, y, weights)`` of ``batch_size`` samples; the last batch may be smaller.

        Parameters
        ----------
        batch_size : int
            At least 1.
        dtypes : sequence of str
            Number types that inputs are converted to. Values are not scaled.
        order : ndarray of intp, shape (N,), optional
            Order in which samples are taken.
        device : Device, optional
            Where batches of NumPy arrays are copied to; arrays that are there stay there.
        first : int, optional
            Samples to leave out, those of a number of whole batches.
        """
        total, take = len(self), device.take
        for start in range(first, total, batch_size):
            stop = start + batch_size
            part = self
            if order is not None:
                part = self.part(order[start:stop])
            elif batch_size < total:
                part = self.part(slice(start, stop))
            x = [
                take(one.astype(dtype, order="C", copy=False))
                for one, dtype in zip(part.x, dtypes, strict=True)
            ]
            y = [None if one is None else take(one) for one in part.y]
            yield x, y, [None if one is None else take(one) for one in part.weights]

    def split(self, share: float) -> tuple[Samples, Samples]:
        """Return all but the last ``share`` of the samples, and these.

        Raises
        ------
        ValueError
            If one of the two would be empty.
        """
        first = int(len(self) * (1 - share))
        if not 0 < first < len(self):
            raise ValueError(
                "validation_split: expected a share that leaves samples on both sides, "
                f"got {share} of {len(self)}"
            )
        return self.part(slice(None, first)), self.part(slice(first, None))

    def part(self, rows: Any) -> Samples:
        """Return some of the samples, by a slice or by their numbers."""
        return Samples(*([_taken(one, rows) for one in some] for some in (self.x, self.y, self.weights)))


def _taken(array: Any, rows: Any) -> Any:
    """Return some rows; their numbers, where there are any, have to lie beside the array."""
    if array is None:
        return None
    return array[rows if isinstance(rows, slice) else devices.beside(rows, array)]


def check_inputs(x: object, name: str, expected: Shape | None) -> AnyArray:
    """Return inputs as an array of real numbers with at least one sample.

    Parameters
    ----------
    x : array_like, shape (N, ...)
        Inputs.
    name : str
        The argument's name, for the message.
    expected : tuple or None
        The model's input shape, None at axes of any length; None for a model without one yet.

    Raises
    ------
    TypeError, ValueError
        If dtype or shape is wrong.
    """
    array = checks.numeric(x, name)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{name}: expected at least one sample, got shape {array.shape}")
    if expected is not None and not fits(array.shape, expected):
        hint = "" if None in expected[1:] else "; Input((None, features)) declares sequences of any length"
        raise ValueError(f"{name}: expected shape {expected}, got {array.shape}{hint}")
    return array


def fits(shape: Shape, expected: Shape) -> bool:
    """Return whether a shape agrees with ``expected``, whose None stand for any length."""
    if len(shape) != len(expected):
        return False
    # A loop, as it is in the way of every call.
    for ours, theirs in zip(shape, expected, strict=True):
        if theirs is not None and ours != theirs:
            return False
    return True


def check_length(array: Any, name: str, samples: int) -> None:
    """Raise `ValueError` if ``array`` does not have one entry for each of ``samples`` inputs."""
    length = checks.numeric(array, name).shape[:1]
    if length != (samples,):
        got = f"{length[0]}" if length else "a single number"
        raise ValueError(f"{name}: expected {samples} entries, one for each sample of x, got {got}")
