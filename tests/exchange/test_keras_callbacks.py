"""Callbacks: called as Keras 3 calls them, with the same logs.

Without Keras the calls are compared with what it made of the same lines, in ``tests/fixtures``, by
``tests/tools/make_keras_fixtures.py``.
"""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest

import fusedlstm

from .keras_callbacks import CASES, record

FIXTURE = Path(__file__).parents[1] / "fixtures" / "keras_callbacks.json"


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
def test_calls_are_those_that_keras_makes(name: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    assert plain(record(name, keras)) == json.loads(FIXTURE.read_text(encoding="utf-8"))[name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Callback", "CallbackList", "LambdaCallback"])
def test_hooks_take_what_they_take_in_keras(name: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
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
    ["CallbackList", "CSVLogger", "EarlyStopping", "LambdaCallback", "ModelCheckpoint", "TerminateOnNaN"],
)
def test_arguments_have_the_places_that_they_have_in_keras(name: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    ours, theirs = (
        [
            parameter.name
            for parameter in inspect.signature(getattr(package.callbacks, name)).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        for package in (fusedlstm, keras)
    )
    assert ours == theirs
