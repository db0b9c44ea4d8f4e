"""Seeds, automatic names and label encoding."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import checks
from fusedlstm.filling import room

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_MASK = (1 << 64) - 1
_names: defaultdict[str, Iterator[int]] = defaultdict(count)
_seeds = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Make everything random that comes after repeatable bit for bit.

    Initializers, shuffling and dropout draw from the generator that is restarted here. As in Keras, Python's
    ``random`` and NumPy's global generator are seeded too, so that a script's own draws repeat as well.

    Parameters
    ----------
    seed : int
        In [0, 2**32).

    Raises
    ------
    TypeError, ValueError
        If it is not such an integer.
    """
    global _seeds
    checked = checks.non_negative_int(seed, "seed")
    if checked >= 1 << 32:
        raise ValueError(f"seed: expected an integer in [0, 2**32), got {seed!r}")
    random.seed(checked)
    np.random.seed(checked)  # noqa: NPY002  (scripts that use the global generator must repeat too)
    _seeds = np.random.default_rng(checked)


def draw_seed() -> int:
    """Draw a 63-bit seed from the generator that `set_random_seed` restarts."""
    return int(_seeds.integers(1 << 63))


class SeedGenerator:
    """A repeatable series of 63-bit seeds.

    Parameters
    ----------
    seed : int, optional
        Start of the series; by default it is drawn from the generator of `set_random_seed`.

    Attributes
    ----------
    state : tuple of int
        ``(seed, number of seeds drawn)``. Assign a saved one to continue its series.
    """

    def __init__(self, seed: int | None = None) -> None:
        given = checks.optional_seed(seed, "seed")
        self._state: tuple[int, int] | None = None if given is None else (given, 0)
        if given is None and room() is None:
            self._state = (draw_seed(), 0)

    @property
    def state(self) -> tuple[int, int]:
        """The seed and how many were drawn; a stream of a loaded model draws its seed at the first use."""
        if self._state is None:
            self._state = (draw_seed(), 0)
        return self._state

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        self._state = value

    def __getstate__(self) -> dict[str, tuple[int, int]]:
        """Return the state, drawn by now: a copy goes on with the same series."""
        return {"_state": self.state}

    def next(self) -> int:
        """Return the next seed of the series."""
        seed, drawn = self.state
        self.state = (seed, drawn + 1)
        # SplitMix64's output function (Steele, Lea, Flood 2014) turns a counter into well mixed bits.
        z = (seed + (drawn + 1) * 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (z ^ (z >> 31)) >> 1


def snake_case(name: str) -> str:
    """Return a class's name as Keras writes it: ``time_distributed``, ``global_max_pooling1d``."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(cls: type) -> str:
    """Return Keras's automatic name of an object of class ``cls``: ``lstm``, ``lstm_1``, and so on."""
    base = snake_case(cls.__name__)
    number = next(_names[base])
    return f"{base}_{number}" if number else base


def clear_session() -> None:
    """Start the automatic names again from the first one."""
    _names.clear()


def to_categorical(x: npt.ArrayLike, num_classes: int | None = None) -> npt.NDArray[np.float64]:
    """Turn class numbers into one-hot rows.

    Parameters
    ----------
    x : array_like of integers
        Class numbers, any shape; a last axis of length 1 is dropped.
    num_classes : int, optional
        Number of classes; the largest number in ``x`` plus 1 by default.

    Returns
    -------
    ndarray of float64, shape (*x.shape, num_classes)
        One where the class is, zero elsewhere.

    Raises
    ------
    TypeError, ValueError
        If ``x`` holds anything but whole numbers in [0, num_classes).
    """
    raw = checks.numeric(x, "x")
    checks.finite(raw, "x")
    labels: npt.NDArray[Any] = raw.astype(np.int64)
    if (labels != raw).any():
        raise ValueError("x: expected whole class numbers, got fractions")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        num_classes = int(labels.max(initial=0)) + 1
    classes = checks.positive_int(num_classes, "num_classes")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"x: expected class numbers in [0, {classes}), got {labels.min()} to {labels.max()}")
    result = np.zeros((*labels.shape, classes))
    np.put_along_axis(result, labels[..., None], 1.0, axis=-1)
    return result
