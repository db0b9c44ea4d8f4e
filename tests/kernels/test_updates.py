"""The optimizers' updates against Keras's formulas in float64, and squared_norm."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import REDUCED, Array, Number, assert_same_bits
from .updates import STEPS, UPDATES, run_update

DEVICES = True

SIZES: list[tuple[int, ...]] = [(0,), (1,), (7,), (8,), (9,), (33,), (5, 17), (100, 130)]
INFINITY = float("inf")
# learning_rate, weight_decay, clipvalue, scale
COMMON = list(itertools.product([0.0, 0.01], [INFINITY, 0.5], [1.0, 0.25]))
COMMON_IDS = [f"decay{d}-clip{c}-scale{s}" for d, c, s in COMMON]
if REDUCED:
    SIZES = [(0,), (33,)]


def normal(size: tuple[int, ...], dtype: Number, seed: int) -> Array:
    return np.random.default_rng([seed, *size]).standard_normal(size).astype(dtype)


def used_gradient(grad: Array, clipvalue: float, scale: float) -> Array:
    clipped: Array = np.clip(grad.astype(np.float64), -clipvalue, clipvalue) * scale
    return clipped


def check(dtype: Number, actual: dict[str, Array | None], expected: dict[str, Array], steps: int = 1) -> None:
    for name, array in actual.items():
        if array is not None:
            testing.assert_close(array, expected[name], dtype=dtype, terms=2, steps=steps, name=name)


@pytest.mark.parametrize(("weight_decay", "clipvalue", "scale"), COMMON, ids=COMMON_IDS)
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sgd(
    size: tuple[int, ...],
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    clipvalue: float,
    scale: float,
    dtype: Number,
) -> None:
    param = normal(size, dtype, 1)
    velocity = normal(size, dtype, 2) if momentum else None
    p = param.astype(np.float64)
    v = np.zeros(size) if velocity is None else velocity.astype(np.float64)
    rate = 0.1
    for k in range(3):
        grad = normal(size, dtype, 10 + k)
        before = grad.copy()
        ops.sgd_update(
            param,
            grad,
            velocity,
            learning_rate=rate,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            clipvalue=clipvalue,
            scale=scale,
        )
        assert_same_bits(grad, before, "grad")
        g = used_gradient(grad, clipvalue, scale)
        p = p - rate * weight_decay * p
        v = momentum * v - rate * g
        p = p + (momentum * v - rate * g if nesterov else v)
    check(dtype, {"param": param, "velocity": velocity}, {"param": p, "velocity": v}, 3)


@pytest.mark.parametrize(("weight_decay", "clipvalue", "scale"), COMMON, ids=COMMON_IDS)
@pytest.mark.parametrize(("momentum", "centered"), list(itertools.product([0.0, 0.9], [False, True])))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rmsprop(
    size: tuple[int, ...],
    momentum: float,
    centered: bool,
    weight_decay: float,
    clipvalue: float,
    scale: float,
    dtype: Number,
) -> None:
    param = normal(size, dtype, 1)
    # Well above the squared mean, so that their difference does not cancel.
    mean_square = normal(size, dtype, 2) ** 2 + dtype(2)
    mean_grad = dtype(0.1) * normal(size, dtype, 3) if centered else None
    velocity = dtype(0.1) * normal(size, dtype, 4) if momentum else None
    p, ms = param.astype(np.float64), mean_square.astype(np.float64)
    mg = np.zeros(size) if mean_grad is None else mean_grad.astype(np.float64)
    vel = np.zeros(size) if velocity is None else velocity.astype(np.float64)
    rate, rho, epsilon = 0.05, 0.9, 1e-7
    for k in range(3):
        grad = normal(size, dtype, 10 + k)
        ops.rmsprop_update(
            param,
            grad,
            mean_square,
            mean_grad,
            velocity,
            learning_rate=rate,
            rho=rho,
            momentum=momentum,
            epsilon=epsilon,
            weight_decay=weight_decay,
            clipvalue=clipvalue,
            scale=scale,
        )
        g = used_gradient(grad, clipvalue, scale)
        p = p - rate * weight_decay * p
        ms = rho * ms + (1 - rho) * g * g
        if centered:
            mg = rho * mg + (1 - rho) * g
        step = rate * g / np.sqrt(ms - mg * mg + epsilon)
        vel = momentum * vel + step
        p = p - vel
    actual = {"param": param, "mean_square": mean_square, "mean_grad": mean_grad, "velocity": velocity}
    check(dtype, actual, {"param": p, "mean_square": ms, "mean_grad": mg, "velocity": vel}, 3)


@pytest.mark.parametrize(("weight_decay", "clipvalue", "scale"), COMMON, ids=COMMON_IDS)
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_adam(
    size: tuple[int, ...], amsgrad: bool, weight_decay: float, clipvalue: float, scale: float, dtype: Number
) -> None:
    param = normal(size, dtype, 1)
    m, v = np.zeros(size, dtype), np.zeros(size, dtype)
    vhat = np.zeros(size, dtype) if amsgrad else None
    p, m64, v64, vhat64 = param.astype(np.float64), np.zeros(size), np.zeros(size), np.zeros(size)
    rate, beta_1, beta_2, epsilon = 0.01, 0.9, 0.999, 1e-7
    for step in range(1, 5):
        # A small gradient after large ones: there the largest v so far is not the present one.
        grad = normal(size, dtype, 10 + step) * dtype(1e-3 if step == 3 else 1)
        ops.adam_update(
            param,
            grad,
            m,
            v,
            vhat,
            learning_rate=rate,
            step=step,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            weight_decay=weight_decay,
            clipvalue=clipvalue,
            scale=scale,
        )
        g = used_gradient(grad, clipvalue, scale)
        p = p - rate * weight_decay * p
        alpha = rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        m64 = m64 + (g - m64) * (1 - beta_1)
        v64 = v64 + (g * g - v64) * (1 - beta_2)
        vhat64 = np.maximum(vhat64, v64)
        p = p - alpha * m64 / (np.sqrt(vhat64 if amsgrad else v64) + epsilon)
    check(
        dtype,
        {"param": param, "m": m, "v": v, "vhat": vhat},
        {"param": p, "m": m64, "v": v64, "vhat": vhat64},
        4,
    )


def test_adam_after_many_steps(dtype: Number) -> None:
    """The bias corrections vanish without trouble when step is large."""
    param, m, v = (np.full(9, value, dtype) for value in (1.0, 0.5, 0.25))
    ops.adam_update(
        param, m.copy(), m, v, None, learning_rate=0.1, step=10**9, beta_1=0.9, beta_2=0.999, epsilon=1e-7
    )
    # g = m and g^2 = v leave both as they are: the update is 0.1 * 0.5 / (0.5 + epsilon).
    expected = np.full(9, 1.0 - 0.1 * 0.5 / (0.5 + 1e-7))
    testing.assert_close(param, expected, dtype=dtype, terms=2, name="param")


@pytest.mark.parametrize(("weight_decay", "clipvalue", "scale"), COMMON, ids=COMMON_IDS)
@pytest.mark.parametrize("averaged", [None, False, True])
@pytest.mark.parametrize("name", STEPS)
def test_other_updates(
    name: str, averaged: bool | None, weight_decay: float, clipvalue: float, scale: float, dtype: Number
) -> None:
    """A few steps; with a moving average, whether or not it overwrites the parameter."""
    rate, numbers = 0.05, dict(UPDATES[name].numbers)
    for size in SIZES[-3:]:
        arrays = {
            each: np.abs(normal(size, dtype, k)) + dtype(1) for k, each in enumerate(UPDATES[name].arrays)
        }
        expected = {each: array.astype(np.float64) for each, array in arrays.items()}
        for step in range(1, 4):
            if "step" in numbers:
                numbers["step"] = step
            arrays["grad"] = normal(size, dtype, 10 + step)
            more: dict[str, Any] = {"ema_overwrites": averaged} if averaged is not None else {}
            given = arrays if averaged is not None else {**arrays, "average": None}
            common = {"learning_rate": rate, "weight_decay": weight_decay, "clipvalue": clipvalue}
            run_update(ops, name, given, scale=scale, **common, **numbers, **more)
            g = used_gradient(arrays["grad"], clipvalue, scale)
            p = expected["param"] - rate * weight_decay * expected["param"]
            p = STEPS[name](p, g, expected, rate, numbers)
            if averaged is not None:
                expected["average"] = 0.75 * expected["average"] + 0.25 * p
            expected["param"] = expected["average"] if averaged else p
        expected["grad"] = arrays["grad"].astype(np.float64)
        check(dtype, {**arrays}, expected, 3)


@pytest.mark.parametrize("step", [1, 2, 899, 900, 10**6])
def test_momenta_of_nadam(step: int) -> None:
    """The product of all momenta, whatever its length."""
    arrays = {"param": np.zeros(1), "grad": np.ones(1), "m": np.ones(1), "v": np.ones(1)}
    numbers: dict[str, Any] = {"beta_1": 0.999, "beta_2": 0.999, "epsilon": 1e-7, "step": step}
    ops.nadam_update(*arrays.values(), learning_rate=1.0, **numbers)
    u = 0.999 * (1 - 0.5 * 0.96 ** np.arange(1.0, step + 2))
    ahead = u[-1] / (1 - u.prod()) + (1 - u[-2]) / (1 - u[:-1].prod())
    want = -ahead / (math.sqrt(1 / (1 - 0.999**step)) + 1e-7)
    assert arrays["param"][0] == pytest.approx(want, rel=1e-11)


def test_directions_of_lion(dtype: Number) -> None:
    """Signs, whatever the size: of the largest numbers and of the smallest normal ones, of 0 and NaN."""
    tiny, huge = np.finfo(dtype).tiny, np.finfo(dtype).max
    grad = np.array([huge, tiny, 1e-9, 0, -1e-9, -tiny, -huge, np.inf, -np.inf, np.nan], dtype)
    param, m = np.zeros_like(grad), np.zeros_like(grad)
    ops.lion_update(param, grad, m, learning_rate=1.0, beta_1=0.0, beta_2=1.0)
    np.testing.assert_array_equal(param, -np.sign(grad))


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_lists_of_parameters(name: str, threads: int) -> None:
    """Several at once, of different sizes and number types, have the bits of one after the other."""
    sizes: list[tuple[int, ...]] = [(33,), (0,), (1,), (130, 7), (64,)]
    if not REDUCED:
        sizes.append((257, 401))  # what threads share
    kinds = [(size, (np.float32, np.float64)[k % 2]) for k, size in enumerate(sizes)]
    arrays = {
        each: [np.abs(normal(*kind, k)) for kind in kinds] for k, each in enumerate(UPDATES[name].arrays)
    }
    scales = [0.5 + k for k in range(len(kinds))]
    decays = [0.01 * k for k in range(len(kinds))]
    alone = {each: [array.copy() for array in row] for each, row in arrays.items()}
    for k, (scale, decay) in enumerate(zip(scales, decays, strict=True)):
        one = {each: row[k] for each, row in alone.items()}
        run_update(ops, name, one, scale=scale, weight_decay=decay)
    before = ops.get_num_threads()
    ops.set_num_threads(threads)
    try:
        run_update(ops, name, arrays, scale=scales, weight_decay=decays)
    finally:
        ops.set_num_threads(before)
    for each, row in arrays.items():
        for k, array in enumerate(row):
            assert_same_bits(array, alone[each][k], f"{each}[{k}]")


@pytest.mark.parametrize("name", UPDATES)
def test_iterations(name: str, dtype: Number) -> None:
    """The count goes up with updates that are done, of one parameter or several."""
    iterations = np.array(7, np.int64)
    arrays = {each: np.ones(5, dtype) for each in UPDATES[name].arrays}
    run_update(ops, name, arrays, iterations=iterations)
    assert iterations == 8
    pairs = {each: [array, array.copy()] for each, array in arrays.items()}
    run_update(ops, name, pairs, iterations=iterations)
    assert iterations == 9
    with pytest.raises(ValueError, match=r"^grad\[1\]: "):
        run_update(
            ops, name, {**pairs, "grad": [np.ones(5, dtype), np.ones(3, dtype)]}, iterations=iterations
        )
    assert iterations == 9
    param = arrays["param"]
    before = param.copy()
    read_only = iterations.copy()
    read_only.flags.writeable = False
    for wrong, kind, text in (
        (3, TypeError, "int"),
        (np.array(3.0), TypeError, "one of float64"),
        (np.array([3]), ValueError, r"shape \(1,\)"),
        (read_only, ValueError, "one that is read-only"),
    ):
        with pytest.raises(kind, match=rf"^iterations: expected an array \(\) of int64 .*, got {text}"):
            run_update(ops, name, arrays, iterations=wrong)
    np.testing.assert_array_equal(param, before)


def test_lists_take_one_scale_and_may_be_empty(dtype: Number) -> None:
    params = [np.ones(5, dtype), np.ones(3, dtype)]
    ops.sgd_update(params, [np.ones(5, dtype), np.ones(3, dtype)], None, learning_rate=0.5, scale=0.5)
    for param in params:
        np.testing.assert_array_equal(param, np.full(param.shape, 0.75))
    ops.sgd_update([], [], None, learning_rate=0.5)


def test_nan_gradient_stays_in_its_element(dtype: Number) -> None:
    grad = np.ones(19, dtype)
    grad[5] = np.nan
    for clipvalue in (INFINITY, 0.5):
        param = np.ones(19, dtype)
        ops.sgd_update(param, grad, None, learning_rate=0.1, clipvalue=clipvalue)
        np.testing.assert_array_equal(np.isnan(param), np.isnan(grad))


@pytest.mark.parametrize("size", [*SIZES, (100_003,)], ids=str)
def test_squared_norm(size: tuple[int, ...], dtype: Number) -> None:
    a = normal(size, dtype, 1)
    value = ops.squared_norm(a)
    assert type(value) is float
    exact = math.fsum(float(element) ** 2 for element in a.ravel())
    assert abs(value - exact) <= testing.tolerance(np.float64, a.size) * exact


def test_squared_norm_of_special_values(dtype: Number) -> None:
    assert ops.squared_norm(np.full(9, 1e30, dtype)) == pytest.approx(9e60, rel=1e-6)
    assert ops.squared_norm(np.array([1, np.inf], dtype)) == INFINITY
    assert math.isnan(ops.squared_norm(np.array([1, np.nan], dtype)))


@pytest.mark.cpu
def test_iterations_apart_from_other_arrays() -> None:
    """A count in the memory of another array, and one that would come round."""
    param, grad = np.ones(4, np.float32), np.ones(4, np.float32)
    for shared in (param, grad):
        count = shared[:2].view(np.int64).reshape(())
        with pytest.raises(ValueError, match=r"^iterations: expected memory apart"):
            ops.sgd_update(param, grad, None, learning_rate=0.1, iterations=count)
    last = np.array(2**63 - 1)
    with pytest.raises(ValueError, match=r"^iterations: expected fewer than 2\^63 - 1, got 92"):
        ops.sgd_update(param, grad, None, learning_rate=0.1, iterations=last)
    assert (param == 1).all()
    assert last == 2**63 - 1
