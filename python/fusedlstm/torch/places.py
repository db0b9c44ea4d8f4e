"""Where tensors lie, and how their memory is that of arrays: NumPy's on a CPU, CuPy's on a CUDA device."""

from __future__ import annotations

import importlib
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch

from fusedlstm import cuda

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class Place(Protocol):
    """A device of PyTorch's whose tensors the kernels take."""

    host: bool  # Whether it is the CPU

    def array(self, tensor: Any) -> Any:
        """Return an array that shares a tensor's memory."""

    def tensor(self, array: Any) -> Any:
        """Return a tensor that shares an array's memory."""

    def scope(self) -> AbstractContextManager[Any]:
        """Run kernels in order with PyTorch's."""


class HostPlace:
    """CPU tensors."""

    host = True

    def array(self, tensor: Any) -> Any:
        """Return a NumPy array that shares a tensor's memory."""
        return tensor.detach().numpy()

    def tensor(self, array: Any) -> Any:
        """Return a tensor that shares an array's memory."""
        return torch.from_numpy(array)

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context that does nothing: calls end when their work is done."""
        return nullcontext()


class CudaPlace:
    """Tensors on a CUDA device. Arrays are exchanged with CuPy by DLPack, in a `scope`."""

    host = False

    def __init__(self, device: Any) -> None:
        self._device = device
        try:
            self._cuda: Any = importlib.import_module("cupy").cuda
        except ImportError as error:
            raise ImportError(
                f'CUDA tensors: expected CuPy, which the extra brings: pip install "fusedlstm[cuda13]" or '
                f'"fusedlstm[cuda12]" ({error})'
            ) from error

    def _stream(self, pointer: int, index: int) -> Any:
        """Return PyTorch's stream as CuPy's; the first name is the later one."""
        stream = self._cuda.Stream
        if hasattr(stream, "from_external"):
            return stream.from_external(torch.cuda.current_stream(self._device))
        return self._cuda.ExternalStream(pointer, index)

    def array(self, tensor: Any) -> Any:
        """Return a CuPy array that shares a tensor's memory."""
        return cuda.asarray(tensor.detach())

    def tensor(self, array: Any) -> Any:
        """Return a tensor that shares an array's memory."""
        return torch.from_dlpack(array)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Let CuPy and the kernels run on the tensors' device and PyTorch's current stream there.

        Both then order their work, and give memory back, on the same stream, so that neither has to wait.
        """
        index = self._device.index
        pointer = torch.cuda.current_stream(self._device).cuda_stream
        with self._cuda.Device(index), self._stream(pointer, index):
            yield


_HOST = HostPlace()


def place_of(tensor: Any) -> Place:
    """Return the place of a tensor on a CPU or a CUDA device."""
    return _HOST if tensor.device.type == "cpu" else CudaPlace(tensor.device)
