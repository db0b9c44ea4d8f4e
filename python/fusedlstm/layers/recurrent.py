"""`Recurrent`: what layers with states have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import checks, versions
from fusedlstm.base.symbolic import KerasTensor, Node, is_symbolic
from fusedlstm.layers.base import Layer
from fusedlstm.layers.direct import keep
from fusedlstm.layers.shapes import checked_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape


class Recurrent(Layer):
    """Base of layers whose calls may start from states, and return the last ones.

    Parameters
    ----------
    input_dim, input_length : int, optional
        Keras 2's way to say ``input_shape=(input_length, input_dim)``.
    **kwargs
        As in `Layer`.
    """

    takes_mask: ClassVar[bool] = True

    return_sequences: bool

    def __init__(
        self, *, input_dim: int | None = None, input_length: int | None = None, **kwargs: Any
    ) -> None:
        if input_dim is not None and kwargs.get("input_shape") is None:
            kwargs["input_shape"] = (input_length, checks.positive_int(input_dim, "input_dim"))
        super().__init__(**kwargs)

    def compute_mask(self, x: Array, mask: Mask | None) -> Mask | None:
        """Return the mask where the output has steps; see `Layer.compute_mask`."""
        return super().compute_mask(x, mask) if self.return_sequences else None

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Numbers in each state of a sample, in the order of ``return_state``."""
        parts: Any = self._layers
        return tuple(size for layer in parts for size in layer.state_sizes)

    def output_shapes(self, input_shape: Any) -> list[Shape]:
        """Return the shapes of the output and, with ``return_state``, of the states."""
        layer: Any = self
        shapes = super().output_shapes(input_shape)
        return shapes + ([(input_shape[0], size) for size in self.state_sizes] if layer.return_state else [])

    def trace(self, x: npt.ArrayLike, *, initial_state: Any = None, mask: npt.ArrayLike | None = None) -> Any:
        """Return the states and gates of every step: what an LSTM does with an input.

        They are what a call without training computes, read from the tape that training uses, and not
        computed by other means. (``states`` is another thing, as in Keras: what the next batch of a stateful
        layer starts from. That is left as it is.)

        Parameters
        ----------
        x : array_like (B, T, I)
        initial_state, mask
            As of a call.

        Returns
        -------
        LSTMStates, or several
            ``(h, c, i, f, g, o)``, each (B, T, H), h (B, T, R), with step ``t`` that of ``x[:, t]``, also
            where a layer reads x backwards. Of `Bidirectional` a pair, of the forward and the backward
            layer; of `StackedLSTM` a list of what each of its layers returns.

        Raises
        ------
        NotImplementedError
            The layer is on a GPU.
        TypeError, ValueError
            As of a call.
        """
        array = self.prepare(x)
        real = None if mask is None else self.real_steps(mask)
        layer: Any = self
        states = None if initial_state is None else layer.checked_states(initial_state, len(array))
        with versions.reading():
            return layer.traced(array, states, real)[0]

    def state_slopes(self, gradients: Gradients) -> Sequence[Array | None]:
        """Return the gradients of the initial states from the last backward pass, and remove them there."""
        found = gradients.states.pop(self, None)
        parts: Any = () if found is not None else self._layers
        return found or [slope for layer in parts for slope in layer.state_slopes(gradients)]

    def record(
        self,
        inputs: Sequence[KerasTensor],
        states: Sequence[KerasTensor] = (),
        mask: KerasTensor | None = None,
        training: bool = False,
    ) -> Node:
        """Return a call on symbolic tensors, of symbolic states too; see `Layer.record`."""
        wanted, shapes = [(None, size) for size in self.state_sizes], [tensor.shape for tensor in states]
        if shapes and [(None, *shape[1:]) for shape in shapes] != wanted:
            raise ValueError(f"initial_state: expected shapes {wanted} for {self.name}, got {shapes}")
        return super().record(inputs, states, mask, training)

    def checked_states(self, given: Sequence[npt.ArrayLike] | None, batch: int) -> Any:
        """Check and convert initial states for so many samples; None stays None."""
        raise NotImplementedError(f"{type(self).__name__} must define checked_states")

    def forward(
        self, x: Array, training: bool = False, initial_state: Any = None, mask: Mask | None = None
    ) -> tuple[Any, Any]:
        """Compute the output from checked states; see `Layer.forward`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(
        self,
        x: npt.ArrayLike,
        *,
        initial_state: Sequence[npt.ArrayLike] | None = None,
        mask: npt.ArrayLike | None = None,
        training: bool | None = None,
    ) -> Any:
        """Compute the layer's output, building it first if need be.

        Parameters
        ----------
        x : array_like or KerasTensor, shape (B, T, I)
            Input, converted to the layer's dtype; with a symbolic one, states and mask are symbolic too.
        initial_state : sequence of array_like, shape (B, R) for each h and (B, H) for each c, optional
            Start values of all states, in the order of ``return_state``; by default zeros, or the last ones
            of a stateful layer.
        mask : array_like of bool, shape (B, T), optional
            Which steps are real. Others cost nothing: the states pass them unchanged.
        training : bool, optional
            Whether dropout is on and `backward` may follow; of symbolic tensors as in `Layer`.

        Returns
        -------
        ndarray or list of ndarray
            The output, of a `Bidirectional` layer with ``merge_mode=None`` both; with ``return_state`` a
            list, the last states following: h and c of each LSTM.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape is wrong.
        """
        if type(x) is not np.ndarray and is_symbolic(x):
            return self.on_tensors(x, initial_state, mask, training)
        array = self.prepare(x)
        real = None if mask is None else self.real_steps(mask)
        states = None if initial_state is None else self.checked_states(initial_state, len(array))
        # As in `Layer`, without its detours: of a short sequence's call they would be a tenth.
        with versions.reading():
            result = self.forward(array, bool(training), states, real)
        y, saved = result if type(result) is tuple else checked_pair(result, self)
        if training:
            keep(self, saved)
        return y
