"""Optimizers and schedules: the same numbers as Keras's."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm.testing import assert_close

STEPS = 6
SHAPES = ((3, 5), (5,))

EMA = {"use_ema": True, "ema_momentum": 0.6}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, **EMA}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "epsilon": 1e-3}),
    ("Adam", {"amsgrad": True, **EMA, "ema_overwrite_frequency": 3}),
    ("AdamW", {"clipnorm": 0.5}),
    ("Nadam", {}),
    ("Nadam", {"beta_1": 0.8, "weight_decay": 0.1, "clipvalue": 0.4}),
    ("Adamax", {}),
    ("Adamax", {"beta_2": 0.9, "epsilon": 1e-3, **EMA}),
    ("Adagrad", {}),
    ("Adagrad", {"learning_rate": 0.5, "initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adadelta", {"rho": 0.8, "global_clipnorm": 0.5}),
    ("Lion", {}),
    ("Lion", {"beta_1": 0.5, "beta_2": 0.7, "weight_decay": 0.1}),
]


def numbers(seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype("float32") for shape in SHAPES]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_updates(keras: Any, name: str, settings: dict[str, Any]) -> None:
    """Weights after some steps, and what they are at the end of a training."""
    found = []
    for package in (fusedlstm, keras):
        optimizer = getattr(package.optimizers, name)(**settings)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        targets = [
            package.Variable(value, name=name)
            for value, name in zip(numbers(0), ("kernel", "bias"), strict=True)
        ]
        for step in range(STEPS):
            optimizer.apply(numbers(1 + step), targets)
        found.append([np.array(variable) for variable in targets])
        optimizer.finalize_variable_values(targets)
        found[-1] += [np.array(variable) for variable in targets]
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, dtype="float32", terms=4, steps=STEPS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_defaults(keras: Any, name: str) -> None:
    """Arguments have Keras's names, and mean the same where they are left out."""
    ours, theirs = (getattr(package.optimizers, name)().get_config() for package in (fusedlstm, keras))
    assert theirs.pop("gradient_accumulation_steps") is None
    del ours["name"], theirs["name"]  # Keras counts names
    assert theirs.pop("learning_rate") == pytest.approx(ours.pop("learning_rate"))
    assert ours == theirs
    places = [
        [parameter.name for parameter in inspect.signature(cls).parameters.values()][:2]
        for cls in (getattr(fusedlstm.optimizers, name), getattr(keras.optimizers, name))
    ]
    assert places[0] == places[1]


SCHEDULES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("ExponentialDecay", (0.1, 7.5, 0.5), {}),
    ("ExponentialDecay", (0.1, 7, 0.5, True), {}),
    ("InverseTimeDecay", (0.1, 7, 0.5), {}),
    ("InverseTimeDecay", (0.1, 7, 0.5, True), {}),
    ("PolynomialDecay", (0.1, 10), {}),
    ("PolynomialDecay", (0.1, 10, 0.01, 2.0), {}),
    ("PolynomialDecay", (0.1, 10, 0.01, 0.5, True), {}),
    ("PiecewiseConstantDecay", ([3, 9], [1.0, 0.5, 0.1]), {}),
    ("CosineDecay", (0.1, 20, 0.1), {}),
    ("CosineDecay", (0.0, 20), {"warmup_target": 0.1, "warmup_steps": 5}),
    ("CosineDecayRestarts", (0.1, 8), {}),
    ("CosineDecayRestarts", (0.1, 8, 1.0, 0.7, 0.1), {}),
    ("CosineDecayRestarts", (0.1, 5, 1.5, 0.9, 0.01), {}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES)
def test_schedules(keras: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    ours = getattr(fusedlstm.optimizers.schedules, name)(*arguments, **options)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments, **options)
    assert ours.get_config() == theirs.get_config()
    steps = range(0, 60, 3)
    # Keras computes in float32, where a step of a cosine that is almost zero loses some digits.
    assert [ours(step) for step in steps] == pytest.approx([float(theirs(step)) for step in steps], rel=1e-5)
