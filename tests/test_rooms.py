"""The package's rooms: which of them may import which, types too, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fusedlstm

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(fusedlstm.__file__).parent

# From the lowest up: a room imports those before its own line, and modules of its own. Those of types count;
# imports within functions, which wait until they are needed, do not.
ROOMS = (
    {"_core", "_cuda", "config"},
    {"base"},
    {"activations"},
    {"ops", "cuda", "constraints", "regularizers", "utils"},
    {
        "backend",
        "initializers",
        "losses",
        "mixed_precision",
        "optimizers",
        "preprocessing",
        "testing",
        "torch",
    },
    {"layers", "metrics"},
    {"distributed", "io"},
    {"callbacks", "datasets", "plots"},
    {"models"},
    {"comparison", "exchange", "sklearn"},
    {""},
    {"examples"},
    {"commands"},
    {"benchmark", "__main__"},
)
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
COMPILED = {"_core", "_cuda"}


def modules() -> dict[str, Path]:
    """Return the sources by the names of modules, without the package's."""
    found = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix("__init__").removesuffix(".")] = path
    return found


MODULES = modules()


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs when a module is imported, or types are checked."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield statement
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from statements(handler.body)


def imported(name: str) -> set[str]:
    """Return the package's modules that a module imports."""
    found = set()
    for statement in statements(ast.parse(MODULES[name].read_text(encoding="utf-8")).body):
        names: list[str] = []
        if isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{name}: expected absolute imports"
            if statement.module is not None:
                names = [f"{statement.module}.{alias.name}" for alias in statement.names]
        elif isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        for full in names:
            if full.split(".")[0] == "fusedlstm":
                inner = full.removeprefix("fusedlstm").removeprefix(".")
                known = inner in MODULES or inner in COMPILED
                found.add(inner if known else inner.rpartition(".")[0])
    return found - {name}


IMPORTS = {name: imported(name) for name in MODULES}


def room(name: str) -> str:
    return name.split(".")[0]


def test_every_module_has_a_room() -> None:
    assert {room(name) for name in MODULES} <= set(LEVELS)
    assert set(LEVELS) - COMPILED <= {room(name) for name in MODULES}, "a room that is gone"


def test_the_top_has_keras_names_only() -> None:
    """Everything else is in a room."""
    top = {path.stem for path in ROOT.glob("*.py")} - {"__init__", "__main__"}
    keras = {"activations", "backend", "config", "constraints", "initializers", "mixed_precision"}
    keras |= {"regularizers"}
    assert top == keras


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    for other in IMPORTS[name]:
        assert room(other) == room(name) or LEVELS[room(other)] < LEVELS[room(name)], (
            f"{name} imports {other}, whose room is not below its own"
        )


def test_no_circle() -> None:
    """Modules can be put in an order in which each one imports those before it alone."""
    left = {name: set(others) & set(MODULES) for name, others in IMPORTS.items()}
    while ready := {name for name, others in left.items() if not others & set(left)}:
        for name in ready:
            del left[name]
    assert not left, f"circles among {sorted(left)}"
