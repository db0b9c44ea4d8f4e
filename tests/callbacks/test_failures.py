"""Callbacks that write: full disks, pipes, killed processes."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fusedlstm
from fusedlstm import callbacks
from fusedlstm.io.atomic import write_text

from .common import Watcher, X, Y, small_model

if TYPE_CHECKING:
    from collections.abc import Iterator


# ---- failures on the way ----


@contextlib.contextmanager
def disk_full() -> Iterator[None]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Full(callbacks.Callback):
    """Lets the disk be full for some epochs, while the callbacks that follow act."""

    def __init__(self, epochs: set[int]) -> None:
        self.epochs, self.stack = epochs, contextlib.ExitStack()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.stack.close()
        if epoch in self.epochs:
            self.stack.enter_context(disk_full())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.stack.close()

    def release(self) -> None:
        self.stack.close()


@pytest.mark.parametrize("name", ["a.safetensors", "a.keras", "a.weights.h5"])
def test_a_full_disk_loses_neither_the_training_nor_the_last_file(tmp_path: Path, name: str) -> None:
    pytest.importorskip("safetensors" if name.endswith("safetensors") else "h5py")
    path = tmp_path / name
    ended: list[Any] = []
    saver = callbacks.ModelCheckpoint(path, save_weights_only="weights" in name)
    kept: list[bytes] = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(path.read_bytes()))  # noqa: ARG005
    after = callbacks.LambdaCallback(on_train_end=ended.append)
    model = small_model()
    with (
        pytest.warns(UserWarning, match=f"ModelCheckpoint could not write .*{name} in epoch [23]") as caught,
        pytest.raises(
            OSError, match=r"could not write 2 times, first .* in epoch 2: .*training is complete"
        ) as end,
    ):
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[Full({1, 2}), saver, keep, after])
    assert len(caught) == 2
    assert isinstance(end.value.__cause__, OSError)
    assert end.value.errno == end.value.__cause__.errno
    assert kept[0] == kept[1] == kept[2] != kept[3]
    assert list(tmp_path.iterdir()) == [path]
    assert model.history is not None
    assert model.history.epoch == [0, 1, 2, 3]
    assert len(ended) == 1  # callbacks that follow have had their end
    untouched = small_model()
    untouched.fit(X, Y, epochs=4, verbose=0)
    assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in untouched.get_weights()]
    model.fit(X, Y, verbose=0, callbacks=[saver])  # a later training has its own failures


def test_the_best_is_what_was_saved(tmp_path: Path) -> None:
    """A save that failed does not count: the next better one than the file's is saved."""
    pytest.importorskip("safetensors")
    path = tmp_path / "a.safetensors"

    class Script(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["watched"] = [3.0, 1.0, 2.0][epoch]

    saver = callbacks.ModelCheckpoint(path, "watched", save_best_only=True)
    model = small_model()
    with pytest.warns(UserWarning, match="epoch 2"), pytest.raises(OSError, match="1 times"):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[Script(), Full({1}), saver])
    assert saver.best == 2.0
    saved = fusedlstm.load_model(path).get_weights()
    assert [w.tobytes() for w in saved] == [w.tobytes() for w in model.get_weights()]


@pytest.mark.parametrize("options", [{}, {"append": True}])
def test_folders_are_made_where_links_lead(tmp_path: Path, options: dict[str, Any]) -> None:
    """The check and the save agree on where a file will be."""
    pytest.importorskip("safetensors")
    (tmp_path / "file.safetensors").symlink_to("q/real.safetensors")
    (tmp_path / "folder").symlink_to("r/s")
    savers = [
        callbacks.ModelCheckpoint(tmp_path / name)
        for name in (
            "file.safetensors",
            "folder/b.safetensors",
            "none/../c.safetensors",
            "folder/t/d.safetensors",
        )
    ]
    small_model().fit(X, Y, verbose=0, callbacks=savers)
    made = {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.safetensors") if not path.is_symlink()
    }
    assert made == {"q/real.safetensors", "r/s/b.safetensors", "c.safetensors", "r/s/t/d.safetensors"}
    assert (tmp_path / "folder").is_symlink()
    small_model().fit(
        X, Y, verbose=0, callbacks=callbacks.CSVLogger(tmp_path / "no" / ".." / "a.csv", **options)
    )
    assert (tmp_path / "a.csv").read_text().startswith("epoch,")


@pytest.mark.parametrize("kind", ["checkpoint", "log"])
def test_a_pipe_that_is_read_from(tmp_path: Path, kind: str) -> None:
    """The reader gets all of what is written: the check before has not looked like an end to it."""
    pytest.importorskip("safetensors")
    pipe = tmp_path / "a.safetensors"
    os.mkfifo(pipe)
    content: list[bytes] = []
    reader = threading.Thread(target=lambda: content.append(pipe.read_bytes()), daemon=True)
    reader.start()
    while True:  # until the reader is there
        with contextlib.suppress(OSError):
            held = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
    writer = callbacks.ModelCheckpoint(pipe) if kind == "checkpoint" else callbacks.CSVLogger(pipe)

    class Waiting(callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            os.close(held)
            reader.join(0.2)
            assert not content

    small_model().fit(X, Y, epochs=2 if kind == "log" else 1, verbose=0, callbacks=[Waiting(), writer])
    reader.join(10)
    (read,) = content
    if kind == "log":
        assert len(read.splitlines()) == 3
    else:
        (tmp_path / "b.safetensors").write_bytes(read)
        fusedlstm.load_model(tmp_path / "b.safetensors")


def test_very_many_epochs_are_not_all_looked_at(tmp_path: Path) -> None:
    """They stand for a training that something else ends."""
    pytest.importorskip("safetensors")

    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.model.stop_training = True

    for name, options in (("{epoch}.safetensors", {}), ("{epoch}-{batch}.safetensors", {"save_freq": 1})):
        saver = callbacks.ModelCheckpoint(tmp_path / name, **options)  # type: ignore[arg-type]
        small_model().fit(X, Y, epochs=2**60, verbose=0, callbacks=[Stop(), saver])
        longest = callbacks.ModelCheckpoint(tmp_path / ("n" * 230 + name), **options)  # type: ignore[arg-type]
        with pytest.raises(OSError, match="name too long"):
            small_model().fit(X, Y, epochs=2**60, verbose=0, callbacks=[longest])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-1.safetensors", "1.safetensors"]


def test_a_full_disk_at_the_start_is_found_before(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    watcher = Watcher()
    saver = callbacks.ModelCheckpoint(tmp_path / "a.safetensors")
    with disk_full(), pytest.raises(OSError, match=r"too large|No space"):
        small_model().fit(X, Y, verbose=0, callbacks=[watcher, saver])
    assert not watcher.begun
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_killed_while_it_tries_leaves_nothing_for_long(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from fusedlstm.io.atomic import write_text\n"
        "from fusedlstm.io.destinations import Destinations\n"
        "def save(path):\n"
        "    write_text(path, 'content')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Destinations('filepath').try_saving(save, sys.argv[1])\n"
    )
    (tmp_path / "system").mkdir()
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "a.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "TMPDIR": str(tmp_path / "system")},
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "models").iterdir())) == 1  # in the folder whose room it was to find out
    write_text(path, "later")
    assert list((tmp_path / "models").iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk() -> None:
    logger = callbacks.CSVLogger("/dev/full")
    model = small_model()
    with (
        pytest.warns(UserWarning, match="CSVLogger could not write /dev/full") as caught,
        pytest.raises(OSError, match="No space left on device; the training is complete"),
    ):
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[logger])
    assert len(caught) >= 2
    assert model.history is not None
    assert model.history.epoch == [0, 1]


def test_a_log_of_which_a_part_could_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with pytest.warns(UserWarning, match="CSVLogger"), pytest.raises(OSError, match="in epoch"):
        small_model().fit(X, Y, epochs=4, verbose=0, callbacks=[Full({1, 2}), callbacks.CSVLogger(path)])
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    # The lines that waited in the file's buffer came later.
    assert [row[0] for row in rows] == ["epoch", "0", "1", "2", "3"]


def test_checkpoints_of_weights_and_of_batches(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    saver = callbacks.ModelCheckpoint(
        tmp_path / "below" / "{epoch}-{batch}-{loss:.0f}.weights.h5", save_weights_only=True, save_freq=2
    )
    model = small_model()
    model.fit(X, Y, 3, epochs=2, verbose=0, callbacks=[saver])
    names = sorted(path.name[:4] for path in (tmp_path / "below").iterdir())
    assert names == ["1-2-", "1-4-", "2-2-", "2-4-"]
    last = next((tmp_path / "below").glob("2-4-*"))
    other = small_model()
    other.load_weights(last)
    assert [w.tobytes() for w in other.get_weights()] == [w.tobytes() for w in model.get_weights()]
