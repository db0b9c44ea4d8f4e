"""`NCCLCommunicator`: messages between NVIDIA GPUs, by NCCL as CuPy has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fusedlstm.base import arrays
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

    Raises
    ------
    ImportError
        If CuPy or its NCCL is missing.
    RuntimeError
        If a machine has fewer GPUs than processes.
    """

    def __init__(self, host: Communicator) -> None:
        try:
            import cupy
            from cupy.cuda import nccl
        except ImportError as error:
            raise ImportError(
                'distribute: NCCL needs CuPy, pip install "fusedlstm[cuda12]" or "fusedlstm[cuda13]", got '
                f"{error}"
            ) from error
        self._host, self._cupy, self._nccl = host, cupy, nccl
        self.rank, self.size = host.rank, host.size
        self.local_rank, self.local_size = host.local_rank, host.local_size
        found = cupy.cuda.runtime.getDeviceCount() if nccl.available else 0
        if found < self.local_size:
            reason = f"{found} GPUs" if nccl.available else "a CuPy without NCCL"
            raise RuntimeError(
                f"distribute: expected a GPU for each of {self.local_size} processes, got {reason}"
            )
        cupy.cuda.Device(self.local_rank).use()
        self._comm = nccl.NcclCommunicator(self.size, host.bcast(_id_of(nccl, host)), self.rank)

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
        stream = self._stream()
        sent, received = np.cumsum([0, *send_counts]), np.cumsum([0, *receive_counts])
        self._nccl.groupStart()
        for other in range(self.size):
            if send_counts[other]:
                part = send[sent[other] : sent[other + 1]]
                self._comm.send(part.data.ptr, part.size, self._type(part), other, stream)
            if receive_counts[other]:
                part = receive[received[other] : received[other + 1]]
                self._comm.recv(part.data.ptr, part.size, self._type(part), other, stream)
        self._nccl.groupEnd()
        return Finished()

    def gather(self, part: Any, whole: Any, counts: Sequence[int]) -> Pending:
        """Begin to collect parts on all ranks; see `Communicator.gather`."""
        if not arrays.on_device(part):
            return self._host.gather(part, whole, counts)
        stream = self._stream()
        ends = np.cumsum([0, *counts])
        self._nccl.groupStart()
        for other in range(self.size):
            if part.size:
                self._comm.send(part.data.ptr, part.size, self._type(part), other, stream)
            if counts[other]:
                place = whole[ends[other] : ends[other + 1]]
                self._comm.recv(place.data.ptr, place.size, self._type(place), other, stream)
        self._nccl.groupEnd()
        return Finished()

    def sum(self, array: Any) -> Pending:
        """Begin to sum an array over all ranks; see `Communicator.sum`."""
        if not arrays.on_device(array):
            return self._host.sum(array)
        pointer = array.data.ptr
        self._comm.allReduce(
            pointer, pointer, array.size, self._type(array), self._nccl.NCCL_SUM, self._stream()
        )
        return Finished()

    def abort(self, message: str) -> NoReturn:
        """End all processes; see `Communicator.abort`."""
        self._comm.abort()
        self._host.abort(message)

    def _stream(self) -> int:
        pointer: int = self._cupy.cuda.get_current_stream().ptr
        return pointer

    def _type(self, array: Any) -> int:
        number: int = getattr(self._nccl, _TYPES[array.dtype.name])
        return number


refuse(NCCLCommunicator, "it belongs to the processes that made it; distribute a copy of a model anew")


def _id_of(nccl: Any, host: Communicator) -> Any:
    return nccl.get_unique_id() if host.rank == 0 else None
