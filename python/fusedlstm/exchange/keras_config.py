"""Keras's descriptions of Sequential models, from and to this package's layers.

Only the classes named here are ever made from a description, so that one cannot run anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import checks
from fusedlstm.layers import LSTM, Activation, Dense, Dropout, Flatten, InputLayer, Masking
from fusedlstm.model import Sequential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusedlstm.layers import Layer

__all__ = ["config_of", "model_from_config"]

_LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls for cls in (LSTM, Activation, Dense, Dropout, Flatten, InputLayer, Masking)
}
# Arguments of Keras that the classes here do not have, with the value that switches them off.
_OFF: Mapping[str, object] = {
    "optional": False,
    "quantization_config": None,
    "ragged": False,
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
    config = _item(description, "config", dict, "model")
    items = _item(config, "layers", list, "model")
    model = Sequential([_layer(item, number) for number, item in enumerate(items)])
    model.name = str(config.get("name", model.name))
    shape = config.get("build_input_shape")
    if not model.built and shape is not None:
        model.build(checks.shape(shape, "build_input_shape"))
    if not model.built:
        raise ValueError("model: expected a built model, got one whose input shape is not known")
    return model


def config_of(model: Sequential) -> dict[str, Any]:
    """Describe a built model as Keras does.

    Raises
    ------
    ValueError
        If it is not built, or holds layers of another origin or with options that Keras does not have.
    """
    if not model.built or model.input_shape is None:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    shape = list(model.input_shape)
    first = _described("InputLayer", {"batch_shape": shape, "dtype": model.dtype, "name": "input_layer"})
    layers = [first]
    for layer in model.layers:
        if _LAYERS.get(type(layer).__name__) is not type(layer):
            raise ValueError(f"model: expected layers of the classes {list(_LAYERS)}, got {layer!r}")
        check_in_keras(layer)
        config = {key: value for key, value in layer.get_config().items() if key not in layer.beyond_keras}
        for key, value in config.items():
            if key.endswith("_initializer"):
                config[key] = {"module": "keras.initializers", **value, "registered_name": None}
        layers.append(_described(type(layer).__name__, config))
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": model.name,
            "trainable": True,
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


def _layer(description: Any, number: int) -> Layer:
    known = isinstance(description, dict) and isinstance(description.get("config"), dict)
    name = description["config"].get("name") if known else None
    where = f"layer {number}" if name is None else f"layer {name!r}"
    class_name = _named(description, where, ("keras.layers",), tuple(_LAYERS))
    where = f"{where} ({class_name})"
    arguments = {}
    for key, value in _item(description, "config", dict, where).items():
        if key in _OFF:
            if value is not _OFF[key]:
                raise ValueError(f"{where}: {key}: expected {_OFF[key]}, got {value!r}")
        elif key.endswith("_initializer"):
            arguments[key] = _initializer(value, f"{where}: {key}")
        elif key == "dtype":
            arguments[key] = _dtype(value, f"{where}: dtype")
        else:
            arguments[key] = value
    try:
        return _LAYERS[class_name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _dtype(policy: Any, where: str) -> str:
    """Return the type's name; float32 for inputs of whatever type, which are converted."""
    if isinstance(policy, str):
        return policy
    _named(policy, where, ("keras", "keras.dtype_policies"), ("DTypePolicy",))
    return str(_item(_item(policy, "config", dict, where), "name", str, where))


def _initializer(value: Any, where: str) -> Any:
    """Return what `initializers.get` takes."""
    if isinstance(value, str):
        return value
    class_name = _named(value, where, ("keras.initializers",), None)
    config = dict(_item(value, "config", dict, where))
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


def _item(description: dict[str, Any], key: str, kind: type, where: str) -> Any:
    value = description.get(key)
    if not isinstance(value, kind):
        raise ValueError(f"{where}: {key}: expected a {kind.__name__}, got {type(value).__name__}")
    return value
