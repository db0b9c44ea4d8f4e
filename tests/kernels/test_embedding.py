"""embedding_forward and embedding_backward against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import SIZES, Number, assert_same_bits

DEVICES = True

ANY: Any = ops  # for arguments that type checkers refuse


@pytest.mark.parametrize("shape", [(5,), (4, 9), (3, 2, 5), (0,), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("features", [*SIZES, 130])
def test_values(shape: tuple[int, ...], features: int, dtype: Number) -> None:
    random = np.random.default_rng(features)
    rows = 7
    table = random.standard_normal((rows, features)).astype(dtype)
    ids = random.integers(0, rows, shape)
    assert_same_bits(ops.embedding_forward(ids, table), table[ids], "y")
    dy = random.standard_normal((*shape, features)).astype(dtype)
    expected = np.zeros((rows, features))
    np.add.at(expected, ids, dy.astype(np.float64))
    scale = np.zeros((rows, features))
    np.add.at(scale, ids, np.abs(dy).astype(np.float64))
    got = ops.embedding_backward(ids, dy, rows)
    testing.assert_close(got, expected, dtype=dtype, terms=max(1, ids.size), scale=scale, name="dtable")


def test_sums_are_in_the_order_of_the_array(dtype: Number) -> None:
    """Which makes their bits known, not only repeatable."""
    random = np.random.default_rng(1)
    dy = random.standard_normal((50, 17)).astype(dtype)
    total = np.zeros(17, dtype)
    for row in dy:
        total = total + row
    assert_same_bits(ops.embedding_backward(np.full(50, 2), dy, 3)[2], total, "dtable")


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64", "float32", "bool"])
def test_numbers_of_other_types(kind: str) -> None:
    table = np.arange(6.0).reshape(3, 2)
    ids = np.array([[1, 0], [0, 1]]).astype(kind)
    assert_same_bits(ops.embedding_forward(ids, table), table[ids.astype(int)], "y")
    strided = np.arange(20, dtype=kind)[::-10] if kind != "bool" else ids[:, 0]
    with_strides = np.minimum(strided.astype(np.int64), 2)
    assert_same_bits(ops.embedding_forward(with_strides, table[::-1]), table[::-1][with_strides], "y")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0, 1], [3, 0]], r"ids: expected whole numbers in \[0, 3\), got 3 at index \(1, 0\)"),
        ([0, 1, -1], r"ids: expected whole numbers in \[0, 3\), got -1 at index \(2,\)"),
        (7, r"ids: expected whole numbers in \[0, 3\), got 7 at index \(\)"),
        (
            np.array([2**64 - 1], np.uint64),
            r"ids: expected whole numbers in \[0, \d+\), got 18446744073709551615 at index",
        ),
        (
            np.array([2**63 + 1], np.uint64),
            r"ids: expected whole numbers in \[0, 3\), got 9223372036854775809 at index \(0,\)",
        ),
        (np.array([[1, 5]], np.uint64), r"ids: expected whole numbers in \[0, 3\), got 5 at index \(0, 1\)"),
        ([0.0, 1.5], r"ids: expected whole numbers, got 1\.5 at index \(1,\)"),
        ([0.0, np.nan], r"ids: expected whole numbers, got nan at index \(1,\)"),
        ([1e30], r"ids: expected whole numbers, got 1e\+30 at index \(0,\)"),
    ],
)
def test_ids_that_are_refused(ids: Any, message: str, device: str) -> None:
    if device != "cpu":  # where lists are none of its arrays
        ids = np.asarray(ids)
    table = np.zeros((3, 2))
    with pytest.raises(ValueError, match=message):
        ops.embedding_forward(ids, table)
    with pytest.raises(ValueError, match=message):
        ops.embedding_backward(ids, np.zeros((*np.shape(ids), 2)), 3)


def test_errors() -> None:
    ids, table = np.array([0, 1]), np.zeros((3, 2))
    with pytest.raises(TypeError, match="ids: expected an array of real numbers, got list of dtype <U1"):
        ANY.embedding_forward(["a"], table)
    with pytest.raises(ValueError, match=r"table: expected shape \(V, E\), got shape \(2,\)"):
        ops.embedding_forward(ids, table[0])
    with pytest.raises(TypeError, match=r"table: expected (a NumPy|an) array of .*float32"):
        ops.embedding_forward(ids, table.astype(int))
    for wrong in (np.zeros((3, 2)), np.zeros(2), np.zeros((2, 2, 2)), np.zeros(())):
        with pytest.raises(ValueError, match=r"dy: expected the shape of ids, \(2,\), and one axis more"):
            ops.embedding_backward(ids, wrong, 3)
    with pytest.raises(ValueError, match="rows: expected a positive integer, got 0"):
        ops.embedding_backward(ids[:0], np.zeros((0, 2)), 0)
