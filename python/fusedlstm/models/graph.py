"""`Graph`: which layer is called on what, found from symbolic tensors, and the `Plan` by which it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fusedlstm.base import limits
from fusedlstm.base.symbolic import KerasTensor, Node
from fusedlstm.layers.core import InputLayer
from fusedlstm.models.masks import Masks, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusedlstm.base.types import Shape
    from fusedlstm.layers import Layer


class Call(NamedTuple):
    """A call of a layer: numbers of the tensors that it takes and gives. That of an input takes none."""

    layer: int  # its number in the graph
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    states: tuple[int, ...] = ()
    listed: bool = False
    mask: int | None = None
    training: bool = False

    @property
    def parents(self) -> tuple[int, ...]:
        """All tensors that the call takes."""
        return (*self.sources, *self.states, *(() if self.mask is None else (self.mask,)))


@dataclass(frozen=True)
class Graph:
    """Layers, and their calls in an order in which each has what it takes.

    It is flat, so that a copy or a pickle of it does not go as deep as the model. Layers are in Keras's
    order, which is that of the weights: by the longest way to an output, then as the outputs lead to them.
    """

    layers: list[Layer]
    calls: list[Call]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def replay(self) -> tuple[list[KerasTensor], list[KerasTensor]]:
        """Call the layers on symbolic tensors again, and return those of inputs and outputs."""
        made: dict[int, KerasTensor] = {}
        for call in self.calls:
            layer = self.layers[call.layer]
            if not call.sources:
                assert isinstance(layer, InputLayer)
                made[call.targets[0]] = layer.tensor()
                continue
            x = [made[number] for number in call.sources]
            states = [made[number] for number in call.states]
            node = layer.record(x, states, None if call.mask is None else made[call.mask], call.training)
            made.update(zip(call.targets, node.outputs, strict=True))
        return [made[number] for number in self.inputs], [made[number] for number in self.outputs]


def trace(inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> Graph:
    """Find the graph between symbolic tensors.

    Raises
    ------
    ValueError
        If an output hangs on an input that is not among these, one of these is there twice, or two layers
        have the same name.
    """
    for number, tensor in enumerate(inputs):
        if tensor in inputs[:number]:
            raise ValueError(f"inputs: expected different tensors, got {tensor.name} twice")
    # An inner tensor that is taken for an input gets a layer of its own.
    starts = {tensor: tensor.node for tensor in inputs}
    for tensor, node in starts.items():
        if not isinstance(node.layer, InputLayer):
            layer = InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype)
            starts[tensor] = Node(layer, (), [tensor.shape], dtype=tensor.dtype)
    order, first = _ordered(starts, outputs, {})
    masks = Masks()
    more = {}
    for node in order:
        if used := masks.used(node):
            more[node] = used
        masks.note(node)
    if more:
        # In Keras what computes masks stands in the graph, and so in the order of the layers.
        order, first = _ordered(starts, outputs, more)
    depths = _depths(starts, order, more)
    order = [node for node in order if not isinstance(node.layer, Operation)]
    for node in starts.values():
        if (
            node not in depths
        ):  # An input that no output hangs on comes first at its depth, which is the last.
            depths[node] = 0
            order.insert(0, node)
            first.setdefault(node.layer, -1)
    by_layer: dict[Layer, int] = {}
    for node, depth in depths.items():
        if not isinstance(node.layer, Operation):
            by_layer[node.layer] = max(depth, by_layer.get(node.layer, 0))
    layers = sorted(by_layer, key=lambda layer: (-by_layer[layer], first[layer]))
    _check_names(layers)
    numbers = {layer: number for number, layer in enumerate(layers)}
    known: dict[KerasTensor, int] = {}
    calls = []
    for node in order:
        base = len(known)
        known.update((tensor, base + index) for index, tensor in enumerate(node.outputs))
        calls.append(
            Call(
                numbers[node.layer],
                tuple(known[_start(starts, tensor)] for tensor in node.inputs),
                tuple(known[tensor] for tensor in node.outputs),
                tuple(known[_start(starts, tensor)] for tensor in node.states),
                node.listed,
                None if node.mask is None else known[_start(starts, node.mask)],
                node.training,
            )
        )
    ends = [tuple(known[_start(starts, tensor)] for tensor in some) for some in (inputs, outputs)]
    return Graph(layers, calls, *ends)


def _start(starts: dict[KerasTensor, Node], tensor: KerasTensor) -> KerasTensor:
    """Return the tensor of an input in place of the one that it was made from."""
    return starts[tensor].outputs[0] if tensor in starts and starts[tensor] is not tensor.node else tensor


def _ordered(
    starts: dict[KerasTensor, Node], outputs: Sequence[KerasTensor], more: dict[Node, tuple[KerasTensor, ...]]
) -> tuple[list[Node], dict[Layer, int]]:
    """Return nodes after those that they need, and the order in which outputs lead to their layers.

    A node may need ``more`` than it was called on.
    """
    order: list[Node] = []
    first: dict[Layer, int] = {}
    done: set[Node] = set()

    def entered(tensor: KerasTensor) -> tuple[Node, Iterator[KerasTensor]]:
        node = starts.get(tensor, tensor.node)
        if not node.inputs and node not in starts.values():
            raise ValueError(
                f"inputs: expected all that the outputs hang on, among which is {tensor.name}, got "
                f"{[one.name for one in starts]}"
            )
        first.setdefault(node.layer, len(first))
        return node, iter((*node.parents, *more.get(node, ())))

    for output in outputs:
        way = [] if starts.get(output, output.node) in done else [entered(output)]
        while way:
            node, parents = way[-1]
            for parent in parents:
                if starts.get(parent, parent.node) not in done:
                    way.append(entered(parent))
                    break
            else:
                way.pop()
                if node not in done:
                    done.add(node)
                    order.append(node)
    return order, first


def _depths(
    starts: dict[KerasTensor, Node], order: list[Node], more: dict[Node, tuple[KerasTensor, ...]]
) -> dict[Node, int]:
    """Return how far each node is from the outputs, which is at least as far as its layer was seen to be."""
    depths: dict[Node, int] = {}
    by_layer: dict[Layer, int] = {}
    for node in reversed(order):
        depth = max(depths.get(node, 0), by_layer.get(node.layer, 0))
        depths[node] = by_layer[node.layer] = depth
        for tensor in (*node.parents, *more.get(node, ())):
            parent = starts.get(tensor, tensor.node)
            depths[parent] = max(depth + 1, depths.get(parent, 0))
    return depths


def _check_names(layers: Sequence[Layer]) -> None:
    seen: set[str] = set()
    for layer in layers:
        if layer.name in seen:
            raise ValueError(f"layer: expected different names, got {layer.name!r} twice")
        seen.add(layer.name)


class Step:
    """A call of a layer that is no model, and where in a list of values it reads and writes.

    Attributes
    ----------
    layer : Layer
        The layer.
    source, sources : int, tuple of int
        Place of the only input, or -1 and those of a list.
    target, targets : int, tuple of int
        Place of the only output, or -1 and those of several.
    states : tuple of int
        Places of initial states.
    origins : tuple of int
        For each source and state the number of the step that gives it; -1 for the model's inputs.
    mask : int
        Place of the mask that the call was given, or -1.
    training : bool
        Whether the layer does in every pass what it does in training.
    plain : bool
        Whether it has one input and one output, and nothing else.
    """

    __slots__ = (
        "layer",
        "mask",
        "origins",
        "plain",
        "source",
        "sources",
        "states",
        "target",
        "targets",
        "training",
    )

    def __init__(self, layer: Layer, call: Call, places: dict[int, int], made: dict[int, int]) -> None:
        self.layer, self.training = layer, call.training
        self.sources = tuple(places[number] for number in call.sources)
        self.source = -1 if call.listed else self.sources[0]
        self.targets = tuple(places[number] for number in call.targets)
        self.target = self.targets[0] if len(self.targets) == 1 else -1
        self.states = tuple(places[number] for number in call.states)
        self.origins = tuple(made.get(number, -1) for number in (*call.sources, *call.states))
        self.mask = -1 if call.mask is None else places[call.mask]
        one = self.source >= 0 and self.target >= 0
        self.plain = one and not self.states and self.mask < 0 and not self.training


class Plan:
    """How a graph runs: the calls of all layers, those inside of models among them, one after the other.

    A value's place is taken by another one once nothing needs it any more, so that no pass keeps what it
    does not need. On the way back gradients lie in the same places.

    Attributes
    ----------
    steps : list of Step
        The calls.
    rows : list of tuple
        What a forward pass reads of each: number, layer, source, target (-1 for several), whether the layer
        takes masks, and the step itself where there is more to it.
    layers : list of Layer
        The layers that are called, each once.
    inputs, outputs : tuple of int
        Places of the model's inputs and outputs.
    size : int
        Number of places.
    origins : list of int
        For each step that of its only input; -1 for the model's.
    stateful : list of Layer
        The layers that may keep states, or have ones inside that may.
    every : int
        The set of all steps, as bits.
    after : list of int
        For each step the set of those that hang on it, itself among them, as bits.
    heads : list of (int or None)
        For each output the plain step that gives it to nobody else.
    ids : list of (int or None)
        For each input how many different ids it may hold; None for numbers.
    """

    def __init__(self, graph: Graph) -> None:
        flat, inputs, outputs = _inlined(graph)
        limits.claim_description(len(flat) ** 2 // 8, "calls of layers")  # for `after`
        self.layers = list({id(layer): layer for layer, _ in flat}.values())
        places, self.size = _places([call for _, call in flat], inputs, outputs)
        self.inputs = tuple(places[number] for number in inputs)
        self.outputs = tuple(places[number] for number in outputs)
        made = {number: step for step, (_, call) in enumerate(flat) for number in call.targets}
        self.steps = [Step(layer, call, places, made) for layer, call in flat]
        self.rows: list[tuple[int, Any, int, int, bool, Step | None]] = [
            (
                number,
                step.layer,
                step.source,
                step.target,
                step.layer.takes_mask,
                None if step.plain else step,
            )
            for number, step in enumerate(self.steps)
        ]
        self.origins = [step.origins[0] for step in self.steps]
        self.every = (1 << len(flat)) - 1
        self.stateful = [layer for layer in self.layers if hasattr(layer, "kept_batch") or layer._layers]
        self.after = [1 << number for number in range(len(flat))]
        for number in reversed(range(len(flat))):
            for parent in flat[number][1].parents:
                if parent in made:
                    self.after[made[parent]] |= self.after[number]
        uses = [parent for _, call in flat for parent in call.parents] + list(outputs)
        self.heads = [
            made[number]
            if number in made and uses.count(number) == 1 and self.steps[made[number]].plain
            else None
            for number in outputs
        ]
        self.ids = _ids(flat, inputs)


def _inlined(graph: Graph) -> tuple[list[tuple[Layer, Call]], list[int], list[int]]:
    """Return all calls of layers that are no models, by tensors that are counted anew, and both ends."""
    flat: list[tuple[Layer, Call]] = []
    count = 0

    def fresh() -> int:
        nonlocal count
        count += 1
        return count - 1

    def run(inner: Graph, given: Sequence[int], training: bool) -> list[int]:
        known = dict(zip(inner.inputs, given, strict=True))
        for call in inner.calls:
            if not call.sources:
                continue
            # Models within models may be a short text and very many calls.
            limits.claim_description(limits.OBJECT // 8, "a call of a layer")
            layer = inner.layers[call.layer]
            sources = tuple(known[number] for number in call.sources)
            part = getattr(layer, "graph", None)
            if part is not None:
                found = run(part, sources, training or call.training)
            else:
                found = [fresh() for _ in call.targets]
                moved = call._replace(
                    sources=sources,
                    targets=tuple(found),
                    states=tuple(known[number] for number in call.states),
                    mask=None if call.mask is None else known[call.mask],
                    training=training or call.training,
                )
                flat.append((layer, moved))
            known.update(zip(call.targets, found, strict=True))
        return [known[number] for number in inner.outputs]

    inputs = [fresh() for _ in graph.inputs]
    return flat, inputs, run(graph, inputs, False)


def _places(
    calls: Sequence[Call], inputs: Sequence[int], outputs: Sequence[int]
) -> tuple[dict[int, int], int]:
    """Give each tensor a place that no other one needs at the same time."""
    last = dict.fromkeys(inputs, -1)
    for number, call in enumerate(calls):
        last.update(dict.fromkeys((*call.targets, *call.parents), number))
    last.update(dict.fromkeys(outputs, len(calls)))
    ends: dict[int, list[int]] = {}
    for tensor, number in last.items():
        ends.setdefault(number, []).append(tensor)
    places: dict[int, int] = {}
    free: list[int] = []
    size = 0
    for number, targets in enumerate([tuple(inputs), *(call.targets for call in calls)], -1):
        # Values that a call reads for the last time make room for those that it writes.
        read = [tensor for tensor in ends.get(number, ()) if tensor not in targets]
        free += [places[tensor] for tensor in read]
        for tensor in targets:
            if not free:
                free.append(size)
                size += 1
            places[tensor] = free.pop()
        free += [places[tensor] for tensor in ends.get(number, ()) if tensor in targets]
    return places, size


def _ids(flat: Sequence[tuple[Layer, Call]], inputs: Sequence[int]) -> list[int | None]:
    """Return the smallest number of ids among the embeddings that each input reaches."""
    counts: dict[int, int] = {}
    for layer, call in reversed(flat):
        known = [counts[number] for number in call.targets if number in counts]
        limit = layer.ids if layer.ids is not None else min(known) if known else None
        if limit is not None:
            counts.update({number: min(limit, counts.get(number, limit)) for number in call.sources})
    for layer, call in flat:
        if layer.weights and layer.ids is None and any(number in counts for number in call.sources):
            raise ValueError(f"{layer.name}: expected numbers, got the ids that an Embedding takes too")
    return [counts.get(number) for number in inputs]


def all_shapes(graph: Graph, shapes: Sequence[Shape]) -> dict[int, Shape]:
    """Return the shapes of all tensors, by number, for inputs of these shapes.

    Raises
    ------
    ValueError
        If a layer cannot take its input.
    """
    known: dict[int, Any] = dict(zip(graph.inputs, shapes, strict=True))
    for call in graph.calls:
        if call.sources:
            limits.claim_description(limits.OBJECT // 8, "a call of a layer")  # see `_inlined`
            given = [known[number] for number in call.sources]
            layer = graph.layers[call.layer]
            found = layer.output_shapes(given if call.listed else given[0])
            known.update(zip(call.targets, found, strict=True))
    return known


def masks_among(plan: Plan) -> set[int | None]:
    """Return the numbers of the inputs that calls were handed as masks, and None."""
    held = {place: number for number, place in enumerate(plan.inputs)}
    found = set()
    for step in plan.steps:
        found.add(held.get(step.mask))
        for place in step.targets:
            held.pop(place, None)
    return found


def shapes_of(graph: Graph, shapes: Sequence[Shape]) -> list[Shape]:
    """Return the shapes of the outputs; parameters and errors as of `all_shapes`."""
    known = all_shapes(graph, shapes)
    return [known[number] for number in graph.outputs]
