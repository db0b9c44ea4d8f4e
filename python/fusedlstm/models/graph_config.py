"""JSON-able descriptions of graphs, and the symbolic tensors that they describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import layers
from fusedlstm.base import checks
from fusedlstm.layers.core import InputLayer
from fusedlstm.models.structure import Structure

if TYPE_CHECKING:
    from fusedlstm.base.symbolic import KerasTensor
    from fusedlstm.models.graph import Call, Graph


def describe_graph(graph: Graph, inputs: Structure, outputs: Structure) -> dict[str, Any]:
    """Return layers, calls and ends of a graph as `graph_ends` reads them."""
    return {
        "layers": [layers.serialize(layer) for layer in graph.layers],
        "calls": [_call(call) for call in graph.calls],
        "inputs": {"kind": inputs.kind, "names": list(inputs.names), "tensors": list(graph.inputs)},
        "outputs": {"kind": outputs.kind, "names": list(outputs.names), "tensors": list(graph.outputs)},
    }


def _call(call: Call) -> dict[str, Any]:
    described: dict[str, Any] = {
        "layer": call.layer,
        "sources": list(call.sources),
        "states": list(call.states),
        "mask": call.mask,
        "training": call.training,
    }
    return described


def graph_ends(config: dict[str, Any]) -> tuple[Any, Any]:
    """Return the symbolic inputs and outputs of a described graph, in their structures.

    Raises
    ------
    ValueError
        If it is no such description, or layers, shapes or tensors in it do not fit each other.
    """
    made = [_layer(item) for item in checks.member(config, "layers", list, "model")]
    known: list[KerasTensor] = []
    for number, call in enumerate(checks.member(config, "calls", list, "model")):
        where = f"call {number}"
        layer = made[_number(checks.member(call, "layer", int, where), len(made), where)]
        sources = _tensors(checks.member(call, "sources", list, where), known, where)
        states = _tensors(checks.member(call, "states", list, where), known, where)
        mask = call.get("mask")
        real = None if mask is None else _tensors([mask], known, where)[0]
        training = checks.member(call, "training", bool, where)
        if isinstance(layer, InputLayer) != (not sources):
            raise ValueError(f"{where}: expected inputs for {layer.name}, got {len(sources)}")
        if isinstance(layer, InputLayer):
            known.append(layer.tensor())
        else:
            known += layer.record(sources, states, real, training).outputs
    return _end(config, "inputs", known), _end(config, "outputs", known)


def _layer(item: Any) -> Any:
    if isinstance(item, dict) and item.get("class_name") == "InputLayer":
        try:
            return InputLayer.from_config(checks.member(item, "config", dict, "InputLayer"))
        except TypeError as error:
            raise ValueError(f"InputLayer: {error}") from error
    return layers.deserialize(item)


def _number(value: int, count: int, where: str) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise ValueError(f"{where}: expected a number below {count}, got {value!r:.80}")
    return value


def _tensors(numbers: list[Any], known: list[KerasTensor], where: str) -> list[KerasTensor]:
    return [known[_number(number, len(known), where)] for number in numbers]


def _end(config: dict[str, Any], which: str, known: list[KerasTensor]) -> Any:
    end = checks.member(config, which, dict, "model")
    found = _tensors(checks.member(end, "tensors", list, which), known, which)
    kind = checks.choice(checks.member(end, "kind", str, which), f"{which}: kind", ("one", "list", "dict"))
    names = checks.member(end, "names", list, which)
    if len(names) != len(found) or not found or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{which}: expected a name for each of {len(found)} tensors, got {names!r:.80}")
    return Structure(kind, tuple(names)).whole(found)
