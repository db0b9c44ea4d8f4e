"""`ReduceLROnPlateau`; `tests/exchange/keras/test_callbacks.py` compares its decisions with Keras's."""

from __future__ import annotations

from typing import Any

import pytest

from fusedlstm import callbacks, optimizers
from fusedlstm.optimizers import schedules

from .common import Watcher, X, Y, small_model


def rates(values: list[float], **settings: Any) -> list[float]:
    """Return the learning rate of each epoch, for these values of the log that is watched."""

    def script(epoch: int, logs: dict[str, float]) -> None:
        logs["watched"] = values[epoch]

    model = small_model(optimizer=optimizers.SGD(1.0))
    hooks = [
        callbacks.LambdaCallback(on_epoch_end=script),
        callbacks.ReduceLROnPlateau("watched", 0.5, **settings),
    ]
    history = model.fit(X, Y, epochs=len(values), verbose=0, callbacks=hooks)
    assert model.optimizer is not None
    return [*history.history["learning_rate"], float(model.optimizer.learning_rate)]


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"patience": 1}, [3, 2, 2, 2, 1], [1, 1, 1, 0.5, 0.25, 0.25]),
        ({"patience": 2}, [3, 3, 3, 3, 3], [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 0}, [3, 2, 2], [1, 1, 1, 0.5]),
        ({"patience": 1, "cooldown": 2}, [1, 1, 1, 1, 1], [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.75}, [1, 1, 1], [1, 1, 0.75, 0.75]),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.75, 2], [1, 1, 0.5, 0.5]),
        ({"patience": 1, "mode": "max"}, [1, 2, 3], [1, 1, 1, 1]),
    ],
)
def test_learning_rates(settings: dict[str, Any], values: list[float], expected: list[float]) -> None:
    assert rates(values, **settings) == expected


def test_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    rates([1, 1], patience=1, verbose=1)
    assert capsys.readouterr().out == "Epoch 2: learning rate reduced to 0.5\n"


def test_a_missing_log_warns_once() -> None:
    with pytest.warns(UserWarning, match="ReduceLROnPlateau monitors 'val_loss'") as found:
        small_model().fit(X, Y, epochs=3, verbose=0, callbacks=[callbacks.ReduceLROnPlateau(patience=0)])
    assert len(found) == 1


@pytest.mark.parametrize(
    "callback", [callbacks.ReduceLROnPlateau("loss"), callbacks.LearningRateScheduler(lambda epoch: epoch)]
)
def test_a_schedule_is_refused_before_the_training(callback: callbacks.Callback) -> None:
    model = small_model(optimizer=optimizers.SGD(schedules.ExponentialDecay(0.1, 10, 0.5)))
    watcher = Watcher()
    with pytest.raises(
        TypeError, match=f"^{type(callback).__name__}: expected a learning rate that is a number"
    ):
        model.fit(X, Y, verbose=0, callbacks=[watcher, callback])
    assert not watcher.begun


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1.0}, r"^factor: expected a number in \[0, 1\), got 1.0"),
        ({"patience": -1}, "^patience: "),
        ({"cooldown": 1.5}, "^cooldown: "),
        ({"min_lr": -1.0}, "^min_lr: "),
        ({"mode": "best"}, "^mode: "),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        callbacks.ReduceLROnPlateau(**settings)
