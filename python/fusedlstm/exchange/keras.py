"""Models of Keras 3 in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base.filling import filling
from fusedlstm.exchange.keras_config import config_of, model_from_config
from fusedlstm.models.states import warn_of_states

if TYPE_CHECKING:
    from fusedlstm.models.sequential import Sequential


def from_keras(model: Any) -> Sequential:
    """Make a model with the layers and weights of a ``keras.Sequential``.

    Parameters
    ----------
    model : keras.Sequential
        A built model, on any of Keras's backends. It is copied.

    Returns
    -------
    Sequential
        Built, with the weights, not compiled.

    Raises
    ------
    TypeError
        If it is no Sequential model of Keras.
    ValueError
        If it is not built, or a layer or one of its arguments is not known here; the message names the layer
        and its class.
    """
    cls = type(model)
    if cls.__name__ != "Sequential" or cls.__module__.partition(".")[0] != "keras":
        raise TypeError(f"model: expected a keras.Sequential, got {cls.__module__}.{cls.__qualname__}")
    description = {
        "module": "keras",
        "class_name": cls.__name__,
        "config": model.get_config(),
        "registered_name": None,
    }
    weights = [layer.get_weights() for layer in model.layers]
    with filling(sum(array.size for arrays in weights for array in arrays)):
        result = model_from_config(description)
    for layer, arrays in zip(result.layers, weights, strict=True):
        layer.set_weights(arrays)
    return result


def to_keras(model: Sequential) -> Any:
    """Make a ``keras.Sequential`` with the layers and weights of a model.

    Parameters
    ----------
    model : Sequential
        A built model of this package's layers. It is copied.

    Returns
    -------
    keras.Sequential
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
    result = keras.Sequential.from_config(description["config"])
    for ours, theirs in zip(model.layers, result.layers, strict=True):
        theirs.set_weights(ours.get_weights())
    return result
