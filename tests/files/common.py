"""The writers of the package's files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, plots
from fusedlstm.datasets.idx import write_idx
from fusedlstm.io.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(fusedlstm.__file__).parents[1]


def model() -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(1)
    parts = [layers.Input((3, 2)), layers.LSTM(4, name="l"), layers.Dense(2, name="d")]
    return fusedlstm.Sequential(parts, name="model")


WRITERS: dict[str, Callable[[Path], object]] = {
    ".safetensors": lambda path: model().save(path),
    ".keras": lambda path: model().save(path),
    ".weights.h5": lambda path: model().save_weights(path),
    ".onnx": lambda path: fusedlstm.to_onnx(model(), path),
    ".idx": lambda path: write_idx(path, np.arange(6, dtype=np.uint8)),
    ".idx.gz": lambda path: write_idx(path, np.arange(6, dtype=np.uint8)),
    ".png": lambda path: plots.save(plots.figure("", "", (0.5, 0.5)), path),
    ".json": lambda path: write_text(path, "{}\n"),
}
endings = pytest.mark.parametrize("ending", WRITERS)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


SCRIPT = "from fusedlstm.io.atomic import *; import os, signal, sys\n"


def run(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, "-c", SCRIPT + code, *map(str, arguments)]
    return subprocess.run(command, env=environment, **options)  # type: ignore[call-overload, no-any-return]
