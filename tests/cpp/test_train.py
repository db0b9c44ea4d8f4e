"""The C++ interface below the bindings: a program that trains without Python ends with Python's numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PROGRAM = Path(__file__).parents[2] / "build" / "cpp" / "train_sequence"
SIZES = B, T, INPUTS, H = 3, 7, 5, 9
STEPS = 4


def problem() -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Return x, targets, kernel, recurrent_kernel and bias, and lengths."""
    random = np.random.default_rng(1)
    shapes = (B, T, INPUTS), (B, T, H), (INPUTS, 4 * H), (H, 4 * H), (4 * H,)
    return [random.normal(0, 0.5, shape).astype(np.float32) for shape in shapes], np.array([7, 0, 4])


def write(path: Path) -> None:
    arrays, lengths = problem()
    path.write_bytes(b"".join([array.tobytes() for array in arrays] + [lengths.tobytes()]))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Any]:
    if not PROGRAM.exists():
        pytest.skip(f"the C++ program is not built: no {PROGRAM}; see make build/cpp/built")
    write(tmp_path / "in")
    before = ops.get_instruction_set()

    def run(checkpoint_every: int, threads: int) -> bytes:
        sizes = map(str, (*SIZES, STEPS, checkpoint_every))
        done = subprocess.run(
            [PROGRAM, tmp_path / "in", tmp_path / "out", *sizes],
            env={**os.environ, "FUSEDLSTM_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        ops.set_instruction_set(done.stdout.strip())
        return (tmp_path / "out").read_bytes()

    yield run
    ops.set_instruction_set(before)


def trained(checkpoint_every: int) -> bytes:
    (x, target, *weights), lengths = problem()
    m = [np.zeros_like(array) for array in weights]
    v = [np.zeros_like(array) for array in weights]
    y: Any = None
    for step in range(1, STEPS + 1):
        result = ops.lstm_forward(
            x, ops.LSTMWeights(*weights), lengths=lengths, training=True, checkpoint_every=checkpoint_every
        )
        y = result.y
        assert result.tape is not None
        gradients = ops.lstm_backward(result.tape, y - target, need_dx=False)
        grads: Any = [gradients.dkernel, gradients.drecurrent_kernel, gradients.dbias]
        ops.adam_update(
            weights, grads, m, v, None, learning_rate=0.01, step=step, beta_1=0.9, beta_2=0.999, epsilon=1e-7
        )
    return b"".join(array.tobytes() for array in (y, *weights))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("checkpoint_every", [0, 2])
def test_same_bits(run: Any, checkpoint_every: int, threads: int) -> None:
    got = run(checkpoint_every, threads)
    assert got == trained(checkpoint_every)
    assert np.isfinite(np.frombuffer(got, np.float32)).all()


def test_errors(run: Any) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(-1, 1)
    assert caught.value.stderr == "checkpoint_every: expected 0 or a positive number of steps, got -1\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
