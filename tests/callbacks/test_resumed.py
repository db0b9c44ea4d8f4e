"""A training that was interrupted after any step gets the bits of one that was not."""

from __future__ import annotations

import random
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import callbacks, utils

from .common import Watcher
from .killing import killed_again_and_again
from .resumed import CASES, X, Y, endless, everything, regression, run

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("safetensors")


class Cut(callbacks.Callback):
    """Ends a training after a number of steps, counted in all of its processes."""

    def __init__(self, last: int) -> None:
        self.left = last

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("power cut")


class CutInValidation(callbacks.Callback):
    """Ends a training in its first validation, and once."""

    done = False

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if not self.done:
            self.done = True
            raise RuntimeError("power cut")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("every", [1, "epoch"])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_from_any_step(name: str, every: int | str, tmp_path: Path) -> None:
    straight = everything(run(name, tmp_path / "straight"))
    lost = 0
    while True:
        backup = callbacks.BackupAndRestore(tmp_path / "backup", every, background=False)
        # Within epochs of three and four steps, and at their ends.
        cut = Cut(6 if every == "epoch" else (2, 3, 1)[lost % 3])
        try:
            # Processes after the first begin with other weights and random numbers, where that is allowed.
            seed = 0 if name == "dataset by NumPy" else lost
            found = everything(run(name, tmp_path / "resumed", backup, cut, seed=seed))
            break
        except RuntimeError:
            lost += 1
    assert lost >= 1
    assert {key: value for key, value in found.items() if value != straight[key]} == {}
    assert found.keys() == straight.keys()
    assert files(tmp_path / "resumed") == files(tmp_path / "straight")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    "name", ["arrays", "callbacks", "dataset", "generator", "loader", "validation at times"]
)
def test_the_same_bits_from_a_validation(name: str, tmp_path: Path) -> None:
    straight = everything(run(name, tmp_path / "straight"))
    backup = callbacks.BackupAndRestore(tmp_path / "backup", 1, background=False)
    cut = CutInValidation()
    with pytest.raises(RuntimeError, match="power cut"):
        run(name, tmp_path / "resumed", backup, cut)
    steps = Cut(1000)
    assert everything(run(name, tmp_path / "resumed", backup, cut, steps, seed=7)) == straight
    assert 0 < 1000 - steps.left < 14
    assert files(tmp_path / "resumed") == files(tmp_path / "straight")


def test_a_dataset_that_shuffles_by_numbers_of_another_seed_is_refused(tmp_path: Path) -> None:
    def backup() -> callbacks.BackupAndRestore:
        return callbacks.BackupAndRestore(tmp_path / "backup", 1, background=False)

    with pytest.raises(RuntimeError, match="power cut"):
        run("dataset by NumPy", tmp_path, backup(), Cut(5))
    with pytest.raises(
        ValueError, match=r"^x: expected random numbers .* as ByNumpy draws .*set_random_seed"
    ):
        run("dataset by NumPy", tmp_path, backup(), seed=1)
    steps = Cut(100)
    run("dataset by NumPy", tmp_path, backup(), steps)
    assert 100 - steps.left == 7


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda: iter([*islice(endless(5), 9)]), "batch 4 of pass 0 is another one"),
        (lambda: islice(endless(), 3), "it ends after 3 of 5 batches"),
    ],
)
def test_batches_that_come_otherwise_are_refused(batches: Any, message: str, tmp_path: Path) -> None:
    def fit(x: Any, *hooks: callbacks.Callback) -> Any:
        backup = callbacks.BackupAndRestore(tmp_path / "backup", 1, background=False)
        model = regression()
        return model.fit(x, steps_per_epoch=3, epochs=3, verbose=0, callbacks=[backup, *hooks])

    with pytest.raises(RuntimeError, match="power cut"):
        fit(endless(), Cut(5))
    watcher = Watcher()
    with pytest.raises(ValueError, match=rf"^x: expected the batches of the training .*{message}"):
        fit(batches(), watcher)
    assert not watcher.begun
    assert fit(endless()).epoch == [0, 1, 2]


def test_a_pass_with_more_batches_is_refused(tmp_path: Path) -> None:
    class Growing:
        def __init__(self, count: int) -> None:
            self.count = count

        def __iter__(self) -> Any:
            return islice(endless(), self.count)

    def fit(count: int, *hooks: callbacks.Callback) -> Any:
        backup = callbacks.BackupAndRestore(tmp_path / "backup")
        return regression().fit(Growing(count), epochs=3, verbose=0, callbacks=[backup, *hooks])

    with pytest.raises(RuntimeError, match="power cut"):
        fit(3, Cut(7))
    with pytest.raises(ValueError, match="it has more than 3 batches"):
        fit(4)
    assert fit(3).epoch == [0, 1, 2]


def test_a_callback_that_is_gone_is_told_of(tmp_path: Path) -> None:
    def fit(*hooks: callbacks.Callback) -> Any:
        utils.set_random_seed(0)
        backup = callbacks.BackupAndRestore(tmp_path, background=False)
        return regression().fit(X, Y, 8, epochs=3, verbose=0, callbacks=[*hooks, backup])

    straight = callbacks.EarlyStopping("loss", patience=5)
    fit(straight)
    first = callbacks.EarlyStopping("loss", patience=5), callbacks.EarlyStopping("loss", patience=7)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(*first, Cut(5))
    assert first[1].best is not None
    again = callbacks.EarlyStopping("loss", patience=5)
    with pytest.warns(
        UserWarning, match=r"state of fusedlstm\.callbacks\.monitors\.EarlyStopping, which is not"
    ):
        fit(again)
    assert again.get_state() == straight.get_state()
    assert again.best is not None


@pytest.mark.parametrize("state", [{"a": object()}, {"a": 1j}, {"a": np.array([1j])}, {"a": [{1, 2}]}])
def test_a_state_that_cannot_be_kept_is_found_before(state: Any, tmp_path: Path) -> None:
    class Odd(Watcher):
        def get_state(self) -> Any:
            return state

    odd = Odd()
    with pytest.raises(TypeError, match=r"^training/callbacks/\d/2/a.*: expected "):
        regression().fit(X, Y, verbose=0, callbacks=[odd, callbacks.BackupAndRestore(tmp_path)])
    assert not odd.begun


def test_resumed_is_known_before_a_training(tmp_path: Path) -> None:
    class Knowing(callbacks.Callback):
        known: Any = None

        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            self.known = self.resumed

    def fit(*hooks: callbacks.Callback) -> Any:
        backup = callbacks.BackupAndRestore(tmp_path)
        return regression().fit(X, Y, 8, epochs=2, verbose=0, callbacks=[*hooks, backup])

    one, found = Knowing(), []
    with pytest.raises(RuntimeError, match="power cut"):
        fit(one, Cut(5))
    for _ in range(2):
        found.append(one.known)
        fit(one)
    assert [*found, one.known] == [False, True, False]


def test_lines_of_a_log_that_are_gone_are_told_of(tmp_path: Path) -> None:
    def fit(*hooks: callbacks.Callback) -> Any:
        made = [callbacks.CSVLogger(tmp_path / "log.csv"), callbacks.BackupAndRestore(tmp_path / "backup")]
        return regression().fit(X, Y, 8, epochs=3, verbose=0, callbacks=[*made, *hooks])

    with pytest.raises(RuntimeError, match="power cut"):
        fit(Cut(9))
    (tmp_path / "log.csv").unlink()
    with (
        pytest.warns(UserWarning, match=r"CSVLogger .*log\.csv.*: expected the \d+ bytes"),
        pytest.raises(OSError, match="expected the"),
    ):
        fit()
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == "epoch,loss"


def test_the_bar_counts_what_this_process_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fit(*hooks: callbacks.Callback) -> Any:
        backup = callbacks.BackupAndRestore(tmp_path, 1, background=False)
        return regression().fit(X, Y, 13, epochs=1, verbose=2, callbacks=[backup, *hooks])

    with pytest.raises(RuntimeError, match="power cut"):
        fit(Cut(1))
    bar = callbacks.ProgressBar(live=False)
    fit(bar)
    assert bar._before == 1
    assert bar._steps == 2
    assert "Epoch 1/1" in capsys.readouterr().out


def test_killed_processes(tmp_path: Path) -> None:
    """``python -m tests.callbacks.killing`` does it as often as it is told to."""
    outcome = killed_again_and_again("arrays", tmp_path, 2, 3, random.Random(time.time_ns()))
    assert outcome.kills > 0
    assert outcome.same
    assert outcome.left_over == []
