"""Callbacks that write: what would fail is found before the first batch."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fusedlstm
from fusedlstm import callbacks, layers, losses, metrics, optimizers
from fusedlstm.io.atomic import write_text
from fusedlstm.optimizers import schedules

from .common import Watcher, X, Y, small_model

if TYPE_CHECKING:
    from collections.abc import Callable


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
