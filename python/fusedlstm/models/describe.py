"""JSON-able descriptions of what a model is compiled with: optimizer, loss, metrics."""

from __future__ import annotations

from typing import Any

from fusedlstm import losses, metrics, optimizers
from fusedlstm.base import checks
from fusedlstm.base.registry import Configured, Registry, serialize
from fusedlstm.optimizers import schedules

# Only classes of these modules are ever named in a file, so reading one cannot run anything else.
_REGISTRIES: dict[str, Registry[Any]] = {
    "optimizers": optimizers.REGISTRY,
    "schedules": schedules.REGISTRY,
    "losses": losses.REGISTRY,
    "metrics": metrics.REGISTRY,
}


def describe(thing: Any) -> dict[str, Any]:
    """Return the module, the class and the arguments from which `restore` makes an equal object.

    Parameters
    ----------
    thing
        An optimizer, learning-rate schedule, loss or metric of this package.

    Raises
    ------
    ValueError
        When it, or one inside of it, is of another class, which could not be restored.
    """
    name = type(thing).__name__
    for home, registry in _REGISTRIES.items():
        if registry.classes.get(name) is type(thing):
            for part in vars(thing).values():
                if isinstance(part, Configured):
                    describe(part)
            return {"module": home, **serialize(thing)}
    raise ValueError(
        f"model: expected optimizer, loss and metrics of fusedlstm's own classes, got {name}; "
        "save the model with include_optimizer=False and compile it after loading"
    )


def restore(description: dict[str, Any]) -> Any:
    """Make the object that `describe` described.

    Raises
    ------
    ValueError
        When it is no such description, the class is not known, or refuses an argument.
    """
    home = checks.choice(checks.member(description, "module", str, "description"), "module", _REGISTRIES)
    name = checks.member(description, "class_name", str, home)
    config = checks.member(description, "config", dict, name)
    # Files of earlier versions name the module of descriptions inside, too.
    arguments = {
        key: restore(value) if isinstance(value, dict) and "module" in value else value
        for key, value in config.items()
    }
    if not isinstance(arguments.get("name", ""), str | None):
        raise ValueError(f"{name}: name: expected a string, got {arguments['name']!r:.80}")
    try:
        return _REGISTRIES[home].restore({"class_name": name, "config": arguments}, "class_name")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
