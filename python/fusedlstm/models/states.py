"""What a model goes on from, besides weights and optimizer: states of stateful layers, and what is frozen.

Parts of a model are counted, not named: layers inside of others may have the same names.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from fusedlstm import layers
from fusedlstm.base.filling import filling
from fusedlstm.layers.core import InputLayer
from fusedlstm.layers.lstm import LSTM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from fusedlstm.layers import Layer
    from fusedlstm.models.compiled import Compiled as Model

# Arguments that describe a layer inside, which is compared itself.
_INNER = ("layer", "backward_layer")


def _all_layers(given: Iterable[Layer]) -> list[Layer]:
    """Return layers with those inside of each after it; those that are shared, once."""
    found = [part for layer in given for part in (layer, *_all_layers(layer._layers))]
    return list({id(layer): layer for layer in found}.values())


def check_once(model: Model) -> None:
    """Raise `ValueError` if a layer is in two places, as in a model inside and beside it."""
    seen: set[int] = set()

    def visit(given: Iterable[Layer]) -> None:
        for layer in given:
            if id(layer) in seen:
                raise ValueError(
                    f"model: expected each layer in one place, got {layer.name} in a model inside too, which "
                    "a description cannot tell; save its weights instead"
                )
            seen.add(id(layer))
            visit(layer._layers)

    visit(model.layers)


def check_described(layer: Layer) -> None:
    """Raise an error if a layer's description does not make it again.

    Raises
    ------
    ValueError
        When it is of a class of another origin, or a layer inside of it was changed in a way that the
        description of the outer one does not tell.
    """
    if isinstance(layer, InputLayer) or layers.MODELS.get(type(layer).__name__) is type(layer):
        for inner in layer._layers:
            check_described(inner)
        return
    if getattr(layers, type(layer).__name__, None) is not type(layer):
        raise ValueError(
            f"model: expected layers of fusedlstm.layers, got {layer!r}; save its weights instead"
        )
    with filling():
        twin = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
    for ours, theirs in zip(_all_layers([layer]), _all_layers([twin]), strict=True):
        config, made = ours.get_config(), theirs.get_config()
        for key, value in config.items():
            # Flags have a place of their own in a file. As texts, NaN is equal to itself.
            if key not in ("trainable", *_INNER) and json.dumps(value) != json.dumps(made[key]):
                raise ValueError(
                    f"model: expected {ours.name} as the description of {layer.name} makes it, with "
                    f"{key}={made[key]!r}, got {value!r}"
                )


def get_flags(model: Model) -> dict[str, list[bool]]:
    """Return what is trainable: all layers, those inside of others too, and all weights."""
    return {
        "layers": [layer._trainable for layer in _all_layers(model.layers)],
        "weights": [variable.trainable for variable in model.weights],
    }


def set_flags(model: Model, flags: object) -> None:
    """Freeze what `get_flags` said; `ValueError` if that is another description, or one of another model."""
    parts, weights = _all_layers(model.layers), model.weights
    found: dict[str, list[bool]] = {}
    for key, count in (("layers", len(parts)), ("weights", len(weights))):
        values = flags.get(key) if isinstance(flags, dict) else None
        if not isinstance(values, list) or [type(value) for value in values] != [bool] * count:
            raise ValueError(f"trainable: expected {count} times true or false for {key}, got {values!r:.80}")
        found[key] = values
    for layer, trainable in zip(parts, found["layers"], strict=True):
        layer._trainable = trainable
    for variable, trainable in zip(weights, found["weights"], strict=True):
        variable.trainable = trainable


def get_states(model: Model) -> dict[str, NDArray[Any]]:
    """Return copies of the states of stateful layers, as ``<number of the layer>/h`` and ``/c``."""
    found = {}
    for number, layer in enumerate(_all_layers(model.layers)):
        if isinstance(layer, LSTM) and layer.states is not None:
            found[f"{number}/h"], found[f"{number}/c"] = layer.states
    return found


def set_states(model: Model, states: Mapping[str, NDArray[Any]]) -> None:
    """Let stateful layers go on from `get_states`'s result; the others start from zeros.

    Raises
    ------
    ValueError
        When there are states of what is no stateful layer, or of other shapes or types.
    """
    left = dict(states)
    for number, layer in enumerate(_all_layers(model.layers)):
        names = f"{number}/h", f"{number}/c"
        if isinstance(layer, LSTM) and layer.stateful and left.keys() >= set(names):
            h, c = (left.pop(name) for name in names)
            if not h.dtype == c.dtype == layer.dtype:
                raise ValueError(f"states: expected {layer.dtype} for {layer.name}, got {h.dtype}, {c.dtype}")
            layer.states = h, c
    if left:
        raise ValueError(f"states: expected h and c of stateful layers only, got {list(left)!r:.80}")


def warn_of_states(model: Model, target: str) -> None:
    """Warn that stateful layers will start from zeros where they go."""
    lost = [layer.name for layer in _all_layers(model.layers) if isinstance(layer, LSTM) and layer.states]
    if lost:
        warnings.warn(
            f"{target} has no place for the states of {', '.join(lost)}, which will start from zeros there; "
            "a .safetensors file holds them",
            stacklevel=3,
        )
