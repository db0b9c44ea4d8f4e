"""What a backup holds of a model: all that changes while it is trained, without what the script makes again.

The arrays are ``weights/<path>``, ``optimizer/<path>`` and ``states/<number>/h`` and ``/c``, as in a saved
model's file. Everything else is one value, for `fusedlstm.io.values`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base.variable import unique_paths
from fusedlstm.base.versions import of_one_version
from fusedlstm.layers.stateful import stateful_layers
from fusedlstm.models.saving import part, seed_state
from fusedlstm.models.states import get_flags, get_states, set_flags, set_states

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from fusedlstm.metrics import Metric
    from fusedlstm.optimizers.base import Optimizer

_WEIGHTS, _OPTIMIZER, _STATES = "weights/", "optimizer/", "states/"


@of_one_version
def state_of(model: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return copies of a compiled model's arrays, and the rest of what its training changes."""
    optimizer: Optimizer = model.optimizer
    names, slots = unique_paths(model.weights), optimizer.get_state()
    arrays = {_WEIGHTS + name: w.numpy() for name, w in zip(names, model.weights, strict=True)}
    arrays |= {_OPTIMIZER + name: value for name, value in slots.items()}
    arrays |= {_STATES + name: state for name, state in get_states(model).items()}
    return arrays, {
        # Files sort their arrays by names, and the model that goes on may have others: places count.
        "weights": names,
        "slots": list(slots),
        "learning_rate": None if optimizer.scheduled else float(optimizer.learning_rate),
        "trainable": get_flags(model),
        "seeds": [list(seeds.state) for seeds in model.seed_generators],
        "metrics": [metric.get_state() for metric in _running(model)],
        "stop_training": bool(model.stop_training),
    }


def put_back(model: Any, arrays: Mapping[str, NDArray[Any]], state: dict[str, Any]) -> None:
    """Let a model's training go on from `state_of`'s results, which are of an equal model.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they are not.
    """
    weights, slots = part(arrays, _WEIGHTS), part(arrays, _OPTIMIZER)
    optimizer: Optimizer = model.optimizer
    own = list(optimizer.get_state())
    seeds = [seed_state(pair) for pair in state["seeds"]]
    model.set_weights([weights[name] for name in state["weights"]])
    set_flags(model, state["trainable"])
    found = {name: slots[other] for name, other in zip(own, state["slots"], strict=True)}
    optimizer.set_state(found, optimizer.targets)
    if state["learning_rate"] is not None:
        optimizer.learning_rate = state["learning_rate"]
    for layer in stateful_layers(model.layers):
        layer.reset_state()
    set_states(model, part(arrays, _STATES))
    for stream, pair in zip(model.seed_generators, seeds, strict=True):
        stream.state = pair
    for metric, running in zip(_running(model), state["metrics"], strict=True):
        metric.set_state(running)
    model.stop_training = state["stop_training"]


def _running(model: Any) -> Iterator[Metric]:
    """Yield the sums of an epoch: those of the loss and of all metrics."""
    yield model._loss_mean
    for _, metric in model._measures:
        yield metric
