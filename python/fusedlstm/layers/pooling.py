"""Layers that make one vector of a sequence: the mean or the maximum over its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import checks
from fusedlstm.layers.reshaping import CHANNELS_LAST, Reshaping
from fusedlstm.layers.shapes import feature_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape


class _GlobalPooling1D(Reshaping):
    """Base of layers that make (B, F), or (B, 1, F) with ``keepdims``, of (B, T, F)."""

    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = CHANNELS_LAST

    def __init__(self, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keepdims = checks.flag(keepdims, "keepdims")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, F) or (B, 1, F); see `Layer.compute_output_shape`."""
        features = feature_count(self, input_shape, 3, None)
        if input_shape[1] == 0:
            raise ValueError(f"x: expected at least one step for layer {self.name}, got shape {input_shape}")
        return (input_shape[0], 1, features) if self.keepdims else (input_shape[0], features)


class GlobalAveragePooling1D(_GlobalPooling1D):
    """The mean over the steps, over the real ones where there is a mask.

    A sequence without any real step has the mean 0, where Keras has NaN.

    Parameters
    ----------
    keepdims : bool
        Whether the axis of steps stays, with length 1.
    **kwargs
        As in `Layer`.
    """

    takes_mask: ClassVar[bool] = True

    def forward(
        self,
        x: Array,
        training: bool = False,  # noqa: ARG002
        mask: Mask | None = None,
    ) -> tuple[Array, Any]:
        """Compute the mean; see `Layer.forward`."""
        real: Mask | None = None
        count: Any = x.dtype.type(x.shape[1])
        if mask is not None:
            if mask.shape != x.shape[:2]:
                raise ValueError(f"mask: expected shape {x.shape[:2]}, got {mask.shape}")
            real = mask[..., None]
            count = np.maximum(real.sum(axis=1, keepdims=True), 1).astype(x.dtype)
            # Left out rather than multiplied by zero: padding may hold anything, infinity too.
            x = np.where(real, x, x.dtype.type(0))
        mean: Array = x.sum(axis=1, keepdims=True) / count
        return mean if self.keepdims else mean[:, 0], (x.shape, count, real)

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Spread the gradient over the real steps; see `Layer.backprop`."""
        shape, count, real = saved
        if not need_dx:
            return None
        share = (dy if self.keepdims else dy[:, None]) / count
        return np.broadcast_to(share if real is None else np.where(real, share, dy.dtype.type(0)), shape)


class GlobalMaxPooling1D(_GlobalPooling1D):
    """The maximum over all steps of each feature; as in Keras, masked steps are not left out.

    Steps that share the maximum share its gradient evenly.

    Parameters
    ----------
    keepdims : bool
        Whether the axis of steps stays, with length 1.
    **kwargs
        As in `Layer`.
    """

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:
        """Compute the maximum; see `Layer.forward`."""
        return x.max(axis=1, keepdims=self.keepdims), x if training else None

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Give the gradient to the steps of the maximum; see `Layer.backprop`."""
        if not need_dx:
            return None
        largest = saved == saved.max(axis=1, keepdims=True)
        count = np.maximum(largest.sum(axis=1, keepdims=True), 1)
        dx: Array = largest * ((dy if self.keepdims else dy[:, None]) / count.astype(dy.dtype))
        return dx
