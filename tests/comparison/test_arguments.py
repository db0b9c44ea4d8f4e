"""Wrong arguments: each error names the argument, what was expected and what came."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from fusedlstm import compare_data

X = np.random.default_rng(0).normal(size=(20, 4, 2))
Y = np.zeros(20, int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, X), r"^train x: expected an array, got None"),
        ((X, (X, Y, Y)), r"^test: expected x, \(x,\) or \(x, y\), got a tuple of 3 items"),
        ((X, ()), r"^test: expected x, \(x,\) or \(x, y\), got a tuple of 0 items"),
        (((X, Y[:-1]), X), r"^train y: expected 20 samples like train x, got 19"),
        (({"a": X, "b": X[:3]}, X), r"^train x\['b'\]: expected 20 samples like train x\['a'\], got 3"),
        (({}, X), r"^train x: expected at least one array, got an empty dict"),
        ((X, X[:0]), r"^test x: expected at least one sample of at least one number, got shape \(0, 4, 2\)"),
        ((X, 3.0), r"^test x: expected at least one sample of at least one number, got shape \(\)"),
        ((X, [[1, 2], [3]]), r"^test x: expected an array of numbers, got list"),
    ],
)
def test_sets(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_data(*arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"alpha": 0}, ValueError, r"^alpha: expected a number in \(0, 1\), got 0"),
        ({"alpha": 1}, ValueError, r"^alpha: expected a number in \[0, 1\), got 1"),
        ({"seed": -1}, ValueError, r"^seed: expected an integer >= 0, got -1"),
        ({"classifier": "no"}, TypeError, r"^classifier: expected True or False, got 'no'"),
        ({"features": "ab"}, TypeError, r"^features: expected a sequence of names, got str"),
        ({"features": [1, 2]}, TypeError, r"^features: expected names, got 1"),
        ({"features": ["a"]}, ValueError, r"^features: expected 2 names, as x has features, got 1"),
        ({"time": Y}, ValueError, r"^time: expected a pair of arrays \(train, test\), got ndarray"),
        (
            {"time": (Y, Y[1:])},
            ValueError,
            r"^time: expected shape \(20,\) or \(20, steps\) in test, got \(19,\)",
        ),
        (
            {"time": (Y, Y.astype("U1"))},
            TypeError,
            r"^time: expected numbers or dates in test, got dtype <U1",
        ),
        (
            {"time": (Y, Y * np.nan)},
            ValueError,
            r"^time: expected times without holes in test, got nan at \(0,\)",
        ),
        (
            {"time": (Y, Y.astype("M8[s]"))},
            TypeError,
            r"^time: expected the same kind of times, got int64 and",
        ),
    ],
)
def test_settings(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compare_data(X, X, **settings)


@pytest.mark.parametrize("y", [np.full((20, 3), "a"), ["a", 1] * 10, [None] * 20, np.full(20, b"a")])
def test_labels_that_are_neither_numbers_nor_texts(y: Any) -> None:
    with pytest.raises(TypeError, match=r"^train y: expected .* of real numbers"):
        compare_data((X, y), (X, Y))


@pytest.mark.parametrize("x", [np.full((3, 2), "a"), np.full((3, 2), None), np.ones((3, 2)) * 1j])
def test_types(x: Any) -> None:
    with pytest.raises(TypeError, match=r"^test x: expected an array of real numbers"):
        compare_data(X, x)


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ImportError, match=r'compare_data needs SciPy: pip install "fusedlstm\[compare\]"'):
        compare_data(X, X)


def test_lists_are_inputs_or_numbers() -> None:
    """A list of arrays is several inputs, and a list of lists an array."""
    assert compare_data([X, X[:, 0]], [X + 9, X[:, 0]], classifier=False).findings[0].field in ("x[0]", "x")
    rows = X[:, 0].tolist()
    assert compare_data(rows, (np.array(rows) + 1e-3).tolist(), classifier=False).samples == (20, 20)
