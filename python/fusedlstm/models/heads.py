"""`Head`: an output of a model with what it is trained and measured by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusedlstm import losses, metrics
from fusedlstm.base import checks
from fusedlstm.base.names import different

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusedlstm.base.types import Array, Mask
    from fusedlstm.losses import Loss
    from fusedlstm.metrics import Mean, Metric
    from fusedlstm.models.structure import Structure


@dataclass
class Head:
    """An output's loss, with its weight in the sum of all, and its metrics.

    Attributes
    ----------
    name : str
        The output's name.
    loss : Loss or None
        None for an output that is not trained.
    weight : float or None
        Factor of the loss in the model's; None for 1.
    metrics, weighted : list of Metric
        Metrics of all samples alike, and those that sample weights weigh.
    mean : Mean or None
        Running mean of the loss, where a model has several.
    place : int
        That of the loss among all losses, whose order `evaluate` keeps: for a dict of outputs that of the
        dict of losses.
    """

    name: str
    loss: Loss | None = None
    weight: float | None = None
    metrics: list[Metric] = field(default_factory=list)
    weighted: list[Metric] = field(default_factory=list)
    mean: Mean | None = None
    place: int = 0

    def measure(self, y: Any, predictions: Array, mask: Mask | None, weights: Array | None) -> None:
        """Take a batch into the metrics."""
        for metric in self.metrics:
            metric.update_masked(y, predictions, mask)
        for metric in self.weighted:
            metric.update_masked(y, predictions, mask, weights)


def make_heads(
    structure: Structure, loss: Any, loss_weights: Any, given_metrics: Any, weighted_metrics: Any
) -> list[Head]:
    """Return the outputs' heads.

    Parameters
    ----------
    structure : Structure
        The outputs.
    loss, loss_weights, given_metrics, weighted_metrics
        As of `Model.compile`.

    Raises
    ------
    TypeError, ValueError
        If there are more or fewer than outputs, a name is unknown, or one occurs twice.
    """
    heads = [Head(name) for name in different(structure.names)]
    several = len(heads) > 1
    for head, one in zip(heads, _spread(structure, loss, "loss"), strict=True):
        head.loss = None if one is None else losses.get(one)
        if head.loss is not None and head.loss.reduction == "none":
            raise ValueError("loss: expected a reduction to one number, got reduction 'none'")
    by_name = structure.kind == "dict" and isinstance(loss, dict) and not _described(loss)
    order = list(loss) if by_name else []
    for number, head in enumerate(heads):
        head.place = order.index(head.name) if head.name in order else len(order) + number
    if loss_weights is not None:
        factors = _per_output(structure, loss_weights, "loss_weights")
        for head, factor in zip(heads, factors, strict=True):
            head.weight = None if factor is None else checks.number(factor, "loss_weights")
    for name, found in (("metrics", given_metrics), ("weighted_metrics", weighted_metrics)):
        for head, some in zip(heads, _metrics_of(structure, found, name), strict=True):
            setattr(head, "metrics" if name == "metrics" else "weighted", some)
    if several and sum(head.loss is not None for head in heads) > 1:
        for head in heads:
            if head.loss is not None:
                head.mean = metrics.Mean(f"{head.name}_loss")
    names = ["loss", *(name for name, _ in named(heads))]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
    return heads


def named(heads: Sequence[Head]) -> Iterator[tuple[str, Metric]]:
    """Yield what `evaluate` returns after the loss, in Keras's order, with its names in logs."""
    if len(heads) == 1:
        (head,) = heads
        taken = {metric.name for metric in head.metrics}
        yield from ((metric.name, metric) for metric in head.metrics)
        for metric in head.weighted:
            yield (f"weighted_{metric.name}" if metric.name in taken else metric.name), metric
        return
    yield from ((head.mean.name, head.mean) for head in by_place(heads) if head.mean is not None)
    rest = {f"{head.name}_{metric.name}": metric for head in heads for metric in head.metrics}
    for head in heads:
        for metric in head.weighted:
            name = f"{head.name}_{metric.name}"
            rest[f"{head.name}_weighted_{metric.name}" if name in rest else name] = metric
    if len(rest) < sum(len(head.metrics) + len(head.weighted) for head in heads):
        raise ValueError("metrics: expected different names for each output, got one twice")
    yield from sorted(rest.items())


def by_place(heads: Sequence[Head]) -> list[Head]:
    """Return heads in the order of their losses."""
    return sorted(heads, key=lambda head: head.place)


def _spread(structure: Structure, given: Any, name: str) -> list[Any]:
    """Return one thing for each output: the same for all, where it is one."""
    if isinstance(given, list | tuple | dict) and not _described(given):
        return _per_output(structure, given, name)
    return [given] * len(structure.names)


def _described(given: Any) -> bool:
    """Tell whether a dict describes an object."""
    return isinstance(given, dict) and "class_name" in given


def _per_output(structure: Structure, given: Any, name: str) -> list[Any]:
    """Return the things of a list or dict by output; of one output, also a thing alone."""
    if isinstance(given, list | tuple) and structure.kind != "list":
        if len(given) != len(structure.names):
            raise ValueError(
                f"{name}: expected {len(structure.names)}, for {list(structure.names)}, got {len(given)}"
            )
        return list(given)
    return structure.flatten(given, name, optional=True)


def _metrics_of(structure: Structure, given: Any, name: str) -> list[list[Metric]]:
    count = len(structure.names)
    if count == 1 and not (isinstance(given, dict) and not _described(given)):
        return [_metric_list(given, name)]
    if given is None or given == []:
        return [[] for _ in range(count)]
    if not isinstance(given, list | tuple | dict) or _described(given):
        raise ValueError(
            f"{name}: expected a list or dict with the metrics of each of {list(structure.names)}, "
            f"got {given!r:.80}"
        )
    return [_metric_list(one, name) for one in _per_output(structure, given, name)]


def _metric_list(given: Any, name: str) -> list[Metric]:
    items = [] if given is None else list(given) if isinstance(given, tuple | list) else [given]
    return [metrics.get(item, name) for item in items]
