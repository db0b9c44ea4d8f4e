"""A process that runs cases of one loader; `tests.fuzz.__main__` starts it and outlives it."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.fuzz.case import make, run
from tests.fuzz.targets import TARGETS

# Address space beyond that of the start: a loader that asks for more gets a MemoryError, which is a fault.
_ADDRESSES = 4 << 30


def main(name: str, first: int, count: int, seconds: float, progress: Path) -> None:
    """Run cases and print one line of JSON for each fault, and one at the end."""
    target = TARGETS[name]
    target.corpus()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{target.ending}"
        for content in target.corpus():
            # Unharmed, and with everything imported before anything is measured. Not every graph is a stack.
            with contextlib.suppress(*target.allowed):
                target.load(content, path)
        pages = (
            int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
        )
        if pages:
            limit = pages * resource.getpagesize() + _ADDRESSES
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of numbers that become infinite
        end, done, loaded, slowest, largest = time.monotonic() + seconds, 0, 0, 0.0, 0
        with progress.open("r+") as marked:
            for number in range(first, first + count):
                if time.monotonic() > end:
                    break
                marked.seek(0)
                marked.write(f"{number:20}")
                marked.flush()
                kind, content = make(name, target, number)
                outcome = run(target, content, path)
                done, loaded = done + 1, loaded + (not outcome.refused)
                slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.memory)
                if outcome.fault:
                    line = {"case": number, "kind": kind, "fault": outcome.fault, "detail": outcome.detail}
                    print(json.dumps(line), flush=True)
    print(json.dumps({"done": done, "loaded": loaded, "seconds": slowest, "memory": largest}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
