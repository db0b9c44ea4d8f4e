"""`BackupAndRestore`: trainings that end in the middle and are called again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, layers, optimizers

from .common import Watcher
from .test_failures import disk_full

pytest.importorskip("safetensors")

X = np.random.default_rng(0).normal(size=(24, 5, 4)).astype("float32")
Y = X.sum((1, 2), keepdims=True)[:, 0]


def make_model(seed: int = 0, units: int = 3) -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(seed)
    model = fusedlstm.Sequential(
        [
            layers.Input((5, 4)),
            layers.LSTM(units, stateful=True, zoneout_h=0.1, name="lstm"),
            layers.Dropout(0.2),
            layers.Dense(1, name="dense"),
        ]
    )
    model.compile(optimizers.Nadam(0.1, use_ema=True, ema_momentum=0.5), "mean_squared_error")
    return model


class Stop(callbacks.Callback):
    """Ends a training with an error."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        if epoch == self.epoch:
            raise RuntimeError("power cut")


class Count(callbacks.Callback):
    """Counts the steps that were made."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.steps += 1


def train(model: fusedlstm.Sequential, *hooks: callbacks.Callback, epochs: int = 5) -> callbacks.History:
    decay = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: model.optimizer.learning_rate.assign(0.1 / (2 + epoch))  # type: ignore[union-attr]  # noqa: ARG005
    )
    return model.fit(X, Y, 8, epochs=epochs, verbose=0, callbacks=[decay, *hooks])


def assert_equal(ours: fusedlstm.Sequential, theirs: fusedlstm.Sequential) -> None:
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_the_same_bits_as_without_the_stop(tmp_path: Path, stop: int) -> None:
    straight = make_model()
    train(straight)

    with pytest.raises(RuntimeError, match="power cut"):
        train(make_model(), callbacks.BackupAndRestore(tmp_path / "backup"), Stop(stop))
    again = make_model(seed=7)
    history = train(again, callbacks.BackupAndRestore(tmp_path / "backup"))
    assert straight.history is not None
    assert history.epoch == [*range(5)]
    assert history.history == straight.history.history
    assert_equal(again, straight)
    assert again.optimizer is not None
    assert straight.optimizer is not None
    assert again.optimizer.get_config() == straight.optimizer.get_config()
    assert not (tmp_path / "backup").exists()


SCRIPT = """
import os, signal, sys
from tests.callbacks.test_backup import *
class Kill(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 7:
            os.kill(os.getpid(), signal.SIGKILL)
train(make_model(), callbacks.BackupAndRestore(sys.argv[1]), Kill())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_killed_process(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], check=False, cwd=root)
    assert done.returncode == -signal.SIGKILL
    again, straight = make_model(seed=7), make_model()
    assert train(again, callbacks.BackupAndRestore(tmp_path)).epoch == [0, 1, 2, 3, 4]
    train(straight)
    assert_equal(again, straight)


def test_a_complete_training_that_is_kept(tmp_path: Path) -> None:
    first = make_model()
    train(first, callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False))
    again = make_model(seed=7)
    steps = Count()
    history = train(again, callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False), steps)
    assert steps.steps == 0
    assert first.history is not None
    assert history.history == first.history.history
    assert_equal(again, first)
    assert train(again, callbacks.BackupAndRestore(tmp_path), steps, epochs=7).epoch == [*range(7)]
    assert steps.steps == 2 * 3
    assert not tmp_path.exists()


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    train(make_model(), callbacks.BackupAndRestore(tmp_path), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_after_batches(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        train(make_model(), callbacks.BackupAndRestore(tmp_path, save_freq=5), Stop(2))
    again, steps = make_model(seed=7), Count()
    history = train(again, callbacks.BackupAndRestore(tmp_path, save_freq=5), steps, epochs=2)
    assert history.epoch == [0, 1]
    assert steps.steps == 1
    straight = make_model()
    train(straight, epochs=2)
    assert_equal(again, straight)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_damaged_backups(tmp_path: Path, keep: int) -> None:
    def backup() -> callbacks.BackupAndRestore:
        return callbacks.BackupAndRestore(tmp_path, double_checkpoint=keep == 2, keep=keep)

    with pytest.raises(RuntimeError, match="power cut"):
        train(make_model(), backup(), Stop(3))
    found = sorted(tmp_path.iterdir())
    assert [path.name for path in found] == [f"backup-{n:08}.safetensors" for n in range(4 - keep, 4)]
    content = found[-1].read_bytes()
    found[-1].write_bytes(content[:-1])
    again, steps = make_model(seed=7), Count()
    if keep == 1:
        with pytest.raises(ValueError, match=r"backup-00000003\.safetensors"):
            train(again, backup())
        return
    with pytest.warns(UserWarning, match=r"damaged.*backup-00000003\.safetensors"):
        train(again, backup(), steps)
    assert steps.steps == 3 * 3
    straight = make_model()
    train(straight)
    assert_equal(again, straight)
    assert not tmp_path.exists()


def small(
    *, units: int = 3, optimizer: Any = "adam", loss: str = "mse", rate: float = 0.2
) -> fusedlstm.Sequential:
    model = fusedlstm.Sequential(
        [layers.Input((5, 4)), layers.LSTM(units), layers.Dropout(rate), layers.Dense(1)]
    )
    model.compile(optimizer, loss)
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({"units": 4}, {}, r"layers\.0 LSTM\.units \(now '4', in the backup '3'\)"),
        ({"rate": 0.3}, {}, r"layers\.1 Dropout\.rate"),
        ({"optimizer": "sgd"}, {}, r"optimizer\.class \(now 'SGD', in the backup 'Adam'\)"),
        ({"optimizer": optimizers.Adam(beta_1=0.8)}, {}, r"differs in optimizer\.beta_1 .*'0\.8'"),
        ({"loss": "mae"}, {}, r"loss\[0\]\.class"),
        ({}, {"batch_size": 4}, r"x\.batch_size \(now 4, in the backup 8\)"),
        ({}, {"x": X[:23], "y": Y[:23]}, r"x\.samples \(now 23, in the backup 24\)"),
        ({}, {"shuffle": False}, r"x\.shuffle"),
        ({}, {"steps_per_epoch": 2}, r"x\.steps_per_epoch"),
        ({}, {"gradient_accumulation_steps": 2}, r"x\.gradient_accumulation_steps"),
        ({}, {"sample_weight": np.ones(24)}, r"x\.weights"),
        ({}, {"validation_data": (X, Y)}, r"validation_data \(now"),
        ({}, {"initial_epoch": 2}, r"^initial_epoch: expected at most 1, .*got 2"),
    ],
)
def test_a_backup_of_another_training(
    tmp_path: Path, model: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    def fit(made: fusedlstm.Sequential, *hooks: callbacks.Callback, **others: Any) -> None:
        arguments = {"x": X, "y": Y, "batch_size": 8, "epochs": 3, "verbose": 0, **others}
        made.fit(callbacks=[callbacks.BackupAndRestore(tmp_path), *hooks], **arguments)

    with pytest.raises(RuntimeError, match="power cut"):
        fit(small(), Stop(1))
    other, watcher = small(**model), Watcher()
    before = other.get_weights()
    with pytest.raises(ValueError, match=message):
        fit(other, watcher, **options)
    assert not watcher.begun
    assert all(map(np.array_equal, before, other.get_weights()))
    assert other.optimizer is not None
    assert other.optimizer.iterations == 0
    fit(small(rate=0.2))  # with other names of layers, as they count up
    assert not tmp_path.exists()


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    make_model().save(tmp_path / "backup-00000001.safetensors")
    with pytest.raises(ValueError, match="expected a backup of this version"):
        train(make_model(), callbacks.BackupAndRestore(tmp_path))


class Second(callbacks.Callback):
    """Begins another training into the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        if epoch == 1:
            before = sorted(self.folder.iterdir())
            with pytest.raises(
                BlockingIOError, match=rf"no other training uses, found one of process {os.getpid()}"
            ):
                train(make_model(), callbacks.BackupAndRestore(self.folder))
            assert sorted(self.folder.iterdir()) == before


def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    backup = callbacks.BackupAndRestore(tmp_path / "a", background=False)
    train(make_model(), backup, Second(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


HOLDER = """
import sys, time
from tests.callbacks.test_backup import *
class Wait(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("begun", flush=True)
        time.sleep(100)
train(make_model(), callbacks.BackupAndRestore(sys.argv[1]), Wait())
"""


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        other = make_model()
        with pytest.raises(
            BlockingIOError, match=rf"backup_dir: expected .*, found one of process {process.pid}"
        ):
            train(other, callbacks.BackupAndRestore(tmp_path))
        assert other.optimizer is not None
        assert other.optimizer.iterations == 0
    finally:
        process.kill()
        process.communicate()
    train(make_model(), callbacks.BackupAndRestore(tmp_path), epochs=1)
    assert not tmp_path.exists()


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_leaves_the_last_backup_and_the_training(tmp_path: Path, background: bool) -> None:
    class Full(callbacks.Callback):
        def __init__(self, hook: callbacks.BackupAndRestore) -> None:
            self.hook = hook

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            if epoch == 2:
                assert self.hook._files is not None
                self.hook._files.wait()  # for the last good one
                self.disk = disk_full()
                self.disk.__enter__()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            if epoch == 3:
                stop[0].on_epoch_begin(epoch)

        def release(self) -> None:
            self.disk.__exit__(None, None, None)

    def backup() -> callbacks.BackupAndRestore:
        return callbacks.BackupAndRestore(tmp_path / "backup", background=background)

    stop: list[Any] = [callbacks.Callback()]
    straight = make_model()
    train(straight)
    # The disk stays full to the end of the training.
    model = make_model()
    with (
        pytest.warns(UserWarning, match="BackupAndRestore could not write"),
        pytest.raises(
            OSError, match=r"could not write 3 times, first .* in epoch 3: .*the training is complete"
        ),
    ):
        train(model, hook := backup(), Full(hook))
    assert_equal(model, straight)
    assert not (tmp_path / "backup").exists()
    # It ends then, and goes on from what was saved before.
    stop[0] = Stop(3)
    with pytest.warns(UserWarning, match="could not write"), pytest.raises(RuntimeError, match="power cut"):
        train(make_model(), hook := backup(), Full(hook))
    again, steps = make_model(seed=7), Count()
    train(again, backup(), steps)
    assert steps.steps == 3 * 3
    assert_equal(again, straight)


def test_what_cannot_be_written_is_found_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    watcher = Watcher()
    with pytest.raises(OSError, match=r"^backup_dir: cannot write"):
        train(make_model(), watcher, callbacks.BackupAndRestore(tmp_path / "file" / "backup"))
    assert not watcher.begun


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"save_freq": "batch"}, "^save_freq: "),
        ({"save_freq": 0}, "^save_freq: "),
        ({"double_checkpoint": 2}, "^double_checkpoint: "),
        ({"delete_checkpoint": None}, "^delete_checkpoint: "),
        ({"keep": 0}, "^keep: "),
        ({"double_checkpoint": True, "keep": 1}, "^keep: expected at least 2"),
        ({"background": "no"}, "^background: "),
        ({"save_before_exit": "yes"}, "^save_before_exit: "),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        callbacks.BackupAndRestore("backup", **settings)
