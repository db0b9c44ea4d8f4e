"""Layers that only lay out their input anew: flatten, reshape, permute, repeat. They end a mask."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import checks, devices
from fusedlstm.layers.base import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape

# `Layer.only_values` of layers with Keras's argument ``data_format``.
CHANNELS_LAST = {**Layer.only_values, "data_format": (None, "channels_last")}


class Reshaping(Layer):
    """Base of layers whose output's axes are not those of the input's mask, so that none goes on."""

    def compute_mask(self, x: Array, mask: Mask | None) -> Mask | None:  # noqa: ARG002
        """Return None, as the output has not the input's steps; see `Layer.compute_mask`."""
        return None


class Reshape(Reshaping):
    """Makes (B, *target_shape) of (B, ...), in C order.

    Parameters
    ----------
    target_shape : sequence of int
        Shape of one sample; one length may be -1 for what is left.
    **kwargs
        As in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If it is no such shape.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        if not isinstance(target_shape, tuple | list):
            raise TypeError(f"target_shape: expected a tuple of integers, got {target_shape!r:.80}")
        checks.few_axes(target_shape, "target_shape")
        self.target_shape = tuple(
            -1 if size == -1 else checks.positive_int(size, "target_shape") for size in target_shape
        )
        if self.target_shape.count(-1) > 1:
            raise ValueError(f"target_shape: expected at most one -1, got {tuple(target_shape)}")
        super().__init__(**kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, *target_shape), None for a length not known yet; see `Layer.compute_output_shape`."""
        if not input_shape:
            raise ValueError(f"x: expected a batch axis for layer {self.name}, got shape {input_shape}")
        known = [size for size in input_shape[1:] if size is not None]
        fixed = math.prod(size for size in self.target_shape if size != -1)
        total = math.prod(known) if len(known) == len(input_shape) - 1 else None
        if total is not None and (total % fixed if -1 in self.target_shape else total != fixed):
            raise ValueError(
                f"x: expected samples that fit {self.target_shape} for layer {self.name}, "
                f"got shape {input_shape}"
            )
        left = None if total is None else total // fixed
        return (input_shape[0], *(left if size == -1 else size for size in self.target_shape))

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:  # noqa: ARG002
        """Reshape; see `Layer.forward`."""
        shape: Any = self.compute_output_shape(x.shape)
        return x.reshape(shape), x.shape

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Reshape back; see `Layer.backprop`."""
        return dy.reshape(saved) if need_dx else None


class Flatten(Reshape):
    """Makes (B, N) of (B, ...), in C order."""

    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = CHANNELS_LAST

    def __init__(self, **kwargs: Any) -> None:
        super().__init__((-1,), **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal layer."""
        config = super().get_config()
        del config["target_shape"]
        return config


class Permute(Reshaping):
    """Reorders the axes of each sample.

    Parameters
    ----------
    dims : sequence of int
        For each axis of the output the input's, counted from 1: ``(2, 1)`` swaps steps and features.
    **kwargs
        As in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `dims` are not the numbers from 1 to their count.
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        if not isinstance(dims, tuple | list):
            raise TypeError(f"dims: expected a tuple of integers, got {dims!r:.80}")
        checks.few_axes(dims, "dims")
        self.dims = tuple(checks.positive_int(axis, "dims") for axis in dims)
        if sorted(self.dims) != list(range(1, len(dims) + 1)):
            raise ValueError(f"dims: expected the numbers from 1 to {len(dims)}, got {self.dims}")
        super().__init__(**kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the reordered shape; see `Layer.compute_output_shape`."""
        if len(input_shape) != len(self.dims) + 1:
            raise ValueError(
                f"x: expected {len(self.dims) + 1} axes for layer {self.name}, got shape {input_shape}"
            )
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))

    @staticmethod
    def _reordered(x: Array, axes: tuple[int, ...]) -> Array:
        array: Array = devices.contiguous(x.transpose(axes))
        return array

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:  # noqa: ARG002
        """Reorder; see `Layer.forward`."""
        return self._reordered(x, (0, *self.dims)), None

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Reorder back; see `Layer.backprop`."""
        if not need_dx:
            return None
        return self._reordered(dy, tuple(np.argsort((0, *self.dims)).tolist()))


class RepeatVector(Reshaping):
    """Makes a sequence (B, n, F) of (B, F): each vector ``n`` times.

    Parameters
    ----------
    n : int
        Number of steps.
    **kwargs
        As in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `n` is no positive integer.
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        self.n = checks.positive_int(n, "n")
        super().__init__(**kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, n, F); see `Layer.compute_output_shape`."""
        if len(input_shape) != 2:
            raise ValueError(
                f"x: expected 2 axes (batch, features) for layer {self.name}, got shape {input_shape}"
            )
        return (input_shape[0], self.n, input_shape[1])

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:  # noqa: ARG002
        """Return a read-only view in which all steps are the same memory; see `Layer.forward`."""
        if x.size * self.n * x.itemsize > sys.maxsize:
            raise ValueError(
                f"x: expected an array that fits into memory {self.n} times for layer {self.name}, "
                f"got shape {x.shape}"
            )
        return np.broadcast_to(x[:, None], (len(x), self.n, x.shape[1])), None

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Sum over the steps; see `Layer.backprop`."""
        if not need_dx:
            return None
        dx: Array = dy.sum(axis=1)
        return dx
