"""The parts of `LSTMStates`: their names in pictures, and a sequence's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.ops import LSTMStates

Part: TypeAlias = Literal["i", "f", "g", "o", "c", "h"]

NAMES: dict[str, str] = {
    "i": "input gate",
    "f": "forget gate (1 keeps)",
    "g": "candidate",
    "o": "output gate",
    "c": "cell state",
    "h": "hidden state",
}


def checked(states: LSTMStates) -> LSTMStates:
    """Return states; `TypeError` for what is none."""
    fields = getattr(states, "_fields", None)
    if fields != ("h", "c", "i", "f", "g", "o"):
        hint = "" if not isinstance(states, list | tuple) else ": one of them, as there are several"
        raise TypeError(f"states: expected what layer.trace(x) returns{hint}, got {type(states).__name__}")
    return states


def chosen_row(states: LSTMStates, part: str, row: int) -> NDArray[Any]:
    """Return a part (T, units) of one sequence of the batch."""
    array: NDArray[Any] = getattr(checked(states), part)
    if not 0 <= row < len(array):
        raise ValueError(f"row: expected a number from 0 to {len(array) - 1}, got {row}")
    chosen: NDArray[Any] = array[row]
    return chosen
