"""ONNX's LSTM operator as its specification has it, in float64 NumPy, step by step and row by row.

onnx's own reference evaluator passes over activations, clip, input_forget and sequence_lens; `LSTM` here
replaces its operator. Where the specification is silent, this follows ONNX Runtime: clip does not limit the
argument of h, and rows without steps end in zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray[Any, Any]
DEFAULTS = {"LeakyRelu": (0.01,), "Elu": (1.0,), "HardSigmoid": (0.2, 0.5)}


def activation(name: str, x: Array, alpha: float, beta: float) -> Array:
    functions: dict[str, Callable[[], Any]] = {
        "Relu": lambda: np.maximum(x, 0),
        "Tanh": lambda: np.tanh(x),
        "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "Affine": lambda: alpha * x + beta,
        "LeakyRelu": lambda: np.where(x >= 0, x, alpha * x),
        "ThresholdedRelu": lambda: np.where(x >= alpha, x, 0),
        "ScaledTanh": lambda: alpha * np.tanh(beta * x),
        "HardSigmoid": lambda: np.minimum(np.maximum(alpha * x + beta, 0), 1),
        "Elu": lambda: np.where(x >= 0, x, alpha * (np.exp(x) - 1)),
        "Softsign": lambda: x / (1 + np.abs(x)),
        "Softplus": lambda: np.log(1 + np.exp(x)),
    }
    return np.asarray(functions[name]())


def activations(attributes: dict[str, Any], directions: int) -> list[tuple[str, float, float]]:
    """Return name, alpha and beta of each activation; parameters go to those that take them, in order."""
    names = list(attributes.get("activations") or ["Sigmoid", "Tanh", "Tanh"] * directions)
    alphas = [float(a) for a in attributes.get("activation_alpha") or []]
    betas = [float(b) for b in attributes.get("activation_beta") or []]
    result = []
    for name in names:
        defaults = (*DEFAULTS.get(name, ()), 0.0, 0.0)
        takes_alpha = name in DEFAULTS or name in ("Affine", "ScaledTanh", "ThresholdedRelu")
        takes_beta = name in ("Affine", "ScaledTanh", "HardSigmoid")
        alpha = alphas.pop(0) if takes_alpha and alphas else defaults[0]
        beta = betas.pop(0) if takes_beta and betas else defaults[1]
        result.append((name, alpha, beta))
    return result


def one_row(
    x: Array, W: Array, R: Array, B: Array, P: Array, h: Array, c: Array, fgh: Any, clip: float, coupled: bool
) -> tuple[Array, Array, Array]:
    """Run (T, I) in one direction."""

    def limited(z: Array) -> Array:
        return np.clip(z, -clip, clip) if clip else z

    (f, g, out), H = fgh, len(h)
    p_i, p_o, p_f = P[:H], P[H : 2 * H], P[2 * H :]
    outputs = []
    for x_t in x:
        z = W @ x_t + R @ h + B[: 4 * H] + B[4 * H :]
        i = activation(f[0], limited(z[:H] + p_i * c), *f[1:])
        forget = 1 - i if coupled else activation(f[0], limited(z[2 * H : 3 * H] + p_f * c), *f[1:])
        c = forget * c + i * activation(g[0], limited(z[3 * H :]), *g[1:])
        o = activation(f[0], limited(z[H : 2 * H] + p_o * c), *f[1:])
        h = o * activation(out[0], c, *out[1:])
        outputs.append(h)
    return np.array(outputs).reshape(len(x), H), h, c


def lstm(
    X: Array,
    W: Array,
    R: Array,
    B: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    P: Array | None = None,
    **attributes: Any,
) -> tuple[Array, Array, Array]:
    """Return Y, Y_h and Y_c in float64."""
    D, H = len(W), R.shape[-1]
    direction = attributes.get("direction") or "forward"
    assert {"forward": 1, "reverse": 1, "bidirectional": 2}[direction] == D
    batch_first = bool(attributes.get("layout"))
    X = X.astype(np.float64)
    if batch_first:
        X = X.swapaxes(0, 1)
        initial_h, initial_c = (None if s is None else s.swapaxes(0, 1) for s in (initial_h, initial_c))
    T, N = X.shape[:2]
    Y, Y_h, Y_c = np.zeros((T, D, N, H)), np.zeros((D, N, H)), np.zeros((D, N, H))
    every = activations(attributes, D)
    for d in range(D):
        backwards = direction == "reverse" or d == 1
        for n in range(N):
            length = T if sequence_lens is None else int(sequence_lens[n])
            if length == 0 and sequence_lens is not None:
                continue
            x = X[:length, n][::-1] if backwards else X[:length, n]
            zeros = np.zeros(8 * H)
            y, Y_h[d, n], Y_c[d, n] = one_row(
                x,
                W[d].astype(np.float64),
                R[d].astype(np.float64),
                zeros if B is None else B[d].astype(np.float64),
                zeros[: 3 * H] if P is None else P[d].astype(np.float64),
                zeros[:H] if initial_h is None else initial_h[d, n].astype(np.float64),
                zeros[:H] if initial_c is None else initial_c[d, n].astype(np.float64),
                every[3 * d : 3 * d + 3],
                float(attributes.get("clip") or 0.0),
                bool(attributes.get("input_forget")),
            )
            Y[:length, d, n] = y[::-1] if backwards else y
    if batch_first:
        return Y.transpose(2, 0, 1, 3), Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    return Y, Y_h, Y_c


class LSTM(OpRun):  # type: ignore[misc]  # onnx is not looked into
    """The operator for ``onnx.reference.ReferenceEvaluator(model, new_ops=[LSTM])``."""

    op_domain = ""

    def _run(self, X: Array, *inputs: Array | None, **attributes: Any) -> tuple[Array, ...]:
        results = lstm(X, *inputs, **attributes)  # type: ignore[arg-type]  # W and R are always there
        return tuple(array.astype(X.dtype) for array in results[: len(self.onnx_node.output)])
