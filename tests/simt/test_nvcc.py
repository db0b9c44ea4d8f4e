"""The kernels that the simulator runs are CUDA: nvcc compiles them too, warnings as errors."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parent / "kernels").glob("*.cu"))
NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not here")
@pytest.mark.parametrize("architecture", [80, 90, 120])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_nvcc_compiles(source: Path, architecture: int, tmp_path: Path) -> None:
    assert NVCC is not None
    warnings = ["-Werror", "all-warnings", "-Xcompiler=-Wall,-Wextra,-Werror"]
    command = [
        NVCC,
        "-std=c++20",
        f"-arch=sm_{architecture}",
        *warnings,
        "-c",
        str(source),
        "-o",
        str(tmp_path / "out.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
