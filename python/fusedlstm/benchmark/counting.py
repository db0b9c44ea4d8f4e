"""Instructions of one kernel call, by ``perf stat`` where the system lets it count, or by callgrind.

The module is also the program that is counted:
``python -m fusedlstm.benchmark.counting NAME SHAPE DTYPE CALLS``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

_TIMEOUT = 600.0  # seconds; callgrind takes some fifty times as long as the processor
_MOST_CALLS = 2


class Count(NamedTuple):
    """Instructions of one call, or None with the reason in `method`."""

    instructions: int | None
    method: str


class _CannotCountError(Exception):
    """The tool does not work here; the message says why."""


def count_instructions(kernel: str, shape: tuple[int, ...], dtype: str, instruction_set: str) -> Count:
    """Count the instructions of one call on one thread.

    They are those of a program that makes two calls, less those of one that makes one.

    Parameters
    ----------
    kernel
        A name in `fusedlstm.benchmark.kernel_jobs.KERNELS`.
    shape
        Its sizes.
    dtype
        ``"float32"`` or ``"float64"``.
    instruction_set
        The set to run.
    """
    arguments = [sys.executable, "-m", __name__, kernel, ",".join(map(str, shape)), dtype]
    reasons = []
    for tool, count in (("perf", _perf), ("valgrind", _callgrind)):
        if shutil.which(tool) is None:
            reasons.append(f"{tool} is not installed")
            continue
        try:
            one, two = (count([*arguments, str(calls)], instruction_set) for calls in (1, _MOST_CALLS))
            return Count(two - one, {"perf": "perf stat", "valgrind": "callgrind"}[tool])
        except _CannotCountError as error:
            reasons.append(f"{tool}: {error}")
    return Count(None, "; ".join(reasons))


def _run(command: list[str], instruction_set: str) -> str:
    environment = {
        **os.environ,
        "FUSEDLSTM_INSTRUCTION_SET": instruction_set,
        # Waiting threads spin, and those instructions depend on the weather.
        **dict.fromkeys(("FUSEDLSTM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _CannotCountError(f"took more than {_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise _CannotCountError(f"exit code {done.returncode}: {lines[-1]}")
    return done.stderr


def _perf(command: list[str], instruction_set: str) -> int:
    errors = _run(["perf", "stat", "-x", ",", "-e", "instructions:u", "--", *command], instruction_set)
    found = re.search(r"^(\d+),[^,]*,instructions", errors, re.MULTILINE)
    if found is None:
        raise _CannotCountError("this machine does not let it count instructions")
    return int(found[1])


def _callgrind(command: list[str], instruction_set: str) -> int:
    with tempfile.TemporaryDirectory(prefix="fusedlstm-count-") as folder:
        output = Path(folder) / "callgrind.out"
        _run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", "--", *command],
            instruction_set,
        )
        found = re.search(r"^(?:summary|totals): (\d+)", output.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise _CannotCountError("its output has no total")
    return int(found[1])


def _main() -> None:
    from fusedlstm.benchmark.kernel_jobs import KERNELS

    name, shape, dtype, calls = sys.argv[1:]
    job = KERNELS[name].make(tuple(int(size) for size in shape.split(",")), dtype)
    # All setups first, the same number in every run: only the calls differ. The first call also makes what is
    # kept between calls.
    arguments = [job.setup() for _ in range(_MOST_CALLS + 1)]
    for argument in arguments[: int(calls) + 1]:
        job.run(argument)
    # Nothing that happens at exit should differ either.
    os._exit(0)


if __name__ == "__main__":
    _main()
