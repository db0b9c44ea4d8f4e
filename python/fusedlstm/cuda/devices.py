"""The CUDA devices of this machine."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, TypedDict, cast

from fusedlstm import _core

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


class DeviceProperties(TypedDict):
    """What a device is, in the numbers that kernels are chosen by.

    The clocks and the width of the bus are None where the driver does not tell them.
    """

    name: str
    major: int
    minor: int
    multiprocessors: int
    shared_per_block: int
    shared_per_multiprocessor: int
    registers_per_multiprocessor: int
    l2_bytes: int
    memory_bytes: int
    cooperative_launch: bool
    clock_khz: int | None
    memory_clock_khz: int | None
    memory_bus_bits: int | None
    driver_version: int
    runtime_version: int


def is_available(index: int = 0) -> bool:
    """Return whether the kernels can run on a CUDA device of this machine.

    Parameters
    ----------
    index : int
        The device's number, from 0.
    """
    return why_unavailable(index) is None


def why_unavailable(index: int = 0) -> str | None:
    """Return why the kernels cannot run on a CUDA device of this machine, in one sentence, or None.

    Parameters
    ----------
    index : int
        The device's number, from 0.
    """
    module = compiled_module()
    if isinstance(module, str):
        return module
    reason: str | None = module.why_unavailable()
    if reason is not None:
        return reason
    count = module.device_count()
    if not 0 <= index < count:
        return f"no CUDA device {index}: there are {count}, counted from 0"
    device = module.device_properties(index)
    if not runs_on(module.architectures, device["major"], device["minor"]):
        compiled = ", ".join(f"{number // 10}.{number % 10}" for number in module.architectures)
        return (
            f"CUDA device {index}, {device['name']}, has compute capability "
            f"{device['major']}.{device['minor']}, and the kernels were compiled for {compiled} and later "
            "ones than the last; FUSEDLSTM_CUDA_ARCHITECTURES says for which when fusedlstm is installed"
        )
    return None


def runs_on(compiled: Sequence[int], major: int, minor: int) -> bool:
    """Return whether there is machine code for a compute capability, or PTX that its driver compiles.

    Machine code runs on the same major version, from its minor version on; PTX on what comes after the last.

    Parameters
    ----------
    compiled : sequence of int
        Architectures in ascending order, 90 for compute capability 9.0.
    major, minor : int
        The device's compute capability.
    """
    own = 10 * major + minor
    return any(number // 10 == major and number <= own for number in compiled) or own >= compiled[-1]


def device_count() -> int:
    """Return the number of CUDA devices: 0 also without a driver, and where CUDA was not built."""
    module = compiled_module()
    return 0 if isinstance(module, str) else int(module.device_count())


def device_properties(index: int = 0) -> DeviceProperties:
    """Return what a device is: its name, compute capability, sizes and clocks.

    Parameters
    ----------
    index : int
        The device's number, from 0.

    Returns
    -------
    dict
        See `DeviceProperties`; sizes in bytes, clocks in kHz, versions as CUDA counts them (13000).

    Raises
    ------
    RuntimeError
        There is no CUDA device, or fusedlstm was built without CUDA; says which.
    ValueError
        There is no device of this number.
    """
    module = compiled_module()
    if isinstance(module, str):
        raise RuntimeError(module)
    return cast("DeviceProperties", module.device_properties(index))


def architectures() -> tuple[int, ...]:
    """Return what the kernels were compiled for, 90 for compute capability 9.0; empty without CUDA."""
    module = compiled_module()
    return () if isinstance(module, str) else tuple(module.architectures)


def compiled_module() -> ModuleType | str:
    """Return the compiled module, or why there is none."""
    if importlib.util.find_spec("fusedlstm._cuda") is None:
        return not_built(_core.why_without_cuda())
    try:
        return importlib.import_module("fusedlstm._cuda")
    except ImportError as error:
        return f"fusedlstm._cuda cannot be loaded: {error}"


def not_built(reason: str | None) -> str:
    """Return what to tell who wants CUDA from a package without it.

    Parameters
    ----------
    reason : str or None
        Why the kernels were not compiled when the package was built; None where they were.
    """
    reason = reason or "its module fusedlstm._cuda was compiled, but is not here"
    return (
        f"fusedlstm was built without CUDA: {reason}. To have it, install again with pip install . "
        "--config-settings=cmake.define.FUSEDLSTM_CUDA=ON, and with the extra cuda12 or cuda13 for CuPy"
    )
