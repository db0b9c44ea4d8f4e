"""What is behind `trace`: states and gates of every step of an LSTM, from the tape that training uses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import ops
from fusedlstm.ops.dispatch import kernels_for_tape

if TYPE_CHECKING:
    from fusedlstm.base.types import Array, Mask
    from fusedlstm.layers.lstm_base import LSTMBase


def traced(
    layer: LSTMBase, x: Array, states: tuple[Array, Array] | None, mask: Mask | None
) -> ops.LSTMStates:
    """Run a layer over prepared input as without training, and read what its tape holds.

    Parameters
    ----------
    layer : LSTMBase
        Built.
    x : ndarray (B, T, I)
    states : pair of ndarray (B, R), (B, H), or None
    mask : ndarray of bool (B, T), optional

    Returns
    -------
    LSTMStates
        In the order of x, also where the layer reads it backwards.

    Raises
    ------
    NotImplementedError
        The layer is on a GPU.
    """
    if layer.device != "cpu":
        raise NotImplementedError(
            f'{layer.name}: expected a layer on the CPU, got one on {layer.device}; to("cpu") moves it'
        )
    layer.check_trains()
    result = ops.lstm_forward(
        x,
        layer.packed(),
        *(states or (None, None)),
        mask=mask,
        options=layer.options,
        training=True,
        return_sequences=False,
        go_backwards=layer.go_backwards,
    )
    assert result.tape is not None
    h, c, gates = kernels_for_tape(result.tape).lstm_states(result.tape)
    if gates is None:
        gates = _normalized_gates(layer, x[:, ::-1] if layer.go_backwards else x, states, h, c)
        if mask is not None:
            gates[~(mask[:, ::-1] if layer.go_backwards else mask)] = np.nan
    arrays = (h, c, *np.split(gates, 4, axis=-1))
    return ops.LSTMStates(*(array[:, ::-1] if layer.go_backwards else array for array in arrays))


def _normalized_gates(
    layer: LSTMBase, x: Array, states: tuple[Array, Array] | None, h: Array, c: Array
) -> Array:
    """Return the gates (B, T, 4H) of a layer-normalized cell, from its states before each step.

    Its tape holds normalized products in their place. The sums of these are made here by the operations that
    normalize rows, and the gates by the kernel itself, which takes each sum as the input of a sequence of one
    step, through weights that leave it as it is.
    """
    (B, T, H), options = c.shape, layer.options
    if B * T == 0:
        return np.zeros((B, T, 4 * H), c.dtype)
    assert options is not None
    norm = options.layer_norm
    assert norm is not None
    first = (np.zeros_like(h[:, 0]), np.zeros_like(c[:, 0])) if states is None else states
    before_h, before_c = (
        np.concatenate([start[:, None], after[:, :-1]], axis=1).reshape(B * T, -1)
        for start, after in zip(first, (h, c), strict=True)
    )
    z = ops.layer_norm_forward(
        ops.dense_forward(np.ascontiguousarray(x).reshape(B * T, -1), layer.kernel.value),
        norm.gamma_input,
        None if layer.bias is None else layer.bias.value,
        norm.epsilon,
    ) + ops.layer_norm_forward(
        ops.dense_forward(before_h, layer.recurrent_kernel.value), norm.gamma_recurrent, None, norm.epsilon
    )
    same: Any = np.eye(4 * H, dtype=z.dtype)
    tape = ops.lstm_forward(
        z[:, None],
        (same, np.zeros((H, 4 * H), z.dtype)),
        None,
        before_c,
        options=replace(options, layer_norm=None, zoneout_h=0.0, zoneout_c=0.0),
        training=True,
    ).tape
    assert tape is not None
    return np.concatenate(ops.lstm_states(tape)[2:], axis=-1).reshape(B, T, 4 * H)
