"""Descriptions of models and layers with something of a wrong type, or with wrong keys, at every place."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import constraints, initializers, layers, optimizers, regularizers
from fusedlstm.exchange.keras_config import config_of, model_from_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRONG: tuple[Any, ...] = (
    None,
    3,
    -1.5,
    float("nan"),
    "x",
    b"x",
    True,
    [],
    [1],
    {},
    {1: 2},
    {None: 3},
    {b"k": 1},
    (1, 2),
    {1},
    object(),
    np.zeros(2),
    10**400,
    1j,
    range(3),
    {"class_name": "L2", "module": "keras.regularizers", "config": {3: 4}},
)
KEYS: tuple[Any, ...] = (1, None, b"units", (1,), True, object())


def model() -> fusedlstm.Sequential:
    return fusedlstm.Sequential(
        [
            fusedlstm.Input((5, 3)),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True, kernel_regularizer="l2")),
            layers.TimeDistributed(layers.Dense(2, kernel_constraint="max_norm")),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*place, key))


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def variants(description: Any) -> Iterator[Any]:
    """Return the description with one thing replaced, left out, or added under a key that is no name."""
    for place in places(description):
        for wrong in WRONG if place else ():
            changed = copy.deepcopy(description)
            at(changed, place[:-1])[place[-1]] = wrong
            yield changed
        if place:
            changed = copy.deepcopy(description)
            del at(changed, place[:-1])[place[-1]]
            yield changed
        for key in KEYS if isinstance(at(description, place), dict) else ():
            changed = copy.deepcopy(description)
            at(changed, place)[key] = 3
            yield changed
    yield from WRONG


def outcomes(make: Callable[[Any], Any], description: Any, errors: tuple[type[Exception], ...]) -> list[int]:
    """Return how many variants were taken, and how many refused."""
    make(copy.deepcopy(description))
    result = [0, 0]
    for changed in variants(description):
        try:
            make(changed)
            result[0] += 1
        except errors as error:
            assert str(error)  # noqa: PT017  # either outcome is fine
            result[1] += 1
    return result


def test_descriptions_of_keras() -> None:
    taken, refused = outcomes(model_from_config, config_of(model()), (ValueError,))
    assert refused > 2 * taken > 0  # Names, switches and lengths may be many things.


def test_descriptions_of_models() -> None:
    taken, refused = outcomes(fusedlstm.Sequential.from_config, model().get_config(), (TypeError, ValueError))
    assert refused > taken > 0


@pytest.mark.parametrize("number", range(4))
def test_descriptions_of_layers(number: int) -> None:
    layer = model().layers[number]
    taken, refused = outcomes(type(layer).from_config, layer.get_config(), (TypeError, ValueError))
    assert min(taken, refused) > 5


@pytest.mark.parametrize(
    "cls",
    [
        layers.Bidirectional,
        layers.Dense,
        layers.StackedLSTM,
        layers.TimeDistributed,
        constraints.MaxNorm,
        initializers.Constant,
        optimizers.Adam,
        regularizers.L2,
    ],
)
@pytest.mark.parametrize(
    ("config", "text"),
    [
        (3, "expected a dict of arguments, got int"),
        (None, "expected a dict of arguments, got NoneType"),
        ([("units", 3)], "expected a dict of arguments, got list"),
        ({3: 4}, "expected names of arguments, got the key 3"),
        ({None: 4}, "expected names of arguments, got the key None"),
    ],
)
def test_arguments_without_names(cls: Any, config: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{cls.__name__}: {text}"):
        cls.from_config(config)


def test_keys_of_keras_that_are_no_names() -> None:
    description = config_of(model())
    description["config"]["layers"][1]["config"][3] = 4
    with pytest.raises(ValueError, match=r"^layer 'bidirectional\w*' \(Bidirectional\): .*, got the key 3"):
        model_from_config(description)
