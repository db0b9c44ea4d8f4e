"""The command line without any training: options, errors, info, help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import fusedlstm
from fusedlstm import _core, cuda, ops
from fusedlstm.commands import options as cli_options
from fusedlstm.commands.cli import cli
from fusedlstm.datasets.mnist import FILES
from fusedlstm.examples import mnist as mnist_example
from fusedlstm.examples.job import Job, ProblemError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any work beyond the check of options a failure."""

    def fail(*_args: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(mnist_example, "run", fail)


@pytest.mark.usefixtures("no_work")
def test_processes_that_would_all_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    result = run("mnist")
    assert result.exit_code == 2
    assert "--distribute" in result.output
    assert "2 processes were started" in re.sub(r"\s+", " ", result.output)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--units", "0"),
        ("--units", "-3"),
        ("--units", "1.5"),
        ("--layers", "0"),
        ("--epochs", "0"),
        ("--epochs", "many"),
        ("--batch-size", "0"),
        ("--learning-rate", "0"),
        ("--learning-rate", "-1"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "inf"),
        ("--dropout", "1"),
        ("--dropout", "-0.1"),
        ("--dropout", "nan"),
        ("--seed", "-1"),
        ("--device", "gpu"),
        ("--seed", str(2**32)),
        ("--threads", "0"),
        ("--instruction-set", "mmx"),
    ],
)
def test_bad_values(option: str, value: str) -> None:
    result = run("mnist", option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr
    assert value in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "target", "message"),
    [
        ("--save", "none/a.safetensors", r"cannot write .*: No such file or directory \(.*none\)"),
        ("--save", "file/a.safetensors", r"cannot write .*: Not a directory \(.*file"),
        ("--save", "folder.safetensors", "is a directory"),
        ("--save", "a.h5", r"ends in \.safetensors or \.keras"),
        ("--save", "a.weights.h5", r"\.weights\.h5 is for Sequential\.save_weights"),
        ("--json", "a" * 300, "File name too long"),
        ("--report", "occupied", r"found a folder \(.*misclassified"),
        ("--json", "none/a.json", r"cannot write .*: No such file or directory \(.*none\)"),
        ("--json", "folder.safetensors", "is a directory"),
        ("--report", "file", "is a file"),
        ("--report", "file/below", "cannot make the folder .*below: Not a directory"),
        ("--data", "none", "does not exist"),
    ],
)
def test_bad_targets(tmp_path: Path, option: str, target: str, message: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "occupied" / "misclassified.png").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    result = run("mnist", option, tmp_path / target)
    assert result.exit_code == 2
    words = " ".join(result.stderr.split())
    assert f"Invalid value for '{option}'" in words
    assert re.search(message, words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("no_work")
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="everything can be written by root")
def test_read_only_targets(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    (tmp_path / "locked.json").touch(mode=0o400)
    for option, target in (
        ("--json", "locked/a.json"),
        ("--json", "locked.json"),
        ("--report", "locked/report"),
    ):
        result = run("mnist", option, tmp_path / target)
        assert result.exit_code == 2
        assert "cannot" in result.stderr


@pytest.mark.usefixtures("no_work")
def test_existing_file_that_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("old")
    monkeypatch.setattr(os, "access", lambda _path, mode, **_: mode != os.W_OK)  # root may write everything
    result = run("mnist", "--json", tmp_path / "a.json")
    assert result.exit_code == 2
    assert "expected a file that can be written" in " ".join(result.stderr.split())
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("option", "target", "module", "extra"),
    [
        ("--save", "a.safetensors", "safetensors", "io"),
        ("--save", "a.keras", "h5py", "keras"),
        ("--report", "report", "matplotlib", "report"),
    ],
)
def test_missing_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, target: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run("mnist", option, tmp_path / target)
    assert result.exit_code == 2
    assert f'needs {module}: pip install "fusedlstm[{extra}]"' in " ".join(result.stderr.split())


def test_the_extra_brings_what_the_options_need() -> None:
    tomllib: Any = pytest.importorskip("tomllib", reason="needs Python 3.11")
    file = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (own,) = extras["mnist"]
    parts = own.removeprefix("fusedlstm[").removesuffix("]").split(",")
    needed = {extra for _, extra in cli_options._PACKAGES.values()} | {"cli", "data", "report"}
    assert set(parts) == needed


def test_the_names_of_mnists_files_are_said() -> None:
    told = run("mnist", "--help").stdout.split()
    guide = (Path(__file__).parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
    for file in FILES:
        assert any(file.name in word for word in told)
        assert f"`{file.name}`" in guide


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(mnist_example, "run", fail)
    result = run("mnist")
    assert result.exit_code == 1
    assert "not enough memory" in result.stderr


def test_unknown_command() -> None:
    result = run("train")
    assert result.exit_code == 2
    assert "No such command 'train'" in result.stderr


def test_info() -> None:
    from fusedlstm.commands.cli import cuda_devices

    result = run("info")
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert f"fusedlstm {fusedlstm.__version__}" in words
    assert f"{', '.join(ops.instruction_sets())}; chosen: {ops.get_instruction_set()}" in words
    assert f"numbers {_core.number_types}" in words
    assert f"threads {ops.get_num_threads()}" in words
    assert f"CUDA {' '.join(cuda_devices().split())}" in words
    assert "extra io safetensors" in words
    assert "processor" in words


def test_info_names_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    from fusedlstm.commands import cli as module

    monkeypatch.setitem(module._EXTRAS, "io", ("no-such-package",))
    words = " ".join(run("info").stdout.split())
    assert 'extra io no-such-package missing (pip install "fusedlstm[io]")' in words


def test_version() -> None:
    assert run("--version").stdout == f"fusedlstm, version {fusedlstm.__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag: str) -> None:
    result = run(flag)
    assert result.exit_code == 0
    for command in ("mnist", "bench", "info"):
        assert f"\n  {command} " in result.stdout


def test_help_imports_little() -> None:
    code = (
        "import sys, click\n"
        "from fusedlstm.commands.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'rich', 'matplotlib', 'pooch', 'safetensors'}\n"
        "heavy |= {'fusedlstm.commands.mnist', 'fusedlstm.benchmark'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = process("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", [["click"], ["rich"], ["click", "rich"]])
def test_without_the_cli_extra(missing: list[str]) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from fusedlstm.__main__ import main\n"
        "main()\n"
    )
    done = process("-c", code)
    assert done.returncode == 1
    wanted = f'The command line needs {" and ".join(missing)}: pip install "fusedlstm[cli]"\n'
    assert done.stderr == wanted


def test_interrupt_inside_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist_example, "run", interrupt)
    result = run("mnist")
    assert result.exit_code == 130
    assert result.stderr.strip() == "Interrupted."


@pytest.mark.usefixtures("no_work")
def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error, with the reason."""
    monkeypatch.setattr(cuda, "why_unavailable", lambda: "there is no driver")
    result = run("mnist", "--device", "cuda")
    assert result.exit_code == 2
    words = " ".join(result.stderr.split())
    assert "Invalid value for '--device': expected a CUDA device for 'cuda', but there is no driver" in words


def test_auto_is_the_cpu_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    chosen: list[str] = []

    def choose(job: Job) -> None:
        chosen.append(job.device)
        raise ProblemError("enough is known")

    monkeypatch.setattr(mnist_example, "run", choose)
    run("mnist", "--device", "auto")
    run("mnist")
    assert chosen == ["cpu", "cpu"]
