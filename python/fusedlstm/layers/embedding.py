"""Vectors for ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm import initializers, ops
from fusedlstm.base import checks
from fusedlstm.base.filling import filling
from fusedlstm.layers.base import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape


class Embedding(Layer):
    """Rows of a table: an id in [0, input_dim) becomes a vector of length output_dim.

    Input is integers of any shape, such as (B, T); output has one axis more. Ids out of range are an error.
    The weight is ``embeddings`` (input_dim, output_dim); its gradient has the same bits always.

    Parameters
    ----------
    input_dim : int
        Number of ids.
    output_dim : int
        Length of a vector.
    embeddings_initializer : str or Initializer
        Start values.
    mask_zero : bool
        Whether id 0 is padding: layers after it that know masks leave those steps out, at no cost.
    weights : array_like, shape (input_dim, output_dim), optional
        Start values, instead of the initializer's.
    input_length : int, optional
        Accepted as in older versions of Keras and not enforced.
    **kwargs
        As in `Layer`, with regularizer and constraint of ``embeddings``.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown, out of range or not supported.
    """

    weight_arguments: ClassVar[Mapping[str, str]] = {"embeddings": "embeddings"}
    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **Layer.only_values,
        "lora_alpha": (None,),
        "lora_rank": (None,),
    }

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        mask_zero: bool = False,
        weights: Any = None,
        input_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.input_dim = self.ids = checks.positive_int(input_dim, "input_dim")
        self.output_dim = checks.positive_int(output_dim, "output_dim")
        if input_length is not None:
            checks.positive_int(input_length, "input_length")
        super().__init__(**kwargs)
        self.embeddings_initializer = initializers.get(embeddings_initializer, "embeddings_initializer")
        self.mask_zero = checks.flag(mask_zero, "mask_zero")
        if weights is not None:
            (table,) = weights if isinstance(weights, list) and len(weights) == 1 else [weights]
            with filling(np.size(table)):
                self.build((None,))
            self.set_weights([table])

    def build(self, input_shape: Shape) -> None:
        """Make the table; see `Layer.build`."""
        if not self.built:
            shape = (self.input_dim, self.output_dim)
            self.embeddings = self.add_weight(shape, self.embeddings_initializer, "embeddings")
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (..., output_dim); see `Layer.compute_output_shape`."""
        if not input_shape:
            raise ValueError(f"x: expected a batch axis for layer {self.name}, got shape {input_shape}")
        return (*input_shape, self.output_dim)

    def compute_mask(self, x: Array, mask: Mask | None) -> Mask | None:  # noqa: ARG002
        """Return where ids are not 0, with ``mask_zero``; see `Layer.compute_mask`."""
        return x != 0 if self.mask_zero else None

    def prepare(self, x: npt.ArrayLike) -> Any:
        """Check and convert ids and build the layer if need be."""
        ids = self.bring(checks.ids(x, "x", self.input_dim), "x")
        self.compute_output_shape(ids.shape)
        if not self.built:
            self.build(ids.shape)
        return ids

    def forward(self, x: npt.NDArray[Any], training: bool = False) -> tuple[Array, Any]:
        """Look the ids up; see `Layer.forward`."""
        return ops.embedding_forward(x, self.embeddings.value), x if training else None

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Compute the table's gradient and return None: ids have none; see `Layer.backprop`."""
        gradients.add(self.embeddings, ops.embedding_backward(saved, dy, self.input_dim))
        return None
