"""Noise in training for sequences: whole features dropped, Gaussian noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedlstm.base import checks, devices
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.layers.base import Layer
from fusedlstm.layers.core import Dropout
from fusedlstm.layers.shapes import feature_count

if TYPE_CHECKING:
    from fusedlstm.base.gradients import Gradients
    from fusedlstm.base.types import Array, Shape


class SpatialDropout1D(Dropout):
    """`Dropout` whose mask is the same at each step: a sample (T, F) loses whole features."""

    share_steps: ClassVar[bool] = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape; see `Layer.compute_output_shape`."""
        feature_count(self, input_shape, 3, None)
        return input_shape


class GaussianNoise(Layer):
    """Adds normally distributed noise of mean 0 in training.

    Parameters
    ----------
    stddev : float
        Standard deviation, in [0, 1] as in Keras.
    seed : int, optional
        Seed; by default drawn from the generator of `fusedlstm.utils.set_random_seed`.
    **kwargs
        As in `Layer`.

    Raises
    ------
    TypeError, ValueError
        If `stddev` is not such a number.
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        self.stddev = checks.non_negative(stddev, "stddev")
        if self.stddev > 1:
            raise ValueError(f"stddev: expected a number in [0, 1], got {stddev}")
        super().__init__(**kwargs)
        self.seed = seed
        self._seeds = SeedGenerator(seed)

    def forward(self, x: Array, training: bool = False) -> tuple[Array, Any]:
        """Add noise in training, return ``x`` otherwise; see `Layer.forward`."""
        if not training or self.stddev == 0:
            return x, None
        number_type: Any = x.dtype
        noise: Array = np.random.default_rng(self._seeds.next()).standard_normal(x.shape, number_type)
        noise *= noise.dtype.type(self.stddev)
        # Drawn on the CPU wherever x is: seeds give the same noise everywhere.
        noise = devices.beside(noise, x)
        noise += x
        return noise, None

    def backprop(self, saved: Any, dy: Array, gradients: Gradients, need_dx: bool = True) -> Array | None:  # noqa: ARG002
        """Return ``dy``; see `Layer.backprop`."""
        return dy if need_dx else None

    @property
    def seed_generators(self) -> list[SeedGenerator]:
        """The random streams whose state a resumed training needs."""
        return [self._seeds]
