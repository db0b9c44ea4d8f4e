"""What the benchmark runs on: processor, caches, versions, the multiply-add peak, bandwidths."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fusedlstm
from fusedlstm import ops
from fusedlstm.commands.cli import cpu_model

if TYPE_CHECKING:
    from fusedlstm.benchmark.process import WorkerProcess

_BUSY = 0.3  # a load average above which timings are not to be trusted
_MEMORY_BYTES = 1 << 27  # of each thread's buffer, several times any share of a last-level cache
_DEFAULT_L2 = 1 << 19


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Return processor, operating system and versions, as JSON can hold them."""
    return {
        "processor": cpu_model(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": usable_cores(),
        "caches": _caches(),
        "instruction_sets": list(ops.instruction_sets()),
        "instruction_set": ops.get_instruction_set(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "fusedlstm": fusedlstm.__version__,
    }


def measure_machine(
    worker: WorkerProcess, threads: int, l2_bytes: int | None, seconds: float
) -> dict[str, Any]:
    """Measure the multiply-add peak in GFLOP/s and bandwidths in GB/s, on one thread and on all.

    Parameters
    ----------
    worker
        A worker of this library, whose process has the cores and the number type of the benchmark.
    threads
        How many threads the benchmark uses.
    l2_bytes
        Size of a core's level 2 cache; its half is what the cache's bandwidth is measured on.
    seconds
        How long each single measurement lasts.
    """
    cached = (l2_bytes or _DEFAULT_L2) // 2
    results: dict[str, Any] = {"cached_bytes": cached, "memory_bytes": _MEMORY_BYTES, "by_threads": {}}
    for count in sorted({1, threads}):
        ask = {"threads": count, "seconds": seconds}
        results["by_threads"][str(count)] = {
            "peak_gflops": worker.request("peak", **ask)["gflops"],
            "cache_read_gbytes": worker.request("bandwidth", kind="read", bytes=cached, **ask)["gbytes"],
            "memory_read_gbytes": worker.request("bandwidth", kind="read", bytes=_MEMORY_BYTES, **ask)[
                "gbytes"
            ],
            "memory_copy_gbytes": worker.request("bandwidth", kind="copy", bytes=_MEMORY_BYTES, **ask)[
                "gbytes"
            ],
        }
    return results


def _caches() -> dict[str, int]:
    """Return bytes of the first core's data caches under ``L1``, ``L2``, ``L3``, as far as Linux tells."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size")
            )
            if kind != "Instruction":
                factor = {"K": 1 << 10, "M": 1 << 20}.get(size[-1], 1)
                found[f"L{level}"] = int(size.rstrip("KM")) * factor
        except (OSError, ValueError):  # not every kernel and container shows all of them
            continue
    return found


def load_warning() -> str | None:
    """Say so when something else keeps this machine busy."""
    load = os.getloadavg()[0]
    if load <= _BUSY:
        return None
    return (
        f"the load average of the last minute is {load:.1f}: something else uses this machine, and these "
        "numbers will not repeat"
    )
