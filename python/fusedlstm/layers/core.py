"""Layers without weights: input, dropout, activation, masking."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.base.symbolic import KerasTensor, Node
from fusedlstm.layers.activated import ActivatedLayer
from fusedlstm.layers.base import Layer
from fusedlstm.layers.dropping import drop
from fusedlstm.layers.shapes import feature_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Mask, Shape


class InputLayer(Layer):
    """Declares the shape of a model's input. `Input` makes one and returns its symbolic tensor.

    ``None`` in the shape stands for any length: ``Input((None, 28))`` takes sequences of any length.

    Parameters
    ----------
    shape : tuple of int or None
        Shape of one sample.
    batch_size : int, optional
        Accepted as in Keras and not enforced: the last batch may be smaller.
    dtype : dtype-like, optional
        Accepted as in Keras; inputs of every real number type are taken.
    batch_shape : tuple of int or None, optional
        Shape with the batch axis, instead of ``shape``.
    name : str, optional
        Name.
    """

    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "sparse": (None, False),
        "ragged": (None, False),
        "optional": (False,),
        "tensor": (None,),
    }

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        *,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        **kwargs: object,
    ) -> None:
        if (shape is None) == (batch_shape is None):
            raise ValueError(f"shape: expected either shape or batch_shape, got {shape} and {batch_shape}")
        # NumPy makes types of whole expressions; a name is a word.
        word = not isinstance(dtype, str) or (dtype.isalnum() and dtype[0].isalpha())
        try:
            real = dtype is None or (word and np.dtype(dtype).kind in "biuf")
        except TypeError:
            real = False
        if not real:
            raise ValueError(f"dtype: expected a real number type, got {dtype!r:.80}")
        if batch_size is not None:
            checks.positive_int(batch_size, "batch_size")
        sample = shape if batch_shape is None else checks.shape(batch_shape, "batch_shape")[1:]
        super().__init__(input_shape=sample, name=name, **kwargs)  # type: ignore[arg-type]
        self.kind = None if dtype is None else np.dtype(dtype).name
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return JSON-able arguments that make an equal layer."""
        assert self.declared_shape is not None
        return {"batch_shape": list(self.declared_shape), "dtype": self.kind, "name": self.name}

    def tensor(self) -> KerasTensor:
        """Return the symbolic tensor of the input."""
        assert self.declared_shape is not None
        node = Node(self, (), [self.declared_shape], dtype=self.kind or self.dtype)
        self._nodes = [weakref.ref(node)]
        return node.outputs[0]


def Input(  # noqa: N802 - Keras's name
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    **kwargs: object,
) -> KerasTensor:
    """Return a symbolic tensor: the input of a `Model`, or the first item of a `Sequential`.

    Parameters
    ----------
    shape, batch_size, dtype, batch_shape, name
        As in `InputLayer`, whose layer the tensor comes from.
    **kwargs
        Keras's ``sparse``, ``ragged``, ``optional`` and ``tensor``, at the value that switches them off.

    Returns
    -------
    KerasTensor
        Of shape (None, *shape).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """
    return InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name, **kwargs).tensor()


class Dropout(Layer):
    """Sets a random share ``rate`` of the input to 0 in training and divides the rest by ``1 - rate``.

    Parameters
    ----------
    rate : float
        In [0, 1).
    seed : int, optional
        Seed; by default drawn from the generator of `fusedlstm.utils.set_random_seed`.
    **kwargs
        As in `Layer`.
    """

    # Whether all steps of a sample lose the same features.
    share_steps: ClassVar[bool] = False

    only_values: ClassVar[Mapping[str, tuple[object, ...]]] = {**Layer.only_values, "noise_shape": (None,)}

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        self.rate = checks.rate(rate, "rate")
        super().__init__(**kwargs)
        self.seed = seed
        self._seeds = SeedGenerator(seed)

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:
        """Drop in training, return ``x`` otherwise; see `Layer.forward`."""
        if not training or self.rate == 0:
            return x, None
        seed = self._seeds.next()
        return drop(x, self.rate, seed, share_steps=self.share_steps), seed

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Drop the same places of the gradient; see `Layer.backprop`."""
        if not need_dx or saved is None:
            return dy if need_dx else None
        return drop(dy, self.rate, saved, share_steps=self.share_steps)

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose state a resumed training needs."""
        return [self._seeds]


class Activation(ActivatedLayer):
    """Applies a function of `fusedlstm.activations`.

    Parameters
    ----------
    activation : str or callable
        Its name or the function.
    **kwargs
        As in `Layer`.
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(activation, **kwargs)

    def forward_logits(self, x: Array, training: bool = False) -> tuple[Array, Any]:  # noqa: ARG002
        """Return ``x``."""
        return x, None

    def backprop_logits(
        self, saved: Any, dz: Array, gradients: Gradients, need_dx: bool = True
    ) -> Array | None:
        """Return ``dz``."""
        del saved, gradients
        return dz if need_dx else None


class Masking(Layer):
    """Masks the steps whose features all equal ``mask_value``, and sets them to zero.

    With ``mask_value=nan`` those are the steps whose features are all NaN, though NaN equals nothing (Keras
    masks none then). Such steps do no harm: zeros take their place.

    Input and output are (B, T, I). Layers after it that know masks leave those steps out, at no cost: an
    LSTM's states pass them unchanged.

    Parameters
    ----------
    mask_value : float
        What the features of a step that is not real are.
    **kwargs
        As in `Layer`.

    Raises
    ------
    TypeError
        If `mask_value` is not a number.
    """

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        if isinstance(mask_value, bool) or not isinstance(mask_value, int | float | np.integer | np.floating):
            raise TypeError(f"mask_value: expected a number, got {type(mask_value).__name__}")
        super().__init__(**kwargs)
        self.mask_value = checks.real(mask_value, "mask_value")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape; see `Layer.compute_output_shape`."""
        feature_count(self, input_shape, 3, None)
        return input_shape

    def compute_mask(self, x: Array, mask: Mask | None) -> Mask | None:  # noqa: ARG002
        """Return where any feature differs from `mask_value`; see `Layer.compute_mask`."""
        # NaN alone differs from itself.
        differs = x == x if math.isnan(self.mask_value) else x != x.dtype.type(self.mask_value)
        real: Mask = differs.any(axis=-1)
        return real

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:  # noqa: ARG002
        """Clear the masked steps; see `Layer.forward`."""
        real = self.compute_mask(x, None)
        assert real is not None
        return np.where(real[..., None], x, x.dtype.type(0)), real

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Clear the masked steps' gradient; see `Layer.backprop`."""
        return np.where(saved[..., None], dy, dy.dtype.type(0)) if need_dx else None
