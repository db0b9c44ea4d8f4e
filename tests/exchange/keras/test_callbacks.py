"""Callbacks: called as Keras 3 calls them, with the same logs.

Without Keras the calls are compared with what it made of the same lines, in ``tests/fixtures``, by
``tests/tools/make_keras_fixtures.py``.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedlstm

from .callbacks import CASES, record

FIXTURE = Path(__file__).parents[2] / "fixtures" / "keras_callbacks.json"


def plain(calls: list[Any]) -> Any:
    """Return calls as JSON has them."""
    return json.loads(json.dumps(calls))


@pytest.mark.parametrize("name", CASES)
def test_calls_are_those_that_keras_made(name: str) -> None:
    expected = json.loads(FIXTURE.read_text(encoding="utf-8"))[name]
    assert len(expected) > 5
    assert plain(record(name, fusedlstm)) == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_calls_are_those_that_keras_makes(keras: Any, name: str) -> None:
    assert plain(record(name, keras)) == json.loads(FIXTURE.read_text(encoding="utf-8"))[name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Callback", "CallbackList", "LambdaCallback"])
def test_hooks_take_what_they_take_in_keras(keras: Any, name: str) -> None:
    ours, theirs = getattr(fusedlstm.callbacks, name), getattr(keras.callbacks, name)
    hooks = [hook for hook in dir(theirs) if hook.startswith("on_") or hook in ("set_model", "set_params")]
    assert len(hooks) == 18
    for hook in hooks:
        assert list(inspect.signature(getattr(ours, hook)).parameters) == list(
            inspect.signature(getattr(theirs, hook)).parameters
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        *(
            "BackupAndRestore",
            "CallbackList",
            "CSVLogger",
            "EarlyStopping",
            "LambdaCallback",
            "ModelCheckpoint",
        ),
        *("ReduceLROnPlateau", "TensorBoard", "TerminateOnNaN"),
    ],
)
def test_arguments_have_the_places_that_they_have_in_keras(keras: Any, name: str) -> None:
    ours, theirs = (
        [
            parameter.name
            for parameter in inspect.signature(getattr(package.callbacks, name)).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        for package in (fusedlstm, keras)
    )
    assert ours == theirs


def drawn_values(draw: np.random.Generator) -> list[float]:
    """Return values of a log: few, so that there are equal ones, and often NaN or infinite at first."""
    values = [float(value) for value in draw.integers(-4, 5, size=10) / 4]
    for place in draw.integers(0, 10, size=draw.integers(0, 4)):
        values[place % (1 + draw.integers(10))] = float(draw.choice([np.nan, np.inf, -np.inf]))
    return values


def decisions(package: Any, callback: Any, model: Any, values: list[float]) -> list[Any]:
    """Return what a callback decides after each epoch of a training with these values of a log."""
    made: list[Any] = []
    model.stop_training = False
    hooks = package.callbacks.CallbackList([callback], model=model, epochs=len(values), steps=1, verbose=0)
    hooks.on_train_begin()
    for epoch, value in enumerate(values):
        hooks.on_epoch_begin(epoch)
        model.kept.clear()
        hooks.on_epoch_end(epoch, {"watched": value})
        made.append([value, model.stop_training, bool(model.kept), getattr(callback, "wait", None)])
        if model.stop_training:
            break
    made.append(repr(None if callback.best is None else float(callback.best)))
    return made


class Unmoved:
    """Stands for a model whose weights and saves do not matter; ``kept`` has an entry for each of them."""

    def __init__(self) -> None:
        self.stop_training = False
        self.kept: list[Any] = []

    def get_weights(self) -> list[Any]:
        self.kept.append("weights")
        return []

    def set_weights(self, weights: list[Any]) -> None:
        pass

    def save(self, path: object, **_options: object) -> None:
        self.kept.append(path)


@pytest.mark.filterwarnings("ignore")
def test_the_best_is_decided_as_in_keras(keras: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    outcomes: set[int] = set()
    for _ in range(150):
        values = drawn_values(draw)
        mode = str(draw.choice(["min", "max"]))
        threshold = None if draw.random() < 0.7 else float(draw.integers(-2, 3)) / 4
        stopping: dict[str, Any] = {
            "mode": mode,
            "min_delta": float(draw.choice([0.0, 0.25])),
            "patience": int(draw.integers(4)),
            "baseline": threshold,
            "start_from_epoch": int(draw.integers(4)),
            "restore_best_weights": bool(draw.integers(2)),
        }
        saving: dict[str, Any] = {"save_best_only": True, "mode": mode, "initial_value_threshold": threshold}
        ours, theirs = (
            [
                decisions(package, package.callbacks.EarlyStopping("watched", **stopping), Unmoved(), values),
                decisions(
                    package,
                    package.callbacks.ModelCheckpoint(tmp_path / "a.keras", "watched", **saving),
                    Unmoved(),
                    values,
                ),
            ]
            for package in (fusedlstm, keras)
        )
        assert repr(ours) == repr(theirs), (values, stopping)
        outcomes.add(len(ours[0]))
    assert len(outcomes) > 5


class Rated(Unmoved):
    """Stands for a model whose learning rate alone matters."""

    def __init__(self, package: Any) -> None:
        super().__init__()
        self.optimizer = package.optimizers.SGD(0.5)


@pytest.mark.filterwarnings("ignore")
def test_the_learning_rate_is_reduced_as_in_keras(keras: Any) -> None:
    draw = np.random.default_rng(4)
    reduced = 0
    for _ in range(60):
        values = drawn_values(draw)
        settings: dict[str, Any] = {
            "mode": str(draw.choice(["min", "max"])),
            "factor": float(draw.choice([0.5, 0.125, 0.0])),
            "patience": int(draw.integers(4)),
            "min_delta": float(draw.choice([0.0, 0.25])),
            "cooldown": int(draw.integers(3)),
            "min_lr": float(draw.choice([0.0, 0.0625])),
        }
        found = []
        for package in (fusedlstm, keras):
            model, made = Rated(package), []
            callback = package.callbacks.ReduceLROnPlateau("watched", **settings)
            hooks = package.callbacks.CallbackList(
                [callback], model=model, epochs=len(values), steps=1, verbose=0
            )
            hooks.on_train_begin()
            for epoch, value in enumerate(values):
                logs: dict[str, float] = {"watched": value}
                callback.on_epoch_end(epoch, logs)
                counts = callback.wait, callback.cooldown_counter, repr(float(callback.best))
                made.append([logs["learning_rate"], float(model.optimizer.learning_rate), *counts])
            found.append(made)
        assert found[0] == found[1], settings
        reduced += found[0][-1][1] < 0.5
    assert reduced > 20
