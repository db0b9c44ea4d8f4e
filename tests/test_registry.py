"""Names, classes and descriptions of initializers, regularizers, losses and the like."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import (
    Input,
    Sequential,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    ops,
    optimizers,
    regularizers,
)
from fusedlstm.optimizers import schedules

if TYPE_CHECKING:
    from pathlib import Path

MODULES: list[Any] = [constraints, initializers, losses, metrics, optimizers, regularizers]
SCHEDULE = schedules.ExponentialDecay(0.1, 20, 0.9, staircase=True)


@pytest.mark.parametrize("module", MODULES)
def test_everything_that_has_a_name_is_described_and_made_again(module: Any) -> None:
    for name, cls in module.REGISTRY.names.items():
        one = module.get(name)
        description = json.loads(json.dumps(module.serialize(one)))
        again = module.get(description)
        assert type(again) is type(one) is type(module.get(cls)) is type(module.get(cls.__name__)) is cls
        assert module.get(again) is again
        assert module.serialize(again) == description


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("wings", r"part: expected one of \[.*\], got 'wings'"),
        ({"class_name": "Wings", "config": {}}, r"part: expected one of \[.*\], got 'Wings'"),
        ({"class_name": 3, "config": {}}, r"part: class_name: expected a str, got int"),
        (3, r"part: expected one of \[.*\], got 3"),
        (layers.Dense(2), r"part: expected one of \[.*\], got <Dense"),
    ],
)
def test_unknown(module: Any, identifier: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module.get(identifier, "part")


@pytest.mark.parametrize("module", MODULES)
def test_unknown_arguments(module: Any) -> None:
    name = list(module.REGISTRY.classes)[-1]
    with pytest.raises(TypeError, match="wings"):
        module.get({"class_name": name, "config": {"wings": 2}})
    with pytest.raises(ValueError, match=f"part: {name}: config: expected a dict, got list"):
        module.get({"class_name": name, "config": []}, "part")


def test_arguments_that_are_objects() -> None:
    mean = metrics.MeanMetric(losses.BinaryCrossentropy(from_logits=True), "mean")
    again: Any = metrics.get(json.loads(json.dumps(metrics.serialize(mean))))
    assert (again.name, again.loss.from_logits) == ("mean", True)
    optimizer = optimizers.get(json.loads(json.dumps(optimizers.serialize(optimizers.SGD(SCHEDULE)))))
    optimizer.iterations = 45
    assert optimizer.learning_rate == SCHEDULE(45) == 0.1 * 0.9**2


def test_arguments_that_a_subclass_hands_on() -> None:
    class Two(layers.Dense):
        def __init__(self, factor: float = 1.0, **kwargs: Any) -> None:
            super().__init__(2, **kwargs)
            self.factor = factor

    config = Two(3.0, use_bias=False, name="two").get_config()
    assert (config["factor"], config["units"], config["use_bias"], config["name"]) == (3.0, 2, False, "two")


def test_none() -> None:
    for module in (constraints, regularizers):
        assert module.get(None) is None
        assert module.serialize(None) is None


@pytest.mark.parametrize(
    "make", [optimizers.SGD, losses.MeanSquaredError, metrics.BinaryAccuracy], ids=["SGD", "loss", "metric"]
)
@pytest.mark.parametrize("name", [3, b"q", "", "a\0b"])
def test_names_that_no_file_can_hold(make: Any, name: Any) -> None:
    with pytest.raises(ValueError, match="name: expected a non-empty string"):
        make(name=name)


def test_a_flag_of_a_schedule() -> None:
    with pytest.raises(TypeError, match="staircase: expected True or False"):
        schedules.ExponentialDecay(0.1, 2, 0.5, staircase="x")  # type: ignore[arg-type]
    given: Any = np.True_
    assert schedules.ExponentialDecay(0.1, 2, 0.5, given).staircase is True


@pytest.mark.parametrize("ending", [".keras", ".safetensors"])
def test_classes_that_a_file_cannot_name(tmp_path: Path, ending: str) -> None:
    """Nothing is written that nobody could read."""
    pytest.importorskip("h5py")

    class Mine(regularizers.L2):
        pass

    model = Sequential([Input((2, 3)), layers.LSTM(3, kernel_regularizer=Mine(0.2))])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Mine"):
        model.save(tmp_path / f"model{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["cell_clip", "gate_clip"])
def test_limits_that_float32_does_not_have(option: str) -> None:
    """Kernels would take them for 0, which is no limit."""
    arguments: dict[str, Any] = {option: 1e-45}
    with pytest.raises(ValueError, match=f"{option}: expected at least 1.175e-38, got 1e-45"):
        ops.CellOptions(**arguments)
