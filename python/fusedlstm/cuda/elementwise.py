"""The cell alone, dropout and optimizers on device arrays, as `fusedlstm._core` has them."""

from __future__ import annotations

from functools import partial
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


# An update of one parameter: the call, its settings and its arrays, all checked.
_Update: TypeAlias = tuple[Call, Any, dict[str, Any]]


def update(
    rule: str,
    param: Any,
    grad: Any,
    slots: dict[str, Any],
    numbers: tuple[float, ...],
    learning_rate: float,
    weight_decay: Any,
    clipvalue: float,
    ema_momentum: float,
    ema_overwrites: bool,
    scale: Any,
    iterations: Any,
) -> None:
    """Run an update of `fusedlstm.ops` on the device.

    With lists, all are prepared before the first one runs. No interrupt comes between them, nor before one is
    added to `iterations`.
    """
    _check_count(iterations)
    if not clipvalue > 0:
        raise ValueError(f"clipvalue: expected a positive number, got {clipvalue}")
    listed = isinstance(param, list | tuple)
    arrays = {"param": param, "grad": grad, **slots}
    factors = {"weight_decay": weight_decay, "scale": scale}
    common = {
        "learning_rate": learning_rate,
        "clip": clipvalue,
        "ema_momentum": ema_momentum,
        "ema_overwrites": ema_overwrites,
    }
    updates = _prepared(arrays, factors, common) if listed else [_prepare(arrays, factors, common)]
    _check_apart(updates, listed)
    launches = [_launch_update(rule, numbers, tuple(slots), *one) for one in updates]
    steps: Iterable[object] = map(methodcaller("__call__"), launches)
    if iterations is not None:
        steps = chain(steps, map(setitem, (iterations,), (...,), (iterations + 1,)))
    all_of(steps)
    for call, _, _ in updates[-1:]:
        _note(call, rule)


def _prepare(arrays: dict[str, Any], factors: dict[str, Any], common: dict[str, Any]) -> _Update:
    """Check the arrays of one parameter, of which its slots may be None."""
    param = arrays["param"]
    call = Call.of("param", param)
    for name, array in arrays.items():
        if array is not None or name == "grad":
            call.like(name, array, param, written=name != "grad")
    for name, factor in factors.items():
        if not isinstance(factor, Real):
            raise TypeError(f"{name}: expected a number, got {type(factor).__name__}")
        if not isfinite(factor):
            raise ValueError(f"{name}: expected a finite number, got {factor}")
    return call, call.extension.UpdateSettings(**common, **factors), arrays


def _launch_update(
    rule: str,
    numbers: tuple[float, ...],
    slots: tuple[str, ...],
    call: Call,
    settings: Any,
    arrays: dict[str, Any],
) -> Callable[[], None]:
    """Return what launches the update of one parameter, in C."""
    param, grad, *others = (call.address(arrays[name]) for name in ("param", "grad", *slots))
    size = int(arrays["param"].size)
    return partial(
        call.extension.update,
        rule=rule,
        number=call.number,
        settings=settings,
        numbers=numbers,
        size=size,
        param=param,
        grad=grad,
        slots=others,
        stream=call.device.stream(),
    )


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


def _prepared(arrays: dict[str, Any], factors: dict[str, Any], common: dict[str, Any]) -> list[_Update]:
    """Prepare the updates of several parameters; what is None, or one number, is so for all of them."""
    count = len(arrays["param"])
    columns: dict[str, list[Any]] = {}
    for name, given in (arrays | factors).items():
        if given is None or (name in factors and not isinstance(given, list | tuple)):
            columns[name] = [given] * count
            continue
        expected = f"{name}: expected a list of {count}, like param, got"
        if not isinstance(given, list | tuple):
            raise TypeError(f"{expected} {type(given).__name__}")
        if len(given) != count:
            raise ValueError(f"{expected} one of {len(given)}")
        columns[name] = list(given)
    updates = []
    for place in range(count):
        row = {name: column[place] for name, column in columns.items()}
        try:
            own = {name: row[name] for name in arrays}
            updates.append(_prepare(own, {name: row[name] for name in factors}, common))
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


def squared_norm(a: Any) -> float:
    """Run `fusedlstm.ops.squared_norm` on the device, and wait for it."""
    call = Call.of("a", a)
    values = call.contiguous_of_any_shape("a", a).astype(np.float64)
    total = float(np.sum(values * values))
    _note(call, "squared_norm")
    return total
