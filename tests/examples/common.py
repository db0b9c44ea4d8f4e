"""What the tests of examples share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from fusedlstm.commands.cli import cli

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments: object) -> Result:
    """Run ``fusedlstm example`` with these arguments."""
    return CliRunner().invoke(cli, ["example", *map(str, arguments)])


def written(path: Path) -> dict[str, Any]:
    """Return what a command has written by --json."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def results(path: Path) -> dict[str, Any]:
    """Return the results in it."""
    found: dict[str, Any] = written(path)["results"]
    return found


def words(text: str) -> str:
    """Return a text without its line breaks, which depend on the width of the terminal."""
    return " ".join(text.split())
