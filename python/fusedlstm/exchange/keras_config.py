"""Keras's descriptions of models, from and to this package's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.exchange.keras_graph import read_graph
from fusedlstm.exchange.keras_graph_writer import describe_graph
from fusedlstm.exchange.keras_layers import Reader, Writer, described, named
from fusedlstm.layers import InputLayer
from fusedlstm.models.model import Model
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusedlstm.layers import Layer

_MODULES = ("keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential")


def reader(custom: Mapping[str, Any] | None = None) -> Reader:
    """Return what reads descriptions of layers and models; `Reader` says what custom classes are."""
    return Reader({"Sequential": _sequential, "Functional": _functional}, custom or {})


def model_from_config(description: Any, made_by: Reader | None = None) -> Model:
    """Make a built model, with new weights, of the layers that Keras describes.

    Parameters
    ----------
    description : dict
        What ``keras.saving.serialize_keras_object`` makes of a built Sequential or Functional model.
    made_by : Reader, optional
        One of `reader`, which then knows what it made.

    Raises
    ------
    ValueError
        If it is another kind of model or of description, is not built, has a cycle, or a layer or one of its
        arguments is not known here; the message names the layer and its class.
    """
    made_by = reader() if made_by is None else made_by
    class_name = named(description, "model", _MODULES, tuple(made_by.models))
    model = made_by.models[class_name](description, "model", made_by)
    assert isinstance(model, Model)
    if not model.built:
        raise ValueError("model: expected a built model, got one whose input shape is not known")
    return model


def config_of(model: Model) -> dict[str, Any]:
    """Describe a built model as Keras does.

    Raises
    ------
    ValueError
        If it is not built, or holds layers of another origin or with options that Keras does not have.
    """
    if not model.built or model.input_shapes is None:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    return Writer(_described).layer(model)


def _sequential(description: Any, where: str, made_by: Reader) -> Sequential:
    named(description, where, _MODULES, ("Sequential",))
    config = checks.member(description, "config", dict, where)
    items = checks.member(config, "layers", list, where)
    layers = [made_by.layer(item, f"layer {number}") for number, item in enumerate(items)]
    try:
        model = Sequential(layers, config.get("name"))
        shape = config.get("build_input_shape")
        if not model.built and shape is not None:
            model.build(checks.shape(shape, "build_input_shape"))
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
    model._trainable = checks.member({"trainable": True, **config}, "trainable", bool, where)
    return model


def _functional(description: Any, where: str, made_by: Reader) -> Model:
    named(description, where, _MODULES, ("Functional",))
    return read_graph(checks.member(description, "config", dict, where), where, made_by)


def _described(layer: Layer, writer: Writer) -> dict[str, Any] | None:
    """Describe a model; None for other layers."""
    if type(layer) is Sequential:
        assert layer.input_shapes is not None
        shape = list(layer.input_shapes[0])
        dtype = layer.dtype if layer.ids is None else "int32"
        first = InputLayer(batch_shape=shape, dtype=dtype, name="input_layer")
        config = {
            "name": layer.name,
            "trainable": layer.trainable,
            "dtype": layer.dtype_policy.name,
            "layers": [writer.layer(one) for one in (first, *layer.layers)],
            "build_input_shape": shape,
        }
        return {**described("keras", "Sequential", config), "build_config": {"input_shape": shape}}
    if type(layer) is Model:
        return {
            **described("keras.src.models.functional", "Functional", describe_graph(layer, writer)),
            "registered_name": "Functional",
        }
    return None
