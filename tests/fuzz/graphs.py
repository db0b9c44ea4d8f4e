"""Changes to ONNX graphs through the message classes, so that the file stays well formed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.fuzz.damage import damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["changed_fields", "changed_graph"]

_INTEGERS = (0, 1, -1, 2, 3, 7, 8, 11, 100, 2**20, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
_NUMBERS = (0.0, -1.0, 0.5, 1e-40, 1e38, np.inf, -np.inf, np.nan)
_NAMES = (
    "",
    "x",
    "X",
    "Y",
    "LSTM",
    "DynamicQuantizeLSTM",
    "Identity",
    "Concat",
    "Expand",
    "If",
    "ai.onnx",
    "com.microsoft",
    "\0",
    "../x",
    "reverse",
    "x" * 300,
)


def changed_fields(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Return a file with up to four fields, anywhere in it, replaced, removed or repeated."""
    del corpus
    model = _parsed(content)
    for _ in range(int(random.integers(1, 5))):
        places = _places(model)
        message, field = places[int(random.integers(len(places)))]
        _change(random, message, field)
    return bytes(model.SerializePartialToString())


def changed_graph(random: np.random.Generator, content: bytes, corpus: Sequence[bytes]) -> bytes:
    """Return a file with nodes removed, repeated, reordered, rewired or with other attributes."""
    from onnx import helper

    model = _parsed(content)
    nodes = model.graph.node
    for _ in range(int(random.integers(1, 4))):
        kind = int(random.integers(7))
        if not nodes:
            break
        node = nodes[int(random.integers(len(nodes)))]
        values = [name for one in nodes for name in (*one.input, *one.output)]
        values += [one.name for one in model.graph.initializer]
        value = values[int(random.integers(len(values)))] if values else ""
        if kind == 0:
            nodes.remove(node)
        elif kind == 1:
            order = random.permutation(len(nodes))
            copies = [_copied(nodes[int(number)]) for number in order]
            del nodes[:]
            nodes.extend(copies)
        elif kind == 2 and node.input:
            node.input[int(random.integers(len(node.input)))] = value
        elif kind == 3 and node.output:
            node.output[int(random.integers(len(node.output)))] = value
        elif kind == 4 and node.attribute:
            attribute = node.attribute[int(random.integers(len(node.attribute)))]
            old, name = helper.get_attribute_value(attribute), attribute.name
            node.attribute.remove(attribute)
            node.attribute.append(helper.make_attribute(name, _other(random, old)))
        elif kind == 5:
            other = _parsed(corpus[int(random.integers(len(corpus)))])
            if other.graph.node:
                nodes.insert(
                    int(random.integers(len(nodes) + 1)),
                    other.graph.node[int(random.integers(len(other.graph.node)))],
                )
        else:
            operators = [one.op_type for one in _parsed(corpus[int(random.integers(len(corpus)))]).graph.node]
            node.op_type = operators[int(random.integers(len(operators)))] if operators else "Identity"
    return bytes(model.SerializePartialToString())


def _parsed(content: bytes) -> Any:
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(content)
    return model


def _copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _other(random: np.random.Generator, old: Any) -> Any:
    choices: tuple[Any, ...] = (
        _INTEGERS[int(random.integers(len(_INTEGERS)))],
        _NUMBERS[int(random.integers(len(_NUMBERS)))],
        _NAMES[int(random.integers(len(_NAMES)))],
        [_INTEGERS[int(n)] for n in random.integers(len(_INTEGERS), size=int(random.integers(1, 5)))],
        [1.0, -2.0],
        ["a", "b"],
    )
    if isinstance(old, int) and random.random() < 0.6:
        return choices[0]
    return choices[int(random.integers(len(choices)))]


def _places(message: Any) -> list[tuple[Any, Any]]:
    """Return all pairs of a message and one of its fields that is set."""
    result = []
    left = [message]
    while left:
        one = left.pop()
        for field, value in one.ListFields():
            result.append((one, field))
            if field.type == field.TYPE_MESSAGE:
                left += list(value) if field.is_repeated else [value]
    return result


def _change(random: np.random.Generator, message: Any, field: Any) -> None:
    name = field.name
    value = getattr(message, name)
    kind = random.random()
    if kind < 0.2:
        message.ClearField(name)
    elif field.is_repeated:
        items = list(value)
        number = int(random.integers(len(items)))
        if kind < 0.4 or field.type == field.TYPE_MESSAGE:
            items = (
                items[:number] + items[number : number + 1] * int(random.integers(0, 4)) + items[number + 1 :]
            )
        else:
            items[number] = _scalar(random, field, items[number])
        items = [_copied(item) if field.type == field.TYPE_MESSAGE else item for item in items]
        message.ClearField(name)
        getattr(message, name).extend(items)
    elif field.type == field.TYPE_MESSAGE:
        message.ClearField(name)
        getattr(message, name).SetInParent()
    else:
        setattr(message, name, _scalar(random, field, value))


def _scalar(random: np.random.Generator, field: Any, value: Any) -> Any:
    if field.type == field.TYPE_BYTES:
        return damaged(random, value, [value])
    if field.type == field.TYPE_STRING:
        return _NAMES[int(random.integers(len(_NAMES)))]
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return _NUMBERS[int(random.integers(len(_NUMBERS)))]
    if field.type == field.TYPE_ENUM:
        numbers = [one.number for one in field.enum_type.values]
        return numbers[int(random.integers(len(numbers)))]
    number = _INTEGERS[int(random.integers(len(_INTEGERS)))]
    limits = {field.TYPE_INT32: 2**31, field.TYPE_UINT64: 2**64}
    limit = limits.get(field.type, 2**63)
    return abs(number) % limit if field.type == field.TYPE_UINT64 else max(-limit, min(limit - 1, number))
