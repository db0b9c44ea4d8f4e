"""Keras's descriptions of Sequential models, from and to this package's layers.

Only the classes named here are ever made from a description, so that one cannot run anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import constraints, initializers, regularizers
from fusedlstm.base import checks
from fusedlstm.layers import (
    CLASSES,
    Bidirectional,
    InputLayer,
    SpatialDropout1D,
    StackedLSTM,
    TimeDistributed,
)
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusedlstm.base.registry import Registry
    from fusedlstm.layers import Layer
    from fusedlstm.models.model import Model

_LAYERS: dict[str, type[Layer]] = {name: cls for name, cls in CLASSES.items() if cls is not StackedLSTM}
# Arguments that describe an object of one of these modules, by the ends of their names.
_OBJECTS = {
    "_initializer": "keras.initializers",
    "_regularizer": "keras.regularizers",
    "_constraint": "keras.constraints",
}
_REGISTRIES: tuple[Registry[Any], ...] = (
    initializers.REGISTRY,
    regularizers.REGISTRY,
    constraints.REGISTRY,
)
# Arguments that describe a layer inside of the layer.
_INNER = ("layer", "backward_layer")
# Arguments of Keras that the classes here do not have, with the value that switches them off.
_OFF: Mapping[str, object] = {
    "optional": False,
    "quantization_config": None,
    "ragged": False,
    "rms_scaling": False,
    "sparse": False,
}
# The same for initializers: axes by which to count a shape's inputs and outputs.
_INITIALIZER_OFF = ("input_axes", "output_axes")


def model_from_config(description: Any) -> Sequential:
    """Make a built model, with new weights, of the layers that Keras describes.

    Parameters
    ----------
    description : dict
        What ``keras.saving.serialize_keras_object`` makes of a built Sequential model.

    Raises
    ------
    ValueError
        If it is another kind of model or of description, is not built, or a layer or one of its arguments is
        not known here; the message names the layer and its class.
    """
    _named(description, "model", ("keras", "keras.models"), ("Sequential",))
    config = checks.member(description, "config", dict, "model")
    items = checks.member(config, "layers", list, "model")
    classes = {**_LAYERS, "InputLayer": InputLayer}
    model = Sequential([_layer(item, f"layer {number}", classes) for number, item in enumerate(items)])
    model.name = checks.member({"name": model.name, **config}, "name", str, "model")
    shape = config.get("build_input_shape")
    if not model.built and shape is not None:
        try:
            model.build(checks.shape(shape, "build_input_shape"))
        except TypeError as error:
            raise ValueError(f"model: {error}") from error
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
    if not model.built or model.input_shape is None:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    if not isinstance(model, Sequential):
        raise ValueError(f"model: expected a Sequential one, got a graph, {model!r}")
    shape = list(model.input_shape)
    dtype = model.dtype if all(layer.ids is None for layer in model.layers) else "int32"
    first = _described("InputLayer", {"batch_shape": shape, "dtype": dtype, "name": "input_layer"})
    layers = [first, *(_described_layer(layer) for layer in model.layers)]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": model.name,
            "trainable": model.trainable,
            "dtype": model.dtype,
            "layers": layers,
            "build_input_shape": shape,
        },
        "registered_name": None,
        "build_config": {"input_shape": shape},
    }


def check_in_keras(layer: Layer) -> None:
    """Raise `ValueError` if a layer has an option that Keras's class of this name does not have."""
    for key, off in layer.beyond_keras.items():
        value = getattr(layer, key)
        if off and value not in off:
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}): {key}: expected {off[0]}, as Keras has no "
                f"such option, got {value!r}"
            )


def _described(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def _described_layer(layer: Layer) -> dict[str, Any]:
    if _LAYERS.get(type(layer).__name__) is not type(layer):
        raise ValueError(f"model: expected layers of the classes {list(_LAYERS)}, got {layer!r}")
    check_in_keras(layer)
    config = {key: value for key, value in layer.get_config().items() if key not in layer.beyond_keras}
    for key, value in config.items():
        module = next((module for end, module in _OBJECTS.items() if key.endswith(end)), None)
        if module is not None and value is not None:
            thing = getattr(layer, key)
            kind = type(thing)
            if not any(registry.classes.get(kind.__name__) is kind for registry in _REGISTRIES):
                raise ValueError(
                    f"layer {layer.name!r}: {key}: expected one of fusedlstm's classes, got {kind.__name__}"
                )
            config[key] = {"module": module, **value, "registered_name": None}
    if isinstance(layer, TimeDistributed):
        config["layer"] = _described_layer(layer.layer)
    if isinstance(layer, Bidirectional):
        config["layer"] = _described_layer(layer.forward_layer)
        if config["backward_layer"] is not None:
            config["backward_layer"] = _described_layer(layer.backward_layer)
    if isinstance(layer, SpatialDropout1D):
        del config["trainable"]  # The only class of Keras that does not take it.
    return _described(type(layer).__name__, config)


def _layer(description: Any, place: str, classes: dict[str, type[Layer]]) -> Layer:
    known = isinstance(description, dict) and isinstance(description.get("config"), dict)
    name = description["config"].get("name") if known else None
    where = place if name is None else f"layer {name!r:.80}"
    class_name = _named(description, where, ("keras.layers",), tuple(classes))
    where = f"{where} ({class_name})"
    arguments = {}
    for key, value in checks.arguments(description.get("config"), where).items():
        if key in _OFF:
            if value is not _OFF[key]:
                raise ValueError(f"{where}: {key}: expected {_OFF[key]}, got {value!r:.80}")
        elif key.endswith(tuple(_OBJECTS)):
            arguments[key] = _object(value, key, f"{where}: {key}")
        elif key in _INNER:
            arguments[key] = None if value is None else _layer(value, f"{where}: {key}", _LAYERS)
        elif key == "dtype":
            arguments[key] = _dtype(value, f"{where}: dtype")
        else:
            arguments[key] = value
    try:
        return classes[class_name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _dtype(policy: Any, where: str) -> str:
    """Return the type's name; float32 for inputs of whatever type, which are converted."""
    if isinstance(policy, str):
        return policy
    _named(policy, where, ("keras", "keras.dtype_policies"), ("DTypePolicy",))
    return str(checks.member(checks.member(policy, "config", dict, where), "name", str, where))


def _object(value: Any, key: str, where: str) -> Any:
    """Return what ``get`` of `initializers`, `regularizers` or `constraints` takes."""
    if value is None or isinstance(value, str):
        return value
    module = next(module for end, module in _OBJECTS.items() if key.endswith(end))
    class_name = _named(value, where, (module,), None)
    config = checks.arguments(value.get("config"), where)
    for key in _INITIALIZER_OFF:
        if config.pop(key, None) is not None:
            raise ValueError(f"{where}: {key}: expected None, got another value")
    return {"class_name": class_name, "config": config}


def _named(description: Any, where: str, modules: tuple[str, ...], classes: tuple[str, ...] | None) -> str:
    """Return a description's class name, if it is one of `classes` in one of Keras's `modules`."""
    if not isinstance(description, dict) or not isinstance(description.get("class_name"), str):
        raise ValueError(f"{where}: expected Keras's description of an object, got {description!r:.80}")
    module, name = description.get("module"), description["class_name"]
    # Keras registers classes of its users under names that its own classes do not have.
    if module not in modules or description.get("registered_name") not in (None, name):
        raise ValueError(f"{where}: expected a class of {modules[0]}, got {name!r:.80} of {module!r:.80}")
    if classes is not None and name not in classes:
        raise ValueError(f"{where}: expected one of the classes {list(classes)}, got {name!r:.80}")
    return str(name)
