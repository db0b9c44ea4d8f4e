"""ONNX's operators that pool steps: (B, F, T), in windows or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.exchange.onnx.inputs import Inputs, Operator, required

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.exchange.onnx.file import Array


class Windows:
    """Where the windows of a pooling over one axis lie.

    Attributes
    ----------
    size : int
        Steps in a window.
    before, after : int
        Steps of padding.
    count : int
        Of windows.
    length : int
        Of the steps that they lie in, padding included.
    """

    def __init__(self, steps: int, attributes: dict[str, Any]) -> None:
        if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise ValueError(f"auto_pad: expected NOTSET or VALID, got {attributes['auto_pad']!r}")
        self.size = _one(attributes, "kernel_shape", None)
        self.stride = _one(attributes, "strides", 1)
        self.dilation = _one(attributes, "dilations", 1)
        pads = attributes.get("pads", [0, 0])
        reach = self.dilation * (self.size - 1) + 1
        if len(pads) != 2 or min(pads) < 0 or max(pads) >= reach:
            raise ValueError(f"pads: expected two numbers from 0 to {reach - 1}, got {pads}")
        self.before, self.after = pads
        left = steps + self.before + self.after - reach
        if left < 0:
            raise ValueError(f"kernel_shape: expected at most the {steps} steps, got {self.size}")
        rounded = bool(attributes.get("ceil_mode", 0))
        self.count = (left + self.stride - 1 if rounded else left) // self.stride + 1
        # A window that begins in the padding after the last step is none.
        if rounded and (self.count - 1) * self.stride >= steps + self.before:
            self.count -= 1
        self.length = max((self.count - 1) * self.stride + reach, steps + self.before + self.after)

    def all_of(self, steps: int) -> bool:
        """Return whether there is one window, of all steps."""
        return (self.size, self.dilation, self.before, self.after) == (steps, 1, 0, 0)

    def padded(self, x: Array, fill: float) -> Array:
        """Return steps with those that windows reach before and after them."""
        padded = np.full((*x.shape[:-1], self.length), fill, x.dtype)
        padded[..., self.before : self.before + x.shape[-1]] = x
        return padded

    def reduced(self, function: Callable[[Array, Array], Array], padded: Array) -> Array:
        """Combine the steps of each window."""
        end = (self.count - 1) * self.stride + 1
        result = padded[..., 0 : end : self.stride].copy()
        for step in range(1, self.size):
            at = step * self.dilation
            result = function(result, padded[..., at : at + end : self.stride])
        return result


def _one(attributes: dict[str, Any], name: str, default: int | None) -> int:
    values = attributes.get(name, [default])
    if len(values) != 1 or values[0] is None or values[0] < 1:
        raise ValueError(f"{name}: expected one positive number, for pooling over steps, got {values}")
    return int(values[0])


def _steps(inputs: Inputs) -> Array:
    (x,) = required(inputs, 1)
    if x.dtype.kind != "f" or x.ndim != 3:
        raise ValueError(f"expected float32 or float64 (B, F, T), got {x.dtype} of shape {x.shape}")
    return x


def _max_pool(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x = _steps(inputs)
    windows = Windows(x.shape[-1], attributes)
    return [windows.reduced(np.maximum, windows.padded(x, -np.inf))]


def _average_pool(inputs: Inputs, attributes: dict[str, Any], _opset: int) -> list[Array]:
    x = _steps(inputs)
    windows = Windows(x.shape[-1], attributes)
    counted = windows.padded(np.ones(x.shape[-1], x.dtype), 0)
    if attributes.get("count_include_pad", 0):
        counted[: x.shape[-1] + windows.before + windows.after] = 1
    return [windows.reduced(np.add, windows.padded(x, 0)) / windows.reduced(np.add, counted)]


def _all(function: Callable[..., Array]) -> Operator:
    """Make an operator of a reduction of all axes after the second, which stay with length 1."""

    def operator(inputs: Inputs, _attributes: dict[str, Any], _opset: int) -> list[Array]:
        (x,) = required(inputs, 1)
        if x.dtype.kind != "f" or x.ndim < 3:
            raise ValueError(f"expected float32 or float64 (B, F, ...), got {x.dtype} of shape {x.shape}")
        return [np.asarray(function(x, axis=tuple(range(2, x.ndim)), keepdims=True)).astype(x.dtype)]

    return operator


POOLING: dict[str, Operator] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _all(np.mean),
    "GlobalMaxPool": _all(np.max),
    "MaxPool": _max_pool,
}
