"""`NCCLCommunicator`: messages between NVIDIA GPUs, by NCCL as CuPy has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fusedlstm.base import arrays, devices
from fusedlstm.base.copying import refuse
from fusedlstm.distributed.communicator import Communicator, Finished, Pending

if TYPE_CHECKING:
    from collections.abc import Sequence

_TYPES = {"float32": "NCCL_FLOAT32", "float64": "NCCL_FLOAT64"}


class NCCLCommunicator(Communicator):
    """Processes with a GPU each, whose arrays go from GPU to GPU on CuPy's current stream.

    Whatever is no array of a GPU goes the way of another communicator, which also brings the processes
    together. A process takes the GPU of its number on the machine.

    Parameters
    ----------
    host : Communicator
        Of the same processes.
    library : module, optional
        What has the functions of ``cupy.cuda.nccl``; that one by default.

    Raises
    ------
    ImportError
        If CuPy or its NCCL is missing.
    RuntimeError
        If a machine has fewer GPUs than processes.
    """

    def __init__(self, host: Communicator, library: Any = None) -> None:
        self._host = host
        self._nccl = _of_cupy(host) if library is None else library
        self.rank, self.size = host.rank, host.size
        self.local_rank, self.local_size = host.local_rank, host.local_size
        own = self._nccl.get_unique_id() if self.rank == 0 else None
        self._comm = self._nccl.NcclCommunicator(self.size, host.bcast(own), self.rank)

    @property
    def name(self) -> str:
        """The library, with its version, and that of the host's messages."""
        return f"NCCL {self._nccl.get_version()}, {self._host.name}"

    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all, by rank; see `Communicator.allgather`."""
        return self._host.allgather(value)

    def bcast(self, value: Any = None) -> Any:
        """Return the value of rank 0; see `Communicator.bcast`."""
        return self._host.bcast(value)

    def exchange(
        self, send: Any, send_counts: Sequence[int], receive: Any, receive_counts: Sequence[int]
    ) -> Pending:
        """Begin to send parts and to receive them; see `Communicator.exchange`."""
        if not arrays.on_device(send):
            return self._host.exchange(send, send_counts, receive, receive_counts)
        sent, received = np.cumsum([0, *send_counts]), np.cumsum([0, *receive_counts])
        self._nccl.groupStart()
        for other in range(self.size):
            self._send(send[sent[other] : sent[other + 1]], other)
            self._receive(receive[received[other] : received[other + 1]], other)
        self._nccl.groupEnd()
        return Finished()

    def gather(self, part: Any, whole: Any, counts: Sequence[int]) -> Pending:
        """Begin to collect parts on all ranks; see `Communicator.gather`."""
        if not arrays.on_device(part):
            return self._host.gather(part, whole, counts)
        ends = np.cumsum([0, *counts])
        self._nccl.groupStart()
        for other in range(self.size):
            self._send(part, other)
            self._receive(whole[ends[other] : ends[other + 1]], other)
        self._nccl.groupEnd()
        return Finished()

    def sum(self, array: Any) -> Pending:
        """Begin to sum an array over all ranks; see `Communicator.sum`."""
        if not arrays.on_device(array):
            return self._host.sum(array)
        pointer, size, kind, stream = self._described(array)
        self._comm.allReduce(pointer, pointer, size, kind, self._nccl.NCCL_SUM, stream)
        return Finished()

    def abort(self, message: str) -> NoReturn:
        """End all processes; see `Communicator.abort`."""
        self._comm.abort()
        self._host.abort(message)

    def _send(self, part: Any, other: int) -> None:
        if part.size:
            pointer, size, kind, stream = self._described(part)
            self._comm.send(pointer, size, kind, other, stream)

    def _receive(self, part: Any, other: int) -> None:
        if part.size:
            pointer, size, kind, stream = self._described(part)
            self._comm.recv(pointer, size, kind, other, stream)

    def _described(self, array: Any) -> tuple[int, int, int, int]:
        """Return where an array lies, its size, NCCL's number of its type, and the stream."""
        place: Any = devices.place_of(array)
        kind = getattr(self._nccl, _TYPES[array.dtype.name])
        return place.address(array), array.size, kind, place.stream()


refuse(NCCLCommunicator, "it belongs to the processes that made it; distribute a copy of a model anew")


def _of_cupy(host: Communicator) -> Any:
    """Return CuPy's NCCL, and use the GPU of this process from now on."""
    try:
        import cupy
        from cupy.cuda import nccl
    except ImportError as error:
        raise ImportError(
            'distribute: NCCL needs CuPy, pip install "fusedlstm[cuda12]" or "fusedlstm[cuda13]", got '
            f"{error}"
        ) from error
    if not nccl.available:
        raise ImportError(
            "distribute: NCCL needs a CuPy with it, got one without; pip install nvidia-nccl-cu12"
        )
    found = cupy.cuda.runtime.getDeviceCount()
    if found < host.local_size:
        count = host.local_size
        raise RuntimeError(f"distribute: expected a GPU for each of {count} processes, got {found} GPUs")
    cupy.cuda.Device(host.local_rank).use()
    return nccl
