"""Keras's descriptions of layers, from and to this package's.

Only the classes named here, and those that a caller adds, are ever made from a description, so that one
cannot run anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusedlstm import constraints, initializers, regularizers
from fusedlstm.base import checks
from fusedlstm.layers import (
    CLASSES,
    Bidirectional,
    InputLayer,
    Layer,
    SpatialDropout1D,
    StackedLSTM,
    TimeDistributed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fusedlstm.base.registry import Registry

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


def check_in_keras(layer: Layer) -> None:
    """Raise `ValueError` if a layer has an option that Keras's class of this name does not have."""
    for key, off in layer.beyond_keras.items():
        value = getattr(layer, key)
        if off and value not in off:
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}): {key}: expected {off[0]}, as Keras has no "
                f"such option, got {value!r}"
            )


def described(module: str, class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Describe an object of one of Keras's own classes."""
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


class Writer:
    """Describes layers, each once, as Keras does not find those again that are shared between models.

    Parameters
    ----------
    models : callable
        Describes models in a layer's place: called with a model and the writer, it returns None for others.
    """

    def __init__(self, models: Callable[[Layer, Writer], dict[str, Any] | None]) -> None:
        self._models = models
        self._seen: set[Layer] = set()

    def layer(self, layer: Layer) -> dict[str, Any]:
        """Describe a layer; `ValueError` if Keras does not have its class or options, or it came before."""
        if layer in self._seen and not isinstance(layer, InputLayer):
            raise ValueError(
                f"layer {layer.name!r} ({type(layer).__name__}): expected it in one model, as Keras's files "
                "have no place for layers that models share, got it in two"
            )
        self._seen.add(layer)
        return self._models(layer, self) or self._plain(layer)

    def _plain(self, layer: Layer) -> dict[str, Any]:
        if isinstance(layer, InputLayer):
            return described("keras.layers", "InputLayer", layer.get_config())
        if _LAYERS.get(type(layer).__name__) is not type(layer):
            raise ValueError(f"model: expected layers of the classes {list(_LAYERS)}, got {layer!r}")
        check_in_keras(layer)
        config = {key: value for key, value in layer.get_config().items() if key not in layer.beyond_keras}
        for key, value in config.items():
            module = next((module for end, module in _OBJECTS.items() if key.endswith(end)), None)
            if module is not None and value is not None:
                kind = type(getattr(layer, key))
                if not any(registry.classes.get(kind.__name__) is kind for registry in _REGISTRIES):
                    raise ValueError(
                        f"layer {layer.name!r}: {key}: expected one of fusedlstm's classes, "
                        f"got {kind.__name__}"
                    )
                config[key] = {"module": module, **value, "registered_name": None}
        if isinstance(layer, TimeDistributed):
            config["layer"] = self.layer(layer.layer)
        if isinstance(layer, Bidirectional):
            config["layer"] = self.layer(layer.forward_layer)
            if config["backward_layer"] is not None:
                config["backward_layer"] = self.layer(layer.backward_layer)
        if isinstance(layer, SpatialDropout1D):
            del config["trainable"]  # The only class of Keras that does not take it.
        return described("keras.layers", type(layer).__name__, config)


@dataclass
class Reader:
    """Makes layers of descriptions.

    Attributes
    ----------
    models : mapping of str to callable
        By the names of Keras's classes, what makes models in a layer's place: called with the description,
        its place for messages, and the reader.
    custom : mapping of str to type
        Classes by names that Keras's classes do not have.
    class_names : dict of Layer to str
        Names that Keras has for the classes of layers that ``custom`` made.
    """

    models: Mapping[str, Callable[[Any, str, Reader], Layer]]
    custom: Mapping[str, Any] = field(default_factory=dict)
    class_names: dict[Layer, str] = field(default_factory=dict)

    def layer(self, description: Any, place: str, inner: bool = False) -> Layer:
        """Return a described layer.

        Parameters
        ----------
        description : dict
            As `Writer` makes it.
        place : str
            What messages call it if it has no name.
        inner : bool
            Whether it is inside of a layer, where no inputs are.

        Raises
        ------
        ValueError
            If its class or one of its arguments is not known here; the message names the layer and its class.
        """
        known = isinstance(description, dict) and isinstance(description.get("config"), dict)
        name = description["config"].get("name") if known else None
        where = place if name is None else f"layer {name!r:.80}"
        return self._made(description, where, inner)

    def _made(self, description: Any, where: str, inner: bool) -> Layer:
        given = description if isinstance(description, dict) else {}
        names = [given.get(key) for key in ("registered_name", "class_name")]
        registered, class_name = (name if isinstance(name, str) else "" for name in names)
        own = registered if registered in self.custom else class_name
        if own in self.custom:
            made = _called(self.custom[own], self._arguments(given, where), f"{where} ({own})")
            self.class_names[made] = class_name
            return made
        if class_name in self.models:
            return self.models[class_name](description, where, self)
        classes = _LAYERS if inner else {**_LAYERS, "InputLayer": InputLayer}
        class_name = named(description, where, ("keras.layers",), tuple(classes))
        where = f"{where} ({class_name})"
        return _called(classes[class_name], self._arguments(given, where), where)

    def _arguments(self, description: Any, where: str) -> dict[str, Any]:
        """Return a layer's arguments as this package's classes take them."""
        arguments = {}
        for key, value in checks.arguments(description.get("config"), where).items():
            if key in _OFF:
                if value is not _OFF[key]:
                    raise ValueError(f"{where}: {key}: expected {_OFF[key]}, got {value!r:.80}")
            elif key.endswith(tuple(_OBJECTS)):
                arguments[key] = _object(value, key, f"{where}: {key}")
            elif key in _INNER:
                arguments[key] = None if value is None else self.layer(value, f"{where}: {key}", inner=True)
            elif key == "dtype":
                arguments[key] = dtype_of(value, f"{where}: dtype")
            else:
                arguments[key] = value
        return arguments


def _called(make: Callable[..., Any], arguments: dict[str, Any], where: str) -> Layer:
    try:
        made = make(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    if not isinstance(made, Layer):
        raise ValueError(f"{where}: expected a layer, got {made!r:.80}")
    return made


def dtype_of(policy: Any, where: str) -> str:
    """Return the type's name; float32 for inputs of whatever type, which are converted."""
    if isinstance(policy, str):
        return policy
    named(policy, where, ("keras", "keras.dtype_policies"), ("DTypePolicy",))
    return str(checks.member(checks.member(policy, "config", dict, where), "name", str, where))


def _object(value: Any, key: str, where: str) -> Any:
    """Return what ``get`` of `initializers`, `regularizers` or `constraints` takes."""
    if value is None or isinstance(value, str):
        return value
    module = next(module for end, module in _OBJECTS.items() if key.endswith(end))
    class_name = named(value, where, (module,), None)
    config = checks.arguments(value.get("config"), where)
    for key in _INITIALIZER_OFF:
        if config.pop(key, None) is not None:
            raise ValueError(f"{where}: {key}: expected None, got another value")
    return {"class_name": class_name, "config": config}


def named(description: Any, where: str, modules: tuple[str, ...], classes: tuple[str, ...] | None) -> str:
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
