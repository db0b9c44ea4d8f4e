"""`Sequential`: a stack of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import layers as layers_module
from fusedlstm.base import checks
from fusedlstm.base.names import auto_name
from fusedlstm.base.symbolic import KerasTensor
from fusedlstm.layers.base import Layer
from fusedlstm.layers.core import InputLayer
from fusedlstm.models.graph import trace
from fusedlstm.models.model import Model
from fusedlstm.models.samples import fits
from fusedlstm.models.structure import Structure
from fusedlstm.models.training import Trainer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from fusedlstm.base.symbolic import Node
    from fusedlstm.base.types import Shape


class Sequential(Model):
    """Layers one after the other: a `Model` whose graph is a chain, made when the input's shape is known.

    Parameters
    ----------
    layers : list of Layer, optional
        The layers, and models in their place. The first may be an `Input`, which makes the weights at once;
        without it they are made when the first data arrive.
    name : str, optional
        Name, without ``/``, NUL and surrogates; ``sequential`` with a number by default.
    trainable : bool
        Whether training changes weights.

    Raises
    ------
    TypeError, ValueError
        If something is not a layer, two names are equal or one is none that files can hold, number types
        differ, or shapes do not fit.
    """

    def __init__(
        self, layers: Sequence[Any] | None = None, name: str | None = None, trainable: bool = True
    ) -> None:
        Trainer.__init__(self, name=auto_name(type(self)) if name is None else name)
        self._stack: list[Layer] = []
        # Whether another model holds this one, which must not change then.
        self._held = False
        self.input_shapes = None
        self.input_structure = Structure("one", ("x",))
        self.output_structure = Structure("one", ("y",))
        if layers is not None and not isinstance(layers, list | tuple):
            raise TypeError(f"layers: expected a list of layers, got {type(layers).__name__}")
        names: set[str] = set()
        for layer in layers or ():
            self._append(layer, names)
        self._build_if_known()
        if not checks.flag(trainable, "trainable"):
            self.trainable = False

    @property
    def layers(self) -> list[Layer]:
        """The layers, without that of the input."""
        return self._stack

    def add(self, layer: Any) -> None:
        """Put a layer on top, and move it to where the model is.

        Raises
        ------
        TypeError, ValueError
            As for the class; the model is unchanged then. If another model holds this one.
        """
        self._check_free()
        before = list(self._stack), self.input_shapes, self.dtype
        self._append(layer, {other.name for other in self._stack})
        try:
            self._build_if_known()
        except Exception:
            self._stack, self.input_shapes, self.dtype = before
            raise

    def pop(self) -> Layer:
        """Remove the topmost layer and return it.

        Raises
        ------
        ValueError
            If there is none, or another model holds this one.
        """
        self._check_free()
        if not self._stack:
            raise ValueError("model: expected at least one layer to remove, got an empty model")
        layer = self._stack.pop()
        if self.built and self._stack:
            self._build_if_known()
        else:
            self.built = False
            self.graph = self._plan = self._tensors = self.fixed_shapes = None
        return layer

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Make the weights of all layers.

        Parameters
        ----------
        input_shape : tuple of int or None, optional
            Shape of the input, the batch axis included; that of the `Input` by default.

        Raises
        ------
        ValueError
            If no shape is known, or the layers do not fit it or each other.
        """
        known = None if self.input_shapes is None else self.input_shapes[0]
        if input_shape is None and known is None:
            raise ValueError("input_shape: expected a shape, as there is no Input layer to tell it, got None")
        shape = known if input_shape is None else (None, *checks.shape(input_shape, "input_shape")[1:])
        assert shape is not None
        if known is not None and not fits(shape, known):
            raise ValueError(f"input_shape: expected {known}, got {shape}")
        self.compute_output_shape(shape)
        ids = next((layer.ids for layer in self._stack if layer.ids is not None), None)
        start = InputLayer(batch_shape=shape, dtype=self.dtype if ids is None else "int64").tensor()
        ends = [start]
        for layer in self._stack:
            ends = list(layer.record(ends).outputs)
        names = (self._stack[-1].name,) * len(ends)
        self.output_structure = Structure("one" if len(ends) == 1 else "list", names)
        self._connect(trace([start], ends), [start], ends)

    def output_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shape of the output in a list, or of those of the last layer.

        See `Model.compute_output_shape`.
        """
        if not self._stack:
            raise ValueError("model: expected at least one layer, got an empty model")
        found, before = [input_shape], ""
        for layer in self._stack:
            if len(found) > 1:
                raise ValueError(f"layer: expected one output per layer, got {len(found)} of {before}")
            found, before = layer.output_shapes(found[0]), layer.name
        if self.heads and len(found) != len(self.heads):
            raise ValueError(
                f"model: expected compile() after build(), as {before} gives {len(found)} outputs"
            )
        return found

    def record(self, inputs: Sequence[KerasTensor], *args: Any, **kwargs: Any) -> Node:
        """Return a call on a symbolic tensor, after which layers are neither added nor removed."""
        node = super().record(inputs, *args, **kwargs)
        self._held = True
        return node

    @property
    def _input_ids(self) -> list[int | None]:
        if self.built:
            return self.plan.ids
        return [next((layer.ids for layer in self._stack if layer.ids is not None), None)]

    def get_config(self) -> dict[str, Any]:
        """Return a JSON-able description of the model, without its weights."""
        described = [layers_module.serialize(layer) for layer in self._stack]
        shape = None if self.input_shapes is None else list(self.input_shapes[0])
        return {"name": self.name, "trainable": self.trainable, "layers": described, "build_shape": shape}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a model, with new weights, from `get_config`'s result.

        Raises
        ------
        ValueError
            If it is no such description, or layers, names or shapes in it do not fit each other.
        """
        items = checks.member(config, "layers", list, "model")
        layers = [layers_module.deserialize(item) for item in items]
        model = cls(layers, checks.member(config, "name", str, "model"))
        if config.get("build_shape") is not None:
            shape = checks.member(config, "build_shape", list, "model")
            if not all(size is None or type(size) is int for size in shape):
                raise ValueError(f"model: build_shape: expected integers and None, got {shape!r:.80}")
            model.build(shape)
        model._trainable = checks.member(config, "trainable", bool, "model")
        return model

    def _append(self, layer: Any, names: set[str]) -> None:
        """Put a layer on top of others of these names, and add its own to them."""
        if isinstance(layer, KerasTensor):
            layer = layer.node.layer
            if not isinstance(layer, InputLayer):
                raise TypeError(f"layer: expected a layer or an Input, got the output of {layer.name}")
        if not isinstance(layer, Layer):
            raise TypeError(f"layer: expected a layer, got {layer!r}")
        if layer.declared_shape is not None and (self._stack or self.input_shapes is not None):
            raise ValueError(
                f"layer: expected the input's shape only in the first item, got it in {layer.name}"
            )
        if isinstance(layer, InputLayer):
            assert layer.declared_shape is not None
            self.input_shapes = [layer.declared_shape]
            return
        if layer.takes_list:
            raise ValueError(f"layer: expected one input per layer, got {layer.name}, which takes several")
        if layer.name in names:
            raise ValueError(f"layer: expected different names, got {layer.name!r} twice")
        if getattr(layer, "return_state", False):
            raise ValueError(f"layer: expected one output per layer, got {layer.name} with return_state=True")
        if isinstance(layer, Model):
            if _holds(layer, self):
                raise ValueError(f"layer: expected no cycle, got {self.name} inside of {layer.name}")
            for name, structure in (("input", layer.input_structure), ("output", layer.output_structure)):
                if len(structure.names) > 1:
                    raise ValueError(
                        f"layer: expected one {name} per layer, got {len(structure.names)}: {layer.name}"
                    )
        if self._stack and layer.dtype != self.dtype:
            raise ValueError(f"layer: expected dtype {self.dtype} like the others, got {layer.dtype}")
        self.dtype = layer.dtype
        shapes = layer.input_shapes if isinstance(layer, Model) else None
        declared = layer.declared_shape if shapes is None else shapes[0]
        if self.input_shapes is None and declared is not None and not self._stack:
            self.input_shapes = [declared]
        layer.move(self.place)
        self._stack.append(layer)
        names.add(layer.name)

    def _build_if_known(self) -> None:
        if self.input_shapes is not None and self._stack:
            self.build()

    def _check_free(self) -> None:
        if self._held:
            raise ValueError(f"model: expected {self.name} as it was when another model took it in")


def _holds(layer: Layer, model: Model) -> bool:
    """Tell whether a layer is a model, or has it somewhere inside."""
    return layer is model or any(_holds(inner, model) for inner in layer._layers)
