"""Ranks that are threads of this process: all that shared trainings do, where there is no MPI."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fusedlstm.distributed import Communicator, Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SECONDS = 60


class Board:
    """What ranks tell each other, by the number of the call."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.posted: dict[int, dict[int, Any]] = {}
        self.read: dict[int, int] = {}
        self.changed = threading.Condition()
        self.failed: str | None = None

    def post(self, number: int, rank: int, value: Any) -> None:
        with self.changed:
            self.posted.setdefault(number, {})[rank] = value
            self.changed.notify_all()

    def all(self, number: int) -> list[Any]:
        def complete() -> bool:
            return self.failed is not None or len(self.posted.get(number, ())) == self.size

        with self.changed:
            assert self.changed.wait_for(complete, _SECONDS), f"call {number}: not all ranks made it"
            if self.failed is not None:
                raise RuntimeError(self.failed)
            found = [self.posted[number][rank] for rank in range(self.size)]
            self.read[number] = self.read.get(number, 0) + 1
            if self.read[number] == self.size:
                del self.posted[number], self.read[number]
        kinds = {kind for kind, _ in found}
        assert len(kinds) == 1, f"call {number}: ranks made {kinds}"
        return [value for _, value in found]


class Later(Pending):
    """An exchange, which arrives when somebody waits for it."""

    def __init__(self, arrive: Callable[[], None]) -> None:
        self._arrive = arrive

    def test(self) -> None:
        pass

    def wait(self) -> None:
        self._arrive()


class Thread(Communicator):
    """One of several threads."""

    name = "threads"

    def __init__(self, board: Board, rank: int) -> None:
        self._board, self._calls = board, 0
        self.rank = self.local_rank = rank
        self.size = self.local_size = board.size
        self.sent = 0  # bytes, to other ranks

    def _post(self, kind: str, value: Any) -> int:
        self._calls += 1
        self._board.post(self._calls, self.rank, (kind, value))
        return self._calls

    def allgather(self, value: Any) -> list[Any]:
        number = self._post("allgather", pickle.dumps(value))
        return [pickle.loads(one) for one in self._board.all(number)]

    def bcast(self, value: Any = None) -> Any:
        found = self._board.all(self._post("bcast", pickle.dumps(value)))
        return value if self.rank == 0 else pickle.loads(found[0])

    def exchange(
        self, send: Any, send_counts: Sequence[int], receive: Any, receive_counts: Sequence[int]
    ) -> Pending:
        assert send.size == sum(send_counts)
        assert receive.size == sum(receive_counts)
        parts = np.split(send.copy(), np.cumsum(send_counts)[:-1])
        self.sent += sum(part.nbytes for rank, part in enumerate(parts) if rank != self.rank)
        number = self._post(f"exchange of {send.dtype}", parts)

        def arrive() -> None:
            found = [parts[self.rank] for parts in self._board.all(number)]
            assert [part.size for part in found] == list(receive_counts)
            receive[...] = np.concatenate(found)

        return Later(arrive)

    def gather(self, part: Any, whole: Any, counts: Sequence[int]) -> Pending:
        assert part.size == counts[self.rank]
        self.sent += part.nbytes * (self.size - 1)
        number = self._post(f"gather of {part.dtype}", part.copy())

        def arrive() -> None:
            whole[...] = np.concatenate(self._board.all(number))

        return Later(arrive)

    def sum(self, array: Any) -> Pending:
        number = self._post(f"sum of {array.dtype}", array.copy())

        def arrive() -> None:
            array[...] = sum(self._board.all(number))

        return Later(arrive)

    def abort(self, message: str) -> NoReturn:
        with self._board.changed:
            self._board.failed = f"rank {self.rank}: {message}"
            self._board.changed.notify_all()
        raise RuntimeError(self._board.failed)


def together(ranks: int, function: Callable[[Thread], Any]) -> list[Any]:
    """Return what a function returns in each of several ranks."""
    board = Board(ranks)
    with ThreadPoolExecutor(ranks) as pool:
        futures = [pool.submit(function, Thread(board, rank)) for rank in range(ranks)]
        return [future.result() for future in futures]


def copies(model: Any, ranks: int) -> list[Any]:
    """Return equal models, random streams included."""
    return [copy.deepcopy(model) for _ in range(ranks)]
