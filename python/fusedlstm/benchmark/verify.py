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

__all__ = ["DisagreementError", "Expected", "compare", "expectations"]

_MNIST_CHECKED_STEPS = 3


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
        ``dkernel``, ``drecurrent_kernel`` and ``dbias`` in Keras's layout for training, ``losses`` and, after
        the first update, the weights ``w0`` to ``w9`` for the MNIST model.
    """
    if workload.kind == "mnist":
        return _mnist(workload, arrays, dtype)
    B, T, I, H = workload.B, workload.T, workload.I, workload.H  # noqa: E741
    weights = arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]
    if workload.kind == "training":
        gradients = testing.lstm_backward_reference(arrays["x"], *weights, dy=arrays["dy"])
        tolerance = testing.tolerance(dtype, I + 4 * H + B * T, steps=T)
        # Sums over all rows and steps have partial sums of about the root of their number.
        least = {"dx": 0.0, **dict.fromkeys(("dkernel", "drecurrent_kernel", "dbias"), math.sqrt(B * T))}
        return {name: _relative(getattr(gradients, name), tolerance, least[name]) for name in least}
    tolerance = testing.tolerance(dtype, I + H + 1, steps=T)
    if workload.kind == "step":
        x = arrays["x"][:, None]
        result = testing.lstm_forward_reference(x, *weights, h0=arrays["h0"], c0=arrays["c0"])
        return {name: _relative(getattr(result, name), tolerance) for name in ("h", "c")}
    result = testing.lstm_forward_reference(arrays["x"], *weights)
    return {name: _relative(getattr(result, name), tolerance) for name in ("y", "h", "c")}


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
    # Two LSTMs feed each gradient, so that twice as many steps follow one another.
    rounding = testing.tolerance(dtype, 8 * H + B * T, steps=2 * T) * largest
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
    plain = 4 * testing.tolerance(dtype, 2 * H + 1, steps=2 * T)
    result["losses"] = Expected(losses, plain * np.maximum(losses, 1.0) + 2 * steps * drift)
    return result


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
