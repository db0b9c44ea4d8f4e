"""The LSTM layer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from fusedlstm import activations, checks, initializers, ops
from fusedlstm.layers.base import Layer, feature_count
from fusedlstm.utils import SeedGenerator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.variable import Array, Mask, Shape, Variable


class LSTM(Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with a forget gate: Gers et al. 2000).

    For each step, with gates in the order i, f, c~, o along the last axis of the weights::

        i, f, o = sigmoid(x W + h U + b)      c~ = tanh(x W + h U + b)
        c = f c + i c~                        h = o tanh(c)

    Input is (B, T, I); output (B, H), or (B, T, H) with ``return_sequences``. The weights are ``kernel``
    (I, 4H), ``recurrent_kernel`` (H, 4H) and ``bias`` (4H,).

    Parameters
    ----------
    units : int
        Number of units H.
    activation : str or callable
        Activation of c~ and c: tanh, relu, leaky_relu, elu, softsign, softplus, hard_sigmoid, exponential or
        linear, which all run in the kernel.
    recurrent_activation : str or callable
        Activation of the gates, one of the same or sigmoid.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        Start values.
    unit_forget_bias : bool
        Whether the forget gate's bias starts at 1.
    dropout : float
        Share of inputs dropped in training, in [0, 1). One mask per sample and feature, the same at each
        step.
    recurrent_dropout : float
        Share of the hidden state's units that a step does not see in training, in [0, 1). One mask per sample
        and unit, the same at each step and for all gates.
    seed : int, optional
        Seed of both dropouts.
    return_sequences : bool
        Whether the output of all steps is returned.
    return_state : bool
        Whether a call returns ``[output, h, c]``, h and c (B, H) being the last states.
    go_backwards : bool
        Whether the input is read from the last step to the first. Outputs are in the order of processing.
    stateful : bool
        Whether each sample of a batch starts from the last states of the same sample in the batch before,
        until `reset_state`. Gradients stop between batches.
    zero_output_for_mask : bool
        Whether the output of masked steps is zero; by default it repeats the hidden state.
    **kwargs
        As in `Layer`. ``unroll`` and ``use_cudnn`` are accepted and change nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown, out of range or not supported.
    """

    takes_mask: ClassVar[bool] = True

    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **Layer.only_values,
        "bias_constraint": (None,),
        "bias_regularizer": (None,),
        "kernel_constraint": (None,),
        "kernel_regularizer": (None,),
        "recurrent_constraint": (None,),
        "recurrent_regularizer": (None,),
        "unroll": (False, True),
        "use_cudnn": ("auto", False, True),
    }

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        self.units = checks.positive_int(units, "units")
        self.activation = _in_kernel(activation, "activation")
        self.recurrent_activation = _in_kernel(recurrent_activation, "recurrent_activation")
        self.dropout = checks.rate(dropout, "dropout")
        self.recurrent_dropout = checks.rate(recurrent_dropout, "recurrent_dropout")
        super().__init__(**kwargs)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.recurrent_initializer = initializers.get(recurrent_initializer, "recurrent_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.unit_forget_bias = bool(unit_forget_bias)
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.seed = seed
        plain = self.activation is activations.tanh and self.recurrent_activation is activations.sigmoid
        self.options: ops.CellOptions | None = None
        if not plain:
            self.options = ops.CellOptions(self.recurrent_activation.__name__, self.activation.__name__)
        self._last_states: tuple[Array, Array] | None = None
        self._seeds = SeedGenerator(seed)
        self._packed: ops.LSTMWeights | None = None
        self._packed_version = -1
        self._packing = threading.Lock()
        self._kept: tuple[ops.Tape, int | None, Array | None] | None = None
        self.state_gradients: tuple[Array, Array] | None = None

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs (B, T, I); see `Layer.build`."""
        features, units = feature_count(self, input_shape, 3, None), self.units
        self.kernel = self.add_weight((features, 4 * units), self.kernel_initializer, "kernel")
        self.recurrent_kernel = self.add_weight(
            (units, 4 * units), self.recurrent_initializer, "recurrent_kernel"
        )
        self.bias: Variable | None = None
        if self.use_bias:
            self.bias = self.add_weight((4 * units,), self.bias_initializer, "bias")
            if self.unit_forget_bias:
                bias = self.bias.numpy()
                bias[units : 2 * units] = 1
                self.bias.assign(bias)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, T, H) or (B, H); see `Layer.compute_output_shape`."""
        feature_count(self, input_shape, 3, self.kernel.shape[0] if self.built else None)
        batch, steps, _ = input_shape
        return (batch, steps, self.units) if self.return_sequences else (batch, self.units)

    def compute_mask(self, x: Array, mask: Mask | None) -> Mask | None:
        """Return the mask where the output has steps; see `Layer.compute_mask`."""
        return super().compute_mask(x, mask) if self.return_sequences else None

    def __call__(
        self,
        x: npt.ArrayLike,
        *,
        initial_state: Sequence[npt.ArrayLike] | None = None,
        mask: npt.ArrayLike | None = None,
        training: bool = False,
    ) -> Any:
        """Compute the layer's output, building it first if need be.

        Parameters
        ----------
        x : array_like, shape (B, T, I)
            Input, converted to the layer's dtype.
        initial_state : pair of array_like, shape (B, H) each, optional
            Start values of h and c; by default zeros, or the last ones of a stateful layer.
        mask : array_like of bool, shape (B, T), optional
            Which steps are real. Others cost nothing: the states pass them unchanged.
        training : bool
            Whether dropout is on and `backward` may follow.

        Returns
        -------
        ndarray or list of ndarray
            The output, or ``[output, h, c]`` with ``return_state``.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong.
        """
        array = self.prepare(x)
        real = None if mask is None else np.ascontiguousarray(mask, bool)
        return self.forward(array, training, self.checked_states(initial_state, array.shape[0]), real)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: tuple[Array, Array] | None = None,
        mask: Mask | None = None,
    ) -> Any:
        """Compute the output; see `Layer.forward` and `__call__`."""
        seed = None
        if training and self.dropout:
            seed = self._seeds.next()
            x = ops.dropout(x, self.dropout, seed, share_steps=True)
        recurrent_mask = None
        if training and self.recurrent_dropout:
            ones = np.ones((len(x), self.units), x.dtype)
            recurrent_mask = ops.dropout(ones, self.recurrent_dropout, self._seeds.next(), out=ones)
        if self.stateful and initial_state is None:
            initial_state = self._continued(len(x))
        h0, c0 = initial_state or (None, None)
        result = ops.lstm_forward(
            x,
            self.packed(),
            h0,
            c0,
            mask=mask,
            zero_output_for_mask=self.zero_output_for_mask,
            options=self.options,
            recurrent_mask=recurrent_mask,
            training=training,
            return_sequences=self.return_sequences,
            go_backwards=self.go_backwards,
        )
        if self.stateful:
            self._last_states = (result.h, result.c)
        ends = None
        output = result.h if result.y is None else result.y
        if result.y is None and self.zero_output_for_mask and mask is not None and mask.shape[1]:
            # The output of the last step, which may be a masked one.
            ends = mask[:, 0 if self.go_backwards else -1, None].astype(x.dtype)
            output = result.h * ends
        if result.tape is not None:
            self._kept = (result.tape, seed, ends)
        return [output, result.h, result.c] if self.return_state else output

    def backward(
        self, dy: Array | None, need_dx: bool = True, dstates: tuple[Array | None, Array | None] | None = None
    ) -> Array | None:
        """Compute gradients; see `Layer.backward`.

        Parameters
        ----------
        dy : ndarray or None
            Gradient of the output.
        need_dx : bool
            Whether the input's gradient is wanted.
        dstates : pair of ndarray or None, optional
            Gradients of the last h and c that ``return_state`` gave, shape (B, H) each.

        Returns
        -------
        ndarray or None
            Gradient of the input. Those of the initial states are in ``state_gradients``.
        """
        if self._kept is None:
            raise RuntimeError(
                f"{self.name}: backward needs a forward(x, training=True) before it, one for each"
            )
        (tape, seed, ends), self._kept = self._kept, None
        dh, dc = dstates or (None, None)
        if not self.return_sequences and dy is not None:
            dy = dy if ends is None else dy * ends
            dh = dy if dh is None else dh + dy
            dy = None
        grads = ops.lstm_backward(tape, dy, dh, dc, need_dx=need_dx)
        self.kernel.grad, self.recurrent_kernel.grad = grads.dkernel, grads.drecurrent_kernel
        if self.bias is not None:
            self.bias.grad = grads.dbias
        self.state_gradients = (grads.dh0, grads.dc0)
        if grads.dx is None or seed is None:
            return grads.dx
        return ops.dropout(grads.dx, self.dropout, seed, share_steps=True)

    def reset_state(self) -> None:
        """Let a stateful layer start from zeros again."""
        self._last_states = None

    reset_states = reset_state  # Keras 2's name

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose state a resumed training needs."""
        return [self._seeds]

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal layer, without its weights."""
        flags = (
            "use_bias",
            "unit_forget_bias",
            "return_sequences",
            "return_state",
            "go_backwards",
            "stateful",
            "zero_output_for_mask",
        )
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
            **{key: getattr(self, key) for key in flags},
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }

    def packed(self) -> ops.LSTMWeights:
        """Return the packed weights, packed anew if a variable changed. Several threads may ask at once."""
        bias = None if self.bias is None else self.bias.value
        with self._packing:
            version = sum(variable.version for variable in self.weights)
            if self._packed is None:
                self._packed = ops.LSTMWeights(self.kernel.value, self.recurrent_kernel.value, bias)
            elif version != self._packed_version:
                self._packed.update(self.kernel.value, self.recurrent_kernel.value, bias)
            self._packed_version = version
            return self._packed

    def _continued(self, batch: int) -> tuple[Array, Array] | None:
        """Return the last states of a stateful layer."""
        if self._last_states is not None and len(self._last_states[0]) != batch:
            raise ValueError(
                f"x: expected {len(self._last_states[0])} samples like the batch before, as {self.name} is "
                f"stateful, got {batch}; reset_state() starts anew"
            )
        return self._last_states

    def checked_states(self, given: Sequence[npt.ArrayLike] | None, batch: int) -> tuple[Array, Array] | None:
        """Check and convert initial states h and c (B, H); None stays None."""
        if given is None:
            return None
        if not isinstance(given, list | tuple) or len(given) != 2:
            raise ValueError(f"initial_state: expected a pair [h, c], got {type(given).__name__}")
        h, c = (checks.numeric(state, "initial_state").astype(self.dtype, copy=False) for state in given)
        for state in (h, c):
            if state.shape != (batch, self.units):
                raise ValueError(f"initial_state: expected shape {(batch, self.units)}, got {state.shape}")
        return np.ascontiguousarray(h), np.ascontiguousarray(c)


def _in_kernel(given: object, name: str) -> activations.Activation:
    activation = activations.get(given, name)
    if activation.__name__ not in ops.ACTIVATIONS:
        choices = ", ".join(ops.ACTIVATIONS)
        raise ValueError(f"{name}: expected one of {choices} for an LSTM, got {activation.__name__!r}")
    return activation
