"""The table that `summary` prints."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusedlstm.base.types import Shape
    from fusedlstm.models.batching import BatchTrainer
    from fusedlstm.models.graph import Graph


def summary(model: BatchTrainer, *, nested: bool = False, trainable: bool = False) -> str:
    """Return a table of a model's layers; with connections, unless it is a chain."""
    heads = ["Layer (type)", "Output shape", "Params", "Trainable", "Connected to"]
    rows = [heads, *_rows(model, nested, "")]
    chains = is_chain(model) and (
        not nested or all(is_chain(layer) for layer in model.layers if hasattr(layer, "graph"))
    )
    left_out = {"" if trainable else "Trainable", "Connected to" if chains else ""}
    kept = [number for number, head in enumerate(heads) if head not in left_out]
    rows = [[row[number] for number in kept] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            f"{text:>{width}}" if column == 2 else f"{text:<{width}}"
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    total = model.count_params()
    trained = sum(variable.size for variable in model.trainable_weights)
    return "\n".join(
        [
            f'Model: "{model.name}"',
            rule,
            lines[0],
            rule,
            *lines[1:],
            rule,
            f"Total params: {total:,}",
            f"Trainable params: {trained:,}",
            f"Non-trainable params: {total - trained:,}",
        ]
    )


def _rows(model: Any, nested: bool, indent: str) -> list[list[str]]:
    """Return the lines of a model's layers, and of those in models inside of it."""
    shapes, sources = connections(model)
    rows = []
    for layer in model.layers:
        shape = shapes.get(id(layer))
        rows.append(
            [
                f"{indent}{layer.name} ({type(layer).__name__})",
                "?" if shape is None else str(shape[0] if len(shape) == 1 else shape),
                f"{layer.count_params():,}" if layer.built else "not built",
                "-" if not layer.weights else "Y" if layer.trainable_weights else "N",
                ", ".join(sources.get(id(layer), [])) or "-",
            ]
        )
        if nested and hasattr(layer, "graph"):
            rows += _rows(layer, nested, f"{indent}  ")
    return rows


def is_chain(model: Any) -> bool:
    """Tell whether each layer takes what the one before it gives, and nothing else is called."""
    graph = model.graph
    if graph is None:
        return True
    calls = graph.calls
    return len(calls) == len(graph.layers) and all(
        call.sources == before.targets and len(call.targets) == 1 and not call.states and call.mask is None
        for before, call in pairwise(calls)
    )


def connections(model: BatchTrainer) -> tuple[dict[int, list[Shape]], dict[int, list[str]]]:
    """Return, by a layer's id, the shapes of its first call's outputs, and what all of its calls take."""
    graph = model.graph
    if graph is None or model.input_shapes is None:
        return _unbuilt(model), {}
    known: dict[int, Any] = dict(zip(graph.inputs, model.input_shapes, strict=True))
    shapes: dict[int, list[Shape]] = {}
    sources: dict[int, list[str]] = {}
    names = tensor_names(graph)
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if call.sources:
            given = [known[number] for number in call.sources]
            found = layer.output_shapes(given if call.listed else given[0])
            known.update(zip(call.targets, found, strict=True))
        shapes.setdefault(id(layer), [known[number] for number in call.targets])
        sources.setdefault(id(layer), []).extend(names[number] for number in call.parents)
    return shapes, sources


def tensor_names(graph: Graph) -> dict[int, str]:
    """Return names of tensors: their layer's, with the numbers of call and output where there are several."""
    seen: dict[int, int] = {}
    names = {}
    for call in graph.calls:
        count = seen.get(call.layer, 0)
        seen[call.layer] = count + 1
        for index, number in enumerate(call.targets):
            name = graph.layers[call.layer].name
            names[number] = f"{name}[{count}][{index}]"
    return names


def _unbuilt(model: BatchTrainer) -> dict[int, list[Shape]]:
    if model.input_shapes is None:
        return {}
    shape: Any = model.input_shapes[0]
    found = {}
    for layer in model.layers:
        shape = layer.compute_output_shape(shape)
        found[id(layer)] = [shape]
    return found
