"""Changes to state_dicts of ``torch.nn.LSTM``: names, types, shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["changed_state"]

_KEYS = (
    "weight_ih_l0", "weight_hh_l1", "bias_ih_l0", "weight_hr_l0", "weight_ih_l0_reverse", "weight_ih_l00",
    "weight_ih_l7", f"weight_ih_l{10**9}", f"weight_ih_l{10**30}", "weight_ih_l\u0663", "x", "", 3, None,
)  # fmt: skip


def changed_state(
    random: np.random.Generator, state: dict[Any, Any], corpus: Sequence[dict[Any, Any]]
) -> dict[Any, Any]:
    """Return a state_dict with up to three entries changed."""
    state = dict(state)
    for _ in range(int(random.integers(1, 4))):
        keys = list(state)
        if not keys:
            break
        key, kind = keys[int(random.integers(len(keys)))], int(random.integers(5))
        if kind == 0:
            del state[key]
        elif kind == 1:
            state[_KEYS[int(random.integers(len(_KEYS)))]] = state.pop(key)
        elif kind == 2:
            state[key] = _value(random, state[key])
        elif kind == 3:
            other = corpus[int(random.integers(len(corpus)))]
            name = list(other)[int(random.integers(len(other)))]
            state[name] = other[name]
        else:
            state[key] = state[keys[int(random.integers(len(keys)))]]
    return state


def _value(random: np.random.Generator, value: Any) -> Any:
    array = np.asarray(value) if not isinstance(value, np.ndarray) else value
    choices: tuple[Any, ...] = (
        None, 3, "x", [1.0], [], {}, object(), array.tolist(), np.zeros(()), np.zeros((0, 0), np.float32),
        array.T, array.reshape(-1), array[None], array.astype(object),
        array.astype(np.float16) if array.dtype.kind == "f" else array,
        array[..., :-1] if array.ndim else array,
        np.full_like(array, np.nan) if array.dtype.kind == "f" else array, array[:0] if array.ndim else array,
    )  # fmt: skip
    return choices[int(random.integers(len(choices)))]
