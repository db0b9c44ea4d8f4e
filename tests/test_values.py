"""`io.values`: values as a text and arrays, and back, to the same bits and types."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fusedlstm.io.safetensors import read_tensors, write_tensors
from fusedlstm.io.values import decode, encode

KINDS = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
)


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for both in zip(one, other, strict=True):
            assert_same(*both)
    elif isinstance(one, np.ndarray | np.generic):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other)
    else:
        assert one == other


VALUES: dict[str, Any] = {
    "plain": [None, True, 1, -(2**127), 0.1, -0.0, math.inf, -math.inf, math.nan, "ä/$", ""],
    "nested": {"a": (1, [2, (3,)], {}), "b/c": [], "": {"d": ()}},
    "odd keys": {1: "one", "$": {"$": 2}, (1, 2): None, None: []},
    "arrays": {kind: np.array([[0, 1], [3, 7]]).astype(kind) for kind in (*KINDS, "float64")},
    "no axes": {kind: np.array(3).astype(kind) for kind in (*KINDS, "float64")},
    "scalars": [np.dtype(kind).type(3) for kind in (*KINDS, "float64")],
    "largest": [np.array([2**64 - 1], np.uint64), np.array([-(2**63)], np.int64), np.uint64(2**64 - 1)],
    "empty": [np.zeros((0, 3), "float32"), np.zeros((2, 0), bool)],
    "views": [np.arange(12.0).reshape(3, 4)[::2, ::-1], np.arange(6).reshape(2, 3).T],
    "same names": {"a/b": np.zeros(1), "a": {"b": np.ones(2)}},
    "special": np.array([math.nan, -math.nan, math.inf, -0.0, 5e-324]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back(name: str, tmp_path: Any) -> None:
    text, arrays = encode(VALUES[name], "value")
    assert_same(decode(text, arrays, "value"), VALUES[name])
    pytest.importorskip("safetensors")
    write_tensors(tmp_path / "a.safetensors", arrays, {"text": text})
    found, metadata = read_tensors(tmp_path / "a.safetensors")
    assert_same(decode(metadata["text"], found, "value"), VALUES[name])


def test_arrays_are_copies() -> None:
    array = np.zeros(3)
    text, arrays = encode({"a": array}, "value")
    array[:] = 1
    assert_same(decode(text, arrays, "value"), {"a": np.zeros(3)})


def test_subclasses_of_numbers_are_numbers() -> None:
    class Rate(float):
        pass

    assert_same(decode(*encode([Rate(0.25)], "value"), "value"), [0.25])


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (object(), "value"),
        ({"a": [1, {2}]}, "value/a/1"),
        ([1j], "value/0"),
        (np.array(["a"]), "value"),
        (b"", "value"),
    ],
)
def test_what_has_no_place(value: Any, place: str) -> None:
    with pytest.raises(TypeError, match=f"^{place}: expected "):
        encode(value, "value")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"$": "array"}',
        '{"$": "array", "name": "a", "dtype": "float64"}',
        '{"$": "array", "name": "b", "dtype": "float32"}',
        '{"$": "array", "name": "b", "dtype": "object"}',
        '{"$": "scalar", "name": "b", "dtype": "float64"}',
        '{"$": "dict", "items": [[1]]}',
        '{"$": "tuple", "items": 3}',
        '{"$": 3}',
    ],
)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(ValueError, match="value: expected "):
        decode(text, {"b": np.zeros(2)}, "value")
