"""The reference against finite differences and by hand, and proof that the checks do fail on errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fusedlstm import testing

Array = npt.NDArray[Any]


def lstm_arrays(B: int, T: int, I: int, H: int, seed: int = 0) -> dict[str, Any]:  # noqa: E741
    random = np.random.default_rng(seed)
    shapes = {
        "x": (B, T, I),
        "kernel": (I, 4 * H),
        "recurrent_kernel": (H, 4 * H),
        "bias": (4 * H,),
        "h0": (B, H),
        "c0": (B, H),
    }
    return {name: 0.7 * random.standard_normal(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 2), (3, 5, 2, 3)])
def test_lstm_reference_agrees_with_finite_differences(
    shape: tuple[int, int, int, int], go_backwards: bool
) -> None:
    def forward(**arrays: Any) -> tuple[Array, ...]:
        return tuple(testing.lstm_forward_reference(**arrays, go_backwards=go_backwards))

    def gradient(projections: tuple[Array, ...], **arrays: Any) -> dict[str, Array]:
        dy, dh, dc = projections
        grads = testing.lstm_backward_reference(**arrays, dy=dy, dh=dh, dc=dc, go_backwards=go_backwards)
        return {name: getattr(grads, "d" + name) for name in arrays}

    check = testing.check_gradients(
        forward, gradient, lstm_arrays(*shape), terms=shape[2] + shape[3], steps=shape[1], elements=None
    )
    assert 0 < check.ratio <= 1


def test_cell_reference_agrees_with_finite_differences() -> None:
    random = np.random.default_rng(1)
    arrays = {"z": random.standard_normal((3, 20)), "c_prev": random.standard_normal((3, 5))}

    def forward(z: Array, c_prev: Array) -> tuple[Array, ...]:
        return testing.cell_forward_reference(z, c_prev)[:2]

    def gradient(projections: tuple[Array, ...], z: Array, c_prev: Array) -> dict[str, Array]:
        _, c, gates = testing.cell_forward_reference(z, c_prev)
        dz, dc_prev = testing.cell_backward_reference(gates, c_prev, c, *projections)
        return {"z": dz, "c_prev": dc_prev}

    testing.check_gradients(forward, gradient, arrays, elements=None)


def test_dense_reference_agrees_with_finite_differences() -> None:
    random = np.random.default_rng(2)
    arrays = {
        "x": random.standard_normal((4, 3)),
        "kernel": random.standard_normal((3, 5)),
        "bias": random.standard_normal(5),
    }

    def gradient(projections: tuple[Array, ...], **arrays: Any) -> dict[str, Array]:
        grads = testing.dense_backward_reference(arrays["x"], arrays["kernel"], projections[0])
        return dict(zip(("x", "kernel", "bias"), grads, strict=True))

    testing.check_gradients(testing.dense_forward_reference, gradient, arrays, terms=3, elements=None)


def test_one_unit_by_hand() -> None:
    # One row, one unit, two steps; the numbers were worked out with scalar math, gate by gate.
    x = np.array([[[1.0], [-2.0]]])
    kernel = np.array([[0.5, -0.25, 1.0, 2.0]])
    recurrent_kernel = np.array([[0.1, 0.2, -0.3, 0.4]])
    bias = np.array([0.0, 1.0, -0.5, 0.25])

    def sigmoid(v: float) -> float:
        return 1 / (1 + math.exp(-v))

    c1 = sigmoid(0.75) * 0.3 + sigmoid(0.5) * np.tanh(0.5)
    h1 = sigmoid(2.25) * np.tanh(c1)
    c2 = sigmoid(1.5 + 0.2 * h1) * c1 + sigmoid(-1.0 + 0.1 * h1) * np.tanh(-2.5 - 0.3 * h1)
    h2 = sigmoid(-3.75 + 0.4 * h1) * np.tanh(c2)
    y, h, c = testing.lstm_forward_reference(x, kernel, recurrent_kernel, bias, c0=np.array([[0.3]]))
    testing.assert_close(y, np.array([[[h1], [h2]]]), dtype=np.float64, terms=2, steps=2)
    testing.assert_close(h, np.array([[h2]]), dtype=np.float64, terms=2, steps=2)
    testing.assert_close(c, np.array([[c2]]), dtype=np.float64, terms=2, steps=2)


@pytest.mark.parametrize("shape", [(0, 3, 2, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 4, 0)])
def test_reference_takes_empty_sizes(shape: tuple[int, int, int, int]) -> None:
    B, T, I, H = shape  # noqa: E741
    arrays = lstm_arrays(*shape)
    y, h, c = testing.lstm_forward_reference(**arrays)
    assert (y.shape, h.shape, c.shape) == ((B, T, H), (B, H), (B, H))
    if T == 0:
        np.testing.assert_array_equal(h, arrays["h0"])
        np.testing.assert_array_equal(c, arrays["c0"])
    dh = np.ones((B, H))
    grads = testing.lstm_backward_reference(**arrays, dh=dh)
    assert grads.dx.shape == (B, T, I)
    for name in ("kernel", "recurrent_kernel", "bias", "h0", "c0"):
        assert getattr(grads, "d" + name).shape == arrays[name].shape
    if T == 0:
        np.testing.assert_array_equal(grads.dh0, dh)


def test_reference_does_not_change_or_share_its_arguments() -> None:
    arrays = lstm_arrays(2, 0, 3, 4)
    _, h, c = testing.lstm_forward_reference(**arrays)
    before = arrays["h0"].copy()
    h += 1
    c += 1
    np.testing.assert_array_equal(arrays["h0"], before)


@pytest.mark.parametrize("name", ["x", "kernel", "recurrent_kernel", "bias", "h0", "c0"])
@pytest.mark.parametrize("error", ["element", "sign", "scale", "nan", "shape"])
def test_check_gradients_fails_on_planted_errors(name: str, error: str) -> None:
    def forward(**arrays: Any) -> Array:
        return testing.lstm_forward_reference(**arrays).y

    def gradient(projections: tuple[Array, ...], **arrays: Any) -> dict[str, Array]:
        grads = testing.lstm_backward_reference(**arrays, dy=projections[0])
        planted: Array = getattr(grads, "d" + name)
        largest = np.abs(planted).max()
        if error == "element":
            planted.flat[-1] += 1e-5 * largest
        elif error == "sign":
            planted *= -1
        elif error == "scale":
            planted *= 1 + 1e-5
        elif error == "nan":
            planted.flat[0] = np.nan
        else:
            planted = planted[..., :-1]
        return {name: planted}

    with pytest.raises(AssertionError, match=f"gradient of {name}"):
        testing.check_gradients(forward, gradient, lstm_arrays(2, 3, 2, 3), terms=5, steps=3, elements=None)


def test_check_gradients_draws_elements_and_leaves_arrays_alone() -> None:
    arrays = {"a": np.linspace(-1, 1, 50)}
    calls = []

    def forward(a: Array) -> Array:
        calls.append(a.copy())
        return a**2

    check = testing.check_gradients(
        forward, lambda projections, a: {"a": 2 * a * projections[0]}, arrays, elements=5
    )
    assert check.name == "a"
    assert len(calls) == 1 + 5 * 4
    np.testing.assert_array_equal(arrays["a"], np.linspace(-1, 1, 50))


def test_check_gradients_rejects_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"arrays\['a'\]: expected an array of float64, got .* float32"):
        testing.check_gradients(np.sin, lambda _p, a: {"a": a}, {"a": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match=r"expected names among \['a'\], got 'b'"):
        testing.check_gradients(lambda a: a, lambda p, a: {"b": p[0] * a}, {"a": np.ones(2)})


def test_assert_close_names_the_worst_element() -> None:
    expected = np.ones((3, 4))
    actual = expected.copy()
    actual[1, 2] += 1e-3
    actual[0, 0] += 1e-4
    with pytest.raises(AssertionError, match=r"dx\[1, 2\]: expected 1\.0, got 1\.001, .* \(2 of 12 "):
        testing.assert_close(actual, expected, dtype=np.float64, terms=4, name="dx")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_assert_close_reports_in_units_of_the_tolerance(dtype: npt.DTypeLike) -> None:
    expected = np.array([0.0, 1.0])
    allowed = testing.tolerance(dtype, 10, steps=3)
    assert testing.assert_close(expected.astype(dtype), expected, dtype=dtype, terms=10, steps=3) == 0
    inside, outside = (np.array([factor * allowed, 1.0], dtype) for factor in (0.5, 1.5))
    ratio = testing.assert_close(inside, expected, dtype=dtype, terms=10, steps=3)
    assert ratio == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(AssertionError, match=r"1\.5 times the tolerance"):
        testing.assert_close(outside, expected, dtype=dtype, terms=10, steps=3)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.ones((2, 3)), np.ones((3, 2))),
        (np.ones(3), np.ones((3, 1))),
        (np.ones(3, np.float32), np.ones(3)),
        (np.array([np.nan, 1.0]), np.ones(2)),
        (np.ones(2), np.array([np.nan, 1.0])),
        (np.array([np.inf, 1.0]), np.ones(2)),
        (np.array([-np.inf, 1.0]), np.array([np.inf, 1.0])),
        (np.ones(2), np.array([np.inf, 1.0])),
    ],
)
def test_assert_close_fails(actual: Array, expected: Array) -> None:
    with pytest.raises(AssertionError):
        testing.assert_close(actual, expected, dtype=np.float64, terms=1)


def test_assert_close_takes_nan_infinity_and_nothing() -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0])
    assert testing.assert_close(special, special, dtype=np.float64, terms=1) == 0
    assert testing.assert_close(np.ones((0, 3)), np.ones((0, 3)), dtype=np.float64, terms=1) == 0


def test_assert_close_takes_a_scale_for_each_element() -> None:
    expected, scale = np.array([1.0, 1.0]), np.array([1.0, 1e6])
    allowed = testing.tolerance(np.float64, 1)
    actual = expected + np.array([0.0, 1e5 * allowed])
    testing.assert_close(actual, expected, dtype=np.float64, terms=1, scale=scale)
    with pytest.raises(AssertionError):
        testing.assert_close(actual[::-1].copy(), expected, dtype=np.float64, terms=1, scale=scale)


def test_tolerance() -> None:
    eps = float(np.finfo(np.float32).eps)
    assert testing.tolerance(np.float32, 100) == pytest.approx(eps / 2 * (80 + 48))
    assert testing.tolerance(np.float32, 100, steps=7) == pytest.approx(7 * eps / 2 * (80 + 48))
    assert testing.tolerance(np.float32, 0, steps=0) == testing.tolerance(np.float32, 0)
    with pytest.raises(TypeError, match="dtype: expected a floating-point type, got int32"):
        testing.tolerance(np.int32, 1)
    with pytest.raises(ValueError, match="terms: expected a non-negative integer, got -1"):
        testing.tolerance(np.float32, -1)
    with pytest.raises(ValueError, match="steps: expected a non-negative integer, got -2"):
        testing.tolerance(np.float32, 1, steps=-2)


def test_storage_tolerance() -> None:
    assert testing.storage_tolerance("float16", 0) == pytest.approx(16 * 2.0**-11)
    assert testing.storage_tolerance(np.float16, 96) == pytest.approx(80 * 2.0**-11)
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    assert testing.storage_tolerance(bfloat16, 5) == pytest.approx(24 * 2.0**-8)
    with pytest.raises(TypeError, match="dtype: expected float16 or bfloat16, got float32"):
        testing.storage_tolerance(np.float32, 1)
    with pytest.raises(ValueError, match="steps: expected a non-negative integer, got -1"):
        testing.storage_tolerance("float16", -1)
