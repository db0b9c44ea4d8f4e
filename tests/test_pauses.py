"""Calls with pauses between them: workers are woken, come late, and are not waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import ops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TASKS = Path("/proc/self/task")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = ops.get_num_threads()
    yield
    ops.set_num_threads(before)


def problem(B: int, T: int, I: int, H: int) -> tuple[NDArray[np.float32], ops.LSTMWeights]:  # noqa: E741
    rng = np.random.default_rng(0)
    x, *parts = (
        rng.uniform(-0.2, 0.2, s).astype(np.float32) for s in ((B, T, I), (I, 4 * H), (H, 4 * H), (4 * H,))
    )
    return x, ops.LSTMWeights(*parts)


def times(x: NDArray[np.float32], weights: ops.LSTMWeights, calls: int, pause: float) -> list[float]:
    seconds = []
    for _ in range(calls):
        time.sleep(pause)
        start = time.perf_counter()
        ops.lstm_forward(x, weights)
        seconds.append(time.perf_counter() - start)
    return seconds


@pytest.mark.skipif(not TASKS.exists(), reason="reads where threads may run from Linux's /proc")
def test_no_thread_stays_barred_from_a_core() -> None:
    """A worker is kept from its caller's core only while it is woken."""
    x, weights = problem(64, 10, 64, 64)

    def allowed() -> set[str]:
        lines = [line for task in TASKS.iterdir() for line in (task / "status").read_text().splitlines()]
        return {line.split(":")[1].strip() for line in lines if line.startswith("Cpus_allowed_list")}

    here = allowed()
    ops.set_num_threads(4)
    for _ in range(30):
        times(x, weights, 1, 0.005)
    time.sleep(0.05)
    assert allowed() == here


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.parametrize("shape", [(1, 51, 16, 128), (64, 10, 64, 64)], ids=str)
def test_a_call_waits_for_no_thread_without_a_core(shape: tuple[int, int, int, int]) -> None:
    """Beside processes that compute all the time, two threads are no disaster.

    A call that waits for its workers takes a hundred times as long there; a fifth of that is allowed.
    """
    x, weights = problem(*shape)
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        ops.set_num_threads(1)
        alone = np.quantile(times(x, weights, 40, 0.002), 0.9)
        ops.set_num_threads(2)
        together = np.quantile(times(x, weights, 40, 0.002), 0.9)
    finally:
        for process in busy:
            process.kill()
        for process in busy:
            process.wait()
    assert together < 20 * alone
