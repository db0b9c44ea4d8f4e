"""`Sequential`: a stack of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import config
from fusedlstm import layers as layers_module
from fusedlstm.base import checks, versions
from fusedlstm.base.names import auto_name, checked_name
from fusedlstm.layers.base import Layer, assign_all
from fusedlstm.layers.core import InputLayer
from fusedlstm.models.samples import fits
from fusedlstm.models.training import Trainer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from fusedlstm.base.devices import Device
    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.base.types import Array, Shape
    from fusedlstm.base.variable import Variable
    from fusedlstm.models.streaming import Stream


class Sequential(Trainer):
    """Layers one after the other.

    Several threads may use a model at once. Each call that computes outputs, or returns or saves weights,
    sees all weights as they were when it began, or as its own thread has changed them since. In other
    threads, `set_weights`, `load_weights` and each training step replace all weights at once, and a
    loop over ``variable.assign`` one after the other. Neither waits for the other to end. Not kept
    apart in this way are metrics and the states of optimizers and of stateful layers: `fit`, `evaluate`,
    `train_on_batch` and `test_on_batch` are for one thread at a time, and a `RuntimeError`, before any
    work, in a second one. Calls of a model with stateful layers, and a `Stream`, are for one thread too.
    `to`, `add` and `pop` are for times when nothing else runs.

    Parameters
    ----------
    layers : list of Layer, optional
        The layers. The first may be an `Input`, which makes the weights at once; without it they are made
        when the first data arrive.
    name : str, optional
        Name, without NUL and surrogates; ``sequential`` with a number by default.

    Raises
    ------
    TypeError, ValueError
        If something is not a layer, two names are equal or one is none that files can hold, number types
        differ, or shapes do not fit.
    """

    def __init__(self, layers: Sequence[Layer] | None = None, name: str | None = None) -> None:
        super().__init__()
        self.name = auto_name(type(self)) if name is None else checked_name(name)
        self.layers: list[Layer] = []
        self.input_shape: Shape | None = None
        self.built = False
        self.dtype = config.floatx()
        self._trainable = True
        if layers is not None and not isinstance(layers, list | tuple):
            raise TypeError(f"layers: expected a list of layers, got {type(layers).__name__}")
        names: set[str] = set()
        for layer in layers or ():
            self._append(layer, names)
        self._build_if_known()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take attributes over; callbacks leave it to their model to be known."""
        super().__setstate__(state)
        if self.history is not None and vars(self.history).get("model") is None:
            self.history.set_model(self)

    # Structure.

    def add(self, layer: Layer) -> None:
        """Put a layer on top, and move it to where the model is.

        Raises
        ------
        TypeError, ValueError
            As for the class; the model is unchanged then.
        """
        before = list(self.layers), self.input_shape, self.dtype
        self._append(layer, {other.name for other in self.layers})
        try:
            self._build_if_known()
        except Exception:
            self.layers, self.input_shape, self.dtype = before
            raise

    def pop(self) -> Layer:
        """Remove the topmost layer and return it.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not self.layers:
            raise ValueError("model: expected at least one layer to remove, got an empty model")
        layer = self.layers.pop()
        self.built = self.built and bool(self.layers)
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
        if input_shape is None and self.input_shape is None:
            raise ValueError("input_shape: expected a shape, as there is no Input layer to tell it, got None")
        shape = (
            self.input_shape if input_shape is None else (None, *checks.shape(input_shape, "input_shape")[1:])
        )
        assert shape is not None
        if self.input_shape is not None and not fits(shape, self.input_shape):
            raise ValueError(f"input_shape: expected {self.input_shape}, got {shape}")
        self.compute_output_shape(shape)
        current = shape
        for layer in self.layers:
            if not layer.built:
                layer.build(current)
            current = layer.compute_output_shape(current)
        self.input_shape, self.built = shape, True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, the batch axis included.

        Raises
        ------
        ValueError
            If the layers do not fit the shape or each other.
        """
        if not self.layers:
            raise ValueError("model: expected at least one layer, got an empty model")
        shape = input_shape
        for layer in self.layers:
            shape = layer.compute_output_shape(shape)
        return shape

    @property
    def output_shape(self) -> Shape:
        """The shape of the output, None at the batch axis."""
        if self.input_shape is None:
            raise ValueError("model: expected a built model, its input shape is not known yet")
        return self.compute_output_shape(self.input_shape)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the layer of that name or position.

        Raises
        ------
        ValueError
            If there is none.
        """
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"index: expected a position among {len(self.layers)} layers, got {index}")
            return self.layers[index]
        return checks.lookup(name, "name", {layer.name: layer for layer in self.layers})

    def __call__(self, x: npt.ArrayLike, *, training: bool = False) -> Array:
        """Compute the output of a batch, building the model first if need be.

        Parameters
        ----------
        x : array_like, shape (B, ...)
            Inputs; the output is a device array where they are one.
        training : bool
            Whether dropout is on.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong.
        """
        if isinstance(x, Layer):
            raise TypeError(f"x: expected an array, got {x!r}: models are made with Sequential([...])")
        return self._call(x, training)

    def move(self, place: Device) -> None:
        """Move layers and optimizer; see `Placed.move`.

        Inputs may then be NumPy arrays, which are copied there, or arrays on that device; outputs are what
        inputs are.
        """
        super().move(place)
        for layer in self.layers:
            layer.move(place)
        if self.optimizer is not None:
            self.optimizer.follow()

    # Weights.

    @property
    def trainable(self) -> bool:
        """Whether training changes weights; assigned, it is assigned to all layers.

        An optimizer goes on with fewer weights, but not with more: compile the model after unfreezing.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = checks.flag(value, "trainable")
        for layer in self.layers:
            layer.trainable = value

    @property
    def weights(self) -> list[Variable]:
        """All weights, in Keras's order."""
        return [variable for layer in self.layers for variable in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        """Weights that training changes."""
        if not self.trainable:
            return []
        return [variable for layer in self.layers for variable in layer.trainable_weights]

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose ``state`` a resumed training needs: shuffling, then dropout by layer."""
        return [self.shuffle_seeds, *(seeds for layer in self.layers for seeds in layer.seed_generators)]

    def get_weights(self) -> list[Array]:
        """Return copies of all weights, in Keras's order."""
        with versions.reading():
            return [variable.numpy() for variable in self.weights]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights, for other threads at once: calls that run go on with the old ones.

        Parameters
        ----------
        weights : list of array_like
            As `get_weights` returns them.

        Raises
        ------
        TypeError, ValueError
            If number, dtype or a shape is wrong, or the model is not built; nothing is changed then.
        """
        if not self.built:
            raise ValueError("weights: expected a built model, this one has no weights yet")
        assign_all(self.weights, weights)

    def count_params(self) -> int:
        """Return the number of elements in all weights."""
        return sum(variable.size for variable in self.weights)

    # Description.

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print a table of the layers with their output shapes and numbers of weights.

        Parameters
        ----------
        print_fn : callable
            Called once with the text.
        """
        rows = [("Layer (type)", "Output shape", "Params")]
        shape = self.input_shape
        for layer in self.layers:
            shape = None if shape is None else layer.compute_output_shape(shape)
            count = f"{layer.count_params():,}" if layer.built else "not built"
            rows.append(
                (f"{layer.name} ({type(layer).__name__})", "?" if shape is None else str(shape), count)
            )
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
        rule = "-" * (sum(widths) + 4)
        total = self.count_params()
        trained = sum(variable.size for variable in self.trainable_weights)
        ending = [f"Total params: {total:,}", f"Trainable params: {trained:,}"]
        text = [f'Model: "{self.name}"', rule, lines[0], rule, *lines[1:], rule, *ending]
        print_fn("\n".join([*text, f"Non-trainable params: {total - trained:,}"]))

    def get_config(self) -> dict[str, Any]:
        """Return a JSON-able description of the model, without its weights."""
        described = [layers_module.serialize(layer) for layer in self.layers]
        shape = None if self.input_shape is None else list(self.input_shape)
        return {"name": self.name, "trainable": self.trainable, "layers": described, "build_shape": shape}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Sequential:
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

    def stream(self, batch: int = 1, *, storage: str | None = None) -> Stream:
        """Return a session that takes sequences a step at a time, with the same bits as whole ones.

        Parameters
        ----------
        batch : int
            Sequences that run side by side.
        storage : {None, "bfloat16", "int8"}
            Keep the LSTMs' weights in fewer bits.

        Raises
        ------
        ValueError
            If the model is not built, or a layer needs later steps.
        """
        from fusedlstm.models.streaming import Stream

        return Stream(self, batch, storage=storage)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write layers and weights to one file, which `fusedlstm.load_model` reads.

        Parameters
        ----------
        path : path-like
            File to write, ending in ``.safetensors``, or in ``.keras`` for Keras 3; it appears only when
            complete.
        """
        from fusedlstm.models.saving import save_model

        save_model(self, path)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a ``.weights.h5`` file; see `exchange.save_keras_weights`."""
        from fusedlstm import exchange

        exchange.save_keras_weights(self, path)

    def load_weights(self, path: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
        """Read the weights from a ``.weights.h5`` file; see `exchange.load_keras_weights`."""
        from fusedlstm import exchange

        exchange.load_keras_weights(self, path, max_bytes=max_bytes)

    def __repr__(self) -> str:
        return f"<Sequential name={self.name}, layers={len(self.layers)}, built={self.built}>"

    def _append(self, layer: Layer, names: set[str]) -> None:
        """Put a layer on top of others of these names, and add its own to them."""
        if not isinstance(layer, Layer):
            raise TypeError(f"layer: expected a layer, got {layer!r}")
        if layer.declared_shape is not None and (self.layers or self.input_shape is not None):
            raise ValueError(
                f"layer: expected the input's shape only in the first item, got it in {layer.name}"
            )
        if isinstance(layer, InputLayer):
            self.input_shape = layer.declared_shape
            return
        if layer.name in names:
            raise ValueError(f"layer: expected different names, got {layer.name!r} twice")
        if getattr(layer, "return_state", False):
            raise ValueError(f"layer: expected one output per layer, got {layer.name} with return_state=True")
        if self.layers and layer.dtype != self.dtype:
            raise ValueError(f"layer: expected dtype {self.dtype} like the others, got {layer.dtype}")
        self.dtype = layer.dtype
        self.input_shape = layer.declared_shape if self.input_shape is None else self.input_shape
        layer.move(self.place)
        self.layers.append(layer)
        names.add(layer.name)

    def _build_if_known(self) -> None:
        if self.input_shape is not None and self.layers:
            self.build()
