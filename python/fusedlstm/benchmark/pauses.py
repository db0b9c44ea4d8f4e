"""``fusedlstm bench --pauses``: calls with pauses between them, on a quiet machine and beside busy processes.

A service or a sensor does not call in a tight loop: between two calls its threads go to sleep, caches cool,
and other processes take the cores. Each contender's results are verified first, as for any workload; then it
sleeps, calls, and times the call, again and again, alone on the machine and beside processes that compute all
the time on the same cores. Reported are the median, the 90th and the 99th percentile of a call.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from fusedlstm.benchmark.peers import FACES, OURS, PEERS, offers
from fusedlstm.benchmark.process import WorkerError, WorkerProcess
from fusedlstm.benchmark.runner import RefusedError
from fusedlstm.benchmark.verify import DisagreementError, compare, expectations
from fusedlstm.benchmark.workloads import Workload, make_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

PAUSED = (
    "forward-1x51x16x128",
    "forward-4x51x16x128",
    "forward-1x100x512x512",
    "step-1x128x128",
    "mnist-64",
)
# The columns of a workload's table, and what they mean; those behind are a pause each.
COLUMNS = {
    "busy": "processes that compute all the time on the same cores",
    "contender": "who is called; with all threads, unless it says how many",
    "pause 2 ms": "a call after so long a pause; tight loop: without any",
    "0.1/0.2/0.3": "median, 90th and 99th percentile of a call, in milliseconds",
}
PAUSES = (0.0, 0.002, 0.02)  # seconds; the first is a tight loop
CALLS = 200
QUICK_CALLS = 40
# Seconds: a tight loop lasts the first at the least, and slow calls end with the second.
_LEAST, _MOST = 0.2, 8.0
_WIDEST = 1000  # characters of a line
_SETTLE = 0.3  # until the scheduler has spread the busy processes


def pause_workload(
    workload: Workload,
    contenders: Sequence[str],
    start: Callable[[str, int], WorkerProcess],
    folder: Path,
    *,
    cores: list[int],
    dtype: str,
    threads: int,
    calls: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Verify and time one workload with pauses.

    Parameters
    ----------
    workload
        What to run.
    contenders
        Names of peers and of this library's faces; those that do not offer the workload are left out. This
        library takes part with all threads and with one.
    start
        Starts a contender's process: ``start(name, threads)``.
    folder
        For arrays on their way between processes.
    cores
        Cores that contenders are restricted to, and the busy processes with them; empty for no restriction.
    dtype, threads
        As for any workload.
    calls
        How many calls each percentile is taken from, at most.
    progress
        Called with what is being done.

    Returns
    -------
    dict
        ``name``, ``failed``, and ``rows``: a list of ``contender``, ``threads``, ``busy`` (processes),
        ``pause`` (seconds), ``calls``, ``p50``, ``p90`` and ``p99`` (seconds).

    Raises
    ------
    RefusedError
        If a contender's results are not those of the reference.
    WorkerError
        If this library fails.
    """
    arrays = make_arrays(workload, dtype)
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
    expected = expectations(workload, arrays, dtype)
    takers = [(OURS, threads), (OURS, 1)] if threads > 1 else [(OURS, 1)]
    takers += [(name, threads) for name in contenders if offers(name, workload, dtype)]
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        ready: list[tuple[str, int, WorkerProcess]] = []
        for name, count in takers:
            progress(f"{workload.name}: verifying {name}")
            try:
                worker = stack.enter_context(start(name, count))
                worker.request("hello")
                worker.request("prepare", workload=workload.name, arrays=str(folder / "arrays.npz"))
                worker.request("check", results=str(folder / "results.npz"))
                with np.load(folder / "results.npz") as stored:
                    results = dict(stored)
                # A face may return less, but at least one array.
                wanted = {key: expected[key] for key in expected if key in results or name not in FACES}
                if not wanted:
                    raise DisagreementError(f"expected some of {sorted(expected)}, got {sorted(results)}")
                compare(results, wanted)
                worker.request("warm_up")
            except DisagreementError as error:
                raise RefusedError({name: str(error)}) from error
            except WorkerError as error:
                if name == OURS:
                    raise
                failed[name] = str(error)
                continue
            ready.append((name, count, worker))
        for busy in (0, 1, threads, 2 * threads) if threads > 1 else (0, 1, 2):
            with _busy_processes(busy, cores):
                for pause in PAUSES:
                    for name, count, worker in ready:
                        progress(f"{workload.name}: {busy} busy, pause {pause * 1e3:g} ms, {name}")
                        samples = worker.request(
                            "paused", pause=pause, calls=calls, least=_LEAST, most=_MOST
                        )["samples"]
                        p50, p90, p99 = (float(value) for value in np.quantile(samples, (0.5, 0.9, 0.99)))
                        rows.append(
                            {"contender": name, "threads": count, "busy": busy, "pause": pause}
                            | {"calls": len(samples), "p50": p50, "p90": p90, "p99": p99}
                        )
    return {"name": workload.name, "failed": failed, "rows": rows}


@contextmanager
def _busy_processes(count: int, cores: list[int]) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        for process in processes:
            if cores and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, cores)
        if processes:
            time.sleep(_SETTLE)
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def print_pauses(out: Console, result: dict[str, Any]) -> None:
    """Print one workload's table: a row for each contender and load, a column for each pause.

    This library's number of threads stands behind its name; faces and peers have all of them.
    """
    out.print(f"\n{result['name']}, with pauses between calls: median/90 %/99 %, ms")
    table = Table(box=None, pad_edge=False)
    table.add_column("busy", justify="right")
    table.add_column("contender", no_wrap=True)
    for pause in PAUSES:
        title = f"pause {pause * 1e3:g} ms" if pause else "tight loop"
        table.add_column(title, justify="right", no_wrap=True)
    cells: dict[tuple[int, str, int], list[str]] = {}
    for row in result["rows"]:
        texts = cells.setdefault((row["busy"], row["contender"], row["threads"]), [])
        texts.append("/".join(_milliseconds(row[key]) for key in ("p50", "p90", "p99")))
    for (busy, name, threads), texts in cells.items():
        label = PEERS[name].label if name in PEERS else name
        count = "1 thread" if threads == 1 else f"{threads} threads"
        table.add_row(str(busy), f"{label}, {count}" if name == OURS else label, *texts)
    # Columns that are fitted into a terminal would cut figures; it breaks lines itself.
    width = out.width
    out.width = max(width, out.measure(table, options=out.options.update(width=_WIDEST)).maximum)
    out.print(table)
    out.width = width
    for name, problem in result["failed"].items():
        out.print(f"{name}: {problem}", style="red")


def _milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.{3 if value < 9.9995 else 1}f}"
