"""Sizes whose products 64 bits or memory do not hold, in arrays without memory behind them (stride zero)."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fusedlstm import _core

from .devices import ops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .problems import Array

H = 3
KERNELS = (np.ones((1, 4 * H), np.float32), np.ones((H, 4 * H), np.float32))
# 2^40 fits 64 bits and no memory, the others do not fit when they are multiplied.
HUGE = (2**40, 2**50, 2**57)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """4 GiB above what the process holds: a large machine would run some of these calls, for hours."""
    statm = Path("/proc/self/statm")
    before = resource.getrlimit(resource.RLIMIT_AS)
    if statm.exists():
        held = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + (4 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def view(*shape: int, dtype: Any = np.float32) -> Array:
    """One row of ones, seen again and again."""
    row = np.ones(shape[-1] if len(shape) > 1 and shape[-1] < 100 else 1, dtype)
    strides = [0] * (len(shape) - 1) + [row.itemsize if row.size > 1 else 0]
    array: Array = as_strided(row, shape, strides)
    return array


def forward(x: Array, **options: Any) -> object:
    return ops.lstm_forward(x, KERNELS, **options)


CALLS: dict[str, Callable[[int], object]] = {
    "forward of rows": lambda n: forward(view(n, 1, 1)),
    "forward of steps": lambda n: forward(view(1, n, 1)),
    "forward of both": lambda n: forward(view(n // 2**20, 2**20, 1)),
    "training": lambda n: forward(view(1, n, 1), training=True),
    "checkpoints": lambda n: forward(
        view(1, n, 1), training=True, checkpoint_every=1, return_sequences=False
    ),
    "checkpoints of rows": lambda n: forward(
        view(n, 1, 1), training=True, checkpoint_every=2**60, return_sequences=False
    ),
    "lengths": lambda n: forward(view(n, 2, 1), lengths=view(n, dtype=np.int64)),
    "mask": lambda n: forward(view(n, 2, 1), mask=view(n, 2, dtype=np.bool_)),
    "states": lambda n: forward(view(n, 2, 1), h0=view(n, H), c0=view(n, H)),
    "recurrent mask": lambda n: forward(view(n, 2, 1), recurrent_mask=view(n, H)),
    "step": lambda n: ops.lstm_step(view(n, 1), view(n, H), view(n, H), KERNELS),
    "weights": lambda n: ops.LSTMWeights(view(n, 4 * H), KERNELS[1]),
    "projection": lambda n: ops.LSTMWeights(KERNELS[0], view(n, 4 * H), projection=view(H, n)),
    "dense rows": lambda n: ops.dense_forward(view(n, 2), view(2, 3)),
    "dense inputs": lambda n: ops.dense_forward(view(2, n), view(n, 3)),
    "dense outputs": lambda n: ops.dense_forward(view(2, 3), view(3, n)),
    "dense backward": lambda n: ops.dense_backward(view(n, 2), view(2, 3), view(n, 3), need_dx=False),
    "layer norm": lambda n: ops.layer_norm_forward(view(n, 2)),
    "layer norm backward": lambda n: ops.layer_norm_backward(view(n, 2), None, view(n, 2), need_dx=False),
    "cell": lambda n: ops.cell_forward(view(n, 4), view(n, 1)),
    "cell backward": lambda n: ops.cell_backward(view(n, 4), *(view(n, 1) for _ in range(3))),
    "dropout": lambda n: ops.dropout(view(n, 2), 0.5, 1),
    "embedding": lambda n: ops.embedding_forward(view(n, dtype=np.int64), view(2, 3)),
    "embedding table": lambda n: ops.embedding_backward(np.zeros(1, np.int64), view(1, 3), n),
    "decoded rows": lambda n: ops.ctc_decode(view(n, 2, 3)),
    "decoded steps": lambda n: ops.ctc_decode(view(2, n, 3), None, "beam_search"),
    "squared norm": lambda n: ops.squared_norm(view(n)),
    "stack": lambda n: ops.lstm_stack_forward(view(n, 2, 1), [KERNELS]),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("size", HUGE, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_huge_sizes(name: str, size: int) -> None:
    """They are named, soon, whether memory or 64 bits end first."""
    start = time.perf_counter()
    with pytest.raises((MemoryError, ValueError)) as error:
        CALLS[name](size)
    assert time.perf_counter() - start < 1.0
    # NumPy and our own errors name shapes or sizes; of a copy its number of bytes.
    digits = [str(size), str(size // 2**20)]
    assert any(text in str(error.value) for text in digits), str(error.value)


def test_checkpoints_of_the_longest_sequence() -> None:
    """2^60 steps of one float32: their windows' states once had a product that came round to a few bytes."""
    with pytest.raises(
        ValueError, match=r"^x: expected sizes whose products fit 64 bits, got B=1, T=11529215"
    ):
        forward(view(1, 2**60, 1), training=True, checkpoint_every=1, return_sequences=False)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("size", [2**40, 2**58], ids=str)
def test_huge_sizes_beside_empty_ones(size: int) -> None:
    """An array without elements may have a side of any length: nothing counts it."""
    start = time.perf_counter()
    calls: tuple[Callable[[], object], ...] = (
        lambda: ops.cell_forward(np.empty((size, 0), np.float32), np.empty((size, 0), np.float32)),
        lambda: ops.cell_forward(np.empty((0, 0), np.float32), np.empty((0, size), np.float32)),
        lambda: ops.dense_forward(view(size, 2), np.ones((2, 0), np.float32)),
        lambda: ops.layer_norm_forward(np.empty((size, 0), np.float32)),
        lambda: ops.layer_norm_forward(np.empty((0, size), np.float32)),
        lambda: ops.dropout(np.empty((size, 0), np.float32), 0.5, 1),
        lambda: ops.dropout(np.empty((0, 2, size), np.float32), 0.5, 1, share_steps=True),
        lambda: ops.dense_forward(np.empty((size, 0), np.float32), np.empty((0, 0), np.float32)),
        lambda: ops.embedding_backward(np.zeros(1, np.int64), np.empty((1, 0), np.float32), size),
        lambda: forward(np.empty((0, size, 1), np.float32)),
        lambda: forward(np.empty((0, size, 1), np.float32), training=True, checkpoint_every=1),
    )
    for call in calls:
        try:
            call()
        except (MemoryError, ValueError) as error:
            assert str(size) in str(error)  # noqa: PT017
    assert time.perf_counter() - start < 2.0


NO_MEMORY = """
import pathlib, resource
import numpy as np
from fusedlstm import ops

ops.set_num_threads(1)
weights = np.ones((1, 12), np.float32), np.ones((3, 12), np.float32)
dh = np.ones((1, 3), np.float32)

def tape():
    x = np.ones((1, 200_000, 1), np.float32)
    return ops.lstm_forward(x, weights, training=True, return_sequences=False, checkpoint_every=200_000).tape

kept = tape()
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
most = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), most[1]))
try:
    ops.lstm_backward(kept, dh=dh, need_dx=False)
except MemoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, most)
assert not kept.used
again, expected = (ops.lstm_backward(each, dh=dh, need_dx=False) for each in (kept, tape()))
assert again.dkernel.tobytes() == expected.dkernel.tobytes()
"""


@pytest.mark.cpu
@pytest.mark.not_reduced
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_pass_without_memory_leaves_the_tape() -> None:
    """The error names the sizes, and the tape can be used again."""
    result = subprocess.run([sys.executable, "-c", NO_MEMORY], check=True, capture_output=True, text=True)
    assert "B=1, T=200000, I=1, H=3" in result.stdout


@pytest.mark.parametrize("sizes", [(2**31, 2**31, 1, 1, 1), (1, 2**63 - 1, 0, 1, 1), (-1, 1, 1, 1, 1)])
def test_sizes_of_device_arrays(sizes: tuple[int, int, int, int, int]) -> None:
    """The same check for arrays on a GPU, before anything is asked of it."""
    with pytest.raises(
        ValueError, match=r"^x: expected sizes whose products fit 64 bits, got B=.*, T=.*, I="
    ):
        _core.check_sequence_sizes("x", *sizes)


def test_usual_sizes_are_none_of_these() -> None:
    _core.check_sequence_sizes("x", 4096, 100_000, 4096, 8192, 8192)
    _core.check_matrix_sizes("x", "MKN", 2**24, 2**14, 2**14)
