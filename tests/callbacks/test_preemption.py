"""SIGTERM: a training saves, and leaves by a code of its own; what there was before comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedlstm import callbacks, utils
from fusedlstm.callbacks.preemption import Termination

from .common import Watcher
from .resumed import X, Y, everything, regression
from .test_failures import disk_full

pytest.importorskip("safetensors")
ROOT = Path(__file__).parents[2]


class Signal(callbacks.Callback):
    """Sends SIGTERM to the own process, as a cluster would."""

    def __init__(self, step: int = -1, test: int = -1, epoch: int = -1) -> None:
        self.step, self.test, self.epoch, self.steps = step, test, epoch, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.steps += 1
        if self.steps == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if batch == self.test:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        if self.epoch == -2:
            os.kill(os.getpid(), signal.SIGTERM)


def fit(folder: Path, *hooks: callbacks.Callback, seed: int = 0, **options: Any) -> Any:
    utils.set_random_seed(seed)
    model = regression(metrics=["mae"])
    backup = callbacks.BackupAndRestore(folder, save_before_exit=True, **options)
    arguments: dict[str, Any] = {"validation_data": (X, Y), "validation_batch_size": 8}
    model.fit(X, Y, 8, epochs=3, verbose=0, callbacks=[*hooks, backup], **arguments)
    return model


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    ("moment", "left"), [({"step": 1}, 11), ({"step": 6}, 6), ({"step": 8}, 4), ({"test": 1}, 8)]
)
def test_the_step_under_way_is_saved(
    tmp_path: Path, moment: dict[str, int], left: int, background: bool
) -> None:
    straight = everything(fit(tmp_path / "straight"))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path / "backup", Signal(**moment), save_freq=100, background=background)
    assert ended.value.code == callbacks.BackupAndRestore.EXIT_CODE == 75
    assert signal.getsignal(signal.SIGTERM) is before
    count = Signal()
    assert everything(fit(tmp_path / "backup", count, seed=5, save_freq=100)) == straight
    assert count.steps == left


def test_what_cannot_be_saved_leaves_by_another_code(tmp_path: Path) -> None:
    class Full(callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.disk = disk_full()
            self.disk.__enter__()
            os.kill(os.getpid(), signal.SIGTERM)

        def release(self) -> None:
            self.disk.__exit__(None, None, None)

    with pytest.warns(UserWarning, match="could not write"), pytest.raises(SystemExit) as ended:
        fit(tmp_path, Full())
    assert ended.value.code == 128 + signal.SIGTERM


def test_a_signal_that_comes_too_late_is_handed_on(tmp_path: Path) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        fit(tmp_path / "a", Signal(epoch=-2))
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nothing_is_installed_unless_asked_for(tmp_path: Path) -> None:
    seen: list[Any] = []
    look = callbacks.LambdaCallback(on_epoch_begin=lambda *_: seen.append(signal.getsignal(signal.SIGTERM)))
    regression().fit(X, Y, verbose=0, callbacks=[look, callbacks.BackupAndRestore(tmp_path)])
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_other_threads_leave_the_signal_alone(tmp_path: Path) -> None:
    found: list[Any] = []

    def work() -> None:
        look = callbacks.LambdaCallback(
            on_epoch_begin=lambda *_: found.append(signal.getsignal(signal.SIGTERM))
        )
        fit(tmp_path, look)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)] * 3


def test_a_watch_that_fails_to_begin_leaves_nothing(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    class Broken(Watcher):
        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fit(tmp_path, Broken())
    assert signal.getsignal(signal.SIGTERM) is before


def test_closing_twice() -> None:
    before = signal.getsignal(signal.SIGTERM)
    watch = Termination()
    assert signal.getsignal(signal.SIGTERM) is not before
    watch.close()
    watch.close()
    assert signal.getsignal(signal.SIGTERM) is before


SCRIPT = """
import sys, time
from tests.callbacks.test_preemption import *
class Slow(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("step", flush=True)
        time.sleep(0.05)
model = fit(sys.argv[1], Slow(), save_freq=100)
np.savez(sys.argv[2], *model.get_weights())
"""


def test_a_process_that_a_cluster_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "backup"), str(tmp_path / "weights.npz")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode == 75
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["backup-00000001.safetensors"]
    assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0
    straight = fit(tmp_path / "other").get_weights()
    with np.load(tmp_path / "weights.npz") as found:
        assert all(np.array_equal(found[f"arr_{n}"], weight) for n, weight in enumerate(straight))
