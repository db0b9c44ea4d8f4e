"""The example ``mnist``, which is the command ``fusedlstm mnist``: what it has in common with the others.

Its own options and results are tested in `tests/test_cli.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import fusedlstm
from fusedlstm.datasets import mnist as digits
from fusedlstm.datasets.idx import write_idx
from fusedlstm.examples import mnist
from fusedlstm.examples.job import Job
from tests.examples.common import PNG, results, run, words

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

SMALL = ("--units", 8, "--layers", 1, "--epochs", 3, "--quick", "--quiet", "--data", digits.SUBSET_FOLDER)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return the folder with all the outputs of a quick run on the bundled digits, and what it printed."""
    pytest.importorskip("scipy")
    out = tmp_path_factory.mktemp("out")
    targets = ("--json", out / "a.json", "--save", out / "a.keras", "--report", out / "report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSEDLSTM_DATA", str(out / "cache"))
        patch.setattr(digits, "MIRRORS", ())
        # Threads that wait for each other would take long beside other processes.
        result = run("mnist", "--quick", "--check-data", "--threads", 1, *targets)
    assert result.exit_code == 0, result.output
    return out, result


def test_a_quick_run_learns(quick: tuple[Path, Result]) -> None:
    out, result = quick
    content = results(out / "a.json")
    assert content["test_accuracy"] > 0.85
    assert content["epochs"] == len(content["history"]["loss"]) == 5
    assert content["learning_rate"] == 0.002
    assert content["decay"] is True
    assert content["data"]["subset"] is True
    assert "Train and test agree" in words(result.stdout)
    assert f"test accuracy {100 * content['test_accuracy']:.2f} %" in words(result.stdout)
    assert "NOT comparable" in result.stderr


def test_accuracy_is_that_of_the_saved_model(quick: tuple[Path, Result]) -> None:
    out, _ = quick
    images, labels = digits.load_mnist(digits.SUBSET_FOLDER)[1]
    predicted = fusedlstm.load_model(out / "a.keras").predict(images.astype(np.float32) / 255, verbose=0)
    assert (predicted.argmax(axis=1) == labels).mean() == results(out / "a.json")["test_accuracy"]


def test_pictures(quick: tuple[Path, Result]) -> None:
    out, _ = quick
    assert {path.name for path in (out / "report").iterdir()} == set(mnist.PICTURES)
    for path in (out / "report").iterdir():
        assert path.read_bytes().startswith(PNG)


def test_a_quick_run_takes_the_first_digits() -> None:
    whole, part = (
        mnist.load(Job("mnist", data=digits.SUBSET_FOLDER, quick=quick)) for quick in (False, True)
    )
    assert (whole.few, part.few) == (False, True)  # a folder's digits are not known to be the subset
    for split in ("train", "test"):
        for one, other in zip(getattr(part, split), getattr(whole, split), strict=True):
            np.testing.assert_array_equal(one, other[: len(one)])


def test_digits_that_differ_are_told(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    (images, labels), test = digits.load_mnist(digits.SUBSET_FOLDER)
    for part, pixels, classes in (("train", images[:300], labels[:300]), ("t10k", 255 - test[0], test[1])):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", pixels)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", classes)
    result = run("mnist", *SMALL[:-1], tmp_path, "--check-data", "--json", tmp_path / "a.json")
    assert result.exit_code == 3
    assert (tmp_path / "a.json").exists()


def test_a_run_goes_on_from_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("mnist", *SMALL, "--json", tmp_path / "whole.json").exit_code == 0
    again = (*SMALL, "--json", tmp_path / "a.json", "--state", tmp_path / "state")

    def interrupted(_self: mnist.Clock, epoch: int, logs: object = None) -> None:  # noqa: ARG001
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mnist.Clock, "on_epoch_begin", interrupted)
        result = run("mnist", *again)
    assert result.exit_code == 130
    assert "The same command goes on from" in words(result.stderr)
    assert run("mnist", *again).exit_code == 0
    whole, content = (results(tmp_path / name) for name in ("whole.json", "a.json"))
    assert content["history"] == whole["history"]
    assert len(content["epoch_seconds"]) == 1
    assert content["test_loss"] == whole["test_loss"]
    assert not list((tmp_path / "state").iterdir())


def test_a_file_is_no_folder() -> None:
    result = run("mnist", "--data", __file__)
    assert result.exit_code == 1
    assert "expected a folder with MNIST's IDX files" in words(result.stderr)
