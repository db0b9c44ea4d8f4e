"""Keras's home of `Model`, `Sequential` and functions that make them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fusedlstm import layers
from fusedlstm.io.json_text import parse
from fusedlstm.layers import InputLayer, Layer
from fusedlstm.models.model import Model
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

__all__ = ["Model", "Sequential", "clone_model", "load_model", "model_from_json"]

layers.MODELS.update({"Model": Model, "Sequential": Sequential})


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002 - Keras's name
    *,
    max_bytes: int | None = None,
) -> Model:
    """Load a model that `Model.save` or, ending in ``.keras``, Keras 3 wrote.

    Parameters
    ----------
    path : path-like
        The file.
    custom_objects : mapping of str to object, optional
        What names in a ``.keras`` file mean that are not this package's: classes of layers, losses, metrics
        and optimizers, objects in place of classes, and functions as losses and metrics.
    compile : bool
        Whether a model that was saved compiled is so again, and goes on from its optimizer's state.
    max_bytes : int, optional
        Memory that its content may take; see `fusedlstm.base.limits`.

    Returns
    -------
    Model
        Built, with its weights. See `io.load_model`.

    Raises
    ------
    OSError
        If the file is not there or cannot be read.
    ValueError
        If the file is corrupt, truncated, names what is not known, or asks for more memory.
    """
    from fusedlstm.models import saving

    return saving.load_model(path, custom_objects, compile, max_bytes=max_bytes)


def clone_model(
    model: Model, input_tensors: None = None, clone_function: Callable[[Layer], Layer] | None = None
) -> Model:
    """Make a model like another one, with new layers and weights.

    Parameters
    ----------
    model : Model
        A built model, or a Sequential. What it is compiled with is not copied.
    input_tensors : None
        In Keras's place.
    clone_function : callable, optional
        Makes a layer of each, inputs aside; by default one of the same class and arguments.

    Returns
    -------
    Model
        Not compiled.

    Raises
    ------
    TypeError, ValueError
        If the model is none, a function returns no layer, or layers do not fit each other.
    """
    if not isinstance(model, Model) or input_tensors is not None:
        raise TypeError(
            f"model: expected a model and no input_tensors, got {model!r:.80}, {input_tensors!r:.80}"
        )

    def cloned(layer: Layer) -> Layer:
        if clone_function is None or isinstance(layer, InputLayer):
            return type(layer).from_config(layer.get_config())
        made = clone_function(layer)
        if not isinstance(made, Layer):
            raise TypeError(f"clone_function: expected a layer, got {made!r:.80}")
        return made

    layers = [cloned(layer) for layer in model.layers]
    if isinstance(model, Sequential):
        made: Model = Sequential(layers, model.name)
        if model.built and not made.built:
            assert model.input_shapes is not None
            made.build(model.input_shapes[0])
    else:
        assert model.graph is not None
        inputs, outputs = replace(model.graph, layers=layers).replay()
        made = Model(model.input_structure.whole(inputs), model.output_structure.whole(outputs), model.name)
    made._trainable = model._trainable
    return made


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Make a model, with new weights, of what `Model.to_json`, or Keras's, returned.

    Parameters
    ----------
    text : str
        The description.
    custom_objects : mapping of str to type, optional
        Classes of layers by names in it that are not this package's.

    Raises
    ------
    ValueError
        If it is none, or a layer or an argument is not known.
    """
    from fusedlstm.exchange.keras_config import model_from_config, reader

    return model_from_config(parse(text, "text"), reader(custom_objects))
