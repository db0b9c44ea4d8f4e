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
    ends : tuple of int
        With several groups of rows, whose gradients are sums of their own, the first row of each and the end
        of the last.
    states : dict
        By LSTM layer, the gradients ``(dh0, dc0)`` of the initial states of its last backward pass.
    """

    __slots__ = ("ends", "states")

    def __init__(self) -> None:
        self.ends: tuple[int, ...] = ()
        self.states: dict[Any, tuple[Array, Array]] = {}

    def add(self, variable: Variable, gradient: Array) -> None:
        """Add a gradient of a variable's shape; the first one is kept as it is, and none is written to."""
        self[variable] = self[variable] + gradient if variable in self else gradient

    def add_groups(self, variable: Variable, gradient: Array) -> None:
        """Add the gradients of all groups of rows, one behind the other; of a single one its gradient."""
        self.add(variable, gradient)

    def passed(self, step: int) -> None:
        """Learn that the backward pass through a model has gone through the step of this number."""

    def scale(self, factor: float) -> None:
        """Multiply the sums by a number."""
        for variable, gradient in self.items():
            self[variable] = gradient * gradient.dtype.type(factor)
