"""The MNIST model in float64 NumPy: what its training steps must compute when dropout is off."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fusedlstm import testing

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array

LEARNING_RATE, BETA_1, BETA_2, ADAM_EPSILON = 1e-3, 0.9, 0.999, 1e-7


class TrainingReference(NamedTuple):
    """What `train_reference` returns.

    Attributes
    ----------
    losses : list of float
        Before each of the updates.
    gradients : list of ndarray
        Of the first loss, one for each weight.
    weights : list of ndarray
        After the first update.
    """

    losses: list[float]
    gradients: list[npt.NDArray[np.float64]]
    weights: list[npt.NDArray[np.float64]]


def train_reference(arrays: dict[str, Array], steps: int) -> TrainingReference:
    """Train on one batch, as `fusedlstm.benchmark.workloads.make_arrays` makes it, with Keras's Adam.

    Parameters
    ----------
    arrays
        ``x`` (B, T, I), ``labels`` (B,), ``w0`` to ``w9``.
    steps
        Number of updates.
    """
    weights = [arrays[f"w{index}"].astype(np.float64) for index in range(10)]
    moments = [(np.zeros_like(weight), np.zeros_like(weight)) for weight in weights]
    losses: list[float] = []
    first: tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]] = ([], [])
    for step in range(1, steps + 1):
        loss, gradients = _loss_and_gradients(arrays["x"], arrays["labels"], weights)
        losses.append(loss)
        alpha = LEARNING_RATE * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
        for weight, gradient, (mean, square) in zip(weights, gradients, moments, strict=True):
            mean += (1 - BETA_1) * (gradient - mean)
            square += (1 - BETA_2) * (gradient**2 - square)
            weight -= alpha * mean / (np.sqrt(square) + ADAM_EPSILON)
        if step == 1:
            first = gradients, [weight.copy() for weight in weights]
    return TrainingReference(losses, *first)


def _loss_and_gradients(
    x: Array, labels: Array, weights: list[npt.NDArray[np.float64]]
) -> tuple[float, list[npt.NDArray[np.float64]]]:
    lower_kernel, lower_recurrent, lower_bias, upper_kernel, upper_recurrent, upper_bias = weights[:6]
    kernel1, bias1, kernel2, bias2 = weights[6:]
    sequence = testing.lstm_forward_reference(x, lower_kernel, lower_recurrent, lower_bias).y
    state = testing.lstm_forward_reference(sequence, upper_kernel, upper_recurrent, upper_bias).h
    before = testing.dense_forward_reference(state, kernel1, bias1)
    hidden = np.maximum(before, 0)
    logits = testing.dense_forward_reference(hidden, kernel2, bias2)

    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -float(log_probabilities[rows, labels].mean())
    dlogits = np.exp(log_probabilities)
    dlogits[rows, labels] -= 1
    dlogits /= len(labels)

    dhidden, dkernel2, dbias2 = testing.dense_backward_reference(hidden, kernel2, dlogits)
    dstate, dkernel1, dbias1 = testing.dense_backward_reference(state, kernel1, dhidden * (before > 0))
    above = testing.lstm_backward_reference(sequence, upper_kernel, upper_recurrent, upper_bias, dh=dstate)
    below = testing.lstm_backward_reference(x, lower_kernel, lower_recurrent, lower_bias, dy=above.dx)
    return loss, [
        *(below.dkernel, below.drecurrent_kernel, below.dbias),
        *(above.dkernel, above.drecurrent_kernel, above.dbias),
        *(dkernel1, dbias1, dkernel2, dbias2),
    ]
