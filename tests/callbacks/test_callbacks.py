"""Callbacks: order of calls, stopping, saving, schedules, files, display."""

from __future__ import annotations

import builtins
import csv
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, layers, optimizers

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
Y = np.arange(10) % 3


def small_model() -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(0)
    model = fusedlstm.Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


WRONG: Any = [print]


class Recorder(callbacks.Callback):
    """Writes down the names and arguments of all calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def record(*arguments: Any) -> None:
            self.calls.append(" ".join([name, *(str(a) for a in arguments if isinstance(a, int))]))

        return record


class Scripted(callbacks.Callback):
    """Puts given numbers into the logs, before the callbacks that follow see them."""

    def __init__(self, **logs: list[float]) -> None:
        self.script = logs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        assert logs is not None
        logs.update({key: values[epoch] for key, values in self.script.items()})


def test_order_of_calls() -> None:
    recorder = Recorder()
    small_model().fit(X, Y, 6, epochs=1, verbose=0, callbacks=[recorder], validation_data=(X[:3], Y[:3]))
    assert recorder.calls == [
        "on_train_begin",
        "on_epoch_begin 0",
        "on_train_batch_begin 0",
        "on_train_batch_end 0",
        "on_train_batch_begin 1",
        "on_train_batch_end 1",
        "on_test_begin",
        "on_test_batch_begin 0",
        "on_test_batch_end 0",
        "on_test_end",
        "on_epoch_end 0",
        "on_train_end",
    ]
    recorder.calls.clear()
    small_model().predict(X, 5, verbose=0, callbacks=recorder)
    assert recorder.calls == [
        "on_predict_begin",
        *("on_predict_batch_begin 0", "on_predict_batch_end 0"),
        *("on_predict_batch_begin 1", "on_predict_batch_end 1"),
        "on_predict_end",
    ]


def test_older_names_of_batch_hooks() -> None:
    seen: list[int] = []
    hook = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(batch))  # noqa: ARG005
    small_model().fit(X, Y, 4, verbose=0, callbacks=hook)
    assert seen == [0, 1, 2]


def test_params_and_model() -> None:
    watcher = callbacks.Callback()
    model = small_model()
    model.fit(X, Y, 4, epochs=2, verbose=0, callbacks=[watcher])
    assert watcher.model is model
    assert watcher.params == {"epochs": 2, "steps": 3, "samples": 10, "batch_size": 4, "verbose": 0}


def test_history() -> None:
    history = small_model().fit(X, Y, epochs=5, initial_epoch=2, verbose=0, validation_split=0.3)
    assert history.epoch == [2, 3, 4]
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 3 for values in history.history.values())


def test_batch_logs_are_running_means() -> None:
    seen: list[dict[str, float]] = []
    hook = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(dict(logs)))  # noqa: ARG005
    model = small_model()
    history = model.fit(X, Y, 4, verbose=0, callbacks=[hook])
    assert len(seen) == 3
    assert seen[-1] == {key: values[0] for key, values in history.history.items()}


@pytest.mark.parametrize(
    ("settings", "values", "epochs"),
    [
        ({}, [3, 2, 2, 1], 3),
        ({"patience": 2}, [3, 2, 2, 2, 1], 4),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6),
        ({"min_delta": 0.5}, [3, 2, 1.8, 1.0], 3),
        ({"mode": "max"}, [1, 2, 3, 3], 4),
        ({"baseline": 1.0, "patience": 2}, [3, 2.5, 2.5, 2], 3),
        ({"start_from_epoch": 2}, [1, 2, 3, 4, 5], 4),
        ({}, [1, math.nan, 0], 2),
        # The first value is the best so far, whatever it is: then all that follow are worse than NaN.
        ({"start_from_epoch": 3}, [0, 0, 0, math.nan, 0, 0], 5),
        ({"patience": 2}, [math.nan, 3, 2, 1], 3),
        ({"patience": 1}, [math.inf, 3, 2, 2, 1], 4),
        ({"mode": "max"}, [-math.inf, 0, 1, 1, 2], 4),
    ],
)
def test_early_stopping(settings: dict[str, Any], values: list[float], epochs: int) -> None:
    stopping = callbacks.EarlyStopping("watched", **settings)
    history = small_model().fit(
        X, Y, epochs=len(values), verbose=0, callbacks=[Scripted(watched=values), stopping]
    )
    assert len(history.epoch) == epochs


@pytest.mark.parametrize(
    ("name", "rising"),
    [
        ("val_precision_1", True),
        ("AUC", True),
        ("f1_score", True),
        ("val_loss", False),
        ("mae_1", False),
    ],
)
def test_directions(name: str, rising: bool) -> None:
    assert callbacks.EarlyStopping(name).rising == rising


def test_early_stopping_takes_accuracy_as_rising() -> None:
    stopping = callbacks.EarlyStopping("val_accuracy", patience=1)
    script = Scripted(val_accuracy=[0.1, 0.2, 0.3, 0.3, 0.4])
    history = small_model().fit(X, Y, epochs=5, verbose=0, callbacks=[script, stopping])
    assert len(history.epoch) == 4


def test_early_stopping_restores_the_best_weights(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model()
    weights: list[Any] = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))  # noqa: ARG005
    stopping = callbacks.EarlyStopping("watched", patience=2, restore_best_weights=True, verbose=1)
    script = Scripted(watched=[3, 1, 2, 2, 0])
    model.fit(X, Y, epochs=5, verbose=0, callbacks=[script, stopping, keep])
    assert len(weights) == 4
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights[1], strict=True))
    assert not np.array_equal(weights[1][0], weights[3][0])
    assert capsys.readouterr().out == "Epoch 4: stopped early, best epoch 2\n"


def test_a_missing_monitor_warns() -> None:
    with pytest.warns(UserWarning, match="EarlyStopping monitors 'val_loss', but the logs are .*'accuracy'"):
        small_model().fit(X, Y, epochs=1, verbose=0, callbacks=[callbacks.EarlyStopping()])


def test_model_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    every = callbacks.ModelCheckpoint(tmp_path / "a{epoch:02d}.safetensors")
    best = callbacks.ModelCheckpoint(
        tmp_path / "best" / "b{epoch}-{watched:.1f}.safetensors", monitor="watched", save_best_only=True
    )
    often = callbacks.ModelCheckpoint(tmp_path / "c{epoch}.safetensors", save_freq=5)
    script = Scripted(watched=[3, 1, 2])
    model = small_model()
    model.fit(X, Y, 5, epochs=3, verbose=0, callbacks=[script, every, best, often])
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.safetensors"))
    assert names == [
        *("a01.safetensors", "a02.safetensors", "a03.safetensors"),
        *("best/b1-3.0.safetensors", "best/b2-1.0.safetensors", "c3.safetensors"),
    ]
    last = fusedlstm.load_model(tmp_path / "a03.safetensors")
    assert all(np.array_equal(a, b) for a, b in zip(last.get_weights(), model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("settings", "values", "saved"),
    [
        ({}, [math.nan, 1, 0], [1]),
        ({}, [math.inf, 1, 2, 0], [1, 2, 4]),
        ({"mode": "max"}, [-math.inf, 1, 0, 2], [1, 2, 4]),
        ({"initial_value_threshold": 1.5}, [math.nan, 2, 1], [3]),
    ],
)
def test_the_first_value_is_the_best_so_far(
    tmp_path: Path, settings: dict[str, Any], values: list[float], saved: list[int]
) -> None:
    pytest.importorskip("safetensors")
    saver = callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.safetensors", "watched", save_best_only=True, **settings
    )
    script = Scripted(watched=values)
    small_model().fit(X, Y, epochs=len(values), verbose=0, callbacks=[script, saver])
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == saved


def test_learning_rate_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    for schedule in (lambda epoch: 0.1 / (epoch + 1), lambda epoch, rate: rate / 2 if epoch else 0.1):
        model = small_model()
        scheduler = callbacks.LearningRateScheduler(schedule, verbose=1)
        history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[scheduler])
        assert history.history["learning_rate"] == [0.1, 0.05]
        assert model.optimizer is not None
        assert model.optimizer.learning_rate == 0.05
    assert "Epoch 2: learning rate 0.05" in capsys.readouterr().out


def test_terminate_on_nan(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model()
    x = X.copy()
    x[7] = np.inf
    with np.errstate(invalid="ignore"):
        history = model.fit(
            x, Y, 2, epochs=3, verbose=0, shuffle=False, callbacks=[callbacks.TerminateOnNaN()]
        )
    assert history.epoch == [0]
    assert capsys.readouterr().out == "Batch 3: the loss is nan, training ends\n"
    hook = callbacks.TerminateOnNaN(raise_error=True)
    with np.errstate(invalid="ignore"), pytest.raises(RuntimeError, match="batch 0: the loss is nan"):
        model.fit(x, Y, 2, verbose=0, shuffle=False, callbacks=hook)


def test_csv_logger(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    model = small_model()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.CSVLogger(path)])
    logger = callbacks.CSVLogger(path, append=True)
    history = model.fit(X, Y, epochs=3, initial_epoch=2, verbose=0, callbacks=[logger])
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["epoch", "accuracy", "loss"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "2"]
    assert float(rows[3][2]) == history.history["loss"][0]


def test_files_are_closed_after_an_error(tmp_path: Path) -> None:
    logger = callbacks.CSVLogger(tmp_path / "log.csv")

    def fail(epoch: int, logs: Any) -> None:  # noqa: ARG001
        raise OSError(f"epoch {epoch}")

    hooks = [logger, callbacks.LambdaCallback(on_epoch_end=fail)]
    with pytest.raises(OSError, match="epoch 0"):
        small_model().fit(X, Y, verbose=0, callbacks=hooks)
    assert logger._file is None


def test_stop_training_in_the_middle_of_an_epoch() -> None:
    model = small_model()

    def stop(batch: int, logs: Any) -> None:  # noqa: ARG001
        model.stop_training = batch == 1

    model.fit(X, Y, 2, epochs=3, verbose=0, callbacks=[callbacks.LambdaCallback(on_train_batch_end=stop)])
    assert isinstance(model.optimizer, optimizers.SGD)
    assert model.optimizer.iterations == 2


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model()
    model.fit(X, Y, epochs=2, validation_data=(X, Y))
    model.evaluate(X, Y)
    model.predict(X)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2", "Evaluate"]
    for part in (" samples/s - loss: ", " - accuracy: ", " - val_loss: ", " - val_accuracy: "):
        assert part in lines[0]
    model.fit(X, Y, verbose=0)
    assert capsys.readouterr().out == ""


def test_live_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("fusedlstm.callbacks.progress._REDRAW_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    small_model().fit(X, Y, 2, epochs=1)
    output = capsys.readouterr().out
    assert "4/10 - loss: " in output
    assert "samples/s" in output
    assert output.splitlines()[-1].lstrip("\r\x1b[2K1A").startswith("Epoch 1/1 - ")


def test_the_bar_is_removed_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    bar = callbacks.ProgressBar()

    def fail(batch: int, logs: Any) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    hooks = [bar, callbacks.LambdaCallback(on_train_batch_end=fail)]
    with pytest.raises(KeyboardInterrupt):
        small_model().fit(X, Y, verbose=0, callbacks=hooks)
    assert bar._bar is None


def test_lines_on_a_terminal_without_rich(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def refuse(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    small_model().fit(X, Y, epochs=1)
    assert capsys.readouterr().out.startswith("Epoch 1/1 - ")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: callbacks.LambdaCallback(on_epoch=print), ValueError, "hooks: expected one of .*'on_epoch'"),
        (lambda: callbacks.EarlyStopping(mode="up"), ValueError, "mode: expected one of .*got 'up'"),
        (
            lambda: callbacks.EarlyStopping(patience=-1),
            ValueError,
            "patience: expected an integer >= 0, got -1",
        ),
        (lambda: callbacks.ModelCheckpoint("a", save_freq=0), ValueError, "save_freq: expected a positive"),
        (
            lambda: small_model().fit(X, Y, callbacks=WRONG),
            TypeError,
            "callbacks: expected Callback objects",
        ),
    ],
)
def test_errors(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
