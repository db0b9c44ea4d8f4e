"""Tasks that several processes of this machine do, each the next one when it is free."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

from fusedlstm.examples.job import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    Task = TypeVar("Task")

# What a user can do something about, and is told of in a sentence.
_TOLD = (ProblemError, OSError, MemoryError, ModuleNotFoundError)


def outcomes(
    begin: Callable[[], Callable[[Task], Any]], tasks: Iterable[Task], count: int
) -> Generator[Any, None, None]:
    """Yield what becomes of each task, as soon as it is done.

    When the iteration is over, or closed, by an error or Ctrl-C too, all processes have ended; they also end
    where this process does.

    Parameters
    ----------
    begin : callable
        Each process calls it once, for what all tasks need, and gets the function that does a task. It is
        pickled, as are tasks and what becomes of them: a function of a module, or a partial of one.
    tasks : iterable
    count : int
        Number of processes.

    Raises
    ------
    ProblemError
        If a process ends before its task is done, or its task raises something else than the following.
    OSError, MemoryError, ModuleNotFoundError
        As in the process.
    """
    context = multiprocessing.get_context("spawn")  # A fork would share locks with threads that it has not.
    waiting = iter(tasks)
    processes: dict[Any, BaseProcess] = {}
    try:
        with _no_interrupts():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, begin), daemon=True)
                process.start()
                processes[ours] = process
                theirs.close()
        while processes:
            for ready in connection.wait(list(processes)):
                pipe: Any = ready
                kind, content = _received(pipe, processes[pipe])
                if kind == "failed":
                    raise content
                if kind == "done":
                    yield content
                for task in waiting:
                    pipe.send(task)
                    break
                else:
                    _end(pipe, processes.pop(pipe))
    finally:
        for pipe, left in processes.items():
            _end(pipe, left)


def _received(pipe: Any, process: BaseProcess) -> tuple[str, Any]:
    try:
        message: tuple[str, Any] = pipe.recv()
    except (EOFError, ConnectionError):
        process.join()
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ProblemError(
            f"a worker process was ended from outside ({how}); the same command goes on"
        ) from None
    return message


def _end(pipe: Any, process: BaseProcess) -> None:
    process.kill()
    process.join()
    pipe.close()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: it is this process that ends them.

    Signals that are blocked stay so in what is started meanwhile, and reach this process afterwards. Python's
    tracker of resources, which the first process would start, would let them through again.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, begin: Callable[[], Callable[[Any], Any]]) -> None:
    """Do tasks, in a process of its own, until this process is ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        do = begin()
        pipe.send(("ready", None))
        while True:
            pipe.send(("done", do(pipe.recv())))
    except _TOLD as error:
        pipe.send(("failed", error))
    except Exception as error:
        traceback.print_exc()
        pipe.send(("failed", ProblemError(f"a worker process failed: {type(error).__name__}: {error}")))


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, by whatever means."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
