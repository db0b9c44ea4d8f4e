"""The fully connected layer."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm import initializers, ops
from fusedlstm.base import checks
from fusedlstm.layers.activated import ActivatedLayer
from fusedlstm.layers.base import Layer
from fusedlstm.layers.shapes import as_rows, feature_count
from fusedlstm.layers.weights import unchanged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Shape
    from fusedlstm.base.variable import Variable


class Dense(ActivatedLayer):
    """``activation(x kernel + bias)`` on the last axis of an input of any rank.

    The weights are ``kernel`` (features, units) and ``bias`` (units,).

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or callable or None
        A name or function of `fusedlstm.activations`; None for none.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, bias_initializer : str or Initializer
        Start values.
    **kwargs
        As in `Layer`, with regularizers and constraints of ``kernel`` and ``bias``.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown, out of range or not supported.
    """

    weight_arguments: ClassVar[Mapping[str, str]] = {"kernel": "kernel", "bias": "bias"}
    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {**Layer.only_values, "lora_rank": (None,)}

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        self.units = checks.positive_int(units, "units")
        super().__init__(activation, **kwargs)
        if self.dtype_policy.quantization_mode is not None:
            raise ValueError(
                f"dtype: expected a policy that Dense has kernels for, as float32 and mixed_bfloat16, got "
                f"{self.dtype_policy.name!r}"
            )
        self.use_bias = checks.flag(use_bias, "use_bias")
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs (B, ..., features); see `Layer.build`."""
        features = feature_count(self, input_shape, None, None)
        self.kernel = self.add_weight((features, self.units), self.kernel_initializer, "kernel")
        self.bias: Variable | None = None
        if self.use_bias:
            self.bias = self.add_weight((self.units,), self.bias_initializer, "bias")
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, ..., units); see `Layer.compute_output_shape`."""
        feature_count(self, input_shape, None, self.kernel.shape[0] if self.built else None)
        return (*input_shape[:-1], self.units)

    def forward_logits(self, x: Array, training: bool = False) -> tuple[Array, Any]:
        """Compute ``x kernel + bias``."""
        kernel, version = self.kernel.seen() if training else (self.kernel.value, None)
        bias = None if self.bias is None else self.bias.value
        y = ops.dense_forward(as_rows(x), kernel, bias, compute=self.dtype_policy.compute)
        return y.reshape(*x.shape[:-1], self.units), (x, version) if training else None

    def backprop_logits(
        self, saved: Any, dz: Array, gradients: Gradients, need_dx: bool = True
    ) -> Array | None:
        """Compute gradients from the gradient of ``x kernel + bias``."""
        x, version = saved
        kernel = unchanged(self.kernel, version)
        if gradients.ends:
            return self._backprop_groups(x, kernel, dz, gradients, need_dx)
        dx, dkernel, dbias = ops.dense_backward(
            as_rows(x),
            kernel,
            as_rows(dz),
            need_dx=need_dx,
            use_bias=self.use_bias,
            compute=self.dtype_policy.compute,
        )
        gradients.add(self.kernel, dkernel)
        if self.bias is not None and dbias is not None:
            gradients.add(self.bias, dbias)
        return None if dx is None else dx.reshape(x.shape)

    def _backprop_groups(
        self, x: Array, kernel: Array, dz: Array, gradients: Gradients, need_dx: bool
    ) -> Array | None:
        """Compute gradients of groups of rows, each as that of a batch of its own."""
        found = [
            ops.dense_backward(
                as_rows(x[start:end]),
                kernel,
                as_rows(dz[start:end]),
                need_dx=need_dx,
                use_bias=self.use_bias,
                compute=self.dtype_policy.compute,
            )
            for start, end in pairwise(gradients.ends)
        ]
        gradients.add_groups(self.kernel, np.stack([dkernel for _, dkernel, _ in found]))
        if self.bias is not None:
            gradients.add_groups(self.bias, np.stack([dbias for _, _, dbias in found if dbias is not None]))
        parts = [dx for dx, _, _ in found if dx is not None]
        return np.concatenate(parts).reshape(x.shape) if parts else None
