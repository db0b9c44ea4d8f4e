"""What a model is compiled with, as Keras describes it, and the order of an optimizer's arrays in its files.

Classes and functions are found by their names in this package's registries, and in what the caller adds.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import losses, metrics, optimizers
from fusedlstm.base import checks
from fusedlstm.base.registry import arguments_of
from fusedlstm.exchange.keras_layers import described, named
from fusedlstm.layers.weights import assign_all
from fusedlstm.models.heads import by_place
from fusedlstm.optimizers import schedules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.base.registry import Configured, Registry
    from fusedlstm.base.types import Array
    from fusedlstm.base.variable import Variable
    from fusedlstm.models.heads import Head
    from fusedlstm.models.model import Model
    from fusedlstm.optimizers import Optimizer


class _Kind(NamedTuple):
    """A kind of objects: Keras's module and the registry here."""

    module: str
    registry: Registry[Any]


_OPTIMIZERS = _Kind("keras.optimizers", optimizers.REGISTRY)
_SCHEDULES = _Kind("keras.optimizers.schedules", schedules.REGISTRY)
_LOSSES = _Kind("keras.losses", losses.REGISTRY)
_METRICS = _Kind("keras.metrics", metrics.REGISTRY)
# The home of classes that Keras lacks.
_HERE = "fusedlstm"
_NOT_IN_KERAS = ("AutoAccuracy", "LabelErrorRate", "MeanMetric")
# Arguments of Keras that the classes here may lack, with the values that switch them off; None for any.
_OFF: Mapping[str, tuple[object, ...] | None] = {
    "axis": (-1,),
    "dtype": None,
    "ema_momentum": None,
    "ema_overwrite_frequency": (None,),
    "gradient_accumulation_steps": (None,),
    "ignore_class": (None,),
    "loss_scale_factor": (None,),
    "name": None,
    "use_ema": (False,),
}
# Slots that Keras makes together, variable by variable; others come one after the other.
_TOGETHER = (
    ("momentum", "velocity"),
    ("momentum", "norm"),
    ("accumulated_grad", "accumulated_delta_var"),
    ("accumulator", "linear"),
)


def compile_from_config(model: Model, config: dict[str, Any], custom: Mapping[str, Any]) -> None:
    """Compile a model as a description says.

    Parameters
    ----------
    model : Model
        A built model.
    config : dict
        As `compile_config` makes it, or Keras.
    custom : mapping of str to object
        Classes, objects and functions by names that files have for them.

    Raises
    ------
    ValueError
        If an optimizer, a loss or a metric is not known; the message names it.
    """
    read = {key: config.get(key) for key in ("loss", "metrics", "weighted_metrics")}
    try:
        made = {
            key: _made(value, _LOSSES if key == "loss" else _METRICS, custom, key)
            for key, value in read.items()
        }
        optimizer = _made(config.get("optimizer", "rmsprop"), _OPTIMIZERS, custom, "optimizer")
        model.compile(optimizer=optimizer, loss_weights=config.get("loss_weights"), **made)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{error}; load it with compile=False, or with custom_objects") from error


def _made(value: Any, kind: _Kind, custom: Mapping[str, Any], where: str) -> Any:
    """Return what a description means, in lists and dicts too; names stay as they are."""
    if isinstance(value, list):
        return [_made(one, kind, custom, where) for one in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _made(one, kind, custom, f"{where}: {key}") for key, one in value.items()}
    if not isinstance(value, dict):
        return custom.get(value, value) if isinstance(value, str) else value
    name = value["class_name"]
    if name == "function":
        name = checks.member(value, "config", str, where)
        return custom.get(name, name)
    config = checks.arguments(value.get("config"), f"{where}: {name!r:.80}")
    for own in (value.get("registered_name"), name):
        if isinstance(own, str) and own in custom:
            found = custom[own]
            return found(**_arguments(config, found, where)) if isinstance(found, type) else found
    name = named(value, where, (kind.module, _HERE), tuple(kind.registry.classes))
    arguments = _arguments(config, kind.registry.classes[name], f"{where}: {name}")
    rate = arguments.get("learning_rate")
    if isinstance(rate, dict):
        arguments["learning_rate"] = _made(rate, _SCHEDULES, custom, f"{where}: learning_rate")
    return kind.registry.restore({"class_name": name, "config": arguments}, where)


def _arguments(config: dict[str, Any], cls: type, where: str) -> dict[str, Any]:
    """Return those arguments that a class takes; `ValueError` if another one has an effect in Keras."""
    known = set(arguments_of(cls))
    for key, value in config.items():
        off = _OFF.get(key, ())
        if key not in known and off is not None and value not in off:
            raise ValueError(f"{where}: {key}: expected {off[0] if off else 'none'}, got {value!r:.80}")
    return {key: value for key, value in config.items() if key in known}


def compile_config(model: Model) -> dict[str, Any]:
    """Describe what a compiled model is compiled with, as Keras does."""
    heads = model.heads

    def spread(values: Sequence[Any]) -> Any:
        """Return one thing, a list or a dict, as the model has outputs."""
        return values[0] if len(values) == 1 else model.output_structure.pack(values)

    def measured(which: str) -> Any:
        found = [[_described(metric, _METRICS) for metric in getattr(head, which)] for head in heads]
        return spread(found) if any(found) else None

    assert model.optimizer is not None
    optimizer = _described(model.optimizer, _OPTIMIZERS)
    rate = optimizer["config"].get("learning_rate")
    if isinstance(rate, dict):
        optimizer["config"]["learning_rate"] = described(
            _SCHEDULES.module, rate["class_name"], rate["config"]
        )
    loss = spread([_loss(head) for head in heads])
    if len(heads) > 1 and isinstance(loss, dict):
        loss = {head.name: loss[head.name] for head in by_place(heads)}
    return {
        "optimizer": optimizer,
        "loss": loss,
        "loss_weights": spread([head.weight for head in heads]) if _weighted(heads) else None,
        "metrics": measured("metrics"),
        "weighted_metrics": measured("weighted"),
    }


def _loss(head: Head) -> Any:
    return None if head.loss is None else _described(head.loss, _LOSSES)


def _weighted(heads: Sequence[Head]) -> bool:
    return any(head.weight is not None for head in heads)


def _described(thing: Configured, kind: _Kind) -> Any:
    """Describe an object: one of the user's by its own name, which ``custom_objects`` has to know then."""
    cls = type(thing)
    name = cls.__name__
    if isinstance(thing, metrics.AutoAccuracy) and thing.name in ("accuracy", "acc"):
        return thing.name
    function = getattr(thing, "fn", None)
    if isinstance(function, FunctionType):
        return {**described("builtins", "function", {}), "config": function.__name__}
    if kind.registry.classes.get(name) is not cls:
        return {**described(cls.__module__, name, thing.get_config()), "registered_name": name}
    return described(_HERE if name in _NOT_IN_KERAS else kind.module, name, thing.get_config())


# The optimizer's arrays.


def arrays_of(optimizer: Optimizer, variables: Sequence[Variable]) -> list[Array]:
    """Return an optimizer's arrays for some of its variables in Keras's order; no slots before an update."""
    head: list[Any] = [np.asarray(optimizer.iterations, np.int64)]
    if not optimizer.scheduled:
        head.append(np.asarray(optimizer.learning_rate, np.float32))
    if not optimizer.targets or not set(map(id, variables)) <= set(map(id, optimizer.targets)):
        return head
    tail = []
    if isinstance(optimizer, optimizers.Nadam):
        # Products of the momenta of all updates; the last factors are 1.
        steps = np.arange(1, min(optimizer.iterations, 2000) + 1)
        product = optimizer.beta_1**optimizer.iterations * np.prod(1 - 0.5 * 0.96**steps)
        tail.append(np.asarray(product, np.float32))
    return head + [slot.numpy() for slot in _slots(optimizer, variables)] + tail


def shapes_of(optimizer: Optimizer, variables: Sequence[Variable]) -> list[tuple[int, ...]]:
    """Return the shapes of what `arrays_of` gives, for an optimizer that is built for variables."""
    optimizer.build(variables)
    shapes = [()] * (1 if optimizer.scheduled else 2) + [slot.shape for slot in _slots(optimizer, variables)]
    return shapes + ([()] if isinstance(optimizer, optimizers.Nadam) else [])


def set_arrays(optimizer: Optimizer, variables: Sequence[Variable], arrays: Sequence[Array]) -> None:
    """Let an optimizer that is built for variables go on from the arrays that `arrays_of` gave."""
    left = list(arrays)
    optimizer.iterations = int(left.pop(0))
    if left and not optimizer.scheduled:
        rate = left.pop(0)
        # A description has more digits.
        if np.float32(optimizer.learning_rate) != rate:
            optimizer.learning_rate = float(rate)
    if left:
        slots = _slots(optimizer, variables)
        assign_all(slots, left[: len(slots)])


def _slots(optimizer: Optimizer, variables: Sequence[Variable]) -> list[Variable]:
    """Return the slots in Keras's order."""
    slots = optimizer.slots_of(variables)
    names = list(slots[0]) if slots else []
    found = []
    while names:
        count = 2 if tuple(names[:2]) in _TOGETHER else 1
        found += [held[name] for held in slots for name in names[:count]]
        del names[:count]
    return found
