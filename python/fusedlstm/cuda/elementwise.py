"""The cell alone, dropout and optimizers on device arrays, as `fusedlstm._core` has them."""

from __future__ import annotations

from functools import partial, wraps
from inspect import signature
from itertools import chain
from math import isfinite
from numbers import Real
from operator import methodcaller, setitem
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fusedlstm import _core
from fusedlstm.base.held import all_of
from fusedlstm.cuda.checks import NUMBERS, Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def _note(call: Call, operation: str) -> None:
    _core.note_kernel(f"{call.device.name} {call.number} {operation}")


def _launch(call: Call, operation: str, sizes: dict[str, Any], **arrays: Any) -> Callable[[], None]:
    """Return what launches a kernel, in C."""
    addresses = {name: call.address(array) for name, array in arrays.items()}
    run = getattr(call.extension, operation)
    return partial(run, number=call.number, stream=call.device.stream(), **sizes, **addresses)


def _run(call: Call, operation: str, sizes: dict[str, Any], **arrays: Any) -> None:
    _launch(call, operation, sizes, **arrays)()
    _note(call, operation)


def cell_forward(z: Any, c_prev: Any) -> tuple[Any, Any, Any]:
    """Run `fusedlstm.ops.cell_forward` on the device."""
    call = Call.of("z", z)
    c_prev = call.contiguous("c_prev", c_prev, ("B", None), ("H", None))
    B, H = c_prev.shape
    _core.check_sequence_sizes("c_prev", B, 1, 0, H, H)
    z = call.contiguous("z", z, ("B", B), ("4H", 4 * H))
    h, c, gates = call.empty(B, H), call.empty(B, H), call.empty(B, 4 * H)
    _run(call, "cell_forward", {"batch": B, "units": H}, z=z, c_prev=c_prev, h=h, c=c, gates=gates)
    return h, c, gates


def cell_backward(gates: Any, c_prev: Any, c: Any, dh: Any, dc: Any) -> tuple[Any, Any]:
    """Run `fusedlstm.ops.cell_backward` on the device."""
    call = Call.of("gates", gates)
    c_prev = call.contiguous("c_prev", c_prev, ("B", None), ("H", None))
    B, H = c_prev.shape
    _core.check_sequence_sizes("c_prev", B, 1, 0, H, H)
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
    if call.address(result) != call.address(x) and call.overlap(result, x):
        raise ValueError("out: expected x itself or an array apart from it, got one that overlaps x")
    if x.size == 0:
        return result  # Its other sizes may be of any magnitude.
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


def _settings(call: Call, learning_rate: float, weight_decay: float, clipvalue: float, scale: Any) -> Any:
    if not clipvalue > 0:
        raise ValueError(f"clipvalue: expected a positive number, got {clipvalue}")
    if not isinstance(scale, Real):
        raise TypeError(f"scale: expected a number, got {type(scale).__name__}")
    if not isfinite(scale):
        raise ValueError(f"scale: expected a finite number, got {scale}")
    return call.extension.UpdateSettings(learning_rate, weight_decay, clipvalue, scale)


# What an update of one parameter is made of: the call, its sizes and its arrays, all checked.
_Update: TypeAlias = tuple[Call, dict[str, Any], dict[str, Any]]


def _update(arrays: int) -> Callable[[Callable[..., _Update]], Callable[..., None]]:
    """Run what a function prepares, whose first arguments are so many arrays and whose last is the scale.

    The last three, which all updates have in common, are weight_decay, clipvalue and scale. With lists, all
    updates are prepared before the first one runs. No interrupt comes between them, nor before one is added
    to the count that is the last argument of what is returned.
    """

    def decorate(prepare: Callable[..., _Update]) -> Callable[..., None]:
        names = (*list(signature(prepare).parameters)[:arrays], "scale")

        @wraps(prepare)
        def run(*arguments: Any) -> None:
            *given, iterations = arguments
            _check_count(iterations)
            listed = isinstance(given[0], list | tuple)
            if listed:
                *lists, scale = *given[:arrays], given[-1]
                scales = scale if isinstance(scale, list | tuple) else [scale] * len(lists[0])
                settings = tuple(given[arrays:-1])
                updates = _prepared(prepare, dict(zip(names, (*lists, scales), strict=True)), settings)
            else:
                updates = [prepare(*given)]
            _check_apart(updates, listed)
            steps: Iterable[object] = map(
                methodcaller("__call__"),
                [_launch(call, prepare.__name__, sizes, **named) for call, sizes, named in updates],
            )
            if iterations is not None:
                steps = chain(steps, map(setitem, (iterations,), (...,), (iterations + 1,)))
            all_of(steps)
            for call, _, _ in updates[-1:]:
                _note(call, prepare.__name__)

        return run

    return decorate


def _check_count(iterations: Any) -> None:
    if iterations is None:
        return
    expected = "iterations: expected an array () of int64 that can be written, or None, got"
    if not isinstance(iterations, np.ndarray):
        raise TypeError(f"{expected} {type(iterations).__name__}")
    if iterations.dtype != np.int64:
        raise TypeError(f"{expected} one of {iterations.dtype}")
    if iterations.ndim != 0:
        raise ValueError(f"{expected} shape {iterations.shape}")
    if not iterations.flags.writeable:
        raise ValueError(f"{expected} one that is read-only")
    if iterations == np.iinfo(np.int64).max:
        raise ValueError(f"iterations: expected fewer than 2^63 - 1, got {iterations}")


def _prepared(
    prepare: Callable[..., _Update], lists: dict[str, Any], settings: tuple[Any, ...]
) -> list[_Update]:
    count = len(lists["param"])
    for name, given in lists.items():
        expected = f"{name}: expected a list of {count}, like param, got"
        if given is not None and not isinstance(given, list | tuple):
            raise TypeError(f"{expected} {type(given).__name__}")
        if given is not None and len(given) != count:
            raise ValueError(f"{expected} one of {len(given)}")
    columns = [[None] * count if given is None else given for given in lists.values()]
    updates = []
    for place, (*arrays, scale) in enumerate(zip(*columns, strict=True)):
        try:
            updates.append(prepare(*arrays, *settings, scale))
        except (TypeError, ValueError) as error:
            # Messages begin with an argument's name.
            raise type(error)(str(error).replace(":", f"[{place}]:", 1)) from error
    return updates


def _check_apart(updates: list[_Update], listed: bool) -> None:
    """Raise `ValueError` if an array that is written shares memory with another; gradients may."""
    names, pieces = [], []
    for place, (call, _, arrays) in enumerate(updates):
        for name, array in arrays.items():
            if array is not None:
                names.append(f"{name}[{place}]" if listed else name)
                pieces.append(call.piece(array, written=name != "grad"))
    conflict = _core.first_conflict(pieces)
    if conflict is not None:
        before, after = (names[place] for place in conflict)
        raise ValueError(
            f"{after}: expected memory apart from that of the other arrays, "
            f"got an array that shares memory with {before}"
        )


@_update(arrays=3)
def sgd_update(
    param: Any,
    grad: Any,
    velocity: Any,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    *common: Any,
) -> _Update:
    """Run `fusedlstm.ops.sgd_update` on the device."""
    call, size = _slots(param, grad)
    if velocity is None and momentum != 0:
        raise TypeError("velocity: expected an array, since momentum is not 0, got None")
    settings = _settings(call, learning_rate, *common)
    _optional(call, "velocity", velocity, param)
    sizes = {"size": size, "settings": settings, "momentum": momentum, "nesterov": nesterov}
    return call, sizes, {"param": param, "grad": grad, "velocity": velocity}


@_update(arrays=5)
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
    *common: Any,
) -> _Update:
    """Run `fusedlstm.ops.rmsprop_update` on the device."""
    call, size = _slots(param, grad)
    if velocity is None and momentum != 0:
        raise TypeError("velocity: expected an array, since momentum is not 0, got None")
    settings = _settings(call, learning_rate, *common)
    _required(call, "mean_square", mean_square, param)
    _optional(call, "mean_grad", mean_grad, param)
    _optional(call, "velocity", velocity, param)
    sizes = {"size": size, "settings": settings, "rho": rho, "momentum": momentum, "epsilon": epsilon}
    arrays = {"mean_square": mean_square, "mean_grad": mean_grad, "velocity": velocity}
    return call, sizes, {"param": param, "grad": grad, **arrays}


@_update(arrays=5)
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
    *common: Any,
) -> _Update:
    """Run `fusedlstm.ops.adam_update` on the device."""
    call, size = _slots(param, grad)
    if step < 1:
        raise ValueError(f"step: expected 1 or more, got {step}")
    settings = _settings(call, learning_rate, *common)
    _required(call, "m", m, param)
    _required(call, "v", v, param)
    _optional(call, "vhat", vhat, param)
    sizes = {"size": size, "settings": settings, "step": step, "epsilon": epsilon}
    sizes |= {"beta_1": beta_1, "beta_2": beta_2}
    return call, sizes, {"param": param, "grad": grad, "m": m, "v": v, "vhat": vhat}


def squared_norm(a: Any) -> float:
    """Run `fusedlstm.ops.squared_norm` on the device, and wait for it."""
    call = Call.of("a", a)
    values = call.contiguous_of_any_shape("a", a).astype(np.float64)
    total = float(np.sum(values * values))
    _note(call, "squared_norm")
    return total
