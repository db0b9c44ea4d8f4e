"""What a layer is called on, in Keras's descriptions of Functional models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.base import checks
from fusedlstm.layers.recurrent import Recurrent
from fusedlstm.models.masks import Operation
from fusedlstm.models.model import Model
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fusedlstm.layers import Layer

TENSOR = "__keras_tensor__"
# Arguments of recurrent layers that may be given by their place, the first one being the input.
_PLACES = ("initial_state", "mask", "training")
# The operations that masks are computed with, and their arguments.
_OPERATIONS: Mapping[str, Mapping[str, object]] = {
    "Any": {"axis": -1, "keepdims": False},
    "Concatenate": {},
    "ExpandDims": {"axis": -1},
    "LogicalOr": {},
    "NotEqual": {},
    "OnesLike": {"dtype": "bool"},
    "ZerosLike": {"dtype": "bool"},
}


class Source(NamedTuple):
    """An output of a node."""

    layer: str
    node: int
    tensor: int


class Call(NamedTuple):
    """What a layer or an operation is called on: outputs of nodes, those of the input in a list or dict."""

    where: str
    x: Any = ()
    states: tuple[Source, ...] = ()
    masks: tuple[Source | None, ...] = ()
    training: bool = False
    value: float | None = None

    @property
    def sources(self) -> list[Source]:
        """All that the call needs."""
        x = self.x.values() if isinstance(self.x, dict) else self.x
        return [*x, *self.states, *(mask for mask in self.masks if mask is not None)]


def operation_of(item: dict[str, Any], where: str) -> Operation:
    """Return the operation that stands among a model's layers; `ValueError` if masks need no such one."""
    name = checks.choice(checks.member(item, "class_name", str, where), f"{where}: class_name", _OPERATIONS)
    config = checks.member(item, "config", dict, where)
    made = Operation(name)
    for key, value in config.items():
        if name == "Concatenate" and key == "axis" and type(value) is int:
            made.axis = value
        elif key != "name" and (key not in _OPERATIONS[name] or value != _OPERATIONS[name][key]):
            raise ValueError(
                f"{where} ({name}): {key}: expected {dict(_OPERATIONS[name])}, got {value!r:.80}"
            )
    return made


def read_call(call: Any, layer: Layer | Operation, where: str) -> Call:
    """Return what a node of a layer or of an operation is called on; `ValueError` if it is none."""
    args = checks.member(call, "args", list, where)
    given = dict(checks.member(call, "kwargs", dict, where))
    if isinstance(layer, Operation):
        return _of_operation(args, given, layer, where)
    more = _PLACES if isinstance(layer, Recurrent) else ()
    allowed = more or _PLACES[1:]
    if not 1 <= len(args) <= 1 + len(more):
        raise ValueError(f"{where}: args: expected the input, got {len(args)} arguments")
    for name, value in zip(more, args[1:], strict=False):
        if name in given:
            raise ValueError(f"{where}: {name}: expected it once, got it twice")
        given[name] = value
    for name in given:
        if name not in allowed:
            raise ValueError(f"{where}: expected the arguments {list(allowed)}, got {name!r:.80}")
    training = given.get("training")
    if training is not None and type(training) is not bool:
        raise ValueError(f"{where}: training: expected true, false or null, got {training!r:.80}")
    x = mapped(args[0], _tensors(f"{where}: args"))
    states = _listed(given.get("initial_state"), _tensors(f"{where}: initial_state"))
    masks = _listed(given.get("mask"), _tensors(f"{where}: mask"), optional=True)
    return Call(where, [x] if isinstance(x, Source) else x, states, masks, training is True)


def _of_operation(args: list[Any], given: dict[str, Any], layer: Operation, where: str) -> Call:
    value: float | None = layer.axis
    if layer.name == "NotEqual" and len(args) == 2:
        value = checks.real(args.pop(), f"{where}: args")
    wanted = 2 if layer.name == "LogicalOr" else 1
    if given or len(args) != wanted:
        raise ValueError(f"{where}: args: expected {wanted}, got {len(args)} and {sorted(given)}")
    return Call(where, _listed(args[0] if wanted == 1 else args, _tensors(f"{where}: args")), value=value)


def _listed(given: Any, read: Callable[[Any], Any], optional: bool = False) -> tuple[Any, ...]:
    if given is None:
        return ()
    found = mapped(given, lambda value: _NONE if optional and value is None else read(value))
    items = found.values() if isinstance(found, dict) else found if type(found) is list else [found]
    return tuple(None if one is _NONE else one for one in items)


_NONE = object()


def _tensors(where: str) -> Callable[[Any], Source | None]:
    """Return what reads an argument's tensors, and gives None for lists and dicts of them."""

    def read(value: Any) -> Source | None:
        if isinstance(value, dict) and value.get("class_name") == TENSOR:
            config = checks.member(value, "config", dict, where)
            return _checked(config.get("keras_history"), 0, f"{where}: keras_history")
        if not isinstance(value, list | dict):
            raise ValueError(f"{where}: expected outputs of layers, got {value!r:.80}")
        return None

    return read


def ends_of(layers: Mapping[str, object], where: str) -> Callable[[Any], Source | None]:
    """Return what reads inputs or outputs of a model, and gives None for lists and dicts of them."""

    def read(value: Any) -> Source | None:
        if isinstance(value, list) and value and isinstance(value[0], str):
            layer = layers.get(value[0])
            first = isinstance(layer, Model) and not isinstance(layer, Sequential)
            return _checked(value, int(first), where)
        if not isinstance(value, list | dict):
            raise ValueError(f"{where}: expected lists of a layer and two numbers, got {value!r:.80}")
        return None

    return read


def _checked(value: Any, first: int, where: str) -> Source:
    good = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
    if not good or any(type(number) is not int for number in value[1:]):
        raise ValueError(f"{where}: expected a layer's name and two numbers, got {value!r:.80}")
    if value[1] < first or value[2] < 0:
        raise ValueError(f"{where}: expected numbers of at least {first} and 0, got {value!r:.80}")
    return Source(value[0], value[1] - first, value[2])


def mapped(value: Any, read: Callable[[Any], Any], change: Callable[[Any], Any] = lambda one: one) -> Any:
    """Return what a list or dict holds, or one thing, as it was read and changed.

    Parameters
    ----------
    value : object
        The description.
    read : callable
        Returns None for lists and dicts, which may not be within others.
    change : callable
        Changes what was read.
    """
    leaf = read(value)
    if leaf is not None:
        return change(leaf)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = {}
    for key, item in items:
        one = read(item)
        if one is None or (isinstance(value, dict) and not isinstance(key, str)):
            raise ValueError(f"model: expected tensors in one list or dict, got {item!r:.80} at {key!r:.80}")
        found[key] = change(one)
    return found if isinstance(value, dict) else list(found.values())
