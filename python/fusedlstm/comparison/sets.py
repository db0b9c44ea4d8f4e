"""What is compared: the arrays of both sets, read from the arguments and brought to one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fusedlstm.base import checks, devices
from fusedlstm.base.arrays import is_array

if TYPE_CHECKING:
    from collections.abc import Sequence

AnyArray: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = npt.NDArray[np.float64]

# Labels of more distinct values than this, most of them different, are numbers and not classes.
_MOST_CLASSES = 50


@dataclass(frozen=True)
class Field:
    """One array of both sets.

    Attributes
    ----------
    name : str
        ``"x"``, ``"x[0]"``, ``"x['words']"``, ``"y"``.
    train, test : ndarray, shape (N, ...) and (M, ...)
        As they came.
    kind : {"numbers", "ids", "classes"}
        Features of samples or of their steps, ids (N, T), or one class a sample (N,).
    features : tuple of str
        Names of the features, of numbers only.
    classes : tuple of str
        What classes are called that came as texts, in the order of their numbers.
    """

    name: str
    train: AnyArray
    test: AnyArray
    kind: str
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def called(self, number: int) -> str:
        """Return what a class is called."""
        return repr(self.classes[number]) if self.classes else str(number)

    def numbers(self, rows: Rows) -> tuple[Numbers, Numbers]:
        """Return some rows of both as (n, T, F) and (m, T, F), with NaN where numbers are infinite."""
        steps = min(steps_of(self.train), steps_of(self.test))
        train, test = (
            _three_axes(array[some], steps)
            for array, some in ((self.train, rows.train), (self.test, rows.test))
        )
        return train, test

    def whole(self, rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return ids of some rows, (n, T) and (m, T)."""
        steps = min(self.train.shape[1], self.test.shape[1])
        return (
            self.train[rows.train, :steps].astype(np.int64),
            self.test[rows.test, :steps].astype(np.int64),
        )


@dataclass(frozen=True)
class Rows:
    """Which samples of each set are looked at, in their order."""

    train: npt.NDArray[np.intp]
    test: npt.NDArray[np.intp]

    def at_most(self, most: int, rng: np.random.Generator) -> Rows:
        """Return a random part of these: at most so many of each set."""
        return Rows(*(_part(some, most, rng) for some in (self.train, self.test)))


def steps_of(array: AnyArray) -> int:
    """Return T of numbers (N, T, ...); vectors and single numbers are one step."""
    return array.shape[1] if array.ndim > 2 else 1


def features_of(array: AnyArray) -> int:
    """Return how many numbers a step has."""
    return int(np.prod(array.shape[2:] if array.ndim > 2 else array.shape[1:], dtype=np.int64))


def read_set(given: Any, name: str) -> dict[str, AnyArray]:
    """Return the arrays of a set by their names.

    Parameters
    ----------
    given : object
        x, (x,) or (x, y), of arrays, or of lists or dicts of arrays.
    name : str
        The argument's name, for messages.

    Raises
    ------
    TypeError, ValueError
        If it is something else, an array is empty, or lengths differ.
    """
    x, y = given, None
    if isinstance(given, tuple):
        if not 1 <= len(given) <= 2:
            raise ValueError(f"{name}: expected x, (x,) or (x, y), got a tuple of {len(given)} items")
        x, y = (*given, None)[:2]
    found = _named(x, "x", name)
    if y is not None:
        found |= _named(y, "y", name)
    first, length = next((key, len(array)) for key, array in found.items())
    for key, array in found.items():
        if len(array) != length:
            raise ValueError(f"{name} {key}: expected {length} samples like {name} {first}, got {len(array)}")
    return found


def make_field(name: str, train: AnyArray, test: AnyArray, features: Sequence[str] | None) -> Field:
    """Return what two arrays of one name are, whose shapes fit."""
    if train.dtype.kind == "U":
        names, numbers = np.unique(np.concatenate([train.ravel(), test.ravel()]), return_inverse=True)
        ours, theirs = numbers[: len(train)], numbers[len(train) :]
        return Field(name, ours, theirs, "classes", classes=tuple(map(str, names)))
    if name.startswith("y"):
        train, test, kind = _labels(train, test)
    else:
        is_ids = all(array.dtype.kind in "iu" and array.ndim == 2 for array in (train, test))
        kind = "ids" if is_ids else "numbers"
    if kind != "numbers":
        return Field(name, train, test, kind)
    count = features_of(train)
    if features is not None and len(features) != count and name != "y":
        raise ValueError(f"features: expected {count} names, as {name} has features, got {len(features)}")
    if features is None or name.startswith("y"):
        features = [f"feature {number}" for number in range(count)]
    return Field(name, train, test, kind, tuple(features))


def _named(given: Any, key: str, name: str) -> dict[str, AnyArray]:
    if isinstance(given, Mapping):
        items = {f"{key}[{inner!r}]": one for inner, one in given.items()}
    elif (
        isinstance(given, list)
        and given
        and all(isinstance(one, np.ndarray) or is_array(one) for one in given)
    ):
        items = {f"{key}[{number}]": one for number, one in enumerate(given)}
    else:
        items = {key: given}
    if not items:
        raise ValueError(f"{name} {key}: expected at least one array, got an empty dict")
    return {inner: _array(one, f"{name} {inner}") for inner, one in items.items()}


def _array(value: Any, name: str) -> AnyArray:
    if (texts := _texts(value, name)) is not None:
        return texts
    array = checks.numeric(value, name)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{name}: expected at least one sample of at least one number, got shape {array.shape}"
        )
    return np.asarray(devices.to_host(array))


def _texts(value: Any, name: str) -> AnyArray | None:
    """Return labels that are texts, such as ``["cat", "dog"]``; None for everything else."""
    given = value.tolist() if hasattr(value, "tolist") else value
    if " y" not in name or not isinstance(given, list) or not given:
        return None
    rows = [row[0] if isinstance(row, list | tuple) and len(row) == 1 else row for row in given]
    if not all(isinstance(row, str) for row in rows):
        return None
    return np.array(rows, dtype=str)


def _labels(train: AnyArray, test: AnyArray) -> tuple[AnyArray, AnyArray, str]:
    """Return labels as classes (N,), ids (N, T) or numbers, and which of these they are."""
    both = (train, test)
    if all(_one_hot(array) for array in both):
        both = (train.argmax(axis=-1), test.argmax(axis=-1))
    elif all(array.ndim == 2 and array.shape[1] == 1 for array in both):
        both = (train[:, 0], test[:, 0])
    if not all(_are_whole(array) for array in both) or both[0].ndim > 2:
        return *both, "numbers"
    whole = (both[0].astype(np.int64), both[1].astype(np.int64))
    if whole[0].ndim == 2:
        return *whole, "ids"
    values = np.concatenate(whole)
    distinct = len(np.unique(values))
    if distinct > _MOST_CLASSES and 2 * distinct > len(values):
        return *both, "numbers"
    return *whole, "classes"


def _one_hot(array: AnyArray) -> bool:
    if array.ndim < 2 or array.shape[-1] < 2:
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=-1) == 1).all())


def _are_whole(array: AnyArray) -> bool:
    if array.dtype.kind != "f":
        return True
    return bool((np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2.0**53)).all())


def _three_axes(array: AnyArray, steps: int) -> Numbers:
    result = array.astype(np.float64)
    if array.ndim <= 2:
        result = result.reshape(len(array), 1, -1)
    else:
        result = result[:, :steps].reshape(len(array), steps, -1)
    result[np.isinf(result)] = np.nan
    return result


def _part(rows: npt.NDArray[np.intp], most: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    if len(rows) <= most:
        return rows
    return np.sort(rng.choice(rows, most, replace=False))
