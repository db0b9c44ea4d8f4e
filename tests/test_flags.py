"""Flags: True and False, or 1 and 0; anything else is an error that names the argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import layers, losses, ops, optimizers

if TYPE_CHECKING:
    from collections.abc import Callable

B, T, I, H = 2, 3, 4, 5  # noqa: E741
X = np.ones((B, T, I), np.float32)
WEIGHTS = ops.LSTMWeights(np.ones((I, 4 * H), np.float32), np.ones((H, 4 * H), np.float32))
ROWS, KERNEL = np.ones((B, I), np.float32), np.ones((I, H), np.float32)


def backward(**flags: Any) -> object:
    tape = ops.lstm_forward(X, WEIGHTS, training=True).tape
    assert tape is not None
    return ops.lstm_backward(tape, dh=np.ones((B, H), np.float32), **flags)


def dense_backward(**flags: Any) -> object:
    return ops.dense_backward(ROWS, KERNEL, np.ones((B, H), np.float32), **flags)


def forward(**flags: Any) -> object:
    return ops.lstm_forward(X, WEIGHTS, **flags)


CALLS: list[tuple[Callable[..., object], str]] = [
    *((forward, name) for name in ("training", "return_sequences", "go_backwards", "zero_output_for_mask")),
    *((backward, name) for name in ("need_dx", "need_dweights", "keep")),
    *((dense_backward, name) for name in ("need_dx", "use_bias")),
    (lambda **flags: ops.layer_norm_backward(ROWS, None, ROWS, **flags), "need_dx"),
    (lambda **flags: ops.dropout(X, 0.5, 1, **flags), "share_steps"),
    (lambda **flags: ops.sgd_update(ROWS.copy(), ROWS, None, learning_rate=0.1, **flags), "nesterov"),
    *(
        (lambda **flags: layers.LSTM(H, **flags), name)
        for name in ("return_sequences", "return_state", "go_backwards", "stateful", "use_bias", "coupled")
    ),
    *(
        (lambda **flags: layers.LSTM(H, **flags), name)
        for name in ("use_peepholes", "layer_norm", "trainable")
    ),
    (lambda **flags: layers.Embedding(3, 2, **flags), "mask_zero"),
    (lambda **flags: layers.Dense(3, **flags), "use_bias"),
    (lambda **flags: layers.GlobalMaxPooling1D(**flags), "keepdims"),
    (lambda **flags: optimizers.Adam(**flags), "amsgrad"),
    (lambda **flags: optimizers.SGD(**flags), "nesterov"),
    (lambda **flags: optimizers.RMSprop(**flags), "centered"),
    (lambda **flags: losses.BinaryCrossentropy(**flags), "from_logits"),
]


@pytest.mark.parametrize(("call", "name"), CALLS)
@pytest.mark.parametrize("value", ["no", None, 2, np.ones(1), 1.0], ids=repr)
def test_what_is_no_flag(call: Callable[..., object], name: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"^{name}: expected True or False, got "):
        call(**{name: value})


@pytest.mark.parametrize(("call", "name"), CALLS)
@pytest.mark.parametrize("value", [True, False, 1, 0, np.True_, np.False_], ids=repr)
def test_flags(call: Callable[..., object], name: str, value: object) -> None:
    call(**{name: value})
