"""Start values of weights, with Keras's names, defaults and distributions.

An initializer without a seed draws one when it is made (`fusedlstm.utils.set_random_seed` makes it
repeatable), so calling one object twice gives the same numbers twice, as in Keras.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import config, ops
from fusedlstm.base import checks
from fusedlstm.base.filling import room
from fusedlstm.base.registry import Configured, Registry, serialize
from fusedlstm.base.seeds import draw_seed

if TYPE_CHECKING:
    from fusedlstm.base.types import Array

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]


class Initializer(Configured):
    """Base of initializers: a callable that makes an array of a given shape."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Make the start value.

        Parameters
        ----------
        shape : tuple of int
            Shape of the result.
        dtype : {"float32", "float64"}, optional
            Number type; `fusedlstm.config.floatx` by default.

        Returns
        -------
        ndarray
            C-contiguous. Numbers are drawn in float64 and rounded, so both types hold the same draws.
        """
        number_type = config.floatx() if dtype is None else config.check_float_type(dtype, "dtype")
        return np.ascontiguousarray(self._values(tuple(shape)), dtype=number_type)

    def _values(self, shape: tuple[int, ...]) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define _values")


class Constant(Initializer):
    """Every element is ``value``."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = checks.number(value, "value")

    def _values(self, shape: tuple[int, ...]) -> Array:
        return np.full(shape, self.value)


class Zeros(Initializer):
    """Every element is 0."""

    def _values(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape)


class Ones(Initializer):
    """Every element is 1."""

    def _values(self, shape: tuple[int, ...]) -> Array:
        return np.ones(shape)


class _Random(Initializer):
    """Base of initializers that draw numbers."""

    def __init__(self, seed: int | None = None) -> None:
        self._given_seed = checks.optional_seed(seed, "seed")
        self._seed = self._given_seed
        if room() is None:
            self._seed = self.seed

    @property
    def seed(self) -> int:
        """The seed that was given or drawn; an initializer of a loaded model draws one at the first use."""
        if self._seed is None:
            self._seed = draw_seed()
        return self._seed

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal initializer; a seed that was drawn is not kept."""
        return {**super().get_config(), "seed": self._given_seed}


class RandomNormal(_Random):
    """Normal distribution of the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = checks.number(mean, "mean"), checks.non_negative(stddev, "stddev")

    def _values(self, shape: tuple[int, ...]) -> Array:
        return self._generator().normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal):
    """Normal distribution whose draws beyond two standard deviations are drawn again."""

    def _values(self, shape: tuple[int, ...]) -> Array:
        return self.mean + self.stddev * _truncated_normal(self._generator(), shape)


class RandomUniform(_Random):
    """Uniform distribution over [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = checks.number(minval, "minval"), checks.number(maxval, "maxval")
        if self.minval > self.maxval:
            raise ValueError(f"minval: expected at most maxval ({maxval}), got {minval}")
        if not math.isfinite(self.maxval - self.minval):
            raise ValueError(f"maxval: expected a finite distance from minval ({minval}), got {maxval}")

    def _values(self, shape: tuple[int, ...]) -> Array:
        return self._generator().uniform(self.minval, self.maxval, shape)


# Standard deviation of a standard normal distribution cut off at -2 and 2.
_TRUNCATED_STDDEV = 0.87962566103423978
_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")


class VarianceScaling(_Random):
    """Zero mean and variance ``scale / n``, n being the fan-in, the fan-out or their mean.

    Parameters
    ----------
    scale : float
        Positive factor.
    mode : {"fan_in", "fan_out", "fan_avg"}
        What n is.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        ``uniform`` is over [-limit, limit] with ``limit = sqrt(3 scale / n)``.
    seed : int, optional
        Seed; drawn by default.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        self.scale = checks.positive(scale, "scale")
        self.mode = checks.choice(mode, "mode", _MODES)
        self.distribution = checks.choice(distribution, "distribution", _DISTRIBUTIONS)

    def _values(self, shape: tuple[int, ...]) -> Array:
        fan_in, fan_out = _fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, n))
        generator = self._generator()
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return generator.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return generator.normal(0.0, stddev, shape)
        return stddev / _TRUNCATED_STDDEV * _truncated_normal(generator, shape)


class _Preset(VarianceScaling):
    """A `VarianceScaling` whose three settings belong to its name; only the seed is an argument."""

    settings: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self.settings, seed=seed)


class GlorotUniform(_Preset):
    """Uniform, variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""

    settings = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Preset):
    """Truncated normal, variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""

    settings = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Preset):
    """Uniform, variance ``2 / fan_in`` (He et al. 2015)."""

    settings = (2.0, "fan_in", "uniform")


class HeNormal(_Preset):
    """Truncated normal, variance ``2 / fan_in`` (He et al. 2015)."""

    settings = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Preset):
    """Uniform, variance ``1 / fan_in`` (LeCun et al. 1998)."""

    settings = (1.0, "fan_in", "uniform")


class LecunNormal(_Preset):
    """Truncated normal, variance ``1 / fan_in`` (LeCun et al. 1998)."""

    settings = (1.0, "fan_in", "truncated_normal")


class Orthogonal(_Random):
    """A random orthogonal matrix times ``gain`` (Saxe et al. 2014).

    The last axis makes the columns, all others the rows: the shorter of the two is orthonormal.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = checks.number(gain, "gain")

    def _values(self, shape: tuple[int, ...]) -> Array:
        if len(shape) < 2:
            raise ValueError(f"shape: expected at least 2 axes for an orthogonal matrix, got {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q = _orthonormal(self._generator().normal(size=(max(rows, columns), min(rows, columns))))
        return self.gain * (q.T if rows < columns else q).reshape(shape)


def _orthonormal(columns: Array) -> Array:
    """Make the columns of a tall matrix orthonormal, in place, by Gram and Schmidt.

    The result is QR's, with the signs that make r's diagonal positive and the distribution uniform (Mezzadri
    2007). Columns are taken in blocks, most of whose work are matrix products, and every projection is done
    twice, which makes the result orthogonal to rounding (Giraud et al. 2005). LAPACK's threads, which NumPy
    would use, go on spinning for a tenth of a second and would halve the speed of the first training steps.
    """
    count, width = columns.shape[1], 32
    for begin in range(0, count, width):
        block = np.ascontiguousarray(columns[:, begin : begin + width])
        before = np.ascontiguousarray(columns[:, :begin])
        shape = (begin, block.shape[1])
        for _ in range(2 if begin else 0):
            _, along, _ = ops.dense_backward(before, np.empty(shape), block, need_dx=False, use_bias=False)
            block -= ops.dense_forward(before, along)
        vectors = np.ascontiguousarray(block.T)
        for j, own in enumerate(vectors):
            done = vectors[:j]
            for _ in range(2):
                own -= np.einsum("ij,i->j", done, np.einsum("ij,j->i", done, own))
            own /= math.sqrt(np.einsum("i,i->", own, own))
        columns[:, begin : begin + width] = vectors.T
    return columns


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = generator.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = generator.standard_normal(int(outside.sum()))
    return values


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a weight: its last two axes, times all others (as for convolutions)."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


# Keras's names in small letters, which are callable too.
zeros, ones, constant = Zeros, Ones, Constant
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling, orthogonal = VarianceScaling, Orthogonal
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal = HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal

REGISTRY = Registry(
    Initializer,
    {
        "zeros": Zeros,
        "ones": Ones,
        "constant": Constant,
        "random_normal": RandomNormal,
        "random_uniform": RandomUniform,
        "truncated_normal": TruncatedNormal,
        "variance_scaling": VarianceScaling,
        "glorot_uniform": GlorotUniform,
        "glorot_normal": GlorotNormal,
        "he_uniform": HeUniform,
        "he_normal": HeNormal,
        "lecun_uniform": LecunUniform,
        "lecun_normal": LecunNormal,
        "orthogonal": Orthogonal,
        "normal": RandomNormal,
        "uniform": RandomUniform,
    },
)
get = REGISTRY.get
