"""Interrupts: of real processes, and KeyboardInterrupt at every line of some files, one after the other."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fusedlstm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = {str(path) for path in Path(fusedlstm.__file__).parent.rglob("*.py")}


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start a process that SIGINT interrupts: a shell lets its background jobs, such as tests, ignore it."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupted(call: Callable[[], Any], number: int, files: set[str]) -> BaseException | None:
    """Raise KeyboardInterrupt at an event of tracing in some files; None when there are not that many."""
    left = number

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        if event in ("call", "line"):
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        call()
    except KeyboardInterrupt as error:
        return error  # with its traceback, and all the frames that it keeps, as a console has it
    finally:
        sys.settrace(before)
    return None


def each(call: Callable[[], Any], files: set[str]) -> Iterator[BaseException]:
    number = 0
    while (error := interrupted(call, number, files)) is not None:
        yield error
        number += 1
    assert number > 3
