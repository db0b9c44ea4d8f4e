"""The README's examples run, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

# Not among what the tests install; an example that imports one is left out where it is missing.
OPTIONAL = ("keras", "onnx", "onnxruntime", "sklearn", "torch")
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line.split("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("example", blocks("python"), ids=lambda text: text.splitlines()[-1][:30])
def test_python_examples(example: str) -> None:
    """Each in a process of its own, as a reader would run it."""
    for name in OPTIONAL:
        if re.search(rf"^(import|from) {name}\b", example, flags=re.MULTILINE):
            pytest.importorskip(name)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_examples() -> None:
    assert len(blocks("python")) >= 2
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_exist(command: list[str]) -> None:
    if command[0] == "make":
        targets = re.findall(
            r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        assert command[1] in targets
    else:
        assert command[0] == "fusedlstm"
        done = subprocess.run(
            [sys.executable, "-m", "fusedlstm", command[1], "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for option in command[2:]:
            if option.startswith("--"):
                assert option in done.stdout
