"""Which kernels serve an array: the CPU's, `fusedlstm._core`, or those of `fusedlstm.cuda`.

The one test that calls with NumPy arrays pay for is whether a type is `numpy.ndarray`; what the CUDA half is
made of is imported when its first array comes.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from fusedlstm import _core
from fusedlstm.base.arrays import on_device

if TYPE_CHECKING:

    class Kernels:
        """The functions that both have, with the types of the CPU's."""

        cell_backward = staticmethod(_core.cell_backward)
        cell_forward = staticmethod(_core.cell_forward)
        ctc_loss = staticmethod(_core.ctc_loss)
        dense_backward = staticmethod(_core.dense_backward)
        dense_forward = staticmethod(_core.dense_forward)
        dropout = staticmethod(_core.dropout)
        embedding_backward = staticmethod(_core.embedding_backward)
        embedding_forward = staticmethod(_core.embedding_forward)
        layer_norm_backward = staticmethod(_core.layer_norm_backward)
        layer_norm_forward = staticmethod(_core.layer_norm_forward)
        lstm_backward = staticmethod(_core.lstm_backward)
        lstm_forward = staticmethod(_core.lstm_forward)
        lstm_states = staticmethod(_core.lstm_states)
        lstm_step = staticmethod(_core.lstm_step)
        squared_norm = staticmethod(_core.squared_norm)
        update = staticmethod(_core.update)


# Modules, which types cannot say.
_CPU: type[Kernels] = _core  # type: ignore[assignment]


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"fusedlstm.cuda.{name}")


def _device_kernels() -> type[Kernels]:
    found: type[Kernels] = _module("kernels")
    return found


def kernels_for(array: object) -> type[Kernels]:
    """Return the module whose functions take the array; that of the CPU for whatever is none."""
    if type(array) is ndarray or not on_device(array):
        return _CPU
    return _device_kernels()


def weights_class(kernel: object) -> Any:
    """Return the class of packed weights for such a kernel."""
    if type(kernel) is ndarray or not on_device(kernel):
        return _core.LSTMWeights
    return _module("weights").DeviceWeights


def kernels_for_tape(tape: object) -> type[Kernels]:
    """Return the module whose `lstm_backward` takes the tape; `TypeError` for what is none."""
    if isinstance(tape, _core.Tape):
        return _CPU
    kernels = _device_kernels()
    if isinstance(tape, _module("lstm").DeviceTape):
        return kernels
    raise TypeError(f"tape: expected the Tape of lstm_forward(..., training=True), got {type(tape).__name__}")
