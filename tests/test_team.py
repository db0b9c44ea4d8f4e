"""The thread team by itself, under the thread sanitizer: `team/stress.cpp`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("team", "phases", "interrupt", "placement", "openmp", "cores")


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if compiler is None or not (ROOT / "csrc").exists():
        pytest.skip("needs the source tree and a C++ compiler: g++, clang++ or the one that CXX names")
    program = tmp_path_factory.mktemp("team") / "stress"
    sources = [ROOT / "csrc" / "cpu" / f"{name}.cpp" for name in SOURCES]
    command = [compiler, "-std=c++20", "-O1", "-g1", "-fsanitize=thread", "-pthread", "-o", program]
    built = subprocess.run(
        [*map(str, command), str(ROOT / "tests" / "team" / "stress.cpp"), *map(str, sources), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0 and "tsan" in built.stderr:
        pytest.skip("needs the compiler's thread sanitizer")
    assert built.returncode == 0, built.stderr
    return program


@pytest.mark.parametrize("seed", [0, 1])
def test_every_share_is_done_once_and_in_order(stress: Path, seed: int) -> None:
    done = subprocess.run(
        [str(stress), "2", str(seed)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1:exitcode=66"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert int(done.stdout.split()[0]) > 1000
