"""Sizes, inputs and the gradient check that the tests of layers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.layers import Gradients
from fusedlstm.testing import check_gradients

if TYPE_CHECKING:
    from fusedlstm import layers

B, T, I, H = 3, 4, 5, 6  # noqa: E741
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(B, T, I))


def gradient_check(layer: layers.Layer, x: Any, terms: int, **call: Any) -> None:
    """Compare a float64 layer's backward pass with finite differences by its input and all weights."""
    layer(x)
    names = [v.path for v in layer.weights]

    def set_all(weights: dict[str, Any]) -> None:
        layer.set_weights([weights[name] for name in names])

    def function(x: Any, **weights: Any) -> Any:
        set_all(weights)
        return np.array(layer.forward(x, **call)[0])

    def gradient(dy: Any, x: Any, **weights: Any) -> Any:
        set_all(weights)
        _, saved = layer.forward(x, training=True, **call)
        gradients = Gradients()
        dx = layer.backprop(saved, dy[0], gradients)
        return {"x": dx, **{v.path: gradient for v, gradient in gradients.items()}}

    arrays = {"x": x, **{v.path: v.numpy() for v in layer.weights}}
    check_gradients(function, gradient, arrays, terms=terms, steps=T)
