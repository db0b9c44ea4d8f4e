"""Keras's descriptions of models that are graphs, as `read_graph` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.exchange.keras_nodes import TENSOR, Source
from fusedlstm.layers import InputLayer
from fusedlstm.models.graph import all_shapes
from fusedlstm.models.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.exchange.keras_layers import Writer
    from fusedlstm.layers import Layer
    from fusedlstm.models.graph import Call


def describe_graph(model: Model, writer: Writer) -> dict[str, Any]:
    """Describe a model as `read_graph` takes it."""
    graph, inputs = model.graph, model.input_shapes
    assert graph is not None
    assert inputs is not None
    shapes = all_shapes(graph, inputs)
    ids = dict(zip(graph.inputs, model.plan.ids, strict=True))
    sources: dict[int, Source] = {}
    kinds: dict[int, str] = {}

    def tensor(number: int) -> dict[str, Any]:
        config = {
            "shape": list(shapes[number]),
            "dtype": kinds[number],
            "keras_history": list(sources[number]),
        }
        return {"class_name": TENSOR, "config": config}

    items = [writer.layer(layer) for layer in graph.layers]
    for item, layer in zip(items, graph.layers, strict=True):
        item.update(name=layer.name, inbound_nodes=[])
    for call in graph.calls:
        layer, item = graph.layers[call.layer], items[call.layer]
        kind = layer.dtype_policy.compute_dtype
        if isinstance(layer, InputLayer):
            kind = layer.kind or (model.dtype if ids[call.targets[0]] is None else "int32")
            item["config"] = {**item["config"], "dtype": kind}
        else:
            item["inbound_nodes"].append(_described_call(call, layer, tensor))
        for index, number in enumerate(call.targets):
            node = max(0, len(item["inbound_nodes"]) - 1)
            sources[number], kinds[number] = Source(layer.name, node, index), kind
    models = {layer.name for layer in graph.layers if type(layer) is Model}

    def end(number: int) -> list[Any]:
        name, node, index = sources[number]
        return [name, node + (name in models), index]

    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": items,
        "input_layers": model.input_structure.whole([end(number) for number in graph.inputs]),
        "output_layers": model.output_structure.whole([end(number) for number in graph.outputs]),
    }


def _described_call(call: Call, layer: Layer, tensor: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    x: Any = [tensor(number) for number in call.sources]
    if isinstance(layer, Model):
        x = layer.input_structure.whole(x)
    elif not call.listed:
        (x,) = x
    more: dict[str, Any] = {}
    if call.states:
        more["initial_state"] = [tensor(number) for number in call.states]
    if call.mask is not None:
        more["mask"] = tensor(call.mask)
    if call.training:
        more["training"] = True
    return {"args": [x], "kwargs": more}
