"""`Layer`: weights, naming and argument checks that all layers share."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm import config, constraints, initializers, regularizers
from fusedlstm.base import checks, devices, limits, versions
from fusedlstm.base.filling import room
from fusedlstm.base.gradients import Gradients
from fusedlstm.base.names import auto_name, checked_name
from fusedlstm.base.placed import Placed
from fusedlstm.base.registry import Configured, serialize
from fusedlstm.base.symbolic import is_symbolic
from fusedlstm.base.variable import Variable
from fusedlstm.layers.called import Called
from fusedlstm.layers.direct import keep, take
from fusedlstm.layers.shapes import checked_pair
from fusedlstm.layers.weights import assign_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from fusedlstm.base.seeds import SeedGenerator
    from fusedlstm.base.types import Array, Mask, Shape

# Arguments that a layer takes for each of its weights, with the modules that know their values.
_WEIGHT_OPTIONS: Mapping[str, Any] = {"regularizer": regularizers, "constraint": constraints}


class Layer(Called, Placed, Configured):
    """Base of layers.

    There is no automatic differentiation: a layer defines `forward`, which returns its output and what its
    gradient needs, and `backprop`, which takes that. No layer keeps anything of a call, so that it may
    be used many times before the backward passes. A layer of your own defines `build` (if it has weights),
    `forward`, `backprop` and, where the shape changes, `compute_output_shape`::

        class Scale(layers.Layer):
            def build(self, input_shape):
                self.factor = self.add_weight(input_shape[-1:], "ones", "factor")
                super().build(input_shape)

            def forward(self, x, training=False):
                return x * self.factor.value, x

            def backprop(self, saved, dy, gradients, need_dx=True):
                gradients.add(self.factor, (saved * dy).reshape(-1, dy.shape[-1]).sum(axis=0))
                return dy * self.factor.value

    A single layer is used directly by calling it with ``training=True`` and then `backward`.

    Parameters
    ----------
    name : str, optional
        Unique in a model, without ``/``, NUL and surrogates, which files cannot hold; by default the class's
        name with a number (``lstm``, ``lstm_1``).
    dtype : {"float32", "float64", "mixed_bfloat16", "int8_from_float32"} or DTypePolicy, optional
        Number type of weights and outputs, and what LSTMs multiply (`fusedlstm.config.DTypePolicy`);
        `fusedlstm.config.dtype_policy` by default.
    trainable : bool
        Whether training changes the weights; it may be assigned later.
    activity_regularizer : str or Regularizer, optional
        Penalty of the output, divided by the batch size, which models add to their loss. A layer inside of
        another cannot have one.
    input_shape : tuple of int or None, optional
        Shape of one sample, for the first layer of a model; the same as an `Input` before it.
    input_dim, batch_input_shape, batch_shape : optional
        Keras 2's other ways to say it: the number of features, or a shape with the batch axis.
    **kwargs
        For each weight of a layer that says so, ``<weight>_regularizer`` and ``<weight>_constraint``, of
        `fusedlstm.regularizers` and `fusedlstm.constraints`; and Keras's arguments that are not supported:
        accepted at the value that switches them off.

    Raises
    ------
    TypeError
        If an argument is unknown.
    ValueError
        If a value is out of range or not supported.
    """

    # Whether `forward` takes ``mask``, which steps of x are real: (B, T) or None.
    takes_mask: ClassVar[bool] = False

    # Keras's arguments that only change how Keras computes, or are off at this value.
    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    # The name that a weight has in the arguments ``<name>_regularizer`` and ``<name>_constraint``.
    weight_arguments: ClassVar[Mapping[str, str]] = {}

    # How many different ids inputs may hold; None where inputs are numbers of the layer's dtype.
    ids: int | None = None

    fresh: ClassVar[tuple[str, ...]] = ("_nodes",)

    # Arguments that Keras's class lacks, with the values that switch them off; () where others decide that.
    beyond_keras: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse the gradient of a class under a name that models do not call."""
        super().__init_subclass__(**kwargs)
        if "backward" in vars(cls):
            raise TypeError(
                f"{cls.__name__}: expected a method backprop(saved, dy, gradients, need_dx), which takes "
                "what forward saved, got one called backward"
            )

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        activity_regularizer: Any = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
        batch_shape: Sequence[int | None] | None = None,
        **kwargs: object,
    ) -> None:
        kind = type(self).__name__
        limits.claim_description(limits.OBJECT, f"a layer {kind}")
        for argument in self.weight_arguments.values():
            for option, module in _WEIGHT_OPTIONS.items():
                key = f"{argument}_{option}"
                setattr(self, key, module.get(kwargs.pop(key, None), key))
        for key, value in kwargs.items():
            if key not in self.only_values:
                raise TypeError(f"{key}: unknown argument of {kind}")
            allowed = self.only_values[key]
            if not any(value is only or (type(value) is type(only) and value == only) for only in allowed):
                expected = " or ".join(repr(only) for only in allowed)
                raise ValueError(f"{key}: expected {expected}, got {value!r:.80}: {kind} does not support it")
        self.name = auto_name(type(self)) if name is None else checked_name(name)
        if "/" in self.name:
            raise ValueError(f"name: expected a non-empty string without '/', got {name!r:.80}")
        self.dtype_policy = config.policy_of(dtype, "dtype")
        self.dtype = self.dtype_policy.variable_dtype
        self._trainable = checks.flag(trainable, "trainable")
        self.activity_regularizer = regularizers.get(activity_regularizer, "activity_regularizer")
        whole = batch_shape if batch_input_shape is None else batch_input_shape
        if input_shape is None and whole is not None:
            input_shape = checks.shape(whole, "batch_input_shape")[1:]
        if input_shape is None and input_dim is not None:
            input_shape = (checks.positive_int(input_dim, "input_dim"),)
        self.declared_shape: Shape | None = (
            None if input_shape is None else (None, *checks.shape(input_shape, "input_shape"))
        )
        self.built = False
        self._variables: dict[str, Variable] = {}

    # Methods that subclasses define.

    def build(self, input_shape: Shape) -> None:  # noqa: ARG002
        """Make the weights for inputs of ``input_shape``; overriding methods call this one at their end."""
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, the batch axis included.

        Raises
        ------
        ValueError
            If the layer cannot take inputs of ``input_shape``.
        """
        return input_shape

    def output_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shapes of all outputs; one that `compute_output_shape` gives, but for states."""
        return [self.compute_output_shape(input_shape)]

    def compute_mask(self, x: Array, mask: Mask | None) -> Mask | None:  # noqa: ARG002
        """Return which steps of the output are real, given those of the input x: (B, T) or None for all.

        By default they are the same ones; None for a layer that takes a list, whose masks are one too.
        Losses and metrics leave out the steps of a model's output that are not real.
        """
        return None if self.takes_list else mask

    def forward(self, x: Array, training: bool = False) -> tuple[Any, Any]:
        """Compute the output of checked input.

        Returns
        -------
        y : ndarray
            The output; a list of arrays for layers that have several.
        saved : object
            With ``training`` whatever `backprop` needs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:
        """Add the weights' gradients to others and return the input's gradient.

        Parameters
        ----------
        saved : object
            From `forward` with ``training=True``; it serves once.
        dy : ndarray
            Gradient of that call's output; of several a list, with None for those that nothing hangs on.
        gradients : Gradients
            Has a method ``add(variable, gradient)``.
        need_dx : bool
            Whether the input's gradient is wanted; None is returned otherwise.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backprop")

    # Methods that subclasses inherit.

    def backward(self, dy: Any, need_dx: bool = True, *more: Any, **options: Any) -> Array | None:
        """Set the weights' ``grad`` and return the input's gradient, after a call with ``training=True``.

        Parameters
        ----------
        dy : ndarray
            Gradient of the output.
        need_dx : bool
            Whether the input's gradient is wanted; None is returned otherwise.
        *more, **options
            Other arguments of the layer's `backprop`.

        Raises
        ------
        RuntimeError
            If this thread has called the layer in this way not once since the last `backward`, or more often:
            it would not be clear which call is meant.
        """
        saved, gradients = take(self), Gradients()
        dx = self.backprop(saved, dy, gradients, need_dx, *more, **options)
        for variable in self.weights:
            variable.grad = gradients.get(variable)
        for layer, pair in gradients.states.items():
            layer.state_gradients = pair
        return dx

    def __call__(
        self, x: npt.ArrayLike, *, mask: npt.ArrayLike | None = None, training: bool | None = None
    ) -> Any:
        """Compute the layer's output, building it first if need be.

        Parameters
        ----------
        x : array_like or KerasTensor
            Input, converted to the layer's dtype; NumPy arrays are copied to the device of the layer, where
            the output is. Of a symbolic tensor, which `Input` gives, the output is one, for a `Model`.
        mask : array_like of bool, shape (B, T), optional
            Which steps are real, for layers that take masks.
        training : bool, optional
            Whether dropout is on and `backward` may follow. Of a symbolic tensor True means that dropout is
            on in every pass, and False nothing.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong.
        """
        if type(x) is not np.ndarray and is_symbolic(x):
            return self.on_tensors(x, mask=mask, training=training)
        array = self.prepare(x)
        given: dict[str, Any] = {}
        if mask is not None:
            if not self.takes_mask:
                raise TypeError(f"mask: expected none for layer {self.name}, a {type(self).__name__}")
            given["mask"] = self.real_steps(mask)
        with versions.reading():
            result = self.forward(array, bool(training), **given)
        y, saved = result if type(result) is tuple else checked_pair(result, self)
        if training:
            keep(self, saved)
        return y

    def prepare(self, x: npt.ArrayLike) -> Array:
        """Check and convert an input and build the layer if need be."""
        if isinstance(x, Layer):
            raise TypeError(f"x: expected an array, got {x!r}: models are made with Sequential([...])")
        array: Array = self.bring(checks.numeric(x, "x").astype(self.dtype, copy=False), "x")
        self.compute_output_shape(array.shape)
        if not self.built:
            self.build(array.shape)
        return array

    def bring(self, array: Any, name: str) -> Any:
        """Return an argument on the layer's device; `TypeError` if it is an array on another one."""
        return self.place.bring(array, name, self.name)

    def real_steps(self, mask: npt.ArrayLike) -> Mask:
        """Return a given mask as an array of bool in C order, on the layer's device."""
        array = checks.numeric(mask, "mask").astype(bool, copy=False)
        steps: Mask = devices.contiguous(self.bring(array, "mask"))
        return steps

    def move(self, place: devices.Device) -> None:
        """Move the weights; see `Placed.move`. What `forward` has saved stays where it was."""
        super().move(place)
        for variable in self._variables.values():
            variable.move(place)
        for layer in self._layers:
            layer.move(place)

    def add_weight(
        self, shape: tuple[int, ...], initializer: Any = "glorot_uniform", name: str = "weight"
    ) -> Variable:
        """Make a weight called ``<layer>/<name>`` of the layer's dtype, with the options of its arguments."""
        path, waits = f"{self.name}/{name}", room()
        size = math.prod(shape) * np.dtype(self.dtype).itemsize
        if size > sys.maxsize:
            raise ValueError(f"{path}: expected a weight that fits into memory, got shape {shape}")
        # Without memory of its own until the variable is made.
        value = None if waits is None else waits.take(shape, self.dtype, path)
        limits.claim_description(limits.OBJECT // 8, path)
        limits.claim(size, path)
        if value is None:
            value = initializers.get(initializer)(shape, self.dtype)
        options: dict[str, Any] = {}
        for option in _WEIGHT_OPTIONS if name in self.weight_arguments else ():
            key = f"{self.weight_arguments[name]}_{option}"
            options[option] = getattr(self, key)
            if options[option] is not None:
                try:
                    options[option](value)
                except ValueError as error:
                    raise ValueError(f"{key}: expected one that fits shape {shape}: {error}") from error
        variable = Variable(value, name, path, **options)
        variable.move(self.place)
        self._variables[name] = variable
        return variable

    @property
    def _layers(self) -> Sequence[Layer]:
        """Layers inside of this one."""
        return ()

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; assigned, it is assigned to the layers inside too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = checks.flag(value, "trainable")
        for layer in self._layers:
            layer.trainable = value

    def quantize(self, mode: str = "int8") -> None:
        """Let LSTMs, those inside too, multiply integers of 8 bits from now on, for inference; Keras's name.

        Each column of their weights and each row of what they multiply is rounded, at each step, to multiples
        of 1/127 of its largest number (``ops.LSTMWeights(..., compute="int8")``). Weights stay float32 where
        they are, files keep the policy ``"int8_from_float32"``, and what has no such kernels stays as it is.
        Quantized LSTMs refuse to train.

        Parameters
        ----------
        mode : {"int8"}
            The numbers.

        Raises
        ------
        ValueError
            If it is another mode, or an LSTM is not of float32, before any layer changes.
        NotImplementedError
            If there is no LSTM.
        """
        if mode != "int8":
            raise ValueError(f"mode: expected 'int8', got {mode!r}")
        found = list(self._quantizable())
        if not found:
            raise NotImplementedError(
                f"{self.name}: expected layers with kernels for int8, as LSTM has, got none"
            )
        for layer in found:
            if layer.dtype != "float32":
                raise ValueError(f"{layer.name}: expected float32 to be quantized, got {layer.dtype}")
        for layer in found:
            layer._quantized()

    def _quantizable(self) -> Iterator[Layer]:
        """Yield this layer and those inside that `quantize` changes."""
        for layer in self._layers:
            yield from layer._quantizable()

    def _quantized(self) -> None:
        """Take the policy of quantized layers: a part of `quantize`."""
        self.dtype_policy = config.DTypePolicy("int8_from_float32")

    @property
    def weights(self) -> list[Variable]:
        """All weights, in Keras's order."""
        return [*self._variables.values(), *(v for layer in self._layers for v in layer.weights)]

    @property
    def trainable_weights(self) -> list[Variable]:
        """Weights that training changes."""
        if not self._trainable:
            return []
        trained = [v for v in self._variables.values() if v.trainable]
        for layer in self._layers:
            trained += layer.trainable_weights
        return trained

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """Weights that training leaves alone."""
        trained = {id(v) for v in self.trainable_weights}
        return [v for v in self.weights if id(v) not in trained]

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose state a resumed training needs."""
        return [seeds for layer in self._layers for seeds in layer.seed_generators]

    def get_weights(self) -> list[Array]:
        """Return copies of the weights, in Keras's order."""
        with versions.reading():
            return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Replace all weights; parameters as `assign_all`'s."""
        if not self.built:
            raise ValueError(f"weights: expected a built layer, {self.name} has no weights yet")
        assign_all(self.weights, weights)

    def count_params(self) -> int:
        """Return the number of elements in all weights."""
        return sum(v.size for v in self.weights)

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal layer, without its weights."""
        config = {**super().get_config(), "dtype": self.dtype_policy.name, "trainable": self.trainable}
        if self.activity_regularizer is None:
            config.pop("activity_regularizer", None)
        for argument in self.weight_arguments.values():
            for option in _WEIGHT_OPTIONS:
                key = f"{argument}_{option}"
                config[key] = serialize(getattr(self, key))
        return config

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"
