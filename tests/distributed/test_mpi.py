"""Ranks of MPI: the same bits, files of rank 0, and what happens when one of them ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedlstm import distributed
from tests.distributed import launching
from tests.distributed.launching import launch
from tests.distributed.trainings import made, train
from tests.test_cli import write_digits

NAMES = ["random", "weights", "masks", "shared layer", "metrics", "dataset", "callbacks", "several batches"]


@pytest.fixture(autouse=True)
def _mpi() -> None:
    launching.need_mpi()


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_same_bits(ranks: int, tmp_path: Path) -> None:
    done = launch(ranks, "trainings", tmp_path, *NAMES)
    assert done.returncode == 0, done.stderr
    expected = {name: repr(train(made(name), name, distributed.Alone())) for name in NAMES}
    for rank in range(ranks):
        found = json.loads((tmp_path / f"{ranks}-{rank}.json").read_text())
        for name in NAMES:
            assert found[name] == expected[name], (rank, name)


def test_rank_0_alone_prints_and_writes(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        done = launch(ranks, "files", tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Epoch 1/2") == 1
    for name in ("log.csv", "best.safetensors"):
        one, two = ((tmp_path / str(ranks) / name).read_bytes() for ranks in (1, 2))
        assert one == two, name


def test_the_command(tmp_path: Path) -> None:
    """Two ranks write the file that one writes, and the first alone prints."""
    pytest.importorskip("safetensors")
    write_digits(tmp_path)
    options = ["--data", tmp_path, "--epochs", "1", "--units", "8", "--distribute", "mpi"]
    for ranks in (1, 2):
        path = tmp_path / f"{ranks}.safetensors"
        arguments = ["-m", "fusedlstm", "mnist", *options, "--save", path]
        done = subprocess.run(
            launching.command(ranks, arguments),
            capture_output=True,
            text=True,
            env=launching.environment(),
            timeout=launching.SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("test accuracy") == 1
        assert f"{ranks} rank{'s' * (ranks > 1)}; " in done.stdout
        assert done.stderr.count("WARNING") <= 1
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def saved(path: Path) -> list[Any]:
    with np.load(path) as arrays:
        return [(name, arrays[name].tobytes()) for name in sorted(arrays)]


@pytest.mark.parametrize(("ranks", "dies", "then"), [(2, 1, 1), (3, 0, 2)])
def test_a_rank_that_is_killed_ends_the_others_and_fewer_go_on(
    ranks: int, dies: int, then: int, tmp_path: Path
) -> None:
    """To the same bits as if nothing had happened."""
    pytest.importorskip("safetensors")
    whole, resumed, folder = tmp_path / "whole.npz", tmp_path / "resumed.npz", tmp_path / "backups"
    assert launch(1, "backup", tmp_path / "other", whole, -1, 0).returncode == 0
    began = time.monotonic()
    done = launch(ranks, "backup", folder, resumed, 5, dies)
    assert done.returncode != 0
    assert time.monotonic() - began < launching.SECONDS / 2, "they hung"
    assert "signal 9" in done.stderr or "KILLED BY SIGNAL: 9" in done.stderr + done.stdout
    assert not resumed.exists()
    assert list(folder.iterdir())
    done = launch(then, "backup", folder, resumed, -1, 0)
    assert done.returncode == 0, done.stderr
    assert saved(resumed) == saved(whole)
    assert not folder.exists() or not list(folder.iterdir())


def test_an_error_ends_all_with_rank_and_reason() -> None:
    done = launch(3, "fails", 1)
    assert done.returncode != 0
    told = done.stderr + done.stdout
    assert "fusedlstm: rank 1 of 3 on " in told
    assert "ends all: ArithmeticError: what went wrong" in told


def test_an_error_of_the_program_ends_all() -> None:
    done = launch(3, "fails_outside")
    assert done.returncode != 0
    told = done.stderr + done.stdout
    assert "fusedlstm: rank 1 of 3 on " in told
    assert "ends all: ArithmeticError: what went wrong" in told
    assert "in fails_outside" in told


def test_an_option_that_one_rank_refuses_ends_all(tmp_path: Path) -> None:
    """Rank 0 alone looks where the model will be written."""
    write_digits(tmp_path)
    (tmp_path / "file").touch()
    options = [
        "--data",
        tmp_path,
        "--epochs",
        "1",
        "--distribute",
        "mpi",
        "--save",
        tmp_path / "file/a.keras",
    ]
    done = subprocess.run(
        launching.command(2, ["-m", "fusedlstm", "mnist", *options]),
        capture_output=True,
        text=True,
        env=launching.environment(),
        timeout=launching.SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert "rank 0 of 2" in done.stderr
    assert "--save" in done.stderr


def test_a_rank_that_exits_alone_ends_all() -> None:
    done = launch(2, "exits")
    assert done.returncode != 0
    assert "ends all: SystemExit: 3" in done.stderr + done.stdout


def test_an_error_before_the_first_step_is_one_of_each_rank() -> None:
    done = launch(2, "seeds")
    assert done.returncode != 0
    assert (
        "ValueError: distribute: expected the same on all ranks, got other values of weights" in done.stderr
    )


def test_sigterm_saves_and_all_leave(tmp_path: Path) -> None:
    """Ranks other than the first wait for it to save."""
    pytest.importorskip("safetensors")
    folder, out = tmp_path / "backups", tmp_path / "out.npz"
    program = Path(launching.__file__).with_name("program.py")
    arguments = launching.command(2, [program, "preempted", folder, out])
    with subprocess.Popen(
        arguments, env=launching.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        end = time.monotonic() + launching.SECONDS
        while not (tmp_path / "began").exists():
            assert time.monotonic() < end
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        for rank in (1, 0):
            os.kill(int((tmp_path / f"pid{rank}").read_text()), signal.SIGTERM)
        process.communicate(timeout=launching.SECONDS)
    assert [(tmp_path / f"code{rank}").read_text() for rank in (0, 1)] == ["75", "75"]
    assert [path.suffix for path in folder.glob("*.safetensors")] == [".safetensors"]
    assert launch(1, "preempted", folder, out).returncode == 0
    assert out.exists()


def test_a_launcher_of_another_mpi() -> None:
    """Its processes do not know each other."""
    code = "from fusedlstm import distributed; distributed.get('mpi')"
    env = launching.environment(PMI_SIZE="4")
    done = subprocess.run(
        launching.command(1, ["-c", code]), capture_output=True, text=True, env=env, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "distribute: expected 4 processes, as PMI_SIZE says, got 1 from " in done.stderr
