"""`OptunaPruning`: what a trial of Optuna is told, and when its training ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm import callbacks

from .common import X, Y, small_model

if TYPE_CHECKING:
    from collections.abc import Callable

optuna: Any = pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(values: list[float], **settings: Any) -> Callable[[Any], float]:
    def of(trial: Any) -> float:
        hooks = [
            callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(watched=values[epoch])),
            callbacks.OptunaPruning(trial, "watched", **settings),
        ]
        history = small_model().fit(X, Y, epochs=len(values), verbose=0, callbacks=hooks).history
        return float(history["watched"][-1])

    return of


@pytest.mark.parametrize(
    ("direction", "values", "epochs"),
    [
        ("minimize", [3.0, 2.0, 1.0], 3),
        ("minimize", [3.0, 5.0, 1.0], 2),
        ("maximize", [5.0, 5.0, 5.0], 3),
        ("maximize", [5.0, 3.0, 5.0], 2),
    ],
)
def test_the_pruner_decides(direction: str, values: list[float], epochs: int) -> None:
    pruner = optuna.pruners.ThresholdPruner(**{"upper" if direction == "minimize" else "lower": 4})
    study = optuna.create_study(direction=direction, pruner=pruner)
    study.optimize(objective(values), n_trials=1)
    (trial,) = study.trials
    assert trial.intermediate_values == dict(enumerate(values[:epochs]))
    assert trial.state.name == ("COMPLETE" if epochs == 3 else "PRUNED")
    assert trial.value == values[epochs - 1]


def test_a_worse_trial_ends_early() -> None:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    for values in ([3.0, 2.0, 1.0], [4.0, 3.0, 0.0], [2.0, 1.5, 0.5]):
        study.optimize(objective(values), n_trials=1)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert study.best_value == 0.5


@pytest.mark.parametrize(("interval", "epochs"), [(1, 1), (2, 2), (3, 3), (4, 4), (9, 5)])
def test_the_pruner_is_asked_now_and_then(interval: int, epochs: int) -> None:
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0))
    study.optimize(objective([1.0] * 5, interval=interval), n_trials=1)
    assert list(study.trials[0].intermediate_values) == list(range(epochs))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_training_that_diverges_ends(value: float) -> None:
    """Whatever the pruner says: nothing good comes after it."""
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    with pytest.raises(optuna.TrialPruned, match=f"epoch 2: the training diverged, watched is {value}"):
        objective([1.0, value, 1.0])(study.ask())
    study.optimize(objective([1.0, value, 1.0]), n_trials=1)
    assert study.trials[-1].state.name == "PRUNED"


def test_a_missing_log_warns_and_prunes_nothing() -> None:
    trial = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=-1)).ask()
    with pytest.warns(UserWarning, match="OptunaPruning monitors 'val_loss'") as found:
        small_model().fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.OptunaPruning(trial)])
    assert len(found) == 1


def test_wrong_arguments() -> None:
    trial = optuna.create_study().ask()
    with pytest.raises(TypeError, match="trial: expected a trial of Optuna, got Study"):
        callbacks.OptunaPruning(optuna.create_study())
    with pytest.raises(ValueError, match="interval"):
        callbacks.OptunaPruning(trial, interval=0)
    with pytest.raises(TypeError, match="monitor"):
        callbacks.OptunaPruning(trial, monitor=3)  # type: ignore[arg-type]
