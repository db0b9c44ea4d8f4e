"""Data parallel training on several processes, over MPI, and between GPUs over NCCL.

`fusedlstm.Model.distribute`, or ``fit(..., distribute="mpi")``, shares a training out. Here is what it runs
on: communicators, of which `get` makes those of the names, and where this process stands among the others.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fusedlstm.distributed.communicator import Alone, Communicator, Pending
from fusedlstm.distributed.threads import share_cores

if TYPE_CHECKING:
    from types import TracebackType

    from fusedlstm.distributed.mpi import MPICommunicator
    from fusedlstm.distributed.nccl import NCCLCommunicator

__all__ = [
    "Alone",
    "Communicator",
    "MPICommunicator",
    "NCCLCommunicator",
    "Pending",
    "end_all",
    "get",
    "rank",
    "share_cores",
    "size",
]

_made: dict[str, Communicator] = {}


def get(communicator: Any) -> Communicator:
    """Return a communicator: itself, the one of a name, or one around mpi4py's.

    Parameters
    ----------
    communicator : {"mpi", "nccl"}, Communicator or mpi4py.MPI.Comm
        A name means all processes that mpiexec or srun has started together; the first use of it is one that
        all of them have to make. From then on an exception that nobody catches in one of them ends all.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    ImportError
        If mpi4py, its MPI or CuPy is missing.
    RuntimeError
        If several processes were started, and the MPI that is loaded is not the one that started them; or if
        there is no GPU for each process of a machine.
    """
    if isinstance(communicator, Communicator):
        return communicator
    if isinstance(communicator, str):
        if communicator not in ("mpi", "nccl"):
            raise ValueError(
                f"distribute: expected 'mpi', 'nccl' or a communicator, got {communicator!r:.80}"
            )
        if communicator not in _made:
            _made[communicator] = _make(communicator)
        return _made[communicator]
    if type(communicator).__module__.partition(".")[0] == "mpi4py":
        from fusedlstm.distributed.mpi import MPICommunicator

        return MPICommunicator(communicator)
    raise TypeError(f"distribute: expected 'mpi', 'nccl' or a communicator, got {communicator!r:.80}")


def _make(name: str) -> Communicator:
    from fusedlstm.distributed.mpi import MPICommunicator

    if name == "mpi":
        communicator = MPICommunicator()
        if communicator.size > 1:
            _end_all_by_errors(communicator)
        return communicator
    from fusedlstm.distributed.nccl import NCCLCommunicator

    return NCCLCommunicator(get("mpi"))


def _end_all_by_errors(communicator: Communicator) -> None:
    """Let an exception that nobody catches end all processes, which would wait for this one for ever."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        communicator.abort(f"{kind.__name__}: {error}")

    sys.excepthook = hook


def end_all(reason: str) -> None:
    """End the processes of `get`'s names with an error, if there are several: this one leaves.

    Parameters
    ----------
    reason : str
        Is written to stderr, behind the rank.
    """
    if size() > 1:
        _made["mpi"].abort(reason)


def rank() -> int:
    """Return this process's number among those of `get`'s ``"mpi"`` or ``"nccl"``; 0 before the first use."""
    return next((one.rank for one in _made.values()), 0)


def size() -> int:
    """Return how many processes there are; 1 before the first use of `get`'s names."""
    return next((one.size for one in _made.values()), 1)


def __getattr__(name: str) -> Any:
    # They need mpi4py and CuPy.
    if name == "MPICommunicator":
        from fusedlstm.distributed.mpi import MPICommunicator

        return MPICommunicator
    if name == "NCCLCommunicator":
        from fusedlstm.distributed.nccl import NCCLCommunicator

        return NCCLCommunicator
    raise AttributeError(f"module 'fusedlstm.distributed' has no attribute {name!r}")
