"""Functional models of Keras's descriptions: layers, and on which outputs of others each is called.

A layer's calls, its nodes, are counted; an output is named by its layer, the node and its number among the
node's outputs. Where a model says what its inputs and outputs are, nodes of a Functional model within it
count from 1. What computes masks stands among the layers, and is here taken for the masks that travel by
themselves, after a check that it is no other one.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.base import checks, limits
from fusedlstm.exchange.keras_nodes import Call, Source, ends_of, mapped, operation_of, read_call
from fusedlstm.layers import InputLayer
from fusedlstm.models.masks import Masks, Operation
from fusedlstm.models.model import Model

if TYPE_CHECKING:
    from fusedlstm.base.symbolic import KerasTensor
    from fusedlstm.exchange.keras_layers import Reader
    from fusedlstm.layers import Layer

_OPERATIONS = "keras.src.ops.numpy"


class _Node(NamedTuple):
    layer: Layer | Operation
    call: Call


def read_graph(config: dict[str, Any], where: str, reader: Reader) -> Model:
    """Make a model of a description's member ``config``.

    Parameters
    ----------
    config : dict
        As `describe_graph` makes it.
    where : str
        What messages call the model.
    reader : Reader
        Makes the layers.

    Raises
    ------
    ValueError
        If it is no such description, there is a cycle in it, or a layer, a node or an output is missing or
        does not fit what it is called on; the message names the layer.
    """
    layers: dict[str, Layer | Operation] = {}
    nodes: dict[tuple[str, int], _Node] = {}
    for number, item in enumerate(checks.member(config, "layers", list, where)):
        place = f"{where}: layer {number}"
        made: Layer | Operation
        if isinstance(item, dict) and item.get("module") == _OPERATIONS:
            made = operation_of(item, place)
            name = checks.member(item, "name", str, place)
        else:
            made = reader.layer(item, place)
            name = made.name
            if item.get("name", name) != name:
                raise ValueError(
                    f"{place}: name: expected {name!r} as in its config, got {item['name']!r:.80}"
                )
        if name in layers:
            raise ValueError(f"{where}: expected different names of layers, got {name!r:.80} twice")
        layers[name] = made
        place = f"layer {name!r:.80}"
        calls = checks.member(item, "inbound_nodes", list, place)
        if isinstance(made, InputLayer):
            if calls:
                raise ValueError(f"{place}: inbound_nodes: expected none for an input, got {len(calls)}")
            nodes[name, 0] = _Node(made, Call(place))
        for index, described in enumerate(calls):
            limits.claim_description(limits.OBJECT // 4, f"{place}: a call")
            nodes[name, index] = _Node(made, read_call(described, made, f"{place}: inbound_nodes[{index}]"))
    outputs = _called(nodes)
    inputs, ends = (
        mapped(config.get(which), ends_of(layers, which), lambda source: _found(outputs, source, where))
        for which in ("input_layers", "output_layers")
    )
    try:
        model = Model(inputs, ends, config.get("name"))
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
    model._trainable = checks.member({"trainable": True, **config}, "trainable", bool, where)
    return model


Outputs = dict[tuple[str, int], "tuple[KerasTensor, ...]"]


def _called(nodes: dict[tuple[str, int], _Node]) -> Outputs:
    """Call the layers, each node after those that it needs, and return what the nodes give."""
    order: TopologicalSorter[tuple[str, int]] = TopologicalSorter()
    for (name, index), (_, call) in nodes.items():
        needed = [(source.layer, source.node) for source in call.sources]
        for source in needed:
            if source not in nodes:
                raise ValueError(f"{call.where}: expected a node of the model, got {list(source)}")
        # Nodes of a layer are counted in the order in which it was called.
        order.add((name, index), *needed, *([(name, index - 1)] if index else []))
    outputs: Outputs = {}
    masks = Masks()
    try:
        for key in order.static_order():
            layer, call = nodes[key]
            outputs[key] = _outputs(layer, call, outputs, masks)
    except CycleError as error:
        names = sorted({name for name, _ in error.args[1]})
        raise ValueError(f"model: expected a graph without cycles, got one of the layers {names}") from error
    return outputs


def _outputs(layer: Layer | Operation, call: Call, outputs: Outputs, masks: Masks) -> tuple[KerasTensor, ...]:
    def found(source: Source) -> KerasTensor:
        return _found(outputs, source, call.where)

    if isinstance(layer, InputLayer):
        return (layer.tensor(),)
    if isinstance(layer, Operation):
        return (masks.operation(layer.name, [found(one) for one in call.sources], call.value),)
    if isinstance(call.x, dict):
        x: Any = {key: found(one) for key, one in call.x.items()}
    else:
        x = [found(one) for one in call.x]
    try:
        if isinstance(layer, Model):
            single = len(x) == 1 == len(layer.input_structure.names) and not isinstance(x, dict)
            x = x if single else layer.input_structure.flatten(x, "args")
        elif isinstance(x, dict):
            raise ValueError("args: expected a tensor or a list of them, got a dict")
        mask = _mask(x, [None if one is None else found(one) for one in call.masks], masks)
        node = layer.record(x, [found(one) for one in call.states], mask, call.training)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{call.where}: {error}") from error
    masks.note(node)
    return node.outputs


def _mask(x: list[KerasTensor], given: list[KerasTensor | None], masks: Masks) -> KerasTensor | None:
    """Return the mask of a call; None where it is what travels with the inputs."""
    own: KerasTensor | None = None
    for number, mask in enumerate(given):
        if mask is None:
            continue
        if isinstance(mask.node.layer, Operation):
            if number >= len(x) or masks.of(x[number]) is not mask:
                raise ValueError(
                    "mask: expected the one that travels with the input, got one that is computed"
                )
        elif len(given) == 1:
            own = mask
        else:
            raise ValueError(f"mask: expected one, got {len(given)}")
    return own


def _found(outputs: Outputs, source: Source, where: str) -> KerasTensor:
    made = outputs.get((source.layer, source.node), ())
    if source.tensor >= len(made):
        raise ValueError(f"{where}: expected an output among {len(made)} of a node, got {list(source)}")
    return made[source.tensor]
