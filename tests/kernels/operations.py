"""Every operation as a function from a problem to its named results.

Tests of what holds for all operations (same bits for any number of threads, untouched floating-point state,
safety with Python threads and forks) run over this table. A new operation gets one entry here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .devices import ops
from .updates import UPDATES, run_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from .problems import Array, Problem


def lstm_forward(p: Problem, **options: Any) -> dict[str, Array]:
    result = ops.lstm_forward(p.x, p.packed or p.weights, p.h0, p.c0, **options)
    assert result.y is not None
    return {"y": result.y, "h": result.h, "c": result.c}


def lstm_last_state(p: Problem) -> dict[str, Array]:
    result = ops.lstm_forward(p.x, p.packed or p.weights, p.h0, p.c0, return_sequences=False)
    return {"h": result.h, "c": result.c}


def lstm_backward(p: Problem, **options: Any) -> dict[str, Array]:
    result = ops.lstm_forward(p.x, p.packed or p.weights, p.h0, p.c0, training=True, **options)
    assert result.tape is not None
    gradients = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)
    return {name: value for name, value in gradients._asdict().items() if value is not None}


def directions(p: Problem) -> tuple[Array, ...]:
    """Make a direction of x, the weights and the initial states from what the problem has at hand."""
    return p.x[:, ::-1], p.kernel[::-1], -p.recurrent_kernel, p.bias[::-1], p.dh, 0.5 * p.dc


def lstm_jvp(p: Problem, **options: Any) -> dict[str, Array]:
    result = ops.lstm_forward(p.x, p.packed or p.weights, p.h0, p.c0, training=True, **options)
    assert result.tape is not None
    names = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")
    return ops.lstm_jvp(result.tape, **dict(zip(names, directions(p), strict=True)))._asdict()


def lstm_second_backward(p: Problem, **options: Any) -> dict[str, Array]:
    result = ops.lstm_forward(p.x, p.packed or p.weights, p.h0, p.c0, training=True, **options)
    assert result.tape is not None
    first = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc, keep=True)
    assert first.tape is not None
    second = ops.lstm_second_backward(first.tape, *directions(p))
    return {name: value for name, value in second._asdict().items() if value is not None}


def lstm_step(p: Problem) -> dict[str, Array]:
    h, c = ops.lstm_step(np.ascontiguousarray(p.x[:, 0]), p.h0, p.c0, p.packed or p.weights)
    return {"h": h, "c": c}


def lstm_forward_normalized(p: Problem) -> dict[str, Array]:
    return lstm_forward(p, options=layer_norm_options(p))


def lstm_backward_normalized(p: Problem) -> dict[str, Array]:
    result = ops.lstm_forward(
        p.x, p.packed or p.weights, p.h0, p.c0, training=True, options=layer_norm_options(p)
    )
    assert result.tape is not None
    gradients = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)
    assert gradients.dlayer_norm is not None
    named = {**gradients._asdict(), **gradients.dlayer_norm._asdict()}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def lstm_step_normalized(p: Problem) -> dict[str, Array]:
    x = np.ascontiguousarray(p.x[:, 0])
    h, c = ops.lstm_step(x, p.h0, p.c0, p.packed or p.weights, options=layer_norm_options(p))
    return {"h": h, "c": c}


def layer_norm_options(p: Problem) -> ops.CellOptions:
    """Options of a layer-normalized cell, its parameters from the problem's numbers."""
    H = p.shape[3]
    norm = ops.LayerNorm(p.bias, 1 + p.bias[::-1] / 4, p.bias[:H].copy(), p.bias[-H:].copy(), 1e-2)
    return ops.CellOptions(layer_norm=norm)


def cell_forward(p: Problem) -> dict[str, Array]:
    h, c, gates = ops.cell_forward(_pre_activations(p), p.c0)
    return {"h": h, "c": c, "gates": gates}


def cell_backward(p: Problem) -> dict[str, Array]:
    _, c, gates = ops.cell_forward(_pre_activations(p), p.c0)
    dz, dc_prev = ops.cell_backward(gates, p.c0, c, p.dh, p.dc)
    return {"dz": dz, "dc_prev": dc_prev}


def dense_forward(p: Problem) -> dict[str, Array]:
    return {"y": ops.dense_forward(p.x[:, 0].copy(), p.kernel, p.bias)}


def dense_backward(p: Problem) -> dict[str, Array]:
    dx, dkernel, dbias = ops.dense_backward(p.x[:, 0].copy(), p.kernel, _pre_activations(p))
    assert dx is not None
    assert dbias is not None
    return {"dx": dx, "dkernel": dkernel, "dbias": dbias}


def layer_norm_forward(p: Problem) -> dict[str, Array]:
    return {"y": ops.layer_norm_forward(_pre_activations(p), p.bias, p.bias[::-1].copy())}


def layer_norm_backward(p: Problem) -> dict[str, Array]:
    x = _pre_activations(p)
    dx, dgamma, dbeta = ops.layer_norm_backward(x, p.bias, x[:, ::-1].copy())
    assert dx is not None
    return {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def ctc_loss(p: Problem) -> dict[str, Array]:
    _, T, C = p.x.shape
    # Rows have labels of their own, and every second one is the one before it.
    first = (p.h0[:, :1] > 0) + 2 * (p.c0[:, :1] > 0)
    labels = 1 + (first + np.arange(T) // 2) % max(1, C - 1)
    counts = first[:, 0] % (T + 1) if C > 1 else 0 * first[:, 0]
    result = ops.ctc_loss(p.x, labels, label_lengths=counts, zero_infinity=True)
    assert result.dlogits is not None
    return {"losses": result.losses, "dlogits": result.dlogits}


def embedding_forward(p: Problem) -> dict[str, Array]:
    return {"y": ops.embedding_forward(_ids(p), p.kernel)}


def embedding_backward(p: Problem) -> dict[str, Array]:
    return {"dtable": ops.embedding_backward(_ids(p), p.dy, len(p.kernel))}


def ctc_greedy(p: Problem) -> dict[str, Array]:
    return ops.ctc_decode(p.x)._asdict()


def ctc_beam_search(p: Problem) -> dict[str, Array]:
    return ops.ctc_decode(p.x, None, "beam_search", beam_width=5, top_paths=2)._asdict()


def dropout(p: Problem) -> dict[str, Array]:
    return {"y": ops.dropout(p.x, 0.3, 12345)}


def dropout_shared(p: Problem) -> dict[str, Array]:
    return {"y": ops.dropout(p.x, 0.3, 12345, share_steps=True)}


def update(name: str) -> Callable[[Problem], dict[str, Array]]:
    """Return one that updates the kernel as a parameter, with a moving average."""

    def run(p: Problem) -> dict[str, Array]:
        slots = {slot: np.abs(p.kernel[::-1]) * 0.1 * (1 + k) for k, slot in enumerate(UPDATES[name].slots)}
        if "mean_square" in slots:
            slots["mean_square"] += 1
        arrays = {"param": p.kernel.copy(), "grad": p.kernel * 2, **slots, "average": 0.5 * p.kernel}
        run_update(ops, name, arrays, weight_decay=0.01)
        return {key: array for key, array in arrays.items() if key != "grad"}

    return run


def squared_norm(p: Problem) -> dict[str, Array]:
    return {"norm": np.array(ops.squared_norm(p.kernel))}


def _ids(p: Problem) -> Array:
    """(B, T) rows of the kernel, some of them often."""
    B, T = p.shape[:2]
    return (np.arange(B * T).reshape(B, T) ** 2 + 1) % len(p.kernel)


def _pre_activations(p: Problem) -> Array:
    """(B, 4H) numbers of the size of pre-activations."""
    return np.concatenate([p.h0, p.c0, 2 * p.dh, p.dc], axis=-1)


OPERATIONS: dict[str, Callable[[Problem], dict[str, Array]]] = {
    function.__name__: function
    for function in (
        lstm_forward,
        lstm_last_state,
        lstm_backward,
        lstm_jvp,
        lstm_second_backward,
        lstm_step,
        lstm_forward_normalized,
        lstm_backward_normalized,
        lstm_step_normalized,
        cell_forward,
        cell_backward,
        dense_forward,
        dense_backward,
        layer_norm_forward,
        layer_norm_backward,
        ctc_loss,
        embedding_forward,
        embedding_backward,
        ctc_greedy,
        ctc_beam_search,
        dropout,
        dropout_shared,
        squared_norm,
    )
} | {name: update(name) for name in UPDATES}
# What has no kernels on other devices yet.
ONLY_CPU = (
    "ctc_greedy",
    "ctc_beam_search",
    "lstm_jvp",
    "lstm_second_backward",
)
