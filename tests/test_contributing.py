"""CONTRIBUTING.md: its map and its recipes are those of the sources. Its examples run in `test_docs`."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.configure import ROOT, configure
from tests.test_rooms import ROOMS

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def mentions(word: str) -> set[str]:
    """Return the sources that have a word, in C++ and Python."""
    files = [path for folder in ("csrc", "python") for path in (ROOT / folder).rglob("*")]
    endings = (".h", ".cuh", ".cpp", ".cu", ".py")
    return {
        str(path.relative_to(ROOT))
        for path in files
        if path.suffix in endings and word in path.read_text(encoding="utf-8").lower()
    }


def test_the_map_has_every_room_in_order() -> None:
    table = TEXT.split("| room | |")[1].split("\n\n")[0]
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in table.splitlines()[2:]]
    assert rows == [named for rooms in ROOMS if (named := rooms - {"", "__main__"})]


def test_the_map_has_every_folder_of_kernels() -> None:
    for folder in (*(ROOT / "csrc").iterdir(), ROOT / "csrc" / "cpu" / "isa"):
        if folder.is_dir():
            assert f"`{folder.relative_to(ROOT / 'csrc')}/`" in TEXT


@pytest.mark.parametrize(("recipe", "word"), [("activation", "softsign"), ("option", "cell_clip")])
def test_a_recipe_names_every_place(recipe: str, word: str) -> None:
    listed = TEXT.split(f"<!-- {recipe} -->")[1].split("\n\n")[0]
    assert set(re.findall(r"`((?:csrc|python)/[^`]*)`", listed)) == mentions(word)


def test_a_row_makes_an_instruction_set(tmp_path: Path) -> None:
    """The table takes a new set: CMake compiles its kernels and the library chooses among it."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "csrc", source / "csrc")
    shutil.copy(ROOT / "CMakeLists.txt", source)
    isa = source / "csrc" / "cpu" / "isa"
    table = (isa / "sets.cmake").read_text(encoding="utf-8")
    row = 'instruction_set(toy PROCESSORS ".*" FLAGS -O1)\n'
    last = "instruction_set(scalar "
    assert table.count(last) == 1
    (isa / "sets.cmake").write_text(table.replace(last, row + last), encoding="utf-8")
    shutil.copy(isa / "vec_scalar.h", isa / "vec_toy.h")
    build = tmp_path / "build"
    code, text = configure(build, "FUSEDLSTM_CUDA=OFF", source=source)
    assert code == 0, text
    made = (build / "generated" / "instruction_sets.h").read_text(encoding="utf-8")
    assert "SET(toy, true) SET(scalar, true)" in made
    commands = next(path for path in (build / "build.ninja", build / "Makefile") if path.exists())
    for number in ("float", "double"):
        assert f"kernels_toy_{number}" in commands.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", ["float", "double"])
def test_one_kernel_alone(number: str, tmp_path: Path) -> None:
    code, text = configure(tmp_path, "FUSEDLSTM_CUDA=OFF", f"FUSEDLSTM_KERNELS=scalar/{number}")
    assert code == 0, text
    made = (tmp_path / "generated" / "instruction_sets.h").read_text(encoding="utf-8")
    assert "#define FUSEDLSTM_SETS(SET) SET(scalar, true)\n" in made
    assert f"#define FUSEDLSTM_HAS_FLOAT {'true' if number == 'float' else 'false'}\n" in made
    assert f'#define FUSEDLSTM_NUMBER_NAMES "{ {"float": "float32", "double": "float64"}[number] }"' in made
    assert '"avx2"' in made, "names of other sets, which FUSEDLSTM_DISABLE may name"


@pytest.mark.parametrize("value", ["sse9/float", "avx2", "avx2/half", "float"])
def test_a_kernel_that_there_is_not(value: str, tmp_path: Path) -> None:
    code, text = configure(tmp_path, "FUSEDLSTM_CUDA=OFF", f"FUSEDLSTM_KERNELS={value}")
    assert code != 0
    words = " ".join(text.split())
    assert "FUSEDLSTM_KERNELS: expected" in words
    assert f"got {value.removesuffix('/float')}" in words
