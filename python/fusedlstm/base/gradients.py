"""`Gradients`: the sums that backward passes add to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusedlstm.base.types import Array
    from fusedlstm.base.variable import Variable


class Gradients(dict["Variable", "Array"]):
    """Gradients of weights by `Variable`, each the sum over the backward passes that were handed this object.

    Attributes
    ----------
    states : dict
        By LSTM layer, the gradients ``(dh0, dc0)`` of the initial states of its last backward pass.
    """

    __slots__ = ("states",)

    def __init__(self) -> None:
        self.states: dict[Any, tuple[Array, Array]] = {}

    def add(self, variable: Variable, gradient: Array) -> None:
        """Add a gradient of a variable's shape; the first one is kept as it is, and none is written to."""
        self[variable] = self[variable] + gradient if variable in self else gradient

    def passed(self, step: int) -> None:
        """Learn that the backward pass through a model has gone through the step of this number."""

    def scale(self, factor: float) -> None:
        """Multiply the sums by a number."""
        for variable, gradient in self.items():
            self[variable] = gradient * gradient.dtype.type(factor)
