"""A contender's process: ``python -m fusedlstm.benchmark.worker NAME THREADS DTYPE CORES``.

Requests come as lines of JSON on standard input, answers leave as lines of JSON on standard output; arrays go
through .npz files. Whatever a framework prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusedlstm.benchmark.job import Contender, Job

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer requests until standard input ends."""
    name, threads, dtype, cores = sys.argv[1:]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _tie_to_parent()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])

    server = _Server(name, int(threads), dtype)
    for line in sys.stdin:
        try:
            answer = server.handle(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _tie_to_parent() -> None:
    """Let no worker survive its parent, which may have died while the worker was stopped."""
    # A group of its own keeps Ctrl-C to the parent, which then ends its workers.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Server:
    """One request after another; a contender is made by the first, `hello`."""

    def __init__(self, name: str, threads: int, dtype: str) -> None:
        self.name, self.threads, self.dtype = name, threads, dtype
        self.contender: Contender | None = None
        self.job: Job | None = None
        self.usual = 0.0  # seconds of a run

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request["operation"]
        answer: dict[str, Any] = getattr(self, f"do_{operation}")(request)
        return answer

    def do_hello(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        from fusedlstm.benchmark.peers import make_contender

        self.contender = make_contender(self.name, self.threads, self.dtype)
        return {"version": self.contender.version()}

    def do_prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from fusedlstm.benchmark.workloads import Workload

        assert self.contender is not None
        with np.load(request["arrays"]) as stored:
            arrays = dict(stored)
        self.job = self.contender.prepare(Workload.parse(request["workload"]), arrays)
        # The very first call of all, compiling included; check() would take that away.
        start = time.perf_counter()
        (self.job.first or self.job.run)()
        return {"first": time.perf_counter() - start}

    def do_check(self, request: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        assert self.job is not None
        np.savez(request["results"], **self.job.check())  # type: ignore[arg-type]
        return {"tape_bytes": self.job.tape_bytes() if self.job.tape_bytes else None}

    def do_warm_up(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        from fusedlstm.benchmark.job import warm_up

        assert self.job is not None
        self.usual = warm_up(self.job.run)
        return {}

    def do_turn(self, request: dict[str, Any]) -> dict[str, Any]:
        from fusedlstm.benchmark.job import take_turn

        assert self.job is not None
        turn = take_turn(self.job.run, self.usual, request["seconds"])
        return {"samples": [sample / self.job.steps for sample in turn.samples], "cores": turn.cores}

    def do_paused(self, request: dict[str, Any]) -> dict[str, Any]:
        from fusedlstm.benchmark.job import take_pauses

        assert self.job is not None
        limits = {name: request[name] for name in ("pause", "calls", "least", "most")}
        return {"samples": take_pauses(self.job.run, **limits)}

    def do_release(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        self.job = None
        return {}

    # The machine's own measurements, which want the same cores as the contenders.

    def do_peak(self, request: dict[str, Any]) -> dict[str, Any]:
        from fusedlstm import _core

        return {"gflops": _core.measure_peak(self.dtype, request["threads"], request["seconds"])}

    def do_bandwidth(self, request: dict[str, Any]) -> dict[str, Any]:
        from fusedlstm.benchmark.bandwidth import copy_bandwidth, read_bandwidth

        measure = {"read": read_bandwidth, "copy": copy_bandwidth}[request["kind"]]
        return {"gbytes": measure(request["bytes"], request["threads"], request["seconds"])}


if __name__ == "__main__":
    main()
