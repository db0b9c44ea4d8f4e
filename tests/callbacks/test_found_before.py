"""Callbacks that write: what can fail is found before the first batch; what fails later loses nothing."""

from __future__ import annotations

import builtins
import contextlib
import csv
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, layers, losses, metrics, optimizers
from fusedlstm.io.atomic import write_text
from fusedlstm.optimizers import schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

X = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
Y = np.arange(10) % 3


def small_model(**options: Any) -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(0)
    model = fusedlstm.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile(
        **{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **options}
    )
    return model


class MyLayer(layers.Activation):
    pass


class MyLoss(losses.SparseCategoricalCrossentropy):
    pass


class MyMetric(metrics.SparseCategoricalAccuracy):
    pass


class MyOptimizer(optimizers.SGD):
    pass


class MySchedule(schedules.ExponentialDecay):
    pass


class Watcher(callbacks.Callback):
    """Notes whether anything was begun."""

    begun = False

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self.begun = True


def own_layer() -> fusedlstm.Sequential:
    model = fusedlstm.Sequential([layers.Input((4,)), layers.Dense(3), MyLayer("softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def beyond_keras() -> fusedlstm.Sequential:
    model = fusedlstm.Sequential(
        [layers.Input((4,)), layers.Reshape((2, 2)), layers.LSTM(3, use_peepholes=True), layers.Dense(3)]
    )
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def with_loss() -> fusedlstm.Sequential:
    return small_model(loss=MyLoss())


def checkpoint(name: str, **options: Any) -> Callable[[Path], callbacks.Callback]:
    return lambda folder: callbacks.ModelCheckpoint(folder / name, **options)


def log(name: str) -> Callable[[Path], callbacks.Callback]:
    return lambda folder: callbacks.CSVLogger(folder / name)


GOOD = checkpoint("a.safetensors")
BAD: dict[str, Any] = {"initial_value_threshold": "b"}
BEST: dict[str, Any] = {"save_best_only": True}
CAUSES: dict[str, tuple[Callable[..., Any], Callable[[Path], callbacks.Callback], type[Exception], str]] = {
    "ending": (small_model, checkpoint("a.h5"), ValueError, r"ends in \.safetensors or \.keras"),
    "ending of weights": (
        small_model,
        checkpoint("a.keras", save_weights_only=True),
        ValueError,
        r"ends in \.weights\.h5",
    ),
    "ending that is filled in": (small_model, checkpoint("a.keras{epoch}"), ValueError, "ends in"),
    "loss": (with_loss, GOOD, ValueError, "own classes, got MyLoss"),
    "metric": (lambda: small_model(metrics=[MyMetric()]), GOOD, ValueError, "got MyMetric"),
    "optimizer": (lambda: small_model(optimizer=MyOptimizer()), GOOD, ValueError, "got MyOptimizer"),
    "schedule": (
        lambda: small_model(optimizer=optimizers.SGD(MySchedule(0.1, 2, 0.5))),
        GOOD,
        ValueError,
        "got MySchedule",
    ),
    "layer": (own_layer, GOOD, ValueError, "got <MyLayer"),
    "option": (beyond_keras, checkpoint("a.keras"), ValueError, "use_peepholes"),
    "option of weights": (
        beyond_keras,
        checkpoint("a.weights.h5", save_weights_only=True),
        ValueError,
        "use_peepholes",
    ),
    "log in the name": (small_model, checkpoint("{val_acc}.keras"), ValueError, r"'val_accuracy'.*val_acc\}"),
    "log of epochs": (
        small_model,
        checkpoint("{val_loss}.keras", save_freq=2),
        ValueError,
        r"'accuracy'\] in braces, as batches have them",
    ),
    "place in the name": (small_model, checkpoint("{}.keras"), ValueError, "in braces"),
    "brace": (small_model, checkpoint("{epoch.keras"), ValueError, "in braces"),
    "format": (small_model, checkpoint("{loss:d}.keras"), ValueError, "in braces"),
    "batch": (small_model, checkpoint("{batch}.keras"), ValueError, "in braces"),
    "monitor": (small_model, checkpoint("a.keras", monitor="val_acc", **BEST), ValueError, "'val_acc'"),
    "monitor of epochs": (small_model, checkpoint("a.keras", save_freq=2, **BEST), ValueError, "'val_loss'"),
    "folder": (small_model, checkpoint("file/a.safetensors"), OSError, "filepath: cannot write .*: Not a"),
    "folder below": (small_model, checkpoint("file/b/c/a.keras"), OSError, "filepath: cannot write "),
    "target": (small_model, checkpoint("folder.keras"), OSError, "filepath: cannot write .*found a folder"),
    "long name": (small_model, checkpoint("a" * 300 + ".safetensors"), OSError, "File name too long"),
    "long name below": (small_model, checkpoint("b/c/" + "a" * 300 + ".keras"), OSError, "name too long"),
    "long folder below": (small_model, checkpoint("b/" + "a" * 300 + "/a.keras"), OSError, "name too long"),
    "name that grows": (small_model, checkpoint("n" * 242 + "{epoch}.safetensors"), OSError, "name too long"),
    "name that grows with logs": (
        small_model,
        checkpoint("n" * 235 + "{loss:.2f}e{epoch:>5}.weights.h5", save_weights_only=True),
        OSError,
        "name too long",
    ),
    "name that grows with batches": (
        small_model,
        checkpoint("b/" + "n" * 241 + "{batch}{epoch}.safetensors", save_freq=3),
        OSError,
        "name too long",
    ),
    "later target": (
        small_model,
        checkpoint("later{epoch}.keras"),
        OSError,
        "later11.keras: .*found a folder",
    ),
    "later batch": (
        small_model,
        checkpoint("later{batch}.keras", save_freq=11),
        OSError,
        r"filepath: cannot write .*later2.keras: .*found a folder",
    ),
    "circle": (small_model, checkpoint("circle/a.keras"), OSError, "filepath: cannot write .*symbolic links"),
    "circle below": (small_model, checkpoint("circle/b/a.keras"), OSError, "filepath: cannot write "),
    "pipe": (
        small_model,
        checkpoint("pipe.safetensors"),
        OSError,
        "filepath: cannot write .*that somebody reads",
    ),
    "log's pipe": (
        small_model,
        log("pipe.safetensors"),
        OSError,
        "filename: cannot write .*that somebody reads",
    ),
    "log's folder": (small_model, log("none/a.csv"), OSError, "filename: cannot write .*: No such"),
    "log's target": (small_model, log("folder.keras"), OSError, "filename: cannot write .*found a folder"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_causes_are_found_before_the_first_batch(tmp_path: Path, cause: str) -> None:
    if ".keras" in cause or "option" in cause:
        pytest.importorskip("h5py")
    make, callback, error, message = CAUSES[cause]
    (tmp_path / "file").write_text("in the way")
    for name in ("folder", "later2", "later11"):
        (tmp_path / f"{name}.keras").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "old.csv").write_text("epoch,loss\n0,1\n")
    before = sorted(tmp_path.rglob("*"))
    model = make()
    weights = [weight.tobytes() for weight in model.get_weights()]
    watcher = Watcher()
    with pytest.raises(error, match=message):
        model.fit(
            *(X, Y, 4),
            epochs=12,
            initial_epoch=2,
            verbose=0,
            validation_data=(X, Y),
            callbacks=[watcher, callbacks.CSVLogger(tmp_path / "old.csv"), callback(tmp_path)],
        )
    assert [weight.tobytes() for weight in model.get_weights()] == weights
    assert not watcher.begun
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "old.csv").read_text() == "epoch,loss\n0,1\n"


@pytest.mark.parametrize(
    ("name", "module"), [("a.safetensors", "safetensors"), ("a.keras", "h5py"), ("a.weights.h5", "h5py")]
)
def test_missing_packages_are_found_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    original = builtins.__import__

    def refuse(wanted: str, *arguments: Any, **keywords: Any) -> Any:
        if wanted.partition(".")[0] == module:
            raise ImportError(wanted)
        return original(wanted, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    saver = callbacks.ModelCheckpoint(tmp_path / name, save_weights_only="weights" in name)
    watcher = Watcher()
    with pytest.raises(ImportError, match=module):
        small_model().fit(X, Y, verbose=0, callbacks=[watcher, saver])
    assert not watcher.begun


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write into")
def test_folders_that_cannot_be_written_are_found_before() -> None:
    for callback in (
        callbacks.ModelCheckpoint("/proc/a.safetensors"),
        callbacks.ModelCheckpoint("/proc/below/{epoch}.safetensors"),
        callbacks.CSVLogger("/proc/a.csv"),
    ):
        watcher = Watcher()
        with pytest.raises(OSError, match=r"^file(path|name): cannot write /proc"):
            small_model().fit(X, Y, verbose=0, callbacks=[watcher, callback])
        assert not watcher.begun


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: callbacks.ModelCheckpoint("a.keras", 3), "monitor: expected a name"),  # type: ignore[arg-type]
        (lambda: callbacks.ModelCheckpoint("a.keras", **BAD), "initial_value_threshold"),
        (
            lambda: callbacks.ModelCheckpoint("a\0b.keras"),
            r"filepath: expected .* null characters, got 'a\\x00",
        ),
        (
            lambda: callbacks.ModelCheckpoint("\ud800.keras"),
            r"filepath: expected .* can encode, got '\\ud800",
        ),
        (lambda: callbacks.ModelCheckpoint(b"a.keras"), "filepath: expected a path, .* got b'a.keras'"),  # type: ignore[arg-type]
        (lambda: callbacks.ModelCheckpoint(3), "filepath: expected a path, .* got 3"),  # type: ignore[arg-type]
        (lambda: callbacks.CSVLogger("a\0b"), r"filename: expected .* null characters, got 'a\\x00b'"),
        (lambda: callbacks.CSVLogger(b"a"), "filename: expected a path, .* got b'a'"),  # type: ignore[arg-type]
        (lambda: small_model().save("a\0b.keras"), "path: expected a path without null characters"),
        (lambda: small_model().save(b"a.keras"), "path: expected a path, a string or a Path, got b'a.keras'"),  # type: ignore[arg-type]
        (lambda: small_model().save_weights("\0.weights.h5"), "path: expected a path without null"),
        (lambda: write_text("a\0b", ""), "path: expected a path without null characters"),
        (lambda: callbacks.CSVLogger("a", separator="::"), "separator: expected one character, got '::'"),
        (lambda: callbacks.CSVLogger("a", separator=""), "separator: expected one character, got ''"),
        (lambda: callbacks.LambdaCallback(on_epoch_end=3), "on_epoch_end: expected a function, got 3"),  # type: ignore[arg-type]
    ],
)
def test_arguments_are_checked_at_once(make: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_early_stopping_warns_once_and_before_the_first_batch() -> None:
    watcher = Watcher()
    hooks = [callbacks.EarlyStopping("val_acc"), watcher]

    def warned(*_given: Any, **_named: Any) -> None:
        assert not watcher.begun

    with pytest.warns(UserWarning, match="EarlyStopping monitors 'val_acc', but the logs are") as caught:
        small_model().fit(X, Y, epochs=3, verbose=0, callbacks=hooks)
    assert len(caught) == 1


# ---- logs that only a callback of the user knows ----


class Adding(callbacks.Callback):
    """Adds a log, as a Keras script does for a metric of its own."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["mine"] = -float(epoch)


def test_logs_that_a_callback_adds_are_taken(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    saver = callbacks.ModelCheckpoint(
        tmp_path / "{mine:.0f}.safetensors", monitor="mine", save_best_only=True
    )
    rates = callbacks.LearningRateScheduler(lambda epoch: 0.5 ** (epoch + 1))
    other = callbacks.ModelCheckpoint(tmp_path / "r{learning_rate:.2f}.safetensors")
    small_model().fit(X, Y, epochs=2, verbose=0, callbacks=[Adding(), saver, rates, other])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["-0.safetensors", "-1.safetensors", "r0.25.safetensors", "r0.50.safetensors"]


def test_the_order_of_callbacks_decides_which_logs_there_are(tmp_path: Path) -> None:
    rates = callbacks.LearningRateScheduler(lambda epoch: 0.5 ** (epoch + 1))
    other = callbacks.ModelCheckpoint(tmp_path / "r{learning_rate:.2f}.safetensors")
    with pytest.raises(ValueError, match="filepath: expected names of"):
        small_model().fit(X, Y, verbose=0, callbacks=[other, rates])


def test_a_log_that_nobody_adds_is_told_at_the_end(tmp_path: Path) -> None:
    """A callback of the user might have added it, so it is left open until then."""
    see = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)  # noqa: ARG005
    for options in ({}, {"monitor": "none", "save_best_only": True}):
        name = "a.safetensors" if options else "{none}.safetensors"
        saver = callbacks.ModelCheckpoint(tmp_path / name, **options)  # type: ignore[arg-type]
        model = small_model()
        with (
            pytest.warns(UserWarning, match="the training goes on"),
            pytest.raises(
                OSError, match=r"could not write 2 times, first .* in epoch 1: 'none'|monitor: expected"
            ),
        ):
            model.fit(X, Y, epochs=2, verbose=0, callbacks=[see, saver])
        assert model.history is not None
        assert model.history.epoch == [0, 1]


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
