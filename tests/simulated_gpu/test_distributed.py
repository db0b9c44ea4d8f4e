"""Ranks with a simulated GPU each: the code that runs on several GPUs, with NCCL's functions over MPI."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusedlstm import distributed
from tests.distributed import launching
from tests.simulated_gpu import ranks
from tests.simulated_gpu.build import load

if TYPE_CHECKING:
    from tests.simulated_gpu.device import SimDevice


@pytest.mark.parametrize("count", [2, 3])
def test_the_same_bits_as_one_rank(count: int, tmp_path: Path) -> None:
    """In mode exact; in mode fast both ways of messages add the same numbers up on all ranks."""
    load("_simt")
    launching.need_mpi()
    program = Path(__file__).with_name("ranks.py")
    done = subprocess.run(
        launching.command(count, [program, tmp_path]),
        capture_output=True,
        text=True,
        env=launching.environment(),
        timeout=launching.SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(count)]
    assert all(one == found[0] for one in found)
    for name in ranks.NAMES:
        expected = ranks.on_device(name, distributed.Alone())
        for link in ("mpi", "nccl"):
            assert found[0][f"{link} exact {name}"] == expected, (link, name)
        assert found[0][f"mpi fast {name}"] == found[0][f"nccl fast {name}"]


def test_short_messages_are_the_hosts(device: SimDevice) -> None:
    from tests.distributed.trainings import CLASSES, X, made

    model = made("classes")
    model.move(device)
    model.distribute(distributed.Alone(), transport="bfloat16")
    with pytest.raises(ValueError, match="transport: expected float32 for a model on simt"):
        model.fit(X, CLASSES, verbose=0)
