"""What the tests of the benchmark share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from fusedlstm.benchmark.peers import OURS, make_contender
from fusedlstm.benchmark.verify import Expected, expectations
from fusedlstm.benchmark.workloads import Workload, make_arrays
from fusedlstm.commands.cli import cli

if TYPE_CHECKING:
    from pathlib import Path

    from fusedlstm.benchmark.workloads import Array

SMALL = (
    "forward-3x4x5x6",
    "training-3x4x5x6",
    "step-2x5x6",
    "mnist-4",
    "lengths-5x4x5x6",
    "checkpoint-1x30x5x6",
)
NARROW = ("forward-1x20x5x6", "step-1x5x6")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["bench", *(str(argument) for argument in arguments)])


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def results_of(name: str, dtype: str, contender: str = OURS) -> tuple[dict[str, Array], dict[str, Expected]]:
    """Return what a contender computes for the workload of that name, and what it must."""
    workload = Workload.parse(name)
    arrays = make_arrays(workload, dtype)
    results = make_contender(contender, 1, dtype).prepare(workload, arrays).check()
    return results, expectations(workload, arrays, dtype)
