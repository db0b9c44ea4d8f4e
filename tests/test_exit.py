"""The end of a process whose daemon threads compute."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

# The main thread comes to its end while two threads are inside of kernels, most of the time.
SCRIPT = """
import threading
import numpy as np
from fusedlstm import Input, Sequential, layers, ops
x = np.ones((16, 40, 32), np.float32)
weights = ops.LSTMWeights(np.zeros((32, 256), np.float32), np.zeros((64, 256), np.float32))
started = threading.Barrier(3)
def work():
    {setup}
    {call}
    started.wait(60)
    while True:
        {call}
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
started.wait(60)
"""

MODEL = (
    "model = Sequential([Input((40, 32)), layers.LSTM(64), layers.Dense(2)]); model.compile('adam', 'mse'); "
    "y = np.zeros((16, 2), np.float32)"
)

WORK = {
    "forward": ("pass", "ops.lstm_forward(x, weights)"),
    "training": (MODEL, "model.train_on_batch(x, y)"),
    "predict": (MODEL, "model.predict(x, verbose=0)"),
    "update": (
        "a = np.ones(500_000, np.float32); g = a.copy()",
        "ops.sgd_update([a], [g], None, learning_rate=0.1)",
    ),
}


def ending(script: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "FUSEDLSTM_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", WORK)
def test_daemon_threads_that_compute(name: str) -> None:
    setup, call = WORK[name]
    script = SCRIPT.format(setup=setup, call=call)
    with ThreadPoolExecutor(2) as pool:
        endings = list(pool.map(ending, [script] * 4))
    assert endings == [(0, "", "")] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_with_daemon_threads() -> None:
    """Threads of the child compute while it ends as the interpreter does, after those of its parent did."""
    script = SCRIPT.format(setup=WORK["forward"][0], call=WORK["forward"][1])
    forked = f"""
import os, sys
{script}
child = os.fork()
if child == 0:
    started = threading.Barrier(3)
    for _ in range(2):
        threading.Thread(target=work, daemon=True).start()
    started.wait(60)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert ending(forked) == (0, "7\n", "")
