"""Other threads that take arrays away, resize or refill them while a kernel runs without the lock."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops
from tests.kernels.updates import UPDATES

if TYPE_CHECKING:
    from collections.abc import Callable

# Runs `call` again and again, beside a thread that runs `disturb`. An end of the process by a signal, or an
# error that `call` does not expect, is a failed test.
HARNESS = """
import sys, threading
import numpy as np
from fusedlstm import ops
sys.setswitchinterval(1e-5)
{setup}
turns = 0
def run():
    global turns
    while True:
        disturb()
        turns += 1
threading.Thread(target=run, daemon=True).start()
calls = 0
while calls < 15 or (turns < 15 and calls < 500):
    call()
    calls += 1
assert turns > 0
print("finished")
"""

LISTS = """
from tests.kernels.updates import UPDATES, run_update
count, size = 4, 500_000  # so large that memory is given back to the system at once
def new():
    return np.zeros(size, np.float32)
lists = {{name: [new() for _ in range(count)] for name in UPDATES["{update}"].arrays}}
def disturb():
    for arrays in lists.values():
        for k in range(count):
            arrays[k] = new()
def call():
    run_update(ops, "{update}", lists)
"""

SHORTER_LISTS = """
arrays = [[np.zeros(50_000, np.float32) for _ in range(4)] for _ in range(3)]
def disturb():
    for own in arrays:
        own.append(own.pop())
def call():
    try:
        ops.sgd_update(*arrays, learning_rate=0.1, momentum=0.5)
    except (TypeError, ValueError):
        pass
"""

RESIZED = """
x = np.zeros((32, 100, 64), np.float32)
kernel = np.zeros((64, 256), np.float32)
recurrent = np.zeros((64, 256), np.float32)
def disturb():
    for array, shape in ((x, (32, 100, 64)), (kernel, (64, 256)), (recurrent, (64, 256))):
        try:
            array.resize((1,), refcheck=False)
            array.resize(shape, refcheck=False)
        except ValueError:
            pass
def call():
    try:
        # Views have a test of their own: between x[::2] and the call, NumPy lets their memory go.
        ops.lstm_forward(x, (kernel, recurrent), training=True)
    except ValueError:
        pass
"""

IDS = """
ids = np.zeros(200_000, np.int64)
table = np.ones((10, 16), np.float32)
dy = np.ones((ids.size, 16), np.float32)
def disturb():
    ids[...] = 1 << 40
    ids[...] = 9
def call():
    for run in (lambda: ops.embedding_forward(ids, table), lambda: ops.embedding_backward(ids, dy, 10)):
        try:
            run()
        except ValueError:
            pass
"""

CASES = {
    **{name: LISTS.format(update=name) for name in UPDATES},
    "lists that change their length": SHORTER_LISTS,
    "resized arrays": RESIZED,
    "ids": IDS,
}


@pytest.mark.parametrize("setup", CASES.values(), ids=CASES)
def test_arrays_that_another_thread_disturbs(setup: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HARNESS.format(setup=setup)],
        env={**os.environ, "FUSEDLSTM_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "finished\n"), done.stderr


def test_a_tape_holds_what_it_reads() -> None:
    """The memory can't be resized before the tape is gone, in place or through the owner of a view."""
    owner = np.ones((3, 2, 4), np.float32)
    state = np.ones((2, 5), np.float32)
    weights = ops.LSTMWeights(np.ones((4, 20), np.float32), np.ones((5, 20), np.float32))
    result = ops.lstm_forward(owner[:2], weights, state, training=True)
    assert result.y is not None
    held: list[Any] = [owner, state, result.y]
    for array in held:
        with pytest.raises(ValueError, match="resize"):
            array.resize((1,), refcheck=False)
    assert result.tape is not None
    ops.lstm_backward(result.tape, result.y)
    result = None  # type: ignore[assignment]
    for array in held:
        array.resize((1,), refcheck=False)


def test_calls_leave_nothing_that_holds_arrays() -> None:
    x = np.ones((2, 3), np.float32)
    kernel = np.ones((3, 4), np.float32)
    for call in _calls(x, kernel):
        before = sys.getrefcount(x), sys.getrefcount(kernel)
        call()
        assert (sys.getrefcount(x), sys.getrefcount(kernel)) == before
    x.resize((1,), refcheck=False)
    kernel.resize((1,), refcheck=False)


def _calls(x: Any, kernel: Any) -> list[Callable[[], object]]:
    return [
        lambda: ops.dense_forward(x, kernel),
        lambda: ops.dense_backward(x, kernel, np.ones((2, 4), np.float32)),
        lambda: ops.dropout(x, 0.5, 1),
        lambda: ops.squared_norm(kernel),
        lambda: ops.sgd_update([x], [x.copy()], None, learning_rate=0.1),
        lambda: ops.layer_norm_forward(x),
    ]


def test_a_scale_that_runs_code_of_its_own() -> None:
    """What it does to the arrays is done before they are checked."""
    arrays = [np.ones(8, np.float32) for _ in range(3)]

    class Scale:
        def __float__(self) -> float:
            arrays[2].resize((1,), refcheck=False)
            return 1.0

    param, grad, velocity = ([array] for array in arrays)
    with pytest.raises(ValueError, match=r"velocity\[0\]: expected shape"):
        ops.sgd_update(param, grad, velocity, learning_rate=0.1, momentum=0.9, scale=[Scale()])  # type: ignore[list-item]
    np.testing.assert_array_equal(param[0], 1)
