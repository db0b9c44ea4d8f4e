"""What a build says where something is missing, and what a source distribution holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.configure import ROOT, cmakes, configure, program

if TYPE_CHECKING:
    from pathlib import Path

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
ALONE = (  # The compiler by its path, and no packages of the system.
    f"CMAKE_CXX_COMPILER={COMPILER}",
    "CMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF",
    "CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF",
)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")


def first_line(text: str) -> str:
    """Return the first line of the first error."""
    found = re.search(r"CMake Error at .*:\n\s*(.+)\n", text)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize("cmake", cmakes())
def test_without_a_compiler(cmake: str, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    code, text = configure(tmp_path / "build", cmake=cmake, environment={"PATH": str(empty)})
    assert code != 0
    assert first_line(text) == "Install a C++20 compiler, gcc 11 or clang 14 or newer:"
    for words in (
        "apt install g++",
        "dnf install gcc-c++",
        "xcode-select --install",
        "conda install",
        "on the PATH",
    ):
        assert words in text
    # The next look is a new one.
    code, text = configure(tmp_path / "build", "FUSEDLSTM_CUDA=OFF", cmake=cmake)
    assert code == 0, text


def test_a_compiler_that_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "g++")
    code, text = configure(tmp_path / "build", environment={"CXX": missing})
    assert code != 0
    assert first_line(text).startswith("Install a C++20 compiler")
    assert f"CXX is {missing}" in " ".join(text.split())
    code, text = configure(tmp_path / "build", f"CMAKE_CXX_COMPILER={missing}")
    assert code != 0
    assert first_line(text).startswith("Install a C++20 compiler")
    assert f"CMAKE_CXX_COMPILER is {missing}" in " ".join(text.split())


def test_a_compiler_that_fails(tmp_path: Path) -> None:
    broken = program(tmp_path / "c++", "exit 1")
    code, text = configure(tmp_path / "build", environment={"PATH": str(tmp_path)})
    assert code != 0
    assert first_line(text).startswith("Install a C++20 compiler")
    assert f"{broken} is there, but cannot compile" in " ".join(text.split())


@needs_compiler
def test_an_old_compiler(tmp_path: Path) -> None:
    old = program(tmp_path / "old", f'exec {COMPILER} "$@" -std=c++17')
    code, text = configure(tmp_path / "build", environment={"CXX": str(old)})
    assert code != 0
    assert first_line(text).startswith("Install a C++20 compiler")
    assert f"{old}, cannot compile C++20" in " ".join(text.split())


@needs_compiler
@pytest.mark.parametrize("cmake", cmakes())
@pytest.mark.parametrize(
    ("variable", "flag"),
    [("CXXFLAGS", "--no-such-flag"), ("CXXFLAGS", "-nostdinc++"), ("LDFLAGS", "-L. -lno-such-library")],
)
def test_wrong_flags(variable: str, flag: str, cmake: str, tmp_path: Path) -> None:
    """Flags that keep a good compiler from compiling are named, and nobody is asked to install one."""
    environment = {"CXXFLAGS": "-O1", "LDFLAGS": "-L.", variable: f"-g {flag}"}
    code, text = configure(tmp_path / "build", cmake=cmake, environment=environment)
    assert code != 0
    assert first_line(text) == f"{variable}: expected flags for a C++20 compiler, got"
    assert f"    -g {flag}\n" in text
    assert "Install" not in text
    # The wrong flags are not remembered.
    good = {"CXXFLAGS": "-O1 -std=c++17", "LDFLAGS": "-L."}
    code, text = configure(tmp_path / "build", "FUSEDLSTM_CUDA=OFF", cmake=cmake, environment=good)
    assert code == 0, text


@needs_compiler
def test_wrong_flags_of_the_command_line(tmp_path: Path) -> None:
    """The cache's flags are instead of the environment's."""
    options = (f"CMAKE_CXX_COMPILER={COMPILER}", "CMAKE_CXX_FLAGS=--no-such-flag")
    code, text = configure(tmp_path / "build", *options)
    assert code != 0
    assert first_line(text) == "CMAKE_CXX_FLAGS: expected flags for a C++20 compiler, got"
    assert f"Without them {COMPILER} compiles C++20; with them it said:" in " ".join(text.split())
    code, text = configure(
        tmp_path / "other",
        "FUSEDLSTM_CUDA=OFF",
        "CMAKE_CXX_FLAGS=-O1",
        environment={"CXXFLAGS": "--no-such-flag"},
    )
    assert code == 0, text


def test_flags_of_a_compiler_that_fails(tmp_path: Path) -> None:
    """A compiler that fails without the flags too is itself the first thing to mend."""
    broken = program(tmp_path / "c++", "exit 1")
    code, text = configure(tmp_path / "build", environment={"CXX": str(broken), "CXXFLAGS": "-O1"})
    assert code != 0
    assert first_line(text).startswith("Install a C++20 compiler")


def test_who_says_which_compiler(tmp_path: Path) -> None:
    """In a build by pip, CXX may not be the user's: scikit-build-core sets it to the one of Python."""
    missing = str(tmp_path / "g++")
    code, text = configure(tmp_path / "build", "SKBUILD=2", environment={"CXX": missing})
    assert code != 0
    words = " ".join(text.split())
    assert f"CXX, or without it the compiler that Python was made with, is {missing}, which" in words


@needs_compiler
def test_arguments_of_the_compiler(tmp_path: Path) -> None:
    launcher = program(tmp_path / "launcher", 'exec "$@"')
    code, text = configure(
        tmp_path / "build", "FUSEDLSTM_CUDA=OFF", environment={"CXX": f"{launcher} {COMPILER}"}
    )
    assert code == 0, text


@needs_compiler
def test_without_headers_of_python(tmp_path: Path) -> None:
    code, text = configure(tmp_path, f"Python_INCLUDE_DIR={tmp_path / 'none'}")
    assert code != 0
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert first_line(text) == f"Install the C headers of Python {version}:"
    assert f"apt install python{version}-dev" in text


@needs_compiler
def test_without_pybind11(tmp_path: Path) -> None:
    (tmp_path / "pybind11.py").write_text("raise ImportError")
    code, text = configure(tmp_path / "build", *ALONE, environment={"PYTHONPATH": str(tmp_path)})
    assert code != 0
    assert (
        " ".join(first_line(text).split()) == "Install pybind11 2.13 or newer (pip install . brings its own):"
    )
    assert f"{sys.executable} -m pip install pybind11" in text


@needs_compiler
def test_an_old_pybind11(tmp_path: Path) -> None:
    old = tmp_path / "pybind11"
    old.mkdir()
    (old / "pybind11Config.cmake").write_text("")
    (old / "pybind11ConfigVersion.cmake").write_text("set(PACKAGE_VERSION 2.6.2)\n")
    code, text = configure(tmp_path / "build", *ALONE, f"pybind11_DIR={old}")
    assert code != 0
    assert first_line(text).startswith("Install pybind11 2.13 or newer")
    assert "Found 2.6.2" in text


def test_a_source_distribution_holds_what_git_does(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core", reason='needs scikit-build-core; pip install "fusedlstm[dev]"')
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs git and its checkout")
    build = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("fusedlstm-*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    expected = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    assert {name for name in expected - packed if not name.startswith(".")} == set()
    assert {name for name in packed - expected if name.endswith(".so") or "__pycache__" in name} == set()
