"""What CMake decides about the CUDA kernels, and says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .compiled import ROOT

CMAKE = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def configure(folder: Path, *options: str, compiler: str | None = None) -> tuple[int, str]:
    """Return CMake's exit code, and what it printed, as one line."""
    pybind11 = pytest.importorskip("pybind11", reason='needs pybind11; pip install "fusedlstm[dev]"')
    if CMAKE is None or not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("needs CMake and the source tree")
    command = [CMAKE, "-S", ROOT, "-B", folder, f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    command += [f"-DPython_EXECUTABLE={sys.executable}", *(f"-D{option}" for option in options)]
    environment = {**os.environ, **({"CUDACXX": compiler} if compiler else {})}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, env=environment
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_off_looks_for_nothing(tmp_path: Path) -> None:
    code, text = configure(tmp_path, "FUSEDLSTM_CUDA=OFF", compiler="/no/such/compiler")
    assert code == 0
    assert "CUDA kernels: not compiled, as FUSEDLSTM_CUDA is OFF" in text


def test_auto_goes_without_a_compiler_that_fails(tmp_path: Path) -> None:
    broken = tmp_path / "nvcc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    code, text = configure(tmp_path / "build", "FUSEDLSTM_CUDA=AUTO", compiler=str(broken))
    assert code == 0, text
    assert f"CUDA kernels: not compiled: {broken} could not compile CMake's trial program" in text
    assert "pip install nvidia-cuda-nvcc nvidia-cuda-cccl" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["FUSEDLSTM_CUDA=MAYBE"], "FUSEDLSTM_CUDA: expected AUTO, ON or OFF, got MAYBE"),
        (["FUSEDLSTM_CUDA=ON", "FUSEDLSTM_SIMT=ON"], "FUSEDLSTM_CUDA is ON, and so is FUSEDLSTM_SIMT"),
    ],
)
def test_errors(options: list[str], message: str, tmp_path: Path) -> None:
    code, text = configure(tmp_path, *options)
    assert code != 0
    assert message in text


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("80;12", "FUSEDLSTM_CUDA_ARCHITECTURES: expected some of"),
        ("75", "FUSEDLSTM_CUDA_ARCHITECTURES: expected one of 80 or later, got 75"),
    ],
)
def test_architectures(chosen: str, message: str, tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not here")
    code, text = configure(tmp_path, "FUSEDLSTM_CUDA=ON", f"FUSEDLSTM_CUDA_ARCHITECTURES={chosen}")
    assert code != 0
    assert message in text
