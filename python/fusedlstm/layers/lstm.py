"""The LSTM layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import ops
from fusedlstm.base import checks, devices
from fusedlstm.layers.dropping import drop
from fusedlstm.layers.lstm_base import LSTMBase
from fusedlstm.layers.shapes import feature_count
from fusedlstm.layers.tracing import traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape


class LSTM(LSTMBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with a forget gate: Gers et al. 2000).

    For each step, with gates in the order i, f, c~, o along the last axis of the weights::

        i, f, o = sigmoid(x W + h U + b)      c~ = tanh(x W + h U + b)
        c = f c + i c~                        h = o tanh(c)

    Input is (B, T, I); output (B, H), or (B, T, H) with ``return_sequences``. The weights are ``kernel``
    (I, 4H), ``recurrent_kernel`` (H, 4H), ``bias`` (4H,) and, with ``use_peepholes``, ``peepholes`` (3, H);
    with ``layer_norm``, ``gamma_input`` and ``gamma_recurrent`` (4H,), ``gamma_cell`` and ``beta_cell`` (H,).
    With ``projection_units`` R, ``projection`` (H, R) follows the bias, and h, output and the rows of
    ``recurrent_kernel`` have R numbers.

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
    use_peepholes : bool
        Whether the gates see the cell state (Gers and Schmidhuber 2000): i and f the one before, o the new
        one, each unit its own, by the rows of ``peepholes``.
    peephole_initializer : str or Initializer
        Start values of ``peepholes``. At zero they change nothing yet.
    coupled : bool
        Whether ``f = 1 - i`` (Greff et al. 2017). The forget gate's columns of the weights stay in place,
        without effect or gradient.
    cell_clip : float, optional
        Limit on the cell state, which stays within ``[-cell_clip, cell_clip]`` (Sak, Senior and Beaufays
        2014).
    layer_norm : bool
        Whether x W and h U are normalized on their way to the gates, and c on its way to h (Ba, Kiros and
        Hinton 2016): `fusedlstm.ops.LayerNorm` has the equations. The factors ``gamma_...`` start at 1,
        ``beta_cell`` at 0.
    layer_norm_epsilon : float
        Added to the variances.
    projection_units : int, optional
        Numbers in h, ``h = (o tanh(c)) projection`` (LSTMP: Sak, Senior and Beaufays 2014). No projection by
        default.
    projection_initializer : str or Initializer
        Start values of ``projection``.
    dropout : float
        Share of inputs dropped in training, in [0, 1). One mask per sample and feature, the same at each
        step.
    recurrent_dropout : float
        Share of the hidden state's units that a step does not see in training, in [0, 1). One mask per sample
        and unit, the same at each step and for all gates.
    zoneout_h, zoneout_c : float
        Rates in [0, 1) with which h and c keep their previous values (Krueger et al. 2017): in training drawn
        for each sample, step and unit, and otherwise the expectation; see `ops.CellOptions`.
    seed : int, optional
        Seed of both dropouts and of zoneout.
    return_sequences : bool
        Whether the output of all steps is returned.
    return_state : bool
        Whether a call returns ``[output, h, c]``, h and c (B, H) being the last states.
    go_backwards : bool
        Whether the input is read from the last step to the first. Outputs are in the order of processing.
    stateful : bool
        Whether each sample of a batch starts from the last states of the same sample in the batch before,
        until `reset_state`. Gradients stop between batches. If a model's pass over a batch raises, also with
        KeyboardInterrupt, all its layers keep the states from before; what follows a pass, such as the update
        of a training step, does not take the states back.
    zero_output_for_mask : bool
        Whether the output of masked steps is zero; by default it repeats the hidden state.
    **kwargs
        As in `Layer`, with regularizers and constraints of ``kernel``, ``recurrent`` and ``bias``.
        ``unroll``, ``use_cudnn``, ``implementation`` and ``time_major=False`` are accepted and change
        nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown, out of range or not supported.
    """

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, T, R) or (B, R), R = H without a projection; see `Layer.compute_output_shape`."""
        feature_count(self, input_shape, 3, self.kernel.shape[0] if self.built else None)
        batch, steps, _ = input_shape
        return (batch, steps, self.outputs) if self.return_sequences else (batch, self.outputs)

    def forward(
        self,
        x: Array,
        training: bool = False,
        initial_state: tuple[Array, Array] | None = None,
        mask: Mask | None = None,
    ) -> tuple[Any, Any]:
        """Compute the output; see `Layer.forward` and `__call__`."""
        if training:
            self.check_trains()
        if self.stateful and initial_state is None:
            initial_state = self._continued(len(x))
        seed = None
        if training and self.dropout:
            seed = self._seeds.next()
            x = drop(x, self.dropout, seed, share_steps=True)
        recurrent_mask = None
        if training and self.recurrent_dropout:
            ones: Array = np.ones_like(x, order="C", shape=(len(x), self.outputs))
            recurrent_mask = drop(ones, self.recurrent_dropout, self._seeds.next())
        zoneout_seed = self._seeds.next() if training and (self.zoneout_h or self.zoneout_c) else None
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
            zoneout_seed=zoneout_seed,
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
        saved = (result.tape, seed, ends) if training else None
        return [output, result.h, result.c] if self.return_state else output, saved

    def traced(
        self, x: Array, initial_state: tuple[Array, Array] | None, mask: Mask | None
    ) -> tuple[ops.LSTMStates, Array]:
        """Return what `trace` does, and the outputs (B, T, R) of all steps in the order of x."""
        if self.stateful and initial_state is None:
            initial_state = self._continued(len(x))
        found = traced(self, x, initial_state, mask)
        if self.zero_output_for_mask and mask is not None:
            return found, found.h * mask[..., None].astype(x.dtype)
        return found, found.h

    def backprop(
        self,
        saved: Any,
        dy: Array | None,
        gradients: Gradients,
        need_dx: bool = True,
        dstates: tuple[Array | None, Array | None] | None = None,
    ) -> Array | None:
        """Compute gradients; see `Layer.backprop`.

        Parameters
        ----------
        saved, gradients, need_dx
            As there.
        dy : ndarray or None
            Gradient of the output.
        dstates : pair of ndarray or None, optional
            Gradients of the last h and c that ``return_state`` gave, shape (B, R) and (B, H).

        Returns
        -------
        ndarray or None
            Gradient of the input. Those of the initial states are in ``gradients.states[self]``, and after
            `backward` in ``state_gradients``.
        """
        tape, seed, ends = saved
        dh, dc = dstates or (None, None)
        if not self.return_sequences and dy is not None:
            dy = dy if ends is None else dy * ends
            dh = dy if dh is None else dh + dy
            dy = None
        trained = bool(self.trainable_weights)
        found = ops.lstm_backward(
            tape,
            dy,
            dh,
            dc,
            need_dx=need_dx,
            need_dweights=trained,
            groups=gradients.ends if trained else (),
        )
        if trained:
            self._add_gradients(found, gradients)
        gradients.states[self] = (found.dh0, found.dc0)
        if found.dx is None or seed is None:
            return found.dx
        return drop(found.dx, self.dropout, seed, share_steps=True)

    @property
    def states(self) -> tuple[Array, Array] | None:
        """What a stateful layer's next batch starts from: copies, on the CPU, of h (B, R) and c (B, H).

        None stands for zeros. Assign such a pair to go on there; `TypeError` or `ValueError` if it does not
        fit, or the layer is not stateful.
        """
        if self._last_states is None:
            return None
        h, c = (np.array(devices.to_host(state)) for state in self._last_states)
        return h, c

    @states.setter
    def states(self, pair: tuple[npt.ArrayLike, npt.ArrayLike] | None) -> None:
        if not self.stateful:
            raise ValueError(f"states: expected a stateful layer, {self.name} is none")
        if pair is None:
            self._last_states = None
            return
        if not isinstance(pair, list | tuple) or len(pair) != 2 or np.ndim(pair[0]) != 2:
            raise ValueError(f"states: expected a pair [h, c] of matrices, got {type(pair).__name__}")
        checked = self.checked_states(pair, np.shape(pair[0])[0])
        assert checked is not None
        self._last_states = checked[0].copy(), checked[1].copy()

    def reset_state(self) -> None:
        """Let a stateful layer start from zeros again."""
        self._last_states = None

    reset_states = reset_state  # Keras 2's name

    @property
    def kept_batch(self) -> int | None:
        """Samples whose states a stateful layer keeps; None where the next batch starts from zeros."""
        return None if self._last_states is None else len(self._last_states[0])

    def _continued(self, batch: int) -> tuple[Array, Array] | None:
        """Return the last states of a stateful layer."""
        if self.kept_batch not in (None, batch):
            raise ValueError(
                f"x: expected {self.kept_batch} samples like the batch before, as {self.name} is "
                f"stateful, got {batch}; reset_state() starts anew"
            )
        return self._last_states

    def checked_states(self, given: Sequence[npt.ArrayLike] | None, batch: int) -> tuple[Array, Array] | None:
        """Check and convert initial states h (B, R) and c (B, H); None stays None."""
        if given is None:
            return None
        if not isinstance(given, list | tuple) or len(given) != 2:
            raise ValueError(f"initial_state: expected a pair [h, c], got {type(given).__name__}")
        h, c = (checks.numeric(state, "initial_state").astype(self.dtype, copy=False) for state in given)
        for state, size in ((h, self.outputs), (c, self.units)):
            if state.shape != (batch, size):
                raise ValueError(f"initial_state: expected shape {(batch, size)}, got {state.shape}")
        h, c = (devices.contiguous(self.bring(state, "initial_state")) for state in (h, c))
        return h, c
