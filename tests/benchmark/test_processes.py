"""The clock, and contenders in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fusedlstm.benchmark import job
from fusedlstm.benchmark.peers import FACES, OURS, PEERS, installed
from fusedlstm.benchmark.process import WorkerError, WorkerProcess, pick_cores
from fusedlstm.benchmark.statistics import spread
from fusedlstm.benchmark.tables import seconds_text
from fusedlstm.benchmark.verify import compare, expectations
from fusedlstm.benchmark.workloads import Workload, make_host_arrays

from .common import SMALL

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


def test_turns_and_samples() -> None:
    calls: list[None] = []

    def count(usual: float, seconds: float) -> tuple[int, int]:
        calls.clear()
        turn = job.take_turn(lambda: calls.append(None), usual, seconds)
        assert all(sample > 0 for sample in turn.samples)
        return len(turn.samples), len(calls)

    assert count(usual=10e-3, seconds=30e-3) == (3, 3 + 1)  # a sample for each call, one call unmeasured
    assert count(usual=10e-6, seconds=30e-3) == (30, 30 * 100 + 300)  # samples of a millisecond
    assert count(usual=1.0, seconds=30e-3) == (1, 1)  # long calls need no preparation
    calls.clear()
    assert job.warm_up(lambda: calls.append(None)) > 0
    assert len(calls) >= job.WARM_UP_CALLS


def test_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.2, 2.8, 3)
    with pytest.raises(ValueError, match="expected at least one sample"):
        spread([])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.34, "12.3 s"),
        (1.0, "1.00 s"),
        (0.9999, "1000 ms"),
        (0.0105, "10.5 ms"),
        (1e-3, "1.00 ms"),
        (4.72e-5, "47.2 us"),
        (1e-8, "0.01 us"),
    ],
)
def test_seconds_text(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@linux
def test_cores() -> None:
    usable = os.sched_getaffinity(0)
    for threads in range(1, len(usable) + 1):
        cores = pick_cores(threads)
        assert len(set(cores)) == threads
        assert set(cores) <= usable
    assert pick_cores(len(usable) + 1) == []


def state(pid: int) -> str:
    """Return the letter of a process's state, an empty text when there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[0]


def wait_for(pid: int, states: set[str]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if state(pid) in states:
            return True
        time.sleep(0.01)
    return False


@linux
def test_worker_is_stopped_between_requests() -> None:
    with WorkerProcess(OURS, 1, "float32", pick_cores(1)) as worker:
        for _ in range(2):
            assert worker.request("peak", threads=1, seconds=0.001)["gflops"] > 0
            assert wait_for(worker.pid, {"T"})
        pid = worker.pid
    assert state(pid) == ""


def test_worker_errors() -> None:
    with WorkerProcess(OURS, 1, "float32", []) as worker:
        with pytest.raises(WorkerError, match=r"^fusedlstm: ValueError: threads: expected a number from 1"):
            worker.request("peak", threads=0, seconds=0.001)
        # It goes on after an error.
        assert worker.request("bandwidth", kind="read", bytes=1 << 16, threads=2, seconds=0.0)["gbytes"] > 0
        assert worker.request("bandwidth", kind="copy", bytes=1 << 20, threads=1, seconds=0.0)["gbytes"] > 0
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"^fusedlstm: its process ended with exit code -9"):
            worker.request("hello")
    with (
        WorkerProcess("nobody", 1, "float32", []) as worker,
        pytest.raises(WorkerError, match=r"nobody: ValueError: name: expected 'fusedlstm' or one of"),
    ):
        worker.request("hello")
    with (
        WorkerProcess(OURS, 1, "float32", [], {"FUSEDLSTM_INSTRUCTION_SET": "mmx"}) as worker,
        pytest.raises(WorkerError, match=r"mmx"),
    ):
        worker.request("hello")


@linux
def test_a_stopped_worker_does_not_survive_its_parent() -> None:
    code = (
        "import time\n"
        "from fusedlstm.benchmark.process import WorkerProcess\n"
        "worker = WorkerProcess('fusedlstm', 1, 'float32', [])\n"
        "worker.request('hello')\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert wait_for(pid, {"T"})
        parent.kill()
    assert wait_for(pid, {"", "Z"})


@pytest.mark.parametrize("name", [*PEERS, *FACES])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_contenders_agree(name: str, dtype: str, tmp_path: Path) -> None:
    """Layouts and gate orders are converted correctly for each peer that is installed, and for our faces."""
    info = PEERS.get(name)
    contender = info or FACES[name]
    if info and not installed(name):
        pytest.skip(f"{name} is not installed")
    if name == "fusedlstm-torch" and not installed("torch"):
        pytest.skip("torch is not installed")
    if dtype not in contender.dtypes:
        pytest.skip(f"{name} has no {dtype}")
    with WorkerProcess(name, 1, dtype, pick_cores(1), info.environment if info else {}) as worker:
        assert worker.request("hello")["version"]
        for workload in map(Workload.parse, SMALL):
            if not contender.offers(workload, dtype):
                continue
            arrays = make_host_arrays(workload, dtype)
            np.savez(tmp_path / "arrays.npz", **arrays)  # type: ignore[arg-type]
            worker.request("prepare", workload=workload.name, arrays=str(tmp_path / "arrays.npz"))
            worker.request("check", results=str(tmp_path / "results.npz"))
            expected = expectations(workload, arrays, dtype)
            with np.load(tmp_path / "results.npz") as results:
                # A face may return less.
                wanted = {key: expected[key] for key in (results if name in FACES else expected)}
                assert wanted
                assert compare(dict(results), wanted) <= 1
