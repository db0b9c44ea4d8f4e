"""Tasks in several processes: who does what, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm.examples.job import ProblemError
from fusedlstm.examples.workers import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


def begin(kind: str) -> Callable[[Any], Any]:
    """Return a function that does a task of this kind, as a worker calls it."""
    if kind == "no data":
        raise ProblemError("flows.csv, line 7: expected 3 columns, got 2")
    begun = os.getpid()

    def square(task: int) -> tuple[int, int, int]:
        time.sleep(0.05)
        return task * task, begun, os.getpid()

    def interrupted(task: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return task

    def fails(task: Exception) -> None:
        raise task

    def killed(_task: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def ends(_task: int) -> None:
        os._exit(7)

    def told(_task: int) -> int:
        return os.getpid()

    def meets(task: tuple[Path, int]) -> int:
        folder, others = task
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < others:
            time.sleep(0.02)
        return os.getpid()

    def sleeps(folder: Path) -> None:
        (folder / str(os.getpid())).touch()
        time.sleep(600)

    kinds: dict[str, Callable[[Any], Any]] = {
        "square": square,
        "interrupted": interrupted,
        "fails": fails,
        "killed": killed,
        "ends": ends,
        "told": told,
        "meets": meets,
        "sleeps": sleeps,
    }
    return kinds[kind]


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    """All processes of a test end with it; pools of other libraries may live on from tests before."""
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= before


def all_of(kind: str, tasks: Any, count: int) -> list[Any]:
    return list(outcomes(partial(begin, kind), tasks, count))


def is_alive(pid: int) -> bool:
    """Tell whether a process that is not a child of this one runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("count", [1, 3])
def test_each_task_is_done_once(count: int) -> None:
    found = all_of("square", range(8), count)
    assert sorted(one[0] for one in found) == [n * n for n in range(8)]
    assert all(begun == done != os.getpid() for _, begun, done in found)
    assert len({done for _, _, done in found}) <= count


def test_tasks_are_done_side_by_side(tmp_path: Path) -> None:
    """Each waits until the others have begun."""
    assert len(set(all_of("meets", [(tmp_path, 3)] * 3, 3))) == 3


def test_one_process_keeps_the_order() -> None:
    assert [one[0] for one in all_of("square", [3, 1, 2], 1)] == [9, 1, 4]


def test_nothing_to_do() -> None:
    assert all_of("square", [], 2) == []
    assert all_of("square", [], 0) == []


def test_an_interrupt_does_not_reach_them() -> None:
    """Ctrl-C goes to all processes of a terminal; it is the first one that ends the others."""
    assert all_of("interrupted", [5], 1) == [5]


@pytest.mark.parametrize(
    "error", [ProblemError("flows.csv is empty"), FileNotFoundError(2, "No such file", "a"), MemoryError()]
)
def test_what_a_user_can_mend_is_told_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        all_of("fails", [error], 2)
    assert str(caught.value) == str(error)


def test_a_worker_that_cannot_begin() -> None:
    with pytest.raises(ProblemError, match=r"flows\.csv, line 7: expected 3 columns, got 2"):
        all_of("no data", [1, 2], 2)


def test_other_errors_are_a_sentence_and_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProblemError, match=r"^a worker process failed: ZeroDivisionError: by zero$"):
        all_of("fails", [ZeroDivisionError("by zero")], 1)
    assert "in fails\n" in capfd.readouterr().err


@pytest.mark.parametrize(("kind", "how"), [("killed", "SIGKILL"), ("ends", "exit code 7")])
def test_a_process_that_is_ended_from_outside(kind: str, how: str) -> None:
    told = rf"^a worker process was ended from outside \({how}\); the same command goes on$"
    with pytest.raises(ProblemError, match=told):
        all_of(kind, [1], 2)


def test_closing_ends_all_processes() -> None:
    with closing(outcomes(partial(begin, "told"), range(10**6), 2)) as found:
        pids = {next(found) for _ in range(20)}
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_none_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.examples.test_workers import all_of\n"
        "if __name__ == '__main__':\n"
        "    all_of('sleeps', [Path(sys.argv[1])] * 2, 2)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with subprocess.Popen([sys.executable, script, tmp_path / "pids"], env=environment) as parent:
        while len(pids := [int(path.name) for path in (tmp_path / "pids").iterdir()]) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
