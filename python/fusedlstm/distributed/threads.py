"""Threads and cores of the ranks of one machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fusedlstm import ops
from fusedlstm.distributed.communicator import cuts

if TYPE_CHECKING:
    from fusedlstm.distributed.communicator import Communicator


def share_cores(communicator: Communicator) -> list[int] | None:
    """Give each rank of a machine its cores: as many threads, which stay there.

    Nothing is done where somebody has decided before: a launcher that bound ranks to cores, the environment's
    FUSEDLSTM_NUM_THREADS or OMP_NUM_THREADS, or `fusedlstm.ops.set_num_threads`; or where the system does not
    tell of cores, as on macOS. With more ranks than cores each gets one thread, on any core.

    Parameters
    ----------
    communicator : Communicator
        All of its ranks have to call this.

    Returns
    -------
    list of int or None
        The cores of this rank; None if nothing was done.
    """
    known = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0)) if known else []
    decided = not known or ops.why_num_threads().split()[0] in ("set_num_threads", *_VARIABLES)
    # Who is on this machine, and whether the launcher has bound ranks, is for all of them to see.
    found = communicator.allgather((_machine(), cores, decided))
    beside = [rank for rank, (machine, _, _) in enumerate(found) if machine == _machine()]
    if len(beside) == 1 or any(found[rank][2] or found[rank][1] != cores for rank in beside):
        return None
    if len(cores) < len(beside):
        ops.set_num_threads(1)
        return None
    ends = cuts(len(cores), len(beside))
    place = beside.index(communicator.rank)
    own = cores[ends[place] : ends[place + 1]]
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # A thread may end meanwhile.
            os.sched_setaffinity(int(thread.name), own)
    ops.set_num_threads(len(own))
    return own


_VARIABLES = ("FUSEDLSTM_NUM_THREADS", "OMP_NUM_THREADS")


def _machine() -> str:
    return os.uname().nodename
