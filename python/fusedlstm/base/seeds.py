"""Seeds: one generator that all random things draw from, and series of their own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.filling import room
from fusedlstm.base.shards import Seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

_MASK = (1 << 64) - 1
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


def get_random_states() -> dict[str, Any]:
    """Return where the generators are that `set_random_seed` restarts, NumPy's and Python's among them."""
    version, numbers, gauss = random.getstate()
    return {
        "fusedlstm": _seeds.bit_generator.state,
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
        "python": (version, np.array(numbers, np.int64), gauss),
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put the generators where `get_random_states` found them.

    Raises
    ------
    KeyError, TypeError, ValueError
        If these are no such states.
    """
    global _seeds
    generator = np.random.default_rng(0)
    generator.bit_generator.state = states["fusedlstm"]
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    np.random.set_state(states["numpy"])  # noqa: NPY002
    _seeds = generator


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

    # Where the series of shards are, with the rows of these, while there are several.
    _shards: tuple[tuple[int, ...], list[tuple[int, int]]] | None = None

    def next(self) -> Any:
        """Return the next seed of the series, an int; of several shards' series `Seeds`."""
        if self._shards is not None:
            ends, states = self._shards
            seeds = tuple(_mixed(seed, drawn + 1) for seed, drawn in states)
            self._shards = ends, [(seed, drawn + 1) for seed, drawn in states]
            return Seeds(ends, seeds)
        seed, drawn = self.state
        self.state = (seed, drawn + 1)
        return _mixed(seed, drawn + 1)

    def branch(self, number: int) -> tuple[int, int]:
        """Return the state of one of many series that the next seed stands for; it is not drawn by that."""
        seed, drawn = self.state
        return _mixed(_mixed(seed, drawn + 1), number + 1), 0

    def split(self, ends: tuple[int, ...], numbers: Sequence[int]) -> None:
        """Draw from the branches of these numbers from now on, for rows with these ends."""
        self._shards = ends, [self.branch(number) for number in numbers]

    def join(self) -> None:
        """Draw from the one series again."""
        self._shards = None


def _mixed(seed: int, count: int) -> int:
    """Return 63 well mixed bits: SplitMix64's output function (Steele, Lea, Flood 2014) of a counter."""
    z = (seed + count * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1
