"""Ctrl-C during a long call: it ends soon, with KeyboardInterrupt, and what it was given stays usable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

# Half an hour and more of arithmetic, over inputs that take no memory. Each prints "started" first.
SETUP = """
import signal, sys, threading, time
import numpy as np
from fusedlstm import ops
f = np.float32
def zeros(*shape):
    return np.broadcast_to(np.zeros((1,) * (len(shape) - 1) + shape[-1:], f), shape)
weights = ops.LSTMWeights(np.zeros((16, 512), f), np.zeros((128, 512), f))
signal.signal(signal.SIGINT, signal.default_int_handler)
print("started", flush=True)
"""
CALLS = {
    "batch split": "ops.lstm_forward(zeros(64, 10**8, 16), weights, return_sequences=False)",
    "unit split": "ops.lstm_forward(zeros(1, 10**10, 16), weights, return_sequences=False)",
    "one thread": "ops.set_num_threads(1); "
    "ops.lstm_forward(zeros(64, 10**8, 16), weights, return_sequences=False)",
    "dense": "ops.dense_forward(zeros(10**6, 4096), np.zeros((4096, 4096), f))",
}


def interrupted(code: str) -> str:
    """Run code that prints "started", send SIGINT a moment later, and return what it prints then."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "started\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.7)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
    return out.strip()


@pytest.mark.parametrize("call", CALLS)
def test_a_long_call(call: str) -> None:
    code = f"""{SETUP}
try:
    {CALLS[call]}
except KeyboardInterrupt:
    y = ops.lstm_forward(np.ones((2, 3, 16), f), weights).y  # the team works on
    print("interrupted", float(abs(y).max()))
"""
    assert interrupted(code) == "interrupted 0.0"


def test_a_handler_that_does_not_raise() -> None:
    """The call goes on after signals whose handlers return."""
    code = f"""{SETUP}
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(2))
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
try:
    {CALLS["batch split"]}
except BaseException as error:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(type(error).__name__, 2 in seen)
"""
    assert interrupted(code) == "KeyboardInterrupt True"


def test_backward_and_its_tape() -> None:
    """A pass that was interrupted has used its tape up; gradients that were kept have not."""
    code = f"""{SETUP.replace('print("started", flush=True)', "")}
x = np.zeros((64, 400, 16), f)
tape = ops.lstm_forward(x, weights, training=True).tape
dy = np.zeros((64, 400, 128), f)
print("started", flush=True)
try:
    while True:
        ops.lstm_backward(ops.lstm_forward(x, weights, training=True).tape, dy)
except KeyboardInterrupt:
    print("interrupted", ops.lstm_backward(tape, dy).dx.shape)
"""
    assert interrupted(code) == "interrupted (64, 400, 16)"


def test_another_thread_computes() -> None:
    """Signals are the main thread's: a call of another one goes on, and the main thread is free."""
    code = f"""{SETUP.replace('print("started", flush=True)', "")}
thread = threading.Thread(target=lambda: {CALLS["batch split"]}, daemon=True)
thread.start()
print("started", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", thread.is_alive())
"""
    assert interrupted(code) == "interrupted True"
