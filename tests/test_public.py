"""What is public: the names in ``__all__`` of the package and of the modules that it names."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fusedlstm
from fusedlstm import _core

PROJECT = Path(__file__).parents[1]
PACKAGE = Path(fusedlstm.__file__).parent
# Public where they are installed, and not part of the package's own names.
FRAMEWORKS = ("benchmark", "sklearn", "torch")
MODULES = ["", *(name for name in fusedlstm.__all__ if isinstance(getattr(fusedlstm, name), ModuleType))]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]


def module(name: str) -> Any:
    return importlib.import_module(f"fusedlstm.{name}" if name else "fusedlstm")


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_is_public(name: str) -> None:
    listed = module(name).__all__
    assert len(set(listed)) == len(listed)
    for item in listed:
        assert item == "__version__" or not item.startswith("_")
        assert getattr(module(name), item) is not None


def test_nothing_else_looks_public() -> None:
    """Modules inside of rooms have no ``__all__``: rooms say what of them is public."""
    public = {
        PACKAGE / path for path in ("optimizers/schedules.py", "preprocessing/sequence.py", "__main__.py")
    }
    for path in PACKAGE.rglob("*/*.py"):
        if path.name != "__init__.py" and path not in public:
            assert "__all__" not in path.read_text(encoding="utf-8"), path


def test_the_package_shows_nothing_else() -> None:
    assert dir(fusedlstm) == sorted(fusedlstm.__all__)
    inner = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    hidden = inner - set(fusedlstm.__all__) - set(FRAMEWORKS)
    assert hidden == {"__init__", "__main__", "base", "commands", "examples"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_public_things_only(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in set(re.findall(r"\bfusedlstm\.([a-z][\w.]*\w)", text)):
        if path.split(".")[0] in FRAMEWORKS:
            continue
        holder: Any = fusedlstm
        for part in path.split("."):
            known = getattr(holder, "__all__", None) if isinstance(holder, ModuleType) else dir(holder)
            assert known is not None, f"{path}: {holder.__name__} says nothing of what is public"
            assert part in known, f"fusedlstm.{path}"
            holder = getattr(holder, part, None)


def test_stubs_name_what_the_extension_has() -> None:
    tree = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {ast.unparse(node.target) for node in tree.body if isinstance(node, ast.AnnAssign)} - {
        "Arrays"
    }  # a type
    assert {name for name in names if not name.startswith("_")} == {
        name for name in dir(_core) if not name.startswith("_")
    }
