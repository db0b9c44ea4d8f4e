"""Memory that the library keeps between calls: enough for a large model's next step, and not for ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .problems import REDUCED

PROGRAM = """if True:
    import resource
    import numpy as np
    from fusedlstm import ops

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    ids, dy = np.zeros(1, np.int64), np.ones((1, 3), np.float32)
    rows = 25_000_000
    large = 4 * 3 * rows
    for _ in range(2):
        assert ops.embedding_backward(ids, dy, rows).nbytes == large
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    ops.embedding_backward(ids, dy, rows)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    kept = resident()
    for _ in range(2000):
        ops.embedding_backward(ids, dy, 30_000)
    print(faults, (kept - resident()) / large)
"""


@pytest.mark.cpu
@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
@pytest.mark.skipif(REDUCED, reason="the sanitizers' allocator has memory of its own")
def test_what_was_in_use_of_late_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, check=True)
    faults, returned = map(float, done.stdout.split())
    assert faults < 50  # of 143 pages of 2 MiB, or 73,000 small ones
    assert returned > 0.9
