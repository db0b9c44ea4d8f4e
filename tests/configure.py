"""CMake's configuration of the source tree, without a build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
HERE = Path(sys.executable).parent


def cmakes() -> list[str]:
    """Return a CMake of each version that is here: beside this Python, the system's, and on the PATH."""
    versions: dict[str, str] = {}
    for folder in (str(HERE), "/usr/bin", None):
        if path := shutil.which("cmake", path=folder):
            done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                versions.setdefault(done.stdout, path)
    return list(versions.values())


def configure(
    folder: Path,
    *options: str,
    cmake: str | None = None,
    environment: Mapping[str, str] | None = None,
    source: Path = ROOT,
) -> tuple[int, str]:
    """Return CMake's exit code and what it printed.

    Parameters
    ----------
    folder : Path
        Where to build; its cache is used again.
    *options : str
        Cache entries, as in ``FUSEDLSTM_CUDA=OFF``.
    cmake : str, optional
        The program; by default the first of `cmakes`.
    environment : mapping of str to str, optional
        Entries of the environment beside those that are there.
    source : Path
        The source tree.
    """
    pytest.importorskip("pybind11", reason='needs pybind11; pip install "fusedlstm[dev]"')
    programs = [cmake] if cmake else cmakes()
    search = f"{HERE}{os.pathsep}{os.environ.get('PATH', '')}"
    generators = (("Ninja", "ninja"), ("Unix Makefiles", "make"))
    tools = [(name, path) for name, tool in generators if (path := shutil.which(tool, path=search))]
    if not programs or not tools or not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("needs CMake, ninja or make, and the source tree")
    generator, make = tools[0]
    command = [
        programs[0],
        "-S",
        str(source),
        "-B",
        str(folder),
        "-G",
        generator,
        f"-DCMAKE_MAKE_PROGRAM={make}",
    ]
    command += [f"-DPython_EXECUTABLE={sys.executable}", *(f"-D{option}" for option in options)]
    unset = ("CXX", "CXXFLAGS", "LDFLAGS", "CUDACXX", "CUDAFLAGS", "CUDAHOSTCXX", "CMAKE_GENERATOR")
    own = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**own, **(environment or {})}
    )
    return done.returncode, done.stdout + done.stderr


def program(file: Path, script: str) -> Path:
    """Write a shell script that can be run, and return its path."""
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file
