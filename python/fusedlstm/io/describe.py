"""JSON-able descriptions of what a model is compiled with: optimizer, loss, metrics."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from fusedlstm import losses, metrics, optimizers
from fusedlstm.base import checks
from fusedlstm.optimizers import schedules

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["describe", "restore"]

# Only classes of these modules are ever named in a file, so reading one cannot run anything else.
_HOMES: dict[str, ModuleType] = {
    "optimizers": optimizers,
    "schedules": schedules,
    "losses": losses,
    "metrics": metrics,
}
_KINDS = {
    "optimizers": optimizers.Optimizer,
    "schedules": schedules.LearningRateSchedule,
    "losses": losses.Loss,
    "metrics": metrics.Metric,
}


def describe(thing: Any) -> dict[str, Any]:
    """Return the class and the arguments from which `restore` makes an equal object.

    All classes of this package keep an argument under its own name, so the signature tells what to ask for.

    Parameters
    ----------
    thing
        An optimizer, learning-rate schedule, loss or metric of this package.

    Raises
    ------
    ValueError
        When it is of another class, which could not be restored.
    """
    cls = type(thing)
    home = next((home for home, kind in _KINDS.items() if isinstance(thing, kind)), None)
    if home is None or getattr(_HOMES[home], cls.__name__, None) is not cls:
        raise ValueError(
            f"model: expected optimizer, loss and metrics of fusedlstm's own classes, got {cls.__name__}; "
            "save the model with include_optimizer=False and compile it after loading"
        )
    config = {name: getattr(thing, name) for name in inspect.signature(cls).parameters}
    if home == "optimizers":
        # Read like this, the learning rate is the number of now; a schedule must stay a schedule.
        config["learning_rate"] = vars(thing)["_rate"]
    for name, value in config.items():
        if isinstance(value, tuple(_KINDS.values())):
            config[name] = describe(value)
    return {"module": home, "class_name": cls.__name__, "config": config}


def restore(description: dict[str, Any]) -> Any:
    """Make the object that `describe` described.

    Raises
    ------
    ValueError
        When it is no such description, the class is not known, or refuses an argument.
    """
    home = checks.choice(checks.member(description, "module", str, "description"), "module", _HOMES)
    name = checks.member(description, "class_name", str, home)
    cls = getattr(_HOMES[home], name, None)
    if not (isinstance(cls, type) and issubclass(cls, _KINDS[home])):
        raise ValueError(f"class_name: expected a class of fusedlstm.{home}, got {name!r:.80}")
    arguments = {
        key: restore(value) if isinstance(value, dict) else value
        for key, value in checks.member(description, "config", dict, name).items()
    }
    if not isinstance(arguments.get("name", ""), str | None):
        raise ValueError(f"{name}: name: expected a string, got {arguments['name']!r:.80}")
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
