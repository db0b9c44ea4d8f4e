"""The documentation: its examples run, its commands exist, its links and pictures are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

# Not among what the tests install; an example that imports one is left out where it is missing.
OPTIONAL = ("keras", "onnx", "onnxruntime", "sklearn", "torch")
ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
EXTRAS = set(
    re.findall(
        r"^([a-z0-9-]+) = \[",
        (ROOT / "pyproject.toml")
        .read_text(encoding="utf-8")
        .split("[project.optional-dependencies]")[1]
        .split("[project.scripts]")[0],
        flags=re.MULTILINE,
    )
)
FENCED = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the pages and texts of the code blocks in a language."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    return [(page, block) for page, text in PAGES.items() for block in pattern.findall(text)]


def commands() -> list[list[str]]:
    """Return each command of a shell once, in words."""
    lines = [line.split("#")[0].split() for _, block in blocks("sh") for line in block.splitlines()]
    return [list(words) for words in dict.fromkeys(tuple(line) for line in lines if line)]


def anchors(text: str) -> set[str]:
    """Return what links to the headings of a page end with, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


EXAMPLES = blocks("python")


@pytest.mark.parametrize(
    ("page", "example"), EXAMPLES, ids=[f"{page}: {text.splitlines()[-1][:30]}" for page, text in EXAMPLES]
)
def test_python_examples(page: str, example: str) -> None:
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
    assert done.returncode == 0, f"{page}: {done.stderr}"
    assert done.stdout.strip()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 13
    assert len(commands()) >= 12


def test_the_readme_is_one_page() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_exist(command: list[str]) -> None:
    if command[0] == "make":
        targets = re.findall(
            r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        assert command[1] in targets
    elif command[:2] == ["pip", "install"]:
        for extra in re.findall(r"\[([^]]*)\]", " ".join(command)):
            assert set(extra.split(",")) <= EXTRAS
    elif command[0] == "PYTHONPATH=python":
        assert command[1] == ".venv/bin/python"
        assert (ROOT / command[2]).is_file()
    else:
        assert command[0] == "fusedlstm"
        # Options of an example are told by its own help.
        names = command[1:3] if command[1:2] == ["example"] else command[1:2]
        done = subprocess.run(
            [sys.executable, "-m", "fusedlstm", *names, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for option in command[2:]:
            if option.startswith("--"):
                assert option in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", PAGES[page])):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.is_file(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"


def test_every_page_is_in_the_index() -> None:
    for page in PAGES:
        name = page.removeprefix("docs/")
        assert (
            f"]({name})" in PAGES["docs/index.md"]
            or f"](../{page})" in PAGES["docs/index.md"]
            or (name == "index.md")
        )


def test_extras_are_listed() -> None:
    table = PAGES["docs/guide.md"].split("| extra |")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z0-9-]+)`", table)) - {"fusedlstm"} >= EXTRAS - {"cuda-tools"}


def test_figures_are_those_recorded() -> None:
    """The tables of times are made of bench/measured.json."""
    pytest.importorskip("click")
    done = subprocess.run(
        [sys.executable, "bench/table.py", "bench/measured.json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for table in done.stdout.strip().split("\n\n"):
        assert table in PAGES["docs/performance.md"]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """By the command that made docs/peers.png; fonts differ between machines, so that bytes may too."""
    pytest.importorskip("matplotlib")
    drawn = tmp_path / "peers.png"
    done = subprocess.run(
        [sys.executable, "bench/picture.py", "bench/measured.json", str(drawn)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f"![{done.stdout.strip()}](docs/peers.png)" in PAGES["README.md"]

    def size(picture: Path) -> bytes:
        data = picture.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        return data[16:24]

    assert size(drawn) == size(ROOT / "docs" / "peers.png")
    assert (ROOT / "docs" / "peers.png").stat().st_size < 100_000
