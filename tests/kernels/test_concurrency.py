"""Several Python threads at once, the interpreter's lock, forks, and what last_kernel() says."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import ops

from .operations import OPERATIONS
from .problems import REDUCED, Number, Shape, assert_all_same_bits, make_problem

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES: list[Shape] = [(1, 6, 40, 130), (40, 4, 28, 65), (7, 5, 9, 17), (3, 4, 33, 257)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_python_threads_give_the_same_bits(threads: int, dtype: Number) -> None:
    ops.set_num_threads(threads)
    problems = [make_problem(shape, dtype) for shape in SHAPES]
    names = ("lstm_forward", "lstm_backward", "lstm_step", "dense_backward", "squared_norm")
    jobs = [(name, p) for name in names for p in problems]
    expected = [OPERATIONS[name](p) for name, p in jobs]
    start = threading.Barrier(4)

    def work(first: int) -> None:
        start.wait(timeout=60)
        for k in range(len(jobs) * (1 if REDUCED else 3)):
            number = (first + k) % len(jobs)
            name, p = jobs[number]
            assert_all_same_bits(OPERATIONS[name](p), expected[number], name)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, 5 * k) for k in range(4)]:
            future.result(timeout=120)


def test_weights_shared_by_python_threads(dtype: Number) -> None:
    """One LSTMWeights may serve several threads at once."""
    p = make_problem((5, 4, 28, 65), dtype)
    weights = ops.LSTMWeights(*p.weights)

    def run() -> dict[str, np.ndarray]:
        result = ops.lstm_forward(p.x, weights, training=True)
        assert result.tape is not None
        return ops.lstm_backward(result.tape, p.dy)._asdict()

    expected = run()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(run) for _ in range(24)]:
            assert_all_same_bits(future.result(timeout=120), expected, "shared weights")


@pytest.mark.parametrize("operation", ["lstm_forward", "lstm_step"])
def test_updating_shared_weights_meanwhile(operation: str) -> None:
    """A call keeps the weights that it started with, even when another thread replaces them."""
    p = make_problem((4, 3, 28, 200), np.float32)
    weights = ops.LSTMWeights(*p.weights)
    run = OPERATIONS[operation]
    expected = run(p)
    stop = threading.Event()

    def update() -> None:
        while not stop.is_set():
            weights.update(*p.weights)

    updater = threading.Thread(target=update)
    updater.start()
    try:
        for _ in range(20 if REDUCED else 200):
            assert_all_same_bits(run(replace(p, packed=weights)), expected, "while weights are replaced")
    finally:
        stop.set()
        updater.join()


def test_changing_the_number_of_threads_meanwhile() -> None:
    p = make_problem((40, 4, 28, 65), np.float32)
    expected = OPERATIONS["lstm_backward"](p)
    stop = threading.Event()

    def change() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            ops.set_num_threads(1 + count % 4)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(3 if REDUCED else 30):
            assert_all_same_bits(OPERATIONS["lstm_backward"](p), expected, "while the number changes")
    finally:
        stop.set()
        changer.join()


@pytest.mark.parametrize("operation", ["lstm_forward", "lstm_backward", "dense_backward"])
def test_the_interpreter_lock_is_released(operation: str) -> None:
    """Another Python thread advances a counter during a call.

    With an hour's switch interval no thread gives the lock up unless it asks to, so the counter can only
    advance between the two readings if the kernel released it.
    """
    p = make_problem((128, 20, 64, 128) if not REDUCED else (16, 10, 32, 64), np.float32)
    ready, stop = threading.Event(), threading.Event()
    count = 0

    def advance() -> None:
        nonlocal count
        ready.set()
        while not stop.is_set():
            count += 1
            time.sleep(1e-4)  # gives the lock up

    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    counter = threading.Thread(target=advance)
    counter.start()
    ready.wait()
    run = OPERATIONS[operation]
    try:
        progress = 0
        deadline = time.monotonic() + 20  # calls may be short, and cores busy
        while not progress and time.monotonic() < deadline:
            before = count
            run(p)
            progress += count - before
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        counter.join()
    assert progress > 0


def in_child(work: Callable[[], None], seconds: float = 60.0) -> str:
    """Run `work` in a forked child; say how it ended. A child that hangs is killed."""
    with warnings.catch_warnings():
        # Python 3.12 warns about every fork of a process with threads, and so does JAX where another test has
        # imported it. Surviving that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "finished" if code == 0 else f"ended with {code}"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_fork_after_use(threads: int) -> None:
    ops.set_num_threads(threads)
    p = make_problem((64, 4, 28, 65), np.float32)
    expected = {name: run(p) for name, run in OPERATIONS.items()}

    def work() -> None:
        for name, run in OPERATIONS.items():
            assert_all_same_bits(run(p), expected[name], name)

    assert in_child(work) == "finished"

    def work_with_more_threads() -> None:
        ops.set_num_threads(threads + 2)
        work()

    assert in_child(work_with_more_threads) == "finished"
    assert_all_same_bits(OPERATIONS["lstm_backward"](p), expected["lstm_backward"], "in the parent")


@needs_fork
def test_fork_in_a_fork() -> None:
    ops.set_num_threads(2)
    p = make_problem((64, 4, 28, 65), np.float32)
    expected = OPERATIONS["lstm_backward"](p)

    def grandchild() -> None:
        assert_all_same_bits(OPERATIONS["lstm_backward"](p), expected, "in the grandchild")

    def child() -> None:
        assert_all_same_bits(OPERATIONS["lstm_backward"](p), expected, "in the child")
        assert in_child(grandchild, 20) == "finished"

    assert in_child(child) == "finished"


@needs_fork
def test_fork_while_another_thread_computes() -> None:
    ops.set_num_threads(2)
    p = make_problem((64, 4, 28, 65), np.float32)
    expected = OPERATIONS["lstm_backward"](p)
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            OPERATIONS["lstm_backward"](p)

    def work() -> None:
        assert_all_same_bits(OPERATIONS["lstm_backward"](p), expected, "in the child")

    busy = threading.Thread(target=compute)
    busy.start()
    try:
        endings = [in_child(work, 30) for _ in range(2 if REDUCED else 8)]
    finally:
        stop.set()
        busy.join()
    assert set(endings) == {"finished"}


def test_last_kernel_is_kept_for_each_thread() -> None:
    p = make_problem((5, 3, 9, 17), np.float32)
    OPERATIONS["lstm_forward"](p)
    here = ops.last_kernel()
    assert "lstm_forward" in here
    assert ops.get_instruction_set() in here
    assert "float32" in here
    seen: list[str] = []

    def other() -> None:
        OPERATIONS["dense_forward"](make_problem((5, 3, 9, 17), np.float64))
        seen.append(ops.last_kernel())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert ops.last_kernel() == here
    assert "dense_forward" in seen[0]
    assert "float64" in seen[0]
