"""Code compiled for one instruction set must not be used by the rest of the program.

The linker keeps one of several weak copies of an inline function, whichever object file it came from. If the
AVX-512 kernels' file held such a copy of a function that others use too, the program would run it on
processors without AVX-512. So every weak symbol in a kernel file must belong to that file's instruction set.
Compiled without optimisation, so that inlining hides nothing.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARM = {"aarch64", "arm64"}


def instruction_sets() -> dict[str, list[str]]:
    """Read names and machine flags from the table, so that a new set needs no change here."""
    text = (ROOT / "csrc" / "cpu" / "isa" / "sets.cmake").read_text(encoding="utf-8")
    calls = re.findall(r"^instruction_set\((\w+)([^)]*)\)", text, re.MULTILINE)
    return {name: re.findall(r"(?<!\S)-m\S+", flags) for name, flags in calls}


@pytest.fixture(scope="module")
def compiler() -> str:
    if not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("needs the source tree")
    found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    if found is None:
        pytest.skip("needs a C++ compiler: g++, clang++ or the one that CXX names")
    if shutil.which("nm") is None:
        pytest.skip("needs nm from the binutils")
    return found


def test_cmake_lists_the_instruction_sets() -> None:
    assert {"scalar", "avx2", "avx512", "neon"} <= instruction_sets().keys()
    assert "-mavx2" in instruction_sets()["avx2"]


@pytest.mark.parametrize("number", ["float", "double"])
@pytest.mark.parametrize("name", sorted(instruction_sets().keys() - {"scalar"}))  # which runs everywhere
def test_weak_symbols(name: str, number: str, compiler: str, tmp_path: Path) -> None:
    machine_is_arm = platform.machine() in ARM
    if (name == "neon") != machine_is_arm:
        pytest.skip(f"{name} is of another architecture")
    if platform.system() != "Linux":
        pytest.skip("reads the symbol classes of ELF files")
    compiled = tmp_path / "kernels.o"
    subprocess.run(
        [
            compiler,
            "-std=c++20",
            "-O0",
            "-fPIC",
            f"-DFUSEDLSTM_ISA={name}",
            f'-DFUSEDLSTM_VEC="vec_{name}.h"',
            f"-DFUSEDLSTM_NUMBER={number}",
            *instruction_sets()[name],
            "-c",
            str(ROOT / "csrc" / "cpu" / "isa" / "kernels.cpp"),
            "-o",
            str(compiled),
        ],
        check=True,
    )
    listed = subprocess.run(["nm", str(compiled)], check=True, capture_output=True, text=True).stdout
    weak = re.findall(r"^\S*\s+[VvWwu]\s+(\S+)$", listed, re.MULTILINE)
    # Mangled names spell a namespace with its length in front, the outer one in short if it came before. They
    # are those of a set's functions, or of templates of such ones. The last kind is a pointer, not code.
    namespace = re.compile(rf"(9fusedlstm|S[0-9A-Z]*_){len(name)}{name}")
    leaking = [s for s in weak if not namespace.search(s) and not s.startswith("DW.ref.")]
    assert any(namespace.search(symbol) for symbol in weak), "no weak symbols at all: is the pattern right?"
    assert not leaking, f"weak symbols of the {name} kernels that others may be given: {leaking}"
