"""Whether a contender computes what the workload asks for. Nothing is timed that does not.

The judge is the float64 reference of `fusedlstm.testing`, which shares no code with any contender, and its
tolerance, a formula for rounding errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusedlstm import testing
from fusedlstm.benchmark.reference_model import ADAM_EPSILON, LEARNING_RATE, train_reference

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload

_MNIST_CHECKED_STEPS = 3
_SHORT = ("float16", "bfloat16")


class DisagreementError(Exception):
    """A contender's results are not those of the reference; the message says which and by how much."""


class Expected(NamedTuple):
    """One array that a contender must return.

    Attributes
    ----------
    array : ndarray of float64
        The reference's result.
    allowed : ndarray of float64
        Largest difference that rounding explains, broadcast against `array`.
    """

    array: Array
    allowed: Array


def expectations(workload: Workload, arrays: dict[str, Array], dtype: str) -> dict[str, Expected]:
    """Compute what the contenders must return for a workload.

    Returns
    -------
    dict
        ``y`` (B, T, H), ``h`` and ``c`` (B, H) for forward, ``h`` and ``c`` for a step, ``dx`` (B, T, I),
        ``dkernel``, ``drecurrent_kernel`` and ``dbias`` in Keras's layout for training of any kind,
        ``losses`` and, after the first update, the weights ``w0`` to ``w9`` for the MNIST model.
        Numbers of 16 bits are expected to be stored in these and summed in more, in forward and training.
    """
    if dtype == "int8":  # of operands, whose loss narrow.py adds; the rest is float32
        dtype = "float32"
    if dtype in _SHORT:
        arrays = {
            name: array if array.dtype.kind == "i" else np.asarray(array, np.float64)
            for name, array in arrays.items()
        }
    if workload.kind == "mnist":
        return _mnist(workload, arrays, dtype)
    if workload.kind in ("training", "lengths", "checkpoint"):
        return _gradients(workload, arrays, dtype)
    T, I, H = workload.T, workload.I, workload.H  # noqa: E741
    weights = arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]
    if dtype in _SHORT:
        tolerance = testing.storage_tolerance(dtype, min(T, _memory(workload, arrays)))
    else:
        tolerance = testing.tolerance(dtype, I + H + 1, steps=T)
    if workload.kind == "step":
        x = arrays["x"][:, None]
        result = testing.lstm_forward_reference(x, *weights, h0=arrays["h0"], c0=arrays["c0"])
        return {name: _relative(getattr(result, name), tolerance) for name in ("h", "c")}
    result = testing.lstm_forward_reference(arrays["x"], *weights)
    return {name: _relative(getattr(result, name), tolerance) for name in ("y", "h", "c")}


def _gradients(workload: Workload, arrays: dict[str, Array], dtype: str) -> dict[str, Expected]:
    steps = workload.T
    if workload.kind == "checkpoint":
        steps = min(steps, _memory(workload, arrays))
    if dtype in _SHORT:  # forward and back, each with what it stores
        tolerance = testing.storage_tolerance(dtype, 2 * min(steps, _memory(workload, arrays)))
    else:
        tolerance = testing.tolerance(dtype, workload.I + 4 * workload.H + workload.real_steps, steps=steps)
    # Sums over all rows and steps have partial sums of about the root of their number.
    root = math.sqrt(workload.real_steps)
    least = {"dx": 0.0, **dict.fromkeys(("dkernel", "drecurrent_kernel", "dbias"), root)}
    if workload.kind == "lengths":
        gradients = _gradients_by_row(workload, arrays)
    else:
        weights = arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]
        reference = testing.lstm_backward_reference(arrays["x"], *weights, dy=arrays["dy"])
        gradients = {name: getattr(reference, name) for name in least}
    return {name: _relative(gradients[name], tolerance, least[name]) for name in least}


def _gradients_by_row(workload: Workload, arrays: dict[str, Array]) -> dict[str, Array]:
    """Run each row by itself, its real steps only: the reference knows nothing of lengths."""
    weights = arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]
    sums = [np.zeros(array.shape) for array in weights]
    dx = np.zeros(arrays["x"].shape)
    for row, length in enumerate(workload.lengths):
        real = slice(row, row + 1), slice(0, length)
        gradients = testing.lstm_backward_reference(arrays["x"][real], *weights, dy=arrays["dy"][real])
        dx[real] = gradients.dx
        parts = gradients.dkernel, gradients.drecurrent_kernel, gradients.dbias
        for total, part in zip(sums, parts, strict=True):
            total += part
    return {"dx": dx, **dict(zip(("dkernel", "drecurrent_kernel", "dbias"), sums, strict=True))}


def _memory(workload: Workload, arrays: dict[str, Array]) -> int:
    """Return how many steps' rounding errors one state holds, for sequences so long that most have faded.

    A forget gate of pre-activation z leaves ``sigmoid(z)`` of an error, so that ``1 / (1 - sigmoid(z)) = 1 +
    exp(z)`` steps' errors are in the cell state at a time. Taken is the largest bias, and twice the number
    for what the inputs add to z, whose mean is zero, and for errors that come back through h.
    """
    forget = arrays["bias"][workload.H : 2 * workload.H]
    return math.ceil(2 * (1 + math.exp(float(forget.max()))))


def _relative(array: Array, tolerance: float, least: float = 0.0) -> Expected:
    scale = max(float(np.abs(array).max(initial=0.0)), least)
    return Expected(array, np.asarray(tolerance * scale))


def _mnist(workload: Workload, arrays: dict[str, Array], dtype: str) -> dict[str, Expected]:
    """Judge three training steps, of which the first can be judged element by element.

    Adam's first update is ``rate g / (|g| + e)``. Contenders differ in ``e`` (Keras adds epsilon to a root
    that is not yet corrected for its bias, PyTorch to a corrected one), by at most
    ``e = epsilon / sqrt(1 - beta_2)``, and in g by rounding, ``d``. The derivative of g / (|g| + e) by either
    is at most 1 / |g|, so the updates differ by at most ``rate min(2, 2 (e + d) / |g|)``, the factor 2 being
    for |g| itself; and the loss after it by at most the sum of |g| times that, once more for each further
    step, twice to be safe from curvature.
    """
    B, T, H = workload.B, workload.T, workload.H
    reference = train_reference(arrays, _MNIST_CHECKED_STEPS)
    largest = max(float(np.abs(gradient).max()) for gradient in reference.gradients)
    # Two LSTMs feed each gradient, so that twice as many steps follow one another; and back as many again.
    if dtype in _SHORT:
        of_gradients, of_logits = (testing.storage_tolerance(dtype, passes * T) for passes in (4, 2))
        dtype = "float32"  # of weights
    else:
        of_gradients = testing.tolerance(dtype, 8 * H + B * T, steps=2 * T)
        of_logits = testing.tolerance(dtype, 2 * H + 1, steps=2 * T)
    rounding = of_gradients * largest
    unclear = ADAM_EPSILON / np.sqrt(1 - 0.999) + rounding
    unit = float(np.finfo(dtype).eps)
    result, drift = {}, 0.0
    for index, (gradient, weight) in enumerate(zip(reference.gradients, reference.weights, strict=True)):
        size = np.abs(gradient)
        with np.errstate(divide="ignore"):
            update = LEARNING_RATE * np.minimum(2.0, 2 * unclear / size)
        result[f"w{index}"] = Expected(weight, update + unit * np.abs(weight))
        drift += float((size * update).sum())
    steps = np.arange(_MNIST_CHECKED_STEPS)
    losses = np.array(reference.losses)
    # The loss is linear in errors of the log-probabilities, which are of the logits' size, a few units.
    plain = 4 * of_logits
    result["losses"] = Expected(losses, plain * np.maximum(losses, 1.0) + 2 * steps * drift)
    return result


def largest_difference(results: dict[str, Array], expected: dict[str, Expected]) -> float:
    """Return how far results that `compare` accepts are from the reference's at most, as a number."""
    return max(float(np.abs(results[name] - want.array).max()) for name, want in expected.items())


def compare(results: dict[str, Array], expected: dict[str, Expected]) -> float:
    """Compare a contender's results with the reference's.

    Returns
    -------
    float
        The worst difference in units of what is allowed: 1 or less.

    Raises
    ------
    DisagreementError
        If an array is missing, has another shape, or is too far off somewhere, NaN included.
    """
    worst = 0.0
    for name, (want, allowed) in expected.items():
        if name not in results:
            raise DisagreementError(f"{name}: missing")
        got = np.asarray(results[name])
        if got.shape != want.shape:
            raise DisagreementError(f"{name}: expected shape {want.shape}, got {got.shape}")
        ratio = np.abs(got.astype(np.float64) - want) / allowed
        # A NaN compares false with everything: it is the worst difference there can be.
        ratio = np.where(np.isnan(ratio), np.inf, ratio)
        position = np.unravel_index(int(ratio.argmax()), ratio.shape)
        value = float(ratio[position])
        if value > 1:
            index = [int(k) for k in position]
            raise DisagreementError(
                f"{name}{index}: expected {float(want[position]):.9g}, got {float(got[position]):.9g}, "
                f"{value:.3g} times what rounding explains "
                f"({int((ratio > 1).sum())} of {ratio.size} elements are too far off)"
            )
        worst = max(worst, value)
    return worst
