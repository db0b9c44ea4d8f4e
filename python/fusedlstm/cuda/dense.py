"""Dense layers, layer normalization and embeddings on device arrays, as `fusedlstm._core` has them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedlstm import _core
from fusedlstm.cuda import checks
from fusedlstm.cuda.checks import Call
from fusedlstm.cuda.normalization import normalized_rows, through_rows
from fusedlstm.cuda.sums import column_sums
from fusedlstm.cuda.weights import refuse


def _note(call: Call, operation: str) -> None:
    _core.note_kernel(f"{call.device.name} {call.number} {operation}")


def dense_forward(x: Any, kernel: Any, bias: Any, compute: str | None) -> Any:
    """Run `fusedlstm.ops.dense_forward` on the device."""
    call = Call.of("x", x)
    refuse("compute", compute, call.device)
    x = call.readable("x", x, ("M", None), ("K", None))
    kernel = call.readable("kernel", kernel, ("K", x.shape[1]), ("N", None))
    _core.check_matrix_sizes("x", "MKN", x.shape[0], kernel.shape[0], kernel.shape[1])
    bias = call.optional("bias", bias, ("N", kernel.shape[1]))
    y = call.device.matmul(x, kernel)
    if bias is not None:
        np.add(y, bias, out=y)
    _note(call, "dense_forward")
    return y


def dense_backward(
    x: Any, kernel: Any, dy: Any, need_dx: bool, use_bias: bool, compute: str | None
) -> tuple[Any, Any, Any]:
    """Run `fusedlstm.ops.dense_backward` on the device."""
    call = Call.of("x", x)
    refuse("compute", compute, call.device)
    x = call.readable("x", x, ("M", None), ("K", None))
    kernel = call.readable("kernel", kernel, ("K", x.shape[1]), ("N", None))
    _core.check_matrix_sizes("x", "MKN", x.shape[0], kernel.shape[0], kernel.shape[1])
    dy = call.contiguous("dy", dy, ("M", x.shape[0]), ("N", kernel.shape[1]))
    product = call.device.matmul
    dx = product(dy, kernel.T) if need_dx else None
    dbias = column_sums(call, dy) if use_bias else None
    dkernel = product(x.T, dy)
    _note(call, "dense_backward")
    return dx, dkernel, dbias


def _norm_call(x: Any, gamma: Any, epsilon: float) -> tuple[Call, Any, Any]:
    call = Call.of("x", x)
    x = call.readable("x", x, ("M", None), ("N", None))
    _core.check_matrix_sizes("x", "MNN", x.shape[0], x.shape[1], x.shape[1])
    gamma = call.optional("gamma", gamma, ("N", x.shape[1]))
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon: expected a positive number, got {epsilon}")
    return call, x, gamma


def layer_norm_forward(x: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    """Run `fusedlstm.ops.layer_norm_forward` on the device."""
    call, x, gamma = _norm_call(x, gamma, epsilon)
    beta = call.optional("beta", beta, ("N", x.shape[1]))
    y, _ = normalized_rows(x, epsilon)
    if gamma is not None:
        np.multiply(y, gamma, out=y)
    if beta is not None:
        np.add(y, beta, out=y)
    _note(call, "layer_norm_forward")
    return y


def layer_norm_backward(x: Any, gamma: Any, dy: Any, epsilon: float, need_dx: bool) -> tuple[Any, Any, Any]:
    """Run `fusedlstm.ops.layer_norm_backward` on the device."""
    call, x, gamma = _norm_call(x, gamma, epsilon)
    M, N = x.shape
    dy = call.contiguous("dy", dy, ("M", M), ("N", N))
    rows = normalized_rows(x, epsilon)
    dx = through_rows(rows, dy if gamma is None else dy * gamma) if need_dx else None
    dgamma, dbeta = column_sums(call, rows.normalized * dy), column_sums(call, dy)
    _note(call, "layer_norm_backward")
    return dx, dgamma, dbeta


def embedding_forward(ids: Any, table: Any) -> Any:
    """Run `fusedlstm.ops.embedding_forward` on the device; `ids` come from `checks.whole`."""
    call = Call.of("table", table, checks.NUMBERS)
    table = call.contiguous("table", table, ("V", None), ("E", None))
    ids = call.own("ids", ids)
    checks.ids(ids, "ids", table.shape[0])
    y = np.take(table, ids, axis=0)
    _note(call, "embedding_forward")
    return y


def embedding_backward(ids: Any, dy: Any, rows: int) -> Any:
    """Run `fusedlstm.ops.embedding_backward` on the device: sums in the order of the array, no atomics."""
    call = Call.of("dy", dy, checks.NUMBERS)
    dy = call.contiguous_of_any_shape("dy", dy)
    ids = call.own("ids", ids)
    if dy.ndim < 1 or dy.shape[:-1] != ids.shape:
        raise ValueError(
            f"dy: expected the shape of ids, {tuple(ids.shape)}, and one axis more, "
            f"got shape {tuple(dy.shape)}"
        )
    if rows < 1:
        raise ValueError(f"rows: expected a positive number, got {rows}")
    _core.check_matrix_sizes("rows", "VEE", rows, dy.shape[-1], dy.shape[-1])
    checks.ids(ids, "ids", rows)
    flat = ids.reshape(-1)
    order = np.argsort(flat, kind="stable").astype(np.int64)
    numbers = call.device.empty((rows + 1,), np.int64)
    numbers[...] = 1
    numbers = np.cumsum(numbers) - 1
    starts = np.searchsorted(flat[order], numbers).astype(np.int64)
    features = dy.shape[-1]
    dtable = call.empty(rows, features)
    call.extension.sum_rows(
        number=call.number,
        rows=rows,
        features=features,
        starts=call.address(starts),
        order=call.address(order),
        source=call.address(dy),
        sums=call.address(dtable),
        stream=call.device.stream(),
    )
    _note(call, "embedding_backward")
    return dtable
