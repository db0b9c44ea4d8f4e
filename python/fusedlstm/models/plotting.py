"""Pictures of models: boxes of layers, and arrows between them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.io.atomic import check_target, write_file
from fusedlstm.io.endings import PICTURES, check_ending
from fusedlstm.layers.base import Layer
from fusedlstm.models.picture import POINTS, Box, Drawing, by_matplotlib

if TYPE_CHECKING:
    import os

    from fusedlstm.models.graph import Graph
    from fusedlstm.models.model import Model

_DIRECTIONS = ("TB", "BT", "LR", "RL")
_INPUT, _MODEL, _LAYER = "#DCE9F5", "#F5E6D3", "#FFFFFF"


def plot_model(
    model: Model,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> None:
    """Write a picture; see `fusedlstm.utils.plot_model`."""
    checks.choice(rankdir, "rankdir", _DIRECTIONS)
    dots = checks.positive_int(dpi, "dpi")
    check_ending(to_file, PICTURES, "to_file")
    check_target(to_file)
    if not isinstance(model, Layer) or not hasattr(model, "graph"):
        raise TypeError(f"model: expected a model, got {type(model).__name__}")
    if model.graph is None:
        raise ValueError("model: expected a built model, its input shape is not known yet")
    drawing = drawing_of(
        model,
        shapes=checks.flag(show_shapes, "show_shapes"),
        kinds=checks.flag(show_dtype, "show_dtype"),
        names=checks.flag(show_layer_names, "show_layer_names"),
        activations=checks.flag(show_layer_activations, "show_layer_activations"),
        trainable=checks.flag(show_trainable, "show_trainable"),
        nested=checks.flag(expand_nested, "expand_nested"),
    )
    picture = by_graphviz(drawing, rankdir, dots) or by_matplotlib(drawing, rankdir, dots)
    write_file(to_file, [picture])


def drawing_of(
    model: Model, *, shapes: bool, kinds: bool, names: bool, activations: bool, trainable: bool, nested: bool
) -> Drawing:
    """Return boxes and arrows of a model, those of models inside of it among them if they are `nested`."""
    drawing = Drawing()
    known: dict[tuple[int, str], tuple[list[int], list[int]]] = {}

    def text(layer: Layer, given: list[Any], found: list[Any]) -> list[str]:
        kind = type(layer).__name__
        lines = [f"{layer.name} ({kind})" if names else kind]
        if shapes:
            lines += [f"in: {_shown(given)}"] if given else []
            lines.append(f"out: {_shown(found)}")
        if kinds:
            lines.append(getattr(layer, "kind", None) or layer.dtype)
        activation = getattr(layer, "activation", None)
        if activations and activation is not None:
            lines.append(activation if isinstance(activation, str) else activation.__name__)
        if trainable and layer.weights:
            lines.append("trainable" if layer.trainable_weights else "frozen")
        return lines

    def drawn(owner: Any, groups: tuple[str, ...]) -> tuple[list[int], list[int]]:
        """Draw a model's layers, and return the boxes of its inputs and of what gives its outputs."""
        graph: Graph = owner.graph
        sizes = _shapes(owner)
        places: dict[int, int] = {}
        for call in graph.calls:
            layer: Any = graph.layers[call.layer]
            key = id(layer), "/".join(groups)
            if key not in known:
                if nested and getattr(layer, "graph", None) is not None:
                    known[key] = drawn(layer, (*groups, layer.name))
                else:
                    given = [sizes[number] for number in call.parents]
                    found = [sizes[number] for number in call.targets]
                    colour = _INPUT if not call.sources else _MODEL if hasattr(layer, "graph") else _LAYER
                    number = len(drawing.boxes)
                    drawing.boxes.append(Box(text(layer, given, found), colour, groups))
                    known[key] = [number], [number]
            starts, ends = known[key]
            for number, parent in enumerate(call.parents):
                edge = places[parent], starts[min(number, len(starts) - 1)]
                if edge not in drawing.edges:
                    drawing.edges.append(edge)
            for number, target in enumerate(call.targets):
                places[target] = ends[min(number, len(ends) - 1)]
        return [places[number] for number in graph.inputs], [places[number] for number in graph.outputs]

    drawn(model, ())
    return drawing


def _shapes(model: Any) -> dict[int, Any]:
    """Return the shapes of all tensors of a model's graph."""
    graph: Graph = model.graph
    known: dict[int, Any] = dict(zip(graph.inputs, model.input_shapes, strict=True))
    for call in graph.calls:
        layer = graph.layers[call.layer]
        if call.sources:
            given = [known[number] for number in call.sources]
            found = layer.output_shapes(given if call.listed else given[0])
            known.update(zip(call.targets, found, strict=True))
    return known


def _shown(shapes: list[Any]) -> str:
    return ", ".join(map(str, shapes))


def by_graphviz(drawing: Drawing, rankdir: str, dpi: int) -> bytes | None:
    """Return the picture that Graphviz's program ``dot`` makes; None if there is none."""
    program = shutil.which("dot")
    if program is None:
        return None
    text = dot_text(drawing, rankdir, dpi).encode()
    done = subprocess.run([program, "-Tpng"], input=text, capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"dot: expected a picture, got status {done.returncode}: {done.stderr.decode()[:200]}")
    return done.stdout


def dot_text(drawing: Drawing, rankdir: str, dpi: int) -> str:
    """Return the drawing in Graphviz's language."""
    lines = [f"digraph model {{ rankdir={rankdir}; dpi={dpi};"]
    lines.append(f'node [shape=box, style="filled", fontname=Helvetica, fontsize={POINTS}];')

    def inside(groups: tuple[str, ...]) -> None:
        for number, box in enumerate(drawing.boxes):
            if box.groups == groups:
                label = "\\n".join(map(_escaped, box.lines))
                lines.append(f'n{number} [label="{label}", fillcolor="{box.colour}"];')
        deeper = {
            box.groups[: len(groups) + 1]
            for box in drawing.boxes
            if box.groups[: len(groups)] == groups and len(box.groups) > len(groups)
        }
        for one in sorted(deeper):
            lines.append(f'subgraph "cluster_{_escaped("/".join(one))}" {{ label="{_escaped(one[-1])}";')
            inside(one)
            lines.append("}")

    inside(())
    lines += [f"n{one} -> n{two};" for one, two in drawing.edges]
    return "\n".join([*lines, "}"])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
