"""Values of plain Python and NumPy as one text and arrays of the types that files have, and back.

Numbers keep their bits, arrays and NumPy's scalars their types, tuples stay tuples. In the text an object
with the member ``$`` stands for what JSON has no word for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import devices
from fusedlstm.base.arrays import is_array
from fusedlstm.io.json_text import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_KIND = "$"
# Types that files have, and what others are written as; uint64 is written as the int64 of the same bits.
_CARRIERS = {
    "float16": "float32",
    "float32": "float32",
    "float64": "float64",
    "uint64": "int64",
} | dict.fromkeys(("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"), "int64")
_PLAIN = (type(None), bool, int, float, str)


def encode(value: Any, what: str) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return a value as a text, and copies of the arrays in it, which the text calls by their names.

    Parameters
    ----------
    value
        None, bools, numbers, strings, arrays and scalars of NumPy, arrays of a device, and lists, tuples and
        dicts of these.
    what : str
        What it is, to begin names and messages with.

    Raises
    ------
    TypeError
        If there is anything else in it.
    """
    arrays: dict[str, NDArray[Any]] = {}
    return json.dumps(_encoded(value, what, arrays)), arrays


def decode(text: str, arrays: Mapping[str, NDArray[Any]], what: str) -> Any:
    """Return the value of `encode`'s results.

    Raises
    ------
    ValueError
        If the text is no such value, or an array is missing or of another type.
    """
    return _decoded(parse(text, what), arrays, what)


def _encoded(value: Any, where: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if type(value) in _PLAIN:  # most of all, and quickly told
        return value
    if isinstance(value, list):
        return [_encoded(one, f"{where}/{number}", arrays) for number, one in enumerate(value)]
    if isinstance(value, tuple):
        return {_KIND: "tuple", "items": _encoded(list(value), where, arrays)}
    if isinstance(value, dict):
        if _KIND not in value and all(type(key) is str for key in value):
            return {key: _encoded(one, f"{where}/{key}", arrays) for key, one in value.items()}
        return {_KIND: "dict", "items": _encoded([list(pair) for pair in value.items()], where, arrays)}
    if isinstance(value, np.ndarray | np.generic) or is_array(value):
        return _kept(np.asarray(devices.to_host(value)), where, arrays, isinstance(value, np.generic))
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(
        f"{where}: expected numbers, strings, arrays, None, and lists, tuples and dicts of them, "
        f"got {value!r:.80}"
    )


def _kept(array: NDArray[Any], where: str, arrays: dict[str, NDArray[Any]], scalar: bool) -> dict[str, Any]:
    kind = array.dtype.name
    if kind not in _CARRIERS:
        raise TypeError(f"{where}: expected arrays of real numbers or bools, got {kind}")
    name = where
    while name in arrays:  # Keys of dicts may have slashes in them.
        name += "'"
    arrays[name] = (
        array.copy().view(np.int64)[...] if kind == "uint64" else np.array(array, _CARRIERS[kind], order="C")
    )
    return {_KIND: "scalar" if scalar else "array", "name": name, "dtype": kind}


def _decoded(value: Any, arrays: Mapping[str, NDArray[Any]], what: str) -> Any:
    if isinstance(value, list):
        return [_decoded(one, arrays, what) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind is None:
        return {key: _decoded(one, arrays, what) for key, one in value.items()}
    items = value.get("items")
    if kind == "tuple" and isinstance(items, list):
        return tuple(_decoded(items, arrays, what))
    if (
        kind == "dict"
        and isinstance(items, list)
        and all(isinstance(one, list) and len(one) == 2 for one in items)
    ):
        return dict(_decoded(items, arrays, what))
    name, dtype = value.get("name"), value.get("dtype")
    if kind in ("array", "scalar") and isinstance(name, str) and isinstance(dtype, str):
        array = arrays.get(name)
        if array is not None and dtype in _CARRIERS and array.dtype.name == _CARRIERS[dtype]:
            own = array.view(np.uint64) if dtype == "uint64" else array.astype(dtype)
            if kind == "array":
                return own
            if own.shape == ():
                return own[()]
    raise ValueError(f"{what}: expected a value as this version writes them, found {value!r:.80}")
