"""Activations: values, derivatives, extremes, names."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedlstm import activations
from fusedlstm.testing import activation_reference, assert_close, check_gradients

# Each in Python's float64, element by element.
FORMULAS: dict[str, Any] = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "exponential": math.exp,
    "hard_sigmoid": lambda x: min(max(x / 6 + 0.5, 0.0), 1.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FORMULAS)
def test_values(name: str, dtype: str) -> None:
    x = np.linspace(-20, 20, 161).astype(dtype)
    expected = [FORMULAS[name](float(value)) for value in x]
    assert_close(activations.get(name)(x), expected, dtype=dtype, terms=0, scale=expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax(dtype: str) -> None:
    x = np.random.default_rng(0).normal(0, 5, (3, 4, 7)).astype(dtype)
    e = np.exp(x.astype(np.float64))
    expected = e / e.sum(-1, keepdims=True)
    # The exponent x - max(x) is rounded too, which costs up to |x| more units in the last place.
    assert_close(activations.softmax(x), expected, dtype=dtype, terms=7, steps=2, scale=expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_softmax(dtype: str) -> None:
    x = np.random.default_rng(0).normal(0, 30, (3, 4, 7)).astype(dtype)
    expected = [[[v - math.log(math.fsum(map(math.exp, row))) for v in row] for row in rows] for rows in x]
    # Differences from the largest number, which are rounded, and so is their sum's logarithm.
    assert_close(activations.log_softmax(x), expected, dtype=dtype, terms=7, scale=np.abs(x).max())


@pytest.mark.parametrize("name", [*FORMULAS, "softmax", "log_softmax"])
def test_gradient(name: str) -> None:
    x = np.random.default_rng(1).normal(0, 2, (4, 5))
    x[np.abs(x) < 0.01] = 0.5  # relu and elu have no derivative of high order at 0
    function = activations.get(name)
    check_gradients(
        function,
        lambda dy, x: {
            "x": activations.gradient(function, dy[0], activations.kept(function, x, function(x)))
        },
        {"x": x},
        terms=5,
        elements=None,
    )


@pytest.mark.parametrize(("name", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1), ("elu", -1, 1e4)])
def test_extremes_do_not_overflow(name: str, low: float, high: float) -> None:
    y = activations.get(name)(np.array([-1e4, 1e4], "f"))
    assert y.tolist() == [low, high]


def test_softmax_of_huge_logits() -> None:
    assert activations.softmax(np.array([[1e38, -1e38], [-1e30, -1e30]], "f")).tolist() == [
        [1, 0],
        [0.5, 0.5],
    ]
    # Where softmax is 0 its logarithm still is a number.
    logarithms = activations.log_softmax(np.array([[1e4, -1e4], [-1e30, -1e30]], "f"))
    assert logarithms.tolist() == [[0, -2e4], [-np.log(np.float32(2))] * 2]


def test_nan_stays() -> None:
    for name in [*FORMULAS, "softmax", "log_softmax"]:
        assert np.isnan(activations.get(name)(np.array([np.nan, 1.0]))[0]), name


def test_every_row_has_a_formula_and_a_reference() -> None:
    """What one adds to the table is compared with something."""
    functions = {name for name in activations.TABLE if hasattr(activations, name)}
    assert functions == {*FORMULAS, "softmax", "log_softmax"}
    for name, row in activations.TABLE.items():
        if row.kernel is not None:
            assert activation_reference(name, [0.25]).shape == (1,)


def test_the_kernels_numbers() -> None:
    header = Path(__file__).parents[1] / "csrc" / "math" / "activation.h"
    (body,) = re.findall(r"enum class ActivationKind.*?\{(.*?)\}", header.read_text(), re.DOTALL)
    names = re.findall(r"^ *(\w+)", re.sub(r"//.*", "", body), re.MULTILINE)
    numbers = {name: row.kernel for name, row in activations.TABLE.items() if row.kernel is not None}
    assert numbers.pop("leaky_relu") == numbers["relu"]
    assert sorted(numbers, key=numbers.__getitem__) == names
    assert sorted(numbers.values()) == list(range(len(names)))


def test_names() -> None:
    assert activations.get(None) is activations.linear
    assert activations.get(activations.relu) is activations.relu
    assert activations.get("swish") is activations.swish is activations.silu
    assert activations.serialize(activations.get("softmax")) == "softmax"


@pytest.mark.parametrize("wrong", ["rellu", 3, np.tanh, lambda x: x])
def test_unknown(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"activation: expected one of \['linear', 'relu'.*got"):
        activations.get(wrong)
