"""`BackupAndRestore`: trainings that end in the middle and are called again."""

from __future__ import annotations

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
    assert history.epoch == [*range(stop, 5)]
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
    assert train(again, callbacks.BackupAndRestore(tmp_path)).epoch == [2, 3, 4]
    train(straight)
    assert_equal(again, straight)


def test_a_complete_training_that_is_kept(tmp_path: Path) -> None:
    first = make_model()
    train(first, callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False))
    again = make_model(seed=7)
    assert train(again, callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)).epoch == []
    assert_equal(again, first)
    assert train(again, callbacks.BackupAndRestore(tmp_path), epochs=7).epoch == [5, 6]


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    train(make_model(), callbacks.BackupAndRestore(tmp_path), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_after_batches(tmp_path: Path) -> None:
    """As in Keras, the epoch is run again from its start, with the weights of the backup."""
    with pytest.raises(RuntimeError, match="power cut"):
        train(make_model(), callbacks.BackupAndRestore(tmp_path, save_freq=5), Stop(2))
    again = make_model(seed=7)
    history = train(again, callbacks.BackupAndRestore(tmp_path, save_freq=5), epochs=2)
    assert history.epoch == [1]
    assert again.optimizer is not None
    assert again.optimizer.iterations == 5 + 3


@pytest.mark.parametrize("double", [False, True])
def test_damaged_backups(tmp_path: Path, double: bool) -> None:
    backup = callbacks.BackupAndRestore(tmp_path, double_checkpoint=double)
    with pytest.raises(RuntimeError, match="power cut"):
        train(make_model(), backup, Stop(3))
    names = ["latest.safetensors", *(["previous.safetensors"] if double else [])]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    content = (tmp_path / names[0]).read_bytes()
    (tmp_path / names[0]).write_bytes(content[:-1])
    again = make_model(seed=7)
    if double:
        assert train(again, backup).epoch == [2, 3, 4]
        straight = make_model()
        train(straight)
        assert_equal(again, straight)
    else:
        with pytest.raises(ValueError, match=r"latest\.safetensors"):
            train(again, backup)


def test_a_backup_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        train(make_model(), callbacks.BackupAndRestore(tmp_path), Stop(1))
    other = make_model(units=4)
    before = other.get_weights()
    with pytest.raises(
        ValueError, match=r"latest\.safetensors: expected a backup of this model, with .*lstm/kernel"
    ):
        train(other, callbacks.BackupAndRestore(tmp_path))
    assert all(map(np.array_equal, before, other.get_weights()))
    assert other.optimizer is not None
    assert other.optimizer.iterations == 0


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
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        callbacks.BackupAndRestore("backup", **settings)
