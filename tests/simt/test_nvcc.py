"""The kernels that the simulator runs are CUDA: nvcc compiles them, with no warning and no spill."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    [*(ROOT / "csrc" / "cuda").glob("*.cu"), *(ROOT / "tests" / "simt" / "kernels").glob("*.cu")]
)
ARCHITECTURES = (80, 90, 120)
NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not here")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_nvcc_compiles(source: Path, tmp_path: Path) -> None:
    assert NVCC is not None
    targets = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in ARCHITECTURES]
    spills = "-Xptxas=--warn-on-spills,--warning-as-error"
    warnings = ["-Werror", "all-warnings", "-Xcompiler=-Wall,-Wextra,-Werror", spills]
    output = ["--threads=0", "-c", str(source), "-o", str(tmp_path / "out.o")]
    # As number.cuh asks.
    command = [NVCC, "-std=c++20", "--fmad=false", *targets, *warnings, *output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
