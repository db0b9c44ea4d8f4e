"""Models of Keras 3 in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusedlstm.base.filling import filling
from fusedlstm.exchange.keras_config import config_of, model_from_config
from fusedlstm.models.model import Model
from fusedlstm.models.states import warn_of_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusedlstm.layers import Layer


def from_keras(model: Any) -> Model:
    """Make a model with the layers and weights of a ``keras.Sequential`` or a functional ``keras.Model``.

    Parameters
    ----------
    model : keras.Sequential or keras.Model
        A built model, on any of Keras's backends. It is copied.

    Returns
    -------
    Sequential or Model
        Built, with the weights, not compiled.

    Raises
    ------
    TypeError
        If it is no such model of Keras, or one of a class of its own.
    ValueError
        If it is not built, or a layer or one of its arguments is not known here; the message names the layer
        and its class.
    """
    cls = type(model)
    if cls.__name__ not in ("Sequential", "Functional") or cls.__module__.partition(".")[0] != "keras":
        raise TypeError(
            f"model: expected a keras.Sequential or a functional keras.Model, got {cls.__module__}."
            f"{cls.__qualname__}"
        )
    import keras

    description = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    with filling(sum(weight.size for weight in model.get_weights())):
        result = model_from_config(description)
    for layer, other in _pairs(result, model):
        layer.set_weights(other.get_weights())
    return result


def to_keras(model: Model) -> Any:
    """Make a model of Keras with the layers and weights of a model.

    Parameters
    ----------
    model : Model
        A built model of this package's layers. It is copied.

    Returns
    -------
    keras.Sequential or keras.Model
        Built, with the weights, not compiled.

    Warns
    -----
    UserWarning
        When stateful layers are not at zeros: their states are not copied.

    Raises
    ------
    ImportError
        When Keras 3 is not installed.
    ValueError
        If it is not built, or holds layers of another origin or with options that Keras does not have.
    """
    description = config_of(model)
    warn_of_states(model, "A model of Keras")
    try:
        import keras
    except ImportError as error:
        raise ImportError("to_keras needs Keras 3 and one of its backends: pip install keras") from error
    result = keras.saving.deserialize_keras_object(description)
    for layer, other in _pairs(model, result):
        other.set_weights(layer.get_weights())
    return result


def _pairs(ours: Model, theirs: Any) -> Iterator[tuple[Layer, Any]]:
    """Yield the layers of both models that have the same name, without models."""
    others = {layer.name: layer for layer in theirs.layers}
    for layer in ours.layers:
        if isinstance(layer, Model):
            yield from _pairs(layer, others[layer.name])
        elif layer.weights:
            yield layer, others[layer.name]
