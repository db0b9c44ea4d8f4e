"""Initializers: distributions, seeds, names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fusedlstm import initializers, utils

FAN_IN, FAN_OUT = 300, 500
# Kurtosis (fourth moment over squared variance); that of a truncated normal distribution is below 3.
KURTOSIS = {"uniform": 9 / 5, "normal": 3.0}


@pytest.mark.parametrize(
    ("name", "variance", "shape"),
    [
        ("glorot_uniform", 2 / (FAN_IN + FAN_OUT), "uniform"),
        ("glorot_normal", 2 / (FAN_IN + FAN_OUT), "normal"),
        ("he_uniform", 2 / FAN_IN, "uniform"),
        ("he_normal", 2 / FAN_IN, "normal"),
        ("lecun_uniform", 1 / FAN_IN, "uniform"),
        ("lecun_normal", 1 / FAN_IN, "normal"),
        ("variance_scaling", 1 / FAN_IN, "normal"),
        ("random_normal", 0.05**2, "normal"),
        ("random_uniform", 0.1**2 / 12, "uniform"),
    ],
)
def test_mean_and_variance(name: str, variance: float, shape: str) -> None:
    utils.set_random_seed(5)
    values = initializers.get(name)((FAN_IN, FAN_OUT), "float64")
    n = values.size
    # Standard errors of a sample's mean and variance; 5 of them are exceeded once in two million draws.
    assert abs(values.mean()) < 5 * math.sqrt(variance / n)
    assert abs(values.var() - variance) < 5 * variance * math.sqrt((KURTOSIS[shape] - 1) / n)
    if shape == "uniform":
        assert np.abs(values).max() <= math.sqrt(3 * variance)


def test_truncated_normal() -> None:
    values = initializers.TruncatedNormal(mean=1.0, stddev=0.5, seed=3)((400, 400), "float64")
    assert np.abs(values - 1).max() <= 1.0
    # Variance of a standard normal cut at -2 and 2: 1 - 4 phi(2) / (Phi(2) - Phi(-2)).
    phi = math.exp(-2) / math.sqrt(2 * math.pi)
    variance = 0.25 * (1 - 4 * phi / math.erf(math.sqrt(2)))
    assert abs(values.var() - variance) < 5 * variance * math.sqrt(2 / values.size)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "untruncated_normal", "uniform"])
def test_variance_scaling(mode: str, distribution: str) -> None:
    n = {"fan_in": 3 * FAN_IN, "fan_out": 3 * FAN_OUT, "fan_avg": 1.5 * (FAN_IN + FAN_OUT)}[mode]
    values = initializers.VarianceScaling(4.0, mode, distribution, seed=1)((3, FAN_IN, FAN_OUT), "float64")
    assert abs(values.var() - 4 / n) < 5 * 4 / n * math.sqrt(2 / values.size)


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (2, 8, 16), (1, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = initializers.Orthogonal(gain=2.0, seed=4)(shape, "float64").reshape(-1, shape[-1])
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    # A sum of at most 64 products and the QR's own rounding, each below 64 units in the last place.
    np.testing.assert_allclose(short @ short.T, 4 * np.eye(len(short)), rtol=0, atol=4 * 128 * 2**-53)


def test_constants() -> None:
    assert (initializers.Constant(2.5)((2, 3)) == 2.5).all()
    assert (initializers.get("zeros")((2,)) == 0).all()
    assert (initializers.get("ones")((2,)) == 1).all()


def test_seeds() -> None:
    one = initializers.GlorotUniform(seed=7)
    assert np.array_equal(one((3, 4)), one((3, 4)))
    assert np.array_equal(one((3, 4)), initializers.GlorotUniform(seed=7)((3, 4)))
    first, second = initializers.get("glorot_uniform"), initializers.get("glorot_uniform")
    assert not np.array_equal(first((3, 4)), second((3, 4)))
    draws = []
    for _ in range(2):
        utils.set_random_seed(11)
        draws.append(initializers.get("orthogonal")((3, 12)))
    assert np.array_equal(draws[0], draws[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_layout(dtype: str) -> None:
    for name in ("zeros", "glorot_uniform", "orthogonal"):
        values = initializers.get(name)((4, 16), dtype)
        assert values.dtype == dtype
        assert values.flags.c_contiguous


@pytest.mark.parametrize("name", sorted(initializers.REGISTRY.classes))
def test_config_round_trip(name: str) -> None:
    cls: Any = initializers.REGISTRY.classes[name]
    one = cls(seed=3) if "seed" in cls().get_config() else cls()
    again = initializers.get(initializers.serialize(one))
    assert type(again) is cls
    assert np.array_equal(one((3, 5)), again((3, 5)))
    assert type(initializers.get(cls.__name__)) is type(initializers.get(cls)) is cls


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: initializers.get("glorot"), r"identifier: expected one of \['zeros', .*got 'glorot'"),
        (lambda: initializers.get(["zeros"]), r"identifier: expected one of .*got \['zeros'\]"),
        (lambda: initializers.get({"class_name": "No", "config": {}}), "expected one of .*got 'No'"),
        (lambda: initializers.VarianceScaling(0.0), "scale: expected a positive number, got 0.0"),
        (lambda: initializers.VarianceScaling(1.0, "fan"), "mode: expected one of .*got 'fan'"),
        (lambda: initializers.RandomNormal(stddev=-1.0), "stddev: expected a number >= 0, got -1.0"),
        (lambda: initializers.RandomUniform(1.0, 0.0), r"minval: expected at most maxval \(0.0\), got 1.0"),
        (lambda: initializers.Orthogonal()((3,)), "shape: expected at least 2 axes"),
        (lambda: initializers.Zeros()((3,), "float16"), "dtype: expected one of .*got 'float16'"),
        (lambda: initializers.GlorotUniform(seed=-1), "seed: expected an integer >= 0, got -1"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
