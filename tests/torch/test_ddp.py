"""PyTorch's DistributedDataParallel around `fusedlstm.torch.LSTM`, in two processes over gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fusedlstm

torch: Any = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this PyTorch has no gloo",
)
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Gradients of two halves, whose mean is that of the whole up to rounding."""
    from tests.torch import ddp

    paths = [str(ROOT), str(Path(fusedlstm.__file__).parents[1])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(Path(ddp.__file__))]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), "2", str(tmp_path)], env=env, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    expected = ddp.trained(0, 1)
    for name, value in expected.items():
        assert torch.equal(one[name], other[name]), name
        torch.testing.assert_close(one[name], value, rtol=1e-10, atol=1e-12)
