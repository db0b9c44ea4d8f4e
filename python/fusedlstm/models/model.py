"""`Model`: a graph of layers between symbolic tensors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.names import auto_name
from fusedlstm.base.symbolic import KerasTensor, is_symbolic
from fusedlstm.layers.base import Layer
from fusedlstm.layers.core import InputLayer
from fusedlstm.models.graph import shapes_of, trace
from fusedlstm.models.graph_config import describe_graph, graph_ends
from fusedlstm.models.structure import Structure
from fusedlstm.models.summary import summary
from fusedlstm.models.training import Trainer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from typing_extensions import Self

    from fusedlstm.base.devices import Device
    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.base.symbolic import Node
    from fusedlstm.base.types import Shape
    from fusedlstm.base.variable import Variable
    from fusedlstm.models.graph import Graph
    from fusedlstm.models.streaming import Stream


class Model(Trainer):
    """A graph of layers, from symbolic inputs to symbolic outputs.

    Layers and models are called on what `Input` gives, and on what such calls give::

        a, b = Input((None, 8)), Input((None, 8))
        encoder = layers.LSTM(32)  # shared: one layer, called twice
        y = layers.Dense(1)(layers.concatenate([encoder(a), encoder(b)]))
        model = Model([a, b], y)

    Masks travel along the graph as in Keras. A model is a layer too: called on symbolic tensors it becomes a
    part of another one. The graph is fixed: what is neither a recurrent layer nor stands right around one,
    and code of one's own, is for Keras.

    Several threads may use a model at once. Each call that computes outputs, or returns or saves weights,
    sees all weights as they were when it began, or as its own thread has changed them since. In other
    threads, `set_weights`, `load_weights` and each training step replace all weights at once, and a
    loop over ``variable.assign`` one after the other. Neither waits for the other to end. Not kept
    apart in this way are metrics and the states of optimizers and of stateful layers: `fit`, `evaluate`,
    `train_on_batch` and `test_on_batch` are for one thread at a time, and a `RuntimeError`, before any
    work, in a second one. Calls of a model with stateful layers, and a `Stream`, are for one thread too.
    `to`, and a `Sequential`'s `add` and `pop`, are for times when nothing else runs.

    Parameters
    ----------
    inputs, outputs : KerasTensor, or list or dict of them
        What the model takes and gives, in which structure. An inner tensor may be an input too.
    name : str, optional
        Name, without ``/``, NUL and surrogates; ``functional`` with a number by default.
    trainable : bool
        Whether training changes weights.

    Raises
    ------
    TypeError, ValueError
        If something is no symbolic tensor, an output hangs on what is no input, two layers have the same
        name, or number types differ.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=auto_name("Functional") if name is None else name)
        self.input_structure, starts = Structure.of(inputs, "inputs")
        self.output_structure, ends = Structure.of(outputs, "outputs")
        self._connect(trace(starts, ends), starts, ends)
        if not checks.flag(trainable, "trainable"):
            self.trainable = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse what only a framework with automatic gradients can run."""
        for name in ("call", "train_step"):
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__}: expected a model of layers, got a method {name}, which has no "
                    "gradient here: make a layer with forward and backprop, or use Keras"
                )
        super().__init_subclass__(**kwargs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take attributes over; callbacks leave it to their model to be known."""
        super().__setstate__(state)
        if self.history is not None and vars(self.history).get("model") is None:
            self.history.set_model(self)

    # The graph.

    fresh = ("_tensors",)

    # Symbolic inputs and outputs; made again where they are asked for.
    _tensors: tuple[list[KerasTensor], list[KerasTensor]] | None = None

    def _connect(self, graph: Graph, inputs: list[KerasTensor], outputs: list[KerasTensor]) -> None:
        """Take a graph over."""
        inner = [layer for layer in graph.layers if not isinstance(layer, InputLayer)]
        for layer in inner:
            if layer.dtype != inner[0].dtype:
                raise ValueError(f"layer: expected dtype {inner[0].dtype} like the others, got {layer.dtype}")
            if layer is self:
                raise ValueError(f"layer: expected a graph without cycles, got {self.name} inside of itself")
        if inner:
            self.dtype = inner[0].dtype
        self.graph, self._plan, self._types = graph, None, None
        self._tensors = inputs, outputs
        self.input_shapes = [tensor.shape for tensor in inputs]
        samples = [tensor.shape[1:] for tensor in (*inputs, *outputs)]
        known = all(None not in shape for shape in samples)
        self.fixed_shapes = samples[len(inputs) :] if known else None
        self.built = True
        self._shared = False
        found = self.weights  # Those of layers that are reached in two ways are there twice.
        self._shared = len({id(variable) for variable in found}) < len(found)
        assert self.plan.ids is not None  # It checks what ids reach.

    def _symbolic(self) -> tuple[list[KerasTensor], list[KerasTensor]]:
        if self._tensors is None:
            if self.graph is None:
                raise AttributeError(f"{self.name}: expected a built model, its input shape is not known yet")
            self._tensors = self.graph.replay()
        return self._tensors

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs, one after the other."""
        return list(self._symbolic()[0])

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs, one after the other."""
        return list(self._symbolic()[1])

    @property
    def input(self) -> Any:
        """The symbolic inputs, in the structure that the model takes."""
        return _structured(self.input_structure, self.inputs)

    @property
    def output(self) -> Any:
        """The symbolic outputs, in the structure that the model gives."""
        return _structured(self.output_structure, self.outputs)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return list(self.input_structure.names)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return list(self.output_structure.names)

    @property
    def input_shape(self) -> Any:
        """Shape of the input, None at the batch axis; a list or dict for several, None if it is not known."""
        return None if self.input_shapes is None else self.input_structure.pack(self.input_shapes)

    @property
    def output_shape(self) -> Any:
        """The shape of the output, None at the batch axis; a list or dict for several."""
        if self.input_shapes is None:
            raise ValueError("model: expected a built model, its input shape is not known yet")
        shapes = self.input_shapes
        return self.output_structure.pack(self.output_shapes(shapes[0] if len(shapes) == 1 else shapes))

    @property
    def layers(self) -> list[Layer]:
        """The layers, in Keras's order, those of the inputs among them."""
        return [] if self.graph is None else self.graph.layers

    @property
    def _layers(self) -> Sequence[Layer]:
        return self.layers

    def build(self, input_shape: Any = None) -> None:
        """Do nothing: a graph's weights are made when its layers are called."""

    def output_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shapes of all outputs; see `compute_output_shape`."""
        assert self.graph is not None
        nested = bool(input_shape) and isinstance(input_shape[0], tuple | list)
        shapes = input_shape if nested else [input_shape]
        if len(shapes) != len(self.graph.inputs):
            raise ValueError(
                f"input_shape: expected {len(self.graph.inputs)} shapes for {self.name}, got {input_shape}"
            )
        return shapes_of(self.graph, shapes)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output, the batch axis included; a list for several.

        Raises
        ------
        ValueError
            If the layers do not fit the shape or each other.
        """
        return self.output_structure.of_one(self.output_shapes(input_shape))

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """Return the masks of the outputs' steps; see `Layer.compute_mask`."""
        single = len(self.plan.inputs) == 1
        done = self.run([x] if single else x, masks=[mask] if single else mask)
        return self.output_structure.of_one(done.masks)

    @property
    def ids(self) -> int | None:  # type: ignore[override]
        """How many different ids the only input may hold; None where inputs are numbers."""
        return self.plan.ids[0] if self.graph is not None and len(self.plan.ids) == 1 else None

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the layer of that name or position.

        Raises
        ------
        ValueError
            If there is none, or both are given.
        """
        if index is not None:
            if name is not None:
                raise ValueError(f"index: expected None beside a name, got {index} and {name!r:.80}")
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"index: expected a position among {len(self.layers)} layers, got {index}")
            return self.layers[index]
        if self.graph is not None:
            self._symbolic()  # The layers of a copy have no symbolic output before.
        return checks.lookup(name, "name", {layer.name: layer for layer in self.layers})

    def __call__(self, x: Any, *, mask: Any = None, training: bool | None = None) -> Any:
        """Compute the output of a batch, building the model first if need be.

        Parameters
        ----------
        x : array_like, shape (B, ...), or list or dict of them
            Inputs; outputs are device arrays where they are. Of symbolic tensors outputs are symbolic.
        mask : array_like of bool, shape (B, T), or list or dict of them, optional
            Which steps are real.
        training : bool, optional
            Whether dropout is on; of symbolic tensors as in `Layer`.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong.
        """
        if type(x) is not np.ndarray and is_symbolic(x):
            return self.on_tensors(x, mask=mask, training=training)
        if isinstance(x, Layer):
            raise TypeError(f"x: expected an array, got {x!r}: models are made with Sequential([...])")
        return self._call(x, bool(training), mask)

    def on_tensors(self, x: Any, states: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        """Return the symbolic outputs of symbolic inputs, in the structure that the model gives."""
        del states
        if mask is not None:
            raise TypeError(
                f"mask: expected None for a model in a graph, as masks travel with it, got {mask!r}"
            )
        found = self.input_structure.flatten(x, "x")
        node = self.record(found, (), None, self.mode(training))
        return _structured(self.output_structure, node.outputs)

    def record(
        self,
        inputs: Sequence[KerasTensor],
        states: Sequence[KerasTensor] = (),
        mask: KerasTensor | None = None,
        training: bool = False,
    ) -> Node:
        """Return a call on symbolic tensors; see `Layer.record`."""
        self.takes_list = len(inputs) > 1  # type: ignore[misc]
        for number, tensor in enumerate(inputs):
            name = self.input_structure.argument("x", number)
            if not isinstance(tensor, KerasTensor):
                raise TypeError(
                    f"{name}: expected a symbolic tensor, as others are, got {type(tensor).__name__}"
                )
            if self.input_shapes is not None and not _meets(tensor.shape, self.input_shapes[number]):
                raise ValueError(
                    f"{name}: expected shape {self.input_shapes[number]} for {self.name}, got {tensor.shape}"
                )
        return super().record(inputs, states, mask, training)

    def move(self, place: Device) -> None:
        """Move layers and optimizer; see `Placed.move`.

        Inputs may then be NumPy arrays, which are copied there, or arrays on that device; outputs are what
        inputs are.
        """
        super().move(place)
        if self.optimizer is not None:
            self.optimizer.follow()

    # Weights.

    _shared = False

    @property
    def weights(self) -> list[Variable]:
        """All weights, in Keras's order."""
        found = [variable for layer in self.layers for variable in layer.weights]
        return list({id(v): v for v in found}.values()) if self._shared else found

    @property
    def trainable_weights(self) -> list[Variable]:
        """Weights that training changes."""
        if not self._trainable:
            return []
        found = [variable for layer in self.layers for variable in layer.trainable_weights]
        return list({id(v): v for v in found}.values()) if self._shared else found

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose ``state`` a resumed training needs: shuffling, then dropout by layer."""
        found = [self.shuffle_seeds, *super().seed_generators]
        return list({id(seeds): seeds for seeds in found}.values())

    @property
    def layer_seeds(self) -> list[SeedGenerator]:
        """The random streams of the layers."""
        return self.seed_generators[1:]

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
        super().set_weights(weights)

    def reset_state(self) -> None:
        """Let stateful layers start from zeros again, those of models inside too."""
        for layer in self.layers:
            reset = getattr(layer, "reset_state", None)
            if reset is not None:
                reset()

    reset_states = reset_state  # Keras 2's name

    # Description.

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], object] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
    ) -> None:
        """Print a table of the layers with their output shapes, numbers of weights and connections.

        Parameters
        ----------
        line_length, positions
            Keras's, for the look of its table; they change nothing here.
        print_fn : callable, optional
            Called once with the text; by default `print`.
        expand_nested : bool
            Whether the layers of models inside of the model have lines too, after these.
        show_trainable : bool
            Whether there is a column that says what training changes.
        """
        del line_length, positions
        text = summary(
            self,
            nested=checks.flag(expand_nested, "expand_nested"),
            trainable=checks.flag(show_trainable, "show_trainable"),
        )
        (print if print_fn is None else print_fn)(text)

    def get_config(self) -> dict[str, Any]:
        """Return a JSON-able description of the model, without its weights."""
        assert self.graph is not None
        described = describe_graph(self.graph, self.input_structure, self.output_structure)
        return {"name": self.name, "trainable": self.trainable, **described}

    def to_json(self) -> str:
        """Return Keras's description of a built model as a text, which `models.model_from_json` takes."""
        from fusedlstm.exchange.keras_config import config_of

        return json.dumps(config_of(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a model, with new weights, from `get_config`'s result.

        Raises
        ------
        ValueError
            If it is no such description, or layers, names or shapes in it do not fit each other.
        """
        inputs, outputs = graph_ends(config)
        model = cls(inputs, outputs, checks.member(config, "name", str, "model"))
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
            If the model is not built, or a layer needs later steps or starts from states of the graph.
        """
        from fusedlstm.models.streaming import Stream

        return Stream(self, batch, storage=storage)

    def save(self, path: str | os.PathLike[str], *, include_optimizer: bool = True) -> None:
        """Write layers and weights to one file, which `fusedlstm.load_model` reads.

        Parameters
        ----------
        path : path-like
            File to write, ending in ``.safetensors``, or in ``.keras`` for Keras 3; it appears only when
            complete.
        include_optimizer : bool
            False leaves out what is only needed for training: optimizer, loss and metrics.
        """
        from fusedlstm.models.saving import save_model

        save_model(self, path, include_optimizer=include_optimizer)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a ``.weights.h5`` file; see `exchange.save_keras_weights`."""
        from fusedlstm import exchange

        exchange.save_keras_weights(self, path)

    def load_weights(self, path: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
        """Read the weights from a ``.weights.h5`` file; see `exchange.load_keras_weights`."""
        from fusedlstm import exchange

        exchange.load_keras_weights(self, path, max_bytes=max_bytes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, layers={len(self.layers)}, built={self.built}>"


def _structured(structure: Structure, tensors: Sequence[KerasTensor]) -> Any:
    return structure.pack(tensors) if structure.kind != "list" else structure.of_one(tensors)


def _meets(shape: Shape, expected: Shape) -> bool:
    """Tell whether a symbolic shape may be of an expected one; None stands for any length in both."""
    return len(shape) == len(expected) and all(
        one is None or other is None or one == other for one, other in zip(shape, expected, strict=True)
    )
