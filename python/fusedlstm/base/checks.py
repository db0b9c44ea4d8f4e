"""Checks of arguments. Each error names the argument, what was expected and what came."""

from __future__ import annotations

import math
import os
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from fusedlstm import _core
from fusedlstm.base import arrays

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fusedlstm.base.types import Shape

T = TypeVar("T")

# Of an array, in any version of NumPy. Lists of axes and of sizes are counted before anything else is done
# with them, as products of very many sizes take long.
MOST_AXES = 32


def positive_int(value: object, name: str) -> int:
    """Return ``value``, a size, as an ``int`` from 1 to 2^63 - 1; `TypeError` or `ValueError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected a positive integer, got {value!r:.80}")
    if value < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value}")
    if value >= 2**63:
        raise ValueError(f"{name}: expected a positive integer below 2^63, got {value}")
    return int(value)


def flag(value: object, name: str) -> bool:
    """Return ``value``, True or False or the numbers 1 or 0, as a ``bool``; `TypeError` otherwise."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_ | int | np.integer) or value not in (0, 1):
        raise TypeError(f"{name}: expected True or False, got {value!r:.80}")
    return bool(value)


def flags(**given: object) -> None:
    """Check several flags by their names."""
    for name, value in given.items():
        flag(value, name)


def optional_integer(value: object, name: str) -> int | None:
    """Return ``value``, None or an integer of any size, as it is; `TypeError` otherwise."""
    try:
        return None if value is None else index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected an integer or None, got {type(value).__name__}") from None


def integer(value: object, name: str) -> int:
    """Return ``value``, an integer of any size, as it is; `TypeError` otherwise."""
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}") from None


def real(value: object, name: str) -> float:
    """Return ``value``, infinite or NaN too, as a ``float``; `TypeError` or `ValueError` otherwise."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: expected a number, got {value!r:.80}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name}: expected a number that float64 holds, got a larger integer") from error


def number(value: object, name: str) -> float:
    """Return ``value`` as a finite ``float``; `TypeError` or `ValueError` otherwise."""
    result = real(value, name)
    if not math.isfinite(result):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    return result


def non_negative(value: object, name: str) -> float:
    """Return ``value`` as a finite ``float`` of at least 0."""
    result = number(value, name)
    if result < 0:
        raise ValueError(f"{name}: expected a number >= 0, got {value}")
    return result


def positive(value: object, name: str) -> float:
    """Return ``value`` as a finite ``float`` above 0."""
    result = number(value, name)
    if result <= 0:
        raise ValueError(f"{name}: expected a positive number, got {value}")
    return result


def optional_positive(value: object, name: str) -> float | None:
    """Return ``value`` as a finite ``float`` above 0, or None."""
    result = None if value is None else number(value, name)
    if result is not None and result <= 0:
        raise ValueError(f"{name}: expected a positive number or None, got {value}")
    return result


def share(value: object, name: str) -> float:
    """Return ``value`` as a ``float`` in [0, 1]."""
    result = number(value, name)
    if not 0 <= result <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
    return result


def rate(value: object, name: str) -> float:
    """Return ``value`` as a ``float`` in [0, 1)."""
    result = number(value, name)
    if not 0 <= result < 1:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value}")
    return result


def non_negative_int(value: object, name: str) -> int:
    """Return ``value`` as an ``int`` of at least 0; `TypeError` or `ValueError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer >= 0, got {value!r:.80}")
    if value < 0:
        raise ValueError(f"{name}: expected an integer >= 0, got {value}")
    return int(value)


def optional_seed(value: object, name: str) -> int | None:
    """Return ``value`` as an ``int`` of at least 0, or None."""
    return None if value is None else non_negative_int(value, name)


def path(value: object, name: str) -> Path:
    """Return ``value``, the path of a file, as a `Path`; `TypeError` or `ValueError` if none can have it."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected a path, a string or a Path, got {value!r:.80}")
    if "\0" in text:
        raise ValueError(f"{name}: expected a path without null characters, got {text!r}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name}: expected a path that this system can encode, got {text!r} ({error})"
        ) from error
    return Path(text)


def choice(value: object, name: str, known: Iterable[str]) -> str:
    """Return ``value`` if it is one of the strings ``known``; `ValueError` with the list otherwise."""
    names = list(known)
    if value not in names:
        raise ValueError(f"{name}: expected one of {names}, got {value!r:.80}")
    return str(value)


def lookup(value: object, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[value]``; `ValueError` with the list of names otherwise."""
    return table[choice(value, name, table)]


def member(description: object, key: str, kind: type[T], where: str) -> T:
    """Return a member of a description, such as a file has; `ValueError` if there is none of that type."""
    if not isinstance(description, dict):
        raise ValueError(f"{where}: expected a dict, got {type(description).__name__}")
    value = description.get(key)
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {key}: expected a {kind.__name__}, got {type(value).__name__}")
    return value


def arguments(config: object, where: str) -> dict[str, Any]:
    """Return ``config``, the arguments of a class by name, as a new dict; `ValueError` if it is none."""
    if not isinstance(config, dict):
        raise ValueError(f"{where}: expected a dict of arguments, got {type(config).__name__}")
    for key in config:
        if not isinstance(key, str):
            raise ValueError(f"{where}: expected names of arguments, got the key {key!r:.80}")
    return dict(config)


def numeric(value: object, name: str) -> npt.NDArray[Any]:
    """Return ``value`` as an array of real numbers of its own dtype, not copied when it is one.

    Raises
    ------
    TypeError
        If it holds complex numbers, strings or objects, or has a mask of NumPy's.
    ValueError
        If it is a nested list whose rows differ in length.
    """
    if type(value) is np.ndarray and value.dtype.kind in "biuf":
        return value
    if value is None:
        raise ValueError(f"{name}: expected an array, got None")
    if isinstance(value, np.ma.MaskedArray):
        # NumPy would go on with the numbers under the mask.
        raise TypeError(f"{name}: expected an array without NumPy's masks, got MaskedArray; fill it first")
    given: Any = value
    array: npt.NDArray[Any]
    try:
        array = given if type(value) is np.ndarray or arrays.on_device(value) else np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"{name}: expected an array of numbers, got {type(value).__name__}: {error}"
        ) from error
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name}: expected an array of real numbers, got {type(value).__name__} of dtype {array.dtype}"
        )
    return array


def whole(value: object, name: str, beside: object = None, below: int = 2**63) -> npt.NDArray[np.int64]:
    """Return ``value`` as a C-contiguous array of int64, on the device where it is an array on one.

    It is to be used together with the array ``beside``; unsigned numbers from ``below`` on are refused.

    Raises
    ------
    TypeError, ValueError
        As `numeric`, or if a number is not whole; the message names its place.
    """
    if arrays.on_device(value):
        from fusedlstm.cuda import checks

        if isinstance(beside, np.ndarray):
            raise TypeError(
                f"{name}: expected a NumPy array like the other arrays, got {checks.kind_of(value)}"
            )
        on_device: npt.NDArray[np.int64] = checks.whole(value, name, below)
        return on_device
    array = numeric(value, name)
    if array.dtype.kind == "f":
        wrong = ~(np.abs(array) < 2.0**63) | (array != np.floor(array))
        none_of(wrong, array, name, "whole numbers")
    elif array.dtype == np.uint64:  # which int64 does not hold all of
        none_of(array >= below, array, name, f"whole numbers in [0, {below})")
    # np.ascontiguousarray would turn a scalar into a vector.
    return np.asarray(array, np.int64, order="C")


def ids(value: object, name: str, limit: int) -> npt.NDArray[np.int64]:
    """Return ``value`` as `whole` does; `ValueError` with the place if a number is not in [0, limit)."""
    array = whole(value, name, below=limit)
    if type(array) is not np.ndarray and arrays.on_device(array):
        from fusedlstm.cuda import checks

        checks.ids(array, name, limit)
    else:
        _core.check_ids(name, array, limit)
    return array


def finite(array: npt.NDArray[Any], name: str) -> None:
    """Raise `ValueError` with the first position if ``array`` holds NaN or infinity."""
    if array.dtype.kind != "f":
        return
    good = np.isfinite(array)
    if not good.all():
        none_of(~good, array, name, "finite numbers")


def none_of(wrong: npt.NDArray[np.bool_], array: npt.NDArray[Any], name: str, expected: str) -> None:
    """Raise `ValueError` with the first number of ``array`` that is ``wrong``, and its place, if any is."""
    if wrong.any():
        place = first_place(wrong)
        raise ValueError(f"{name}: expected {expected}, got {array[place]} at index {place}")


def first_place(wrong: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first True."""
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def shape(value: object, name: str) -> Shape:
    """Return ``value`` as a tuple of positive integers and None."""
    if isinstance(value, int | np.integer):
        value = (value,)
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name}: expected a tuple of integers and None, got {value!r:.80}")
    few_axes(value, name)
    return tuple(None if size is None else positive_int(size, name) for size in value)


def few_axes(value: Sequence[object], name: str) -> None:
    """Raise `ValueError` if a list has more items than an array has axes."""
    if len(value) > MOST_AXES:
        raise ValueError(f"{name}: expected at most {MOST_AXES} axes, got {len(value)}")
