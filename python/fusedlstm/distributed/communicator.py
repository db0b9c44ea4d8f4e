"""`Communicator`: what a shared training needs of the processes that share it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class Pending(ABC):
    """An exchange of arrays that was begun. Its arrays are not to be touched before `wait` returns."""

    @abstractmethod
    def test(self) -> None:
        """Let the exchange go on if it can, without waiting."""

    @abstractmethod
    def wait(self) -> None:
        """Return when the arrays that are received hold what was sent, and those sent may be reused."""


class Finished(Pending):
    """An exchange that has come to its end."""

    def test(self) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""


class Communicator(ABC):
    """Processes that train one model together. All of them make the same calls in the same order.

    Arrays of an exchange are one-dimensional, in C order and of one dtype: of NumPy, or on the device of the
    model.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and how many there are.
    local_rank, local_size : int
        The same among those of this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    @abstractmethod
    def name(self) -> str:
        """The library that carries the messages, with its version."""

    @abstractmethod
    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all, by rank. Values are pickled."""

    @abstractmethod
    def bcast(self, value: Any = None) -> Any:
        """Return the value of rank 0. It is pickled."""

    @abstractmethod
    def exchange(
        self, send: Any, send_counts: Sequence[int], receive: Any, receive_counts: Sequence[int]
    ) -> Pending:
        """Begin to send so many elements to each rank, one part after the other, and to receive from each."""

    @abstractmethod
    def gather(self, part: Any, whole: Any, counts: Sequence[int]) -> Pending:
        """Begin to collect parts, so many elements of each rank, on all ranks; own parts lie in no other."""

    @abstractmethod
    def sum(self, array: Any) -> Pending:
        """Begin to replace an array by the sum over all ranks, whose order the library chooses."""

    @abstractmethod
    def abort(self, message: str) -> NoReturn:
        """Write a message to stderr, and end all processes with exit code 1."""


class Alone(Communicator):
    """One process without any library: what a shared training gives on one rank, as a reference."""

    rank, size, local_rank, local_size = 0, 1, 0, 1
    name = "none"

    def allgather(self, value: Any) -> list[Any]:
        """Return a list of the value."""
        return [value]

    def bcast(self, value: Any = None) -> Any:
        """Return the value."""
        return value

    def exchange(
        self,
        send: Any,
        send_counts: Sequence[int],  # noqa: ARG002
        receive: Any,
        receive_counts: Sequence[int],  # noqa: ARG002
    ) -> Pending:
        """Copy."""
        receive[...] = send
        return Finished()

    def gather(self, part: Any, whole: Any, counts: Sequence[int]) -> Pending:  # noqa: ARG002
        """Copy."""
        whole[...] = part
        return Finished()

    def sum(self, array: Any) -> Pending:  # noqa: ARG002
        """Leave the array as it is."""
        return Finished()

    def abort(self, message: str) -> NoReturn:
        """Raise `SystemExit` with the message."""
        raise SystemExit(message)


def cuts(length: int, parts: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return where a length is cut into parts that differ by one at most: ``parts + 1`` places from 0."""
    return np.arange(parts + 1) * length // parts
