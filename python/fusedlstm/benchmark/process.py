"""The parent's end of a contender's process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from typing import Any

_TIMEOUT = 900.0  # seconds; compiling a large training step takes a few
_STDERR_LINES = 6


class WorkerError(RuntimeError):
    """A contender failed; the message says how."""


class WorkerProcess:
    """Starts a worker, asks it, and keeps it stopped (SIGSTOP) between questions.

    Parameters
    ----------
    name : str
        The contender, as `fusedlstm.benchmark.peers.make_contender` knows it.
    threads : int
        Threads it may use.
    dtype : str
        ``"float32"`` or ``"float64"``.
    cores : list of int
        Cores it may run on; empty for no restriction.
    environment : dict of str, optional
        Environment variables on top of those that set the number of threads.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        dtype: str,
        cores: list[int],
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        # Closed, and thereby deleted, by close().
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FUSEDLSTM_NUM_THREADS")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fusedlstm.benchmark.worker"),
                *(name, str(threads), dtype, ",".join(map(str, cores))),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **dict.fromkeys(limits, str(threads)), **(environment or {})},
        )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def request(self, operation: str, **values: Any) -> dict[str, Any]:
        """Wake the worker, have it do something, and stop it again.

        Raises
        ------
        WorkerError
            If it fails, dies or does not answer in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._signal(signal.SIGCONT)
            self._process.stdin.write(json.dumps({"operation": operation, **values}) + "\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], _TIMEOUT)
            line = self._process.stdout.readline() if ready else None
        except BrokenPipeError:
            line = ""
        if line is None:
            raise WorkerError(f"{self.name}: no answer to {operation!r} within {_TIMEOUT:.0f} s")
        if not line:
            code = self._process.wait()
            raise WorkerError(f"{self.name}: its process ended with exit code {code}{self._last_words()}")
        self._signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process. It holds nothing that would have to be saved."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:  # an unsent request to a dead worker
                    continue
        self._errors.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = [line.rstrip() for line in self._errors if line.strip()][-_STDERR_LINES:]
        return ":\n  " + "\n  ".join(lines) if lines else ""


def pick_cores(threads: int) -> list[int]:
    """Choose the cores for a number of threads, one per physical core as long as there are enough.

    Restricting a process to them is the only way to limit some frameworks' threads.

    Returns
    -------
    list of int
        Empty where the system cannot restrict a process, or when there are fewer cores than threads.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    usable = sorted(os.sched_getaffinity(0))
    if threads > len(usable):
        return []
    siblings: dict[str, list[int]] = {}
    for core in usable:
        path = f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
        try:
            with open(path, encoding="ascii") as stream:  # noqa: PTH123
                key = stream.read().strip()
        except OSError:
            key = str(core)
        siblings.setdefault(key, []).append(core)
    # The first hardware thread of every core, then the second ones, and so on.
    ranked = sorted((rank, core) for group in siblings.values() for rank, core in enumerate(group))
    return sorted(core for _, core in ranked[:threads])
