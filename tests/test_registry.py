"""Names, classes and descriptions of initializers, regularizers, losses and the like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fusedlstm import constraints, initializers, layers, losses, metrics, optimizers, regularizers
from fusedlstm.optimizers import schedules

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
