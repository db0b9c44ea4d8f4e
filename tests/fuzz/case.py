"""One input: made from a number, loaded, measured."""

from __future__ import annotations

import time
import traceback
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.targets import Target

__all__ = ["MEMORY", "SECONDS", "Peak", "least_seconds", "make", "run"]

# What a small input may take: seconds of the processor, and bytes.
SECONDS = 1.0
MEMORY = 100_000_000


class Peak:
    """The most memory that the process has at one time, from now on; 0 where the system does not tell."""

    _RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")

    def __init__(self) -> None:
        try:
            self._RESET.write_text("5")  # lets the high-water mark start from what there is now
            self._before: int | None = self._mark()
        except OSError:
            self._before = None

    def grown(self) -> int:
        """Return by how many bytes the process has grown at its highest."""
        return 0 if self._before is None else self._mark() - self._before

    def _mark(self) -> int:
        line = next(line for line in self._STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])


def least_seconds(work: Callable[[], object], enough: float = SECONDS, tries: int = 3) -> float:
    """Return the processor's time for some work: the least of several tries, or the first that is enough.

    Processes beside this one slow a try down, by the caches and the clock that they share; work that takes
    too long takes too long each time.
    """
    least = float("inf")
    for _ in range(tries):
        start = time.process_time()
        work()
        least = min(least, time.process_time() - start)
        if least <= enough:
            break
    return least


@dataclass(frozen=True)
class Outcome:
    """What a case led to; `fault` is empty if that was right."""

    fault: str
    detail: str
    refused: bool
    seconds: float
    memory: int


def make(name: str, target: Target, number: int) -> tuple[str, Any]:
    """Return the kind of change and the changed input of a case."""
    random = np.random.default_rng([zlib.crc32(name.encode()), number])
    corpus = target.corpus()
    kind = list(target.mutators)[number % len(target.mutators)]
    return kind, target.mutators[kind](random, corpus[int(random.integers(len(corpus)))], corpus)


def run(target: Target, content: Any, path: Path) -> Outcome:
    """Load an input and say what was wrong with that."""
    fault = detail = ""
    refused = True

    def load() -> None:
        nonlocal fault, detail, refused
        try:
            target.load(content, path)
            refused = False
        except target.allowed:
            pass
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            fault, detail = f"{type(error).__name__}: {error}"[:200], traceback.format_exc()

    peak = Peak()
    seconds, memory = least_seconds(load), peak.grown()
    if not fault and seconds > SECONDS:
        fault = f"{seconds:.2f} seconds"
    if not fault and memory > MEMORY:
        fault = f"{memory / 1e6:.0f} MB"
    return Outcome(fault, detail, refused, seconds, memory)
