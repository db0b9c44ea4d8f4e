"""The measurement: verify every contender, warm up, then take turns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.benchmark.narrow import allow_rounding
from fusedlstm.benchmark.peers import OURS, PEERS, rounding_of
from fusedlstm.benchmark.prediction_devices import NUMBER_BYTES
from fusedlstm.benchmark.process import WorkerError, WorkerProcess
from fusedlstm.benchmark.statistics import spread
from fusedlstm.benchmark.verify import DisagreementError, compare, expectations, largest_difference
from fusedlstm.benchmark.workloads import make_host_arrays

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusedlstm.benchmark.workloads import Workload

TURN_SECONDS = 0.03
PEAK_SECONDS = 0.02


class RefusedError(Exception):
    """Nothing was timed, because not all contenders computed the same.

    Attributes
    ----------
    problems : dict of str
        What is wrong, by contender.
    """

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = problems


def run_workload(
    workload: Workload,
    workers: dict[str, WorkerProcess],
    peak: WorkerProcess,
    folder: Path,
    *,
    dtype: str,
    threads: int,
    seconds: float,
    least_rounds: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Verify and time one workload.

    Parameters
    ----------
    workload
        What to run.
    workers
        This library's worker under `OURS`, and those of the variants and peers that offer the workload.
    peak
        The worker that measures the multiply-add peak.
    folder
        For arrays on their way between processes.
    dtype, threads
        As the workers were started with.
    seconds
        How long to take turns.
    least_rounds
        How many rounds to make even if they take longer.
    progress
        Called with what is being done.

    Returns
    -------
    dict
        The workload's entry in the JSON file, as the package's docstring describes it.

    Raises
    ------
    RefusedError
        If a contender's results are not those of the reference.
    WorkerError
        If this library fails. A peer that fails is left out, and its entry says why.
    """
    progress(f"{workload.name}: float64 reference")
    arrays = make_host_arrays(workload, dtype)
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
    expected = expectations(workload, arrays, dtype)
    failed: dict[str, str] = {}
    wrong: dict[str, str] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, worker in workers.items():
        progress(f"{workload.name}: verifying {name}")
        try:
            prepared = worker.request("prepare", workload=workload.name, arrays=str(folder / "arrays.npz"))
            checked = worker.request("check", results=str(folder / "results.npz"))
            rounding = rounding_of(name, dtype)
            wanted = allow_rounding(expected, workload, arrays, rounding) if rounding else expected
            with np.load(folder / "results.npz") as stored:
                results = dict(stored)
            facts[name] = {
                "first_seconds": prepared["first"],
                "agreement": compare(results, wanted),
                "difference": largest_difference(results, wanted),
                "tape_bytes": checked["tape_bytes"],
            }
            worker.request("warm_up")
        except DisagreementError as error:
            wrong[name] = str(error)
        except WorkerError as error:
            if name not in PEERS:
                raise
            failed[name] = str(error)
    if wrong:
        raise RefusedError(wrong)

    timed = {name: worker for name, worker in workers.items() if name not in failed}
    rounds = _take_turns(workload, timed, peak, failed, threads, seconds, least_rounds, progress)
    for name, worker in workers.items():
        if name not in failed:
            worker.request("release")
    return {
        "name": workload.name,
        "kind": workload.kind,
        "sizes": {"B": workload.B, "T": workload.T, "I": workload.I, "H": workload.H},
        "real_share": workload.real_steps / (workload.B * workload.T),
        "operations": workload.operations,
        "operations_formula": workload.operations_text,
        "bytes": workload.bytes_moved(NUMBER_BYTES[dtype]),
        "rounds": len(rounds),
        "peak_gflops": spread([entry["peak"] for entry in rounds])._asdict(),
        "contenders": {
            name: _summary(workload, name, rounds) | facts[name] for name in timed if name not in failed
        },
        "failed": failed,
    }


def _take_turns(
    workload: Workload,
    workers: dict[str, WorkerProcess],
    peak: WorkerProcess,
    failed: dict[str, str],
    threads: int,
    seconds: float,
    least_rounds: int,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Make rounds in which each contender has one turn; every round starts with another one."""
    rounds: list[dict[str, Any]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < least_rounds or time.perf_counter() < end:
        progress(f"{workload.name}: round {len(rounds) + 1}")
        entry: dict[str, Any] = {
            "peak": peak.request("peak", threads=threads, seconds=PEAK_SECONDS)["gflops"],
            "turns": {},
        }
        names = [name for name in workers if name not in failed]
        begin = len(rounds) % len(names)
        for name in names[begin:] + names[:begin]:
            try:
                entry["turns"][name] = workers[name].request("turn", seconds=TURN_SECONDS)
            except WorkerError as error:
                if name not in PEERS:
                    raise
                failed[name] = str(error)
        rounds.append(entry)
    return rounds


def _summary(workload: Workload, name: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise a contender's turns; ratios are taken within each round, where the machine was the same."""
    usual = [float(np.median(entry["turns"][name]["samples"])) for entry in rounds]
    ours = [float(np.median(entry["turns"][OURS]["samples"])) for entry in rounds]
    seconds = spread([sample for entry in rounds for sample in entry["turns"][name]["samples"]])
    fractions = [
        workload.operations / time_ * 1e-9 / entry["peak"] for time_, entry in zip(usual, rounds, strict=True)
    ]
    return {
        "seconds": seconds._asdict(),
        "gflops": workload.operations / seconds.median * 1e-9,
        "fraction_of_peak": spread(fractions)._asdict(),
        "time_relative_to_ours": spread([a / b for a, b in zip(usual, ours, strict=True)])._asdict(),
        "cores": float(np.median([entry["turns"][name]["cores"] for entry in rounds])),
    }
