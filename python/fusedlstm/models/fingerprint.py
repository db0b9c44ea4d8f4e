"""What has to be the same for a training to go on from a backup, and what differs where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.models.passes import Passes
from fusedlstm.models.states import _all_layers

if TYPE_CHECKING:
    from fusedlstm.models.feeding import Feed

# Names count up in a process; what is frozen and how fast is learned is a part of the backup.
_FREE = ("name", "trainable", "learning_rate")
_MOST_NAMED = 4


def fingerprint(model: Any, feed: Feed, held_out: Feed | None) -> dict[str, Any]:
    """Describe a training by values of JSON.

    Parameters
    ----------
    model
        A compiled and built model.
    feed, held_out : Feed
        Its data, and those of its validation.
    """
    optimizer = model.optimizer
    rate = {"schedule": _described(optimizer._rate)} if optimizer.scheduled else {}
    return {
        "layers": {
            f"{number} {type(layer).__name__}": _described(layer)
            for number, layer in enumerate(_all_layers(model.layers))
        },
        "weights": {
            f"{number} {weight.name}": f"{weight.dtype} {weight.shape}"
            for number, weight in enumerate(model.weights)
        },
        "optimizer": {**_described(optimizer), **rate, "slots": len(optimizer.variables)},
        "loss": [{**_described(head.loss), "weight": head.weight} for head in model.heads],
        "metrics": {name: _described(metric) for name, metric in model._measures},
        "random streams": len(model.seed_generators),
        "x": feed.signature(),
        "validation_data": None if held_out is None else held_out.signature(),
    }


def _described(thing: Any) -> dict[str, Any]:
    """Return class and arguments; of models, whose layers are described one by one, the class alone."""
    config = {} if thing is None or isinstance(thing, Passes) else thing.get_config()
    return {"class": type(thing).__name__, **_plain(config)}


def _plain(value: Any) -> Any:
    """Return a value of JSON; of other classes, whose texts may have addresses in them, the name."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items() if key not in _FREE}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return repr(value)  # Texts keep NaN equal to itself.
    return type(value).__name__


def differences(
    saved: Any, present: Any, place: str = "", between: tuple[str, str] = ("now", "in the backup")
) -> list[str]:
    """Name the places in which two descriptions differ, with both values, and where the latter are."""
    if isinstance(saved, dict) and isinstance(present, dict):
        keys = list(dict.fromkeys([*present, *saved]))
        pairs = [(f"{place}.{key}".lstrip("."), saved.get(key), present.get(key)) for key in keys]
    elif isinstance(saved, list) and isinstance(present, list) and len(saved) == len(present):
        pairs = [
            (f"{place}[{number}]", *both) for number, both in enumerate(zip(saved, present, strict=True))
        ]
    else:
        return (
            []
            if saved == present
            else [f"{place} ({between[0]} {present!r:.60}, {between[1]} {saved!r:.60})"]
        )
    found = [text for name, one, other in pairs for text in differences(one, other, name, between)]
    return found if len(found) <= _MOST_NAMED or place else [*found[:_MOST_NAMED], "others"]
