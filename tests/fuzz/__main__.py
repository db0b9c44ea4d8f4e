"""``python -m tests.fuzz [LOADER ...] [--seconds S] [--cases N] [--first N] [--case N]``: fuzz the loaders.

Each fault is one line, with the command that repeats it. Loaders run in processes of their own, so that one
that crashes or hangs is a fault too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.case import make, run
from tests.fuzz.targets import TARGETS

__all__ = ["Report", "fuzz"]

# A case that takes longer than this is a hang.
HANG_SECONDS = 30.0
_MANY = 10**9


@dataclass
class Report:
    """What came of some cases of one loader."""

    done: int = 0
    loaded: int = 0
    seconds: float = 0.0
    memory: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)


def fuzz(name: str, first: int = 0, count: int = _MANY, seconds: float = 3600.0) -> Report:
    """Run cases of one loader, until so many are done or so much time is over."""
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        end = first + count
        while first < end:
            progress.write_text("")
            arguments = [name, str(first), str(end - first), str(seconds), str(progress)]
            command = [sys.executable, "-m", "tests.fuzz.worker", *arguments]
            try:
                got = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=seconds + HANG_SECONDS
                )
                output, ending = got.stdout, f"exit status {got.returncode}: {got.stderr[-2000:]}"
            except subprocess.TimeoutExpired as error:
                output, ending = (error.stdout or b"").decode(), f"no end within {HANG_SECONDS:g} seconds"
            lines = [json.loads(line) for line in output.splitlines()]
            report.faults += [line for line in lines if "case" in line]
            totals = next((line for line in lines if "done" in line), None)
            if totals is not None:
                report.done, report.loaded = report.done + totals["done"], report.loaded + totals["loaded"]
                report.seconds = max(report.seconds, totals["seconds"])
                report.memory = max(report.memory, totals["memory"])
                break
            # The process is gone: the case that it was at is the fault, and the next one goes on after it.
            marked = progress.read_text()
            if not marked:
                raise RuntimeError(f"{name}: expected the unharmed files to be read, got {ending}")
            number = int(marked)
            report.faults.append({"case": number, "kind": "", "fault": ending, "detail": ""})
            report.done += number + 1 - first
            first = number + 1
    return report


def _repeat(name: str, number: int) -> None:
    """Run one case in this process and show what it does."""
    target = TARGETS[name]
    kind, content = make(name, target, number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{target.ending}"
        for unharmed in target.corpus():
            with contextlib.suppress(*target.allowed):
                target.load(unharmed, path)
        outcome = run(target, content, path)
    print(
        f"{name} {number} ({kind}): {outcome.fault or ('refused' if outcome.refused else 'loaded')}, "
        f"{outcome.seconds:.3f} s, {outcome.memory / 1e6:.1f} MB\n{outcome.detail}"
    )


def main() -> int:
    """Run what the command line says; the status is 1 after a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("loaders", nargs="*", choices=[*TARGETS, []], default=[], metavar="LOADER")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all loaders together")
    parser.add_argument("--cases", type=int, default=_MANY, help="for each loader, at most")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--case", type=int, help="repeat this case of one loader")
    given = parser.parse_args()
    names = given.loaders or list(TARGETS)
    if given.case is not None:
        _repeat(names[0], given.case)
        return 0
    found = False
    for name in names:
        report = fuzz(name, given.first, given.cases, given.seconds / len(names))
        for fault in report.faults:
            found = True
            print(f"{fault['fault'].splitlines()[0]}    # python -m tests.fuzz {name} --case {fault['case']}")
        print(
            f"{name}: {report.done} cases, {report.loaded} loaded, {len(report.faults)} faults, at most "
            f"{report.seconds:.2f} s and {report.memory / 1e6:.0f} MB",
            flush=True,
        )
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
