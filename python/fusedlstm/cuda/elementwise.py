"""The cell alone, dropout and optimizers on device arrays, as `fusedlstm._core` has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm import _core
from fusedlstm.cuda.checks import NUMBERS, Call


def _note(call: Call, operation: str) -> None:
    _core.note_kernel(f"{call.device.name} {call.number} {operation}")


def _run(call: Call, operation: str, sizes: dict[str, Any], **arrays: Any) -> None:
    addresses = {name: call.address(array) for name, array in arrays.items()}
    run = getattr(call.extension, operation)
    run(number=call.number, stream=call.device.stream(), **sizes, **addresses)
    _note(call, operation)


def cell_forward(z: Any, c_prev: Any) -> tuple[Any, Any, Any]:
    """Run `fusedlstm.ops.cell_forward` on the device."""
    call = Call.of("z", z)
    c_prev = call.contiguous("c_prev", c_prev, ("B", None), ("H", None))
    B, H = c_prev.shape
    z = call.contiguous("z", z, ("B", B), ("4H", 4 * H))
    h, c, gates = call.empty(B, H), call.empty(B, H), call.empty(B, 4 * H)
    _run(call, "cell_forward", {"batch": B, "units": H}, z=z, c_prev=c_prev, h=h, c=c, gates=gates)
    return h, c, gates


def cell_backward(gates: Any, c_prev: Any, c: Any, dh: Any, dc: Any) -> tuple[Any, Any]:
    """Run `fusedlstm.ops.cell_backward` on the device."""
    call = Call.of("gates", gates)
    c_prev = call.contiguous("c_prev", c_prev, ("B", None), ("H", None))
    B, H = c_prev.shape
    states = ("B", B), ("H", H)
    given = {
        "gates": call.contiguous("gates", gates, ("B", B), ("4H", 4 * H)),
        "c_prev": c_prev,
        "c": call.contiguous("c", c, *states),
        "dh": call.contiguous("dh", dh, *states),
        "dc": call.optional("dc", dc, *states),
    }
    dz, dc_prev = call.empty(B, 4 * H), call.empty(B, H)
    _run(call, "cell_backward", {"batch": B, "units": H}, **given, dz=dz, dc_prev=dc_prev)
    return dz, dc_prev


def dropout(x: Any, rate: float, seed: int, share_steps: bool, out: Any) -> Any:
    """Run `fusedlstm.ops.dropout` on the device, with the masks of the CPU."""
    call = Call.of("x", x, NUMBERS)
    if not 0 <= rate < 1:
        raise ValueError(f"rate: expected a number in [0, 1), got {rate}")
    if x.ndim < 1:
        raise ValueError("x: expected at least one dimension, got a scalar")
    if share_steps and x.ndim != 3:
        raise ValueError(f"x: expected shape (B, T, I) to share steps, got shape {tuple(x.shape)}")
    x = call.contiguous_of_any_shape("x", x)
    result = call.empty(*x.shape) if out is None else call.like("out", out, x, written=True)
    if call.overlap(result, x) and call.address(result) != call.address(x):
        raise ValueError("out: expected x itself or an array apart from it, got one that overlaps x")
    features = x.shape[-1]
    if features >= 2**32:
        raise ValueError("x: expected fewer than 2^32 features, got more")
    # Rows share a hash where they are steps of one batch row.
    steps = x.shape[1] if share_steps else 1
    sizes: dict[str, Any] = {
        "batch": x.size // max(steps * features, 1),
        "steps": steps,
        "features": features,
        "share_steps": share_steps,
        "rate": rate,
        "seed": seed,
    }
    _run(call, "dropout", sizes, x=x, y=result)
    return result


def _slots(param: Any, grad: Any) -> tuple[Call, int]:
    call = Call.of("param", param)
    call.like("param", param, param, written=True)
    call.like("grad", grad, param, written=False)
    return call, int(param.size)


def _optional(call: Call, name: str, slot: Any, param: Any) -> None:
    if slot is not None:
        call.like(name, slot, param, written=True)


def _required(call: Call, name: str, slot: Any, param: Any) -> None:
    if slot is None:
        raise TypeError(f"{name}: expected an array, got None")
    call.like(name, slot, param, written=True)


def _settings(call: Call, learning_rate: float, weight_decay: float, clipvalue: float, scale: float) -> Any:
    if not clipvalue > 0:
        raise ValueError(f"clipvalue: expected a positive number, got {clipvalue}")
    return call.extension.UpdateSettings(learning_rate, weight_decay, clipvalue, scale)


def sgd_update(
    param: Any,
    grad: Any,
    velocity: Any,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    clipvalue: float,
    scale: float,
) -> None:
    """Run `fusedlstm.ops.sgd_update` on the device."""
    call, size = _slots(param, grad)
    if velocity is None and momentum != 0:
        raise TypeError("velocity: expected an array, since momentum is not 0, got None")
    settings = _settings(call, learning_rate, weight_decay, clipvalue, scale)
    _optional(call, "velocity", velocity, param)
    sizes = {"size": size, "settings": settings, "momentum": momentum, "nesterov": nesterov}
    _run(call, "sgd_update", sizes, param=param, grad=grad, velocity=velocity)


def rmsprop_update(
    param: Any,
    grad: Any,
    mean_square: Any,
    mean_grad: Any,
    velocity: Any,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
    weight_decay: float,
    clipvalue: float,
    scale: float,
) -> None:
    """Run `fusedlstm.ops.rmsprop_update` on the device."""
    call, size = _slots(param, grad)
    if velocity is None and momentum != 0:
        raise TypeError("velocity: expected an array, since momentum is not 0, got None")
    settings = _settings(call, learning_rate, weight_decay, clipvalue, scale)
    _required(call, "mean_square", mean_square, param)
    _optional(call, "mean_grad", mean_grad, param)
    _optional(call, "velocity", velocity, param)
    sizes = {"size": size, "settings": settings, "rho": rho, "momentum": momentum, "epsilon": epsilon}
    arrays = {"mean_square": mean_square, "mean_grad": mean_grad, "velocity": velocity}
    _run(call, "rmsprop_update", sizes, param=param, grad=grad, **arrays)


def adam_update(
    param: Any,
    grad: Any,
    m: Any,
    v: Any,
    vhat: Any,
    learning_rate: float,
    step: int,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float,
    clipvalue: float,
    scale: float,
) -> None:
    """Run `fusedlstm.ops.adam_update` on the device."""
    call, size = _slots(param, grad)
    if step < 1:
        raise ValueError(f"step: expected 1 or more, got {step}")
    settings = _settings(call, learning_rate, weight_decay, clipvalue, scale)
    _required(call, "m", m, param)
    _required(call, "v", v, param)
    _optional(call, "vhat", vhat, param)
    sizes = {"size": size, "settings": settings, "step": step, "epsilon": epsilon}
    sizes |= {"beta_1": beta_1, "beta_2": beta_2}
    _run(call, "adam_update", sizes, param=param, grad=grad, m=m, v=v, vhat=vhat)


def squared_norm(a: Any) -> float:
    """Run `fusedlstm.ops.squared_norm` on the device, and wait for it."""
    call = Call.of("a", a)
    values = call.contiguous_of_any_shape("a", a).astype(np.float64)
    total = float(np.sum(values * values))
    _note(call, "squared_norm")
    return total
