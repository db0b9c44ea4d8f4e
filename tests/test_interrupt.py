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
# What is made for a call, and the call: each for a good fraction of a second in which it is not a loop over
# steps that asks, over arrays that take a gigabyte at most.
LARGE = "weights = ops.LSTMWeights(zeros(100_000, 2048), zeros(512, 2048))"
SHORT = "weights = ops.LSTMWeights(zeros(1, 4), zeros(1, 4))"
STRETCHES = {
    "packing": ("", "ops.LSTMWeights(zeros(100_000, 2048), zeros(512, 2048))"),
    "packing as int8": ("", "ops.LSTMWeights(zeros(100_000, 2048), zeros(512, 2048), storage='int8')"),
    "packing as bfloat16": (
        "",
        "ops.LSTMWeights(zeros(100_000, 2048), zeros(512, 2048), storage='bfloat16')",
    ),
    "unpacking": (LARGE, "weights.unpack()"),
    "transposing": (
        f"{LARGE}; tape = ops.lstm_forward(zeros(1, 1, 100_000), weights, training=True).tape",
        "ops.lstm_backward(tape, np.zeros((1, 1, 512), f), need_dweights=False)",
    ),
    "one step": (f"{LARGE}; h = np.zeros((96, 512), f)", "ops.lstm_step(zeros(96, 100_000), h, h, weights)"),
    "dense, one row": ("", "ops.dense_forward(zeros(1, 100_000), zeros(100_000, 2048))"),
    "outputs of masked steps": (
        f"{SHORT}; lengths = np.zeros(1000, np.int64)",
        "ops.lstm_forward(zeros(1000, 200_000, 1), weights, lengths=lengths)",
    ),
    "dropout": ("x = np.zeros((1000, 200_000), f)", "ops.dropout(x, 0.5, 1)"),
    "layer normalization": ("x = zeros(400_000, 512)", "ops.layer_norm_forward(x)"),
    "layer normalization, backward": (
        "x = np.zeros((400_000, 512), f)",
        "ops.layer_norm_backward(x, None, x)",
    ),
    "embedding": (
        "ids = np.zeros(2 * 10**7, np.int64); table = np.zeros((4, 16), f)",
        "ops.embedding_forward(ids, table)",
    ),
    "embedding, backward": (
        "ids = np.zeros(4 * 10**7, np.int64); dy = np.zeros((4 * 10**7, 16), f)",
        "ops.embedding_backward(ids, dy, 4)",
    ),
    "ctc_decode, greedy": ("x = np.zeros((100, 10_000, 64), f)", "ops.ctc_decode(x)"),
    "ctc_decode, beam search": ("x = zeros(100, 2_000, 64)", "ops.ctc_decode(x, None, 'beam_search', 20)"),
    "cell": (
        "z = np.zeros((200_000, 1024), f); c = np.zeros((200_000, 256), f)",
        "ops.cell_forward(z, c)",
    ),
    "CTC, many classes": (
        "x = np.zeros((2, 1500, 20_000), f); y = np.ones((2, 5), np.int64)",
        "ops.ctc_loss(x, y)",
    ),
    "CTC, many labels": (
        "x = zeros(2, 8000, 3); y = 1 + np.arange(8000).reshape(2, 4000) % 2",
        "ops.ctc_loss(x, y)",
    ),
    "norm": ("x = np.zeros(10**9, f)", "ops.squared_norm(x)"),
}
SOON = 0.12  # seconds


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


@pytest.mark.parametrize("name", STRETCHES)
def test_every_stretch_asks(name: str) -> None:
    """A timer's handler runs again and again while a call does, and not only at its end.

    Other programs may hold a call up, and its handlers with it: so the longest time between two of them may
    be a part of the call.
    """
    prepare, call = STRETCHES[name]
    code = f"""{SETUP.replace('print("started", flush=True)', "")}
{prepare}
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
start = time.monotonic()
result = {call}
end = time.monotonic()
signal.setitimer(signal.ITIMER_REAL, 0)
moments = [start, *(moment for moment in seen if start < moment < end), end]
print(max(after - before for before, after in zip(moments, moments[1:])), end - start)
"""
    for _ in range(3):  # A call that does not ask does not each time.
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if "MemoryError" in done.stderr:
            pytest.skip("needs some gigabytes of memory")
        assert done.returncode == 0, done.stderr
        longest, seconds = (float(word) for word in done.stdout.split())
        if longest < max(SOON, 0.3 * seconds):
            break
    assert longest < max(SOON, 0.3 * seconds)


def test_steps_are_whole() -> None:
    """A long step that writes in place has written all or nothing when it is interrupted."""
    code = f"""{SETUP.replace('print("started", flush=True)', "")}
weights = ops.LSTMWeights(zeros(20_000, 2048), zeros(512, 2048), np.ones(2048, f))
h, c = np.full((2000, 512), 2, f), np.full((2000, 512), 3, f)
print("started", flush=True)
try:
    while True:
        before = h.copy(), c.copy()
        ops.lstm_step(zeros(2000, 20_000), h, c, weights, out=(h, c))
except KeyboardInterrupt:
    after = ops.lstm_step(zeros(2000, 20_000), *before, weights)
    print(any(all(map(np.array_equal, pair, (h, c))) for pair in (before, after)))
"""
    assert interrupted(code) == "True"


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


@pytest.mark.parametrize("keep", [False, True])
def test_backward_and_its_tape(keep: bool) -> None:
    """A pass that was interrupted has used its tape up, unless it was to keep it."""
    code = f"""{SETUP.replace('print("started", flush=True)', "")}
x = np.ones((64, 2000, 16), f)
dy = np.ones((64, 2000, 128), f)
def tape():
    return ops.lstm_forward(x, weights, training=True).tape
expected = ops.lstm_backward(tape(), dy).dkernel
def raised(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, raised)
used = tape()
try:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        for _ in range(10**6 if {keep} else 1):
            ops.lstm_backward(used, dy, keep={keep})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
except KeyboardInterrupt:
    print("interrupted")
try:
    print(np.array_equal(ops.lstm_backward(used, dy).dkernel, expected))
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    error = "tape: expected one that no backward pass has used yet, got a used one"
    assert done.stdout.splitlines() == ["interrupted", "True" if keep else error]


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
