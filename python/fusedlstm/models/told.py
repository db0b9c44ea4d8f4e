"""`Told`: what a dataset was told of epochs, and how it is told again after an interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base.seeds import get_random_states, set_random_states
from fusedlstm.io.values import encode

if TYPE_CHECKING:
    from fusedlstm.utils.datasets import PyDataset


class Told:
    """Calls a dataset's ``on_epoch_begin`` and ``on_epoch_end``, and notes what they need to be called again.

    A dataset may shuffle by the generators of NumPy or Python, from which other things draw between two
    calls. Where the generators were is kept of such calls, unless it is where the one before has left them.

    Parameters
    ----------
    dataset : PyDataset
    name : str
        The argument's name, for messages.
    """

    def __init__(self, dataset: PyDataset, name: str) -> None:
        self._dataset, self._name = dataset, name
        self._calls = ""  # "b" for the begin of an epoch, "e" for its end
        self._before: dict[int, Any] = {}  # states of the generators, by the numbers of calls
        self._left: tuple[str, bytes] | None = None  # where the last call that drew has left them

    def tell(self, call: str) -> None:
        """Tell of the begin of an epoch, "b", or of its end, "e"."""
        before = get_random_states()
        if call == "b":
            self._dataset.on_epoch_begin()
        else:
            self._dataset.on_epoch_end()
        left = _comparable(get_random_states())
        if left != (then := _comparable(before)):
            if then != self._left:
                self._before[len(self._calls)] = before
            self._left = left
        self._calls += call

    def get_state(self) -> dict[str, Any]:
        """Return what was told, and the dataset's own state."""
        return {"calls": self._calls, "before": self._before, "own": self._dataset.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Tell again, or hand the dataset its own state.

        Raises
        ------
        ValueError
            If the dataset has shuffled already, by a generator that was elsewhere then.
        """
        if state["own"] is not None:
            self._dataset.set_state(state["own"])
            self._calls, self._before = state["calls"], state["before"]
            return
        done = len(self._calls)
        for number in range(done):
            pair = [states.get(number) for states in (self._before, state["before"])]
            if _comparable(pair[0]) != _comparable(pair[1]):
                raise ValueError(
                    f"{self._name}: expected random numbers that begin as those of the training that goes "
                    f"on, as {type(self._dataset).__name__} draws from NumPy's or Python's generator between "
                    "epochs: call utils.set_random_seed as before, or give it a get_state and a set_state"
                )
        for number, call in enumerate(state["calls"][done:], done):
            if number in state["before"]:
                set_random_states(state["before"][number])
            self.tell(call)


def _comparable(states: Any) -> tuple[str, bytes]:
    text, arrays = encode(states, "random")
    return text, b"".join(array.tobytes() for array in arrays.values())
