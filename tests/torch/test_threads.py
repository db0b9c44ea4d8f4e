"""Kernels on PyTorch's OpenMP threads, which importing fusedlstm.torch brings about."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import last_kernel, ops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Arrays = list[NDArray[Any]]

torch = pytest.importorskip("torch")

from fusedlstm.torch import share_threads  # noqa: E402  (imports torch)

SHAPES = [(64, 4, 28, 65), (1, 3, 9, 130), (3, 20, 33, 129)]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before, of_torch = ops.get_num_threads(), torch.get_num_threads()
    ops.set_num_threads(2)
    torch.set_num_threads(3)
    if not share_threads():
        pytest.skip("this PyTorch has no OpenMP whose threads could be shared")
    yield
    ops.set_num_threads(before)
    torch.set_num_threads(of_torch)
    share_threads()


def make_problem(shape: tuple[int, int, int, int]) -> tuple[NDArray[Any], ops.LSTMWeights, NDArray[Any]]:
    B, T, I, H = shape  # noqa: E741
    random = np.random.default_rng(B)
    sizes = (B, T, I), (I, 4 * H), (H, 4 * H), (4 * H,), (B, T, H)
    x, *parts, dy = (random.uniform(-0.2, 0.2, size).astype(np.float32) for size in sizes)
    return x, ops.LSTMWeights(*parts), dy


def run_all() -> Arrays:
    """Run forward, backward, a step and a dense product of every shape."""
    results: list[Any] = []
    for shape in SHAPES:
        x, weights, dy = make_problem(shape)
        forward = ops.lstm_forward(x, weights, training=True)
        assert forward.tape is not None
        results += [*forward[:3], *ops.lstm_backward(forward.tape, dy)]
        results += [*ops.lstm_step(x[:, 0], forward.h, forward.c, weights)]
        results.append(ops.dense_forward(forward.h, dy[0].T.copy()))
    return [array for array in results if array is not None]


def assert_same_bits(left: Arrays, right: Arrays) -> None:
    for a, b in zip(left, right, strict=True):
        assert a.tobytes() == b.tobytes()


def large_forward(wanted: str = "") -> str:
    """Run until threads are as wanted: where others have the cores, a call after a pause does without."""
    x, weights, _ = make_problem((64, 20, 64, 128))
    deadline = time.monotonic() + 60
    while True:
        ops.lstm_forward(x, weights)
        if wanted in (kernel := last_kernel()) or time.monotonic() > deadline:
            return kernel


def test_same_bits_as_on_threads_of_our_own() -> None:
    shared = run_all()
    assert share_threads(False) is False
    assert_same_bits(shared, run_all())


def large_forward_on_shared_threads() -> str:
    """Run right after loops of PyTorch, whose threads are shared while they are awake and have cores.

    More threads than cores sleep at once.
    """
    torch.set_num_threads(2)
    a = torch.ones(1_000_000)
    deadline = time.monotonic() + 60  # other processes may have the cores
    while "OpenMP" not in (kernel := large_forward()) and time.monotonic() < deadline:
        for _ in range(10):
            a = 1 - a
    return kernel


def test_last_kernel_says_where() -> None:
    assert ", 2 OpenMP threads" in large_forward_on_shared_threads()
    share_threads(False)
    assert ", 2 threads" in large_forward(", 2 threads")
    assert share_threads()
    assert ", 2 OpenMP threads" in large_forward_on_shared_threads()
    ops.set_num_threads(1)
    assert ", 1 thread," in large_forward() + ","


def test_more_threads_than_torch_has() -> None:
    expected = run_all()
    ops.set_num_threads(5)
    assert ", 5 threads" in large_forward(", 5 threads")
    assert_same_bits(run_all(), expected)


def test_loops_of_torch_between() -> None:
    """A team of fewer threads than PyTorch's leaves PyTorch all of its own."""
    a = torch.ones(1_000_000)
    expected = run_all()
    for _ in range(3):
        assert float((2 * a).sum()) == 2_000_000
        assert_same_bits(run_all(), expected)


def test_several_python_threads() -> None:
    expected = run_all()
    same = [False] * 3

    def work(k: int) -> None:
        assert_same_bits(run_all(), expected)
        same[k] = True

    workers = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(same)


def python(code: str, **variables: str) -> str:
    environment = {**os.environ, "FUSEDLSTM_NUM_THREADS": "2", **variables}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "variables",
    [{"OMP_WAIT_POLICY": "PASSIVE"}, {"GOMP_SPINCOUNT": "0"}, {"OMP_WAIT_POLICY": "active"}],
    ids=str,
)
def test_threads_that_sleep_at_once_are_not_shared(variables: dict[str, str]) -> None:
    printed = python("import fusedlstm.torch as f; print(f.share_threads())", **variables)
    assert printed == str("active" in variables.values())


def test_a_forked_child_has_threads_of_its_own() -> None:
    """OpenMP's threads stay in the parent; a loop in the child would wait for them for ever."""
    code = """
import os, time
import numpy as np, torch
from fusedlstm import last_kernel, ops
import fusedlstm.torch
torch.set_num_threads(2)
a = torch.ones(1_000_000)
x = np.random.default_rng(0).standard_normal((64, 20, 64)).astype(np.float32)
parts = np.ones((64, 512), np.float32), np.full((128, 512), 0.01, np.float32), None
deadline = time.monotonic() + 60  # Other processes may have the cores.
while True:
    for _ in range(10):
        a = 1 - a
    y = ops.lstm_forward(x, parts).y
    if "2 OpenMP threads" in last_kernel():
        break
    if time.monotonic() > deadline:
        print("busy", flush=True)
        os._exit(0)
child = os.fork()
if child == 0:
    same = np.array_equal(ops.lstm_forward(x, parts).y, y)
    os._exit(0 if same and ", 2 threads" in last_kernel() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    found = python(code)
    if found == "busy":
        pytest.skip("other processes have the cores: PyTorch's threads were not shared for a minute")
    assert found == "0"
