"""Models with a gate, and threads that pass it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import Input, Sequential, layers

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60.0


class Gate(layers.Dropout):
    """A layer in the middle of a model, in which one call of another thread stops until it is let on."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.here = threading.Event()
        self.go_on = threading.Event()
        self.stops = False

    def forward(self, x: Any, training: bool = False) -> Any:
        if self.stops:
            self.stops = False
            self.here.set()
            assert self.go_on.wait(SECONDS)
        return super().forward(x, training)


X = np.random.default_rng(0).uniform(-1, 1, (5, 3, 4)).astype(np.float32)
Y = np.zeros((5, 2), np.float32)


def make(*, options: bool = False) -> tuple[Sequential, Gate]:
    gate = Gate()
    model = Sequential(
        [
            Input((3, 4)),
            layers.LSTM(6, return_sequences=True),
            gate,
            layers.LSTM(3, use_peepholes=options, layer_norm=options, peephole_initializer="ones"),
            layers.LayerNormalization(),
            layers.Dense(2),
        ]
    )
    model.compile("sgd", "mse")
    return model, gate


def weights_of(model: Sequential, seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.uniform(-1, 1, v.shape).astype(np.float32) for v in model.weights]


def meanwhile(gate: Gate, call: Callable[[], Any], change: Callable[[], Any]) -> Any:
    """Run `change` from begin to end while `call` is in the middle of the model."""
    gate.here.clear()
    gate.go_on.clear()
    gate.stops = True
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(call)
        try:
            assert gate.here.wait(SECONDS)
            change()
        finally:
            gate.go_on.set()
        return result.result(SECONDS)


def assert_same(got: Any, expected: Any) -> None:
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))
