"""Bandwidths as NumPy reaches them: one pass of a vectorised reduction, or of a copy, over a buffer.

A hand-written loop may be somewhat faster; these numbers are for orientation, and for the slopes of the
roofline picture.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from collections.abc import Callable

_PASS_BYTES = 1 << 27  # what one NumPy call covers, so that its overhead does not count


def read_bandwidth(size: int, threads: int, seconds: float) -> float:
    """Return the bandwidth in GB/s of reading a buffer over and over, by ``numpy.bitwise_or.reduce``.

    Parameters
    ----------
    size
        Bytes of the buffer of each thread.
    threads
        How many threads read, each its own buffer.
    seconds
        How long to repeat; the best repetition counts.
    """
    passes = max(1, _PASS_BYTES // size)

    def make() -> Callable[[], object]:
        buffer = np.ones(size // 4, np.uint32)
        again = as_strided(buffer, (passes, buffer.size), (0, 4))
        result = np.empty(passes, np.uint32)
        return lambda: np.bitwise_or.reduce(again, axis=1, out=result)

    return _best([make() for _ in range(threads)], passes * (size // 4) * 4, seconds)


def copy_bandwidth(size: int, threads: int, seconds: float) -> float:
    """Return the bandwidth in GB/s of copying a buffer by ``numpy.copyto``, reading and writing both counted.

    Parameters are those of `read_bandwidth`; use it on buffers of many megabytes only, one call is one copy.
    """

    def make() -> Callable[[], object]:
        source = np.ones(size // 4, np.uint32)
        target = np.zeros_like(source)
        return lambda: np.copyto(target, source)

    return _best([make() for _ in range(threads)], 2 * (size // 4) * 4, seconds)


def _best(calls: list[Callable[[], object]], bytes_each: int, seconds: float) -> float:
    best, end = 0.0, time.perf_counter() + seconds
    with ThreadPoolExecutor(len(calls)) as pool:
        while True:
            start = time.perf_counter()
            # NumPy releases the interpreter's lock inside both loops.
            for future in [pool.submit(call) for call in calls]:
                future.result()
            now = time.perf_counter()
            best = max(best, len(calls) * bytes_each / (now - start))
            if now >= end:
                return best * 1e-9
