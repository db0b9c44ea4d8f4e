"""What the axes of values are: lengths that a file declares cost nothing, whatever they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fusedlstm.base import limits
from fusedlstm.exchange.onnx.values import Value, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

# The second takes seconds to list again and again, and no list can be as long as the third.
LENGTHS = (3, 10**7, 2**62)


def states(parts: int) -> Value:
    """Return the last states of that many directions, (D, B, F)."""
    places = tuple((1, number) for number in range(parts))
    return Value(("D", "B", "F"), 251, 241, 5, places, (False,) * parts, what="h")


def doubled(times: int) -> Value:
    value = states(2)
    for _ in range(times):
        value = joined([value, value], 0)
    return value


@pytest.mark.parametrize("steps", LENGTHS)
def test_ranges_of_declared_lengths(steps: int) -> None:
    """All steps, all backwards, and the ends; ranges are never listed."""
    value = Value(("B", "T", "F"), 251, steps, 5)
    every = range(steps)
    start = time.process_time()
    assert value.taken(1, every, keep=True) == value
    assert value.taken(1, every[::-1], keep=True).turned
    assert value.taken(1, every[::-1], keep=True).taken(1, every[::-1], keep=True) == value
    ends = [value.taken(1, every[place : place + 1 or None], keep=True) for place in (0, -1)]
    # The last step is the last state of a layer that reads forwards.
    assert [(one.what, one.step, one.axes) for one in ends] == [
        ("y", "first", ("B", "", "F")),
        ("h", None, ("B", "", "F")),
    ]
    for part in (every[1:], every[:-1], every[::2], every[1:][::-1]):
        with pytest.raises(ValueError, match="one end of the steps, or all, got a part of a tensor"):
            value.taken(1, part, keep=True)
    assert time.process_time() - start < 0.5


def test_lists_are_compared_number_by_number() -> None:
    value = Value(("B", "T", "F"), 251, 4, 5)
    assert value.taken(1, [0, 1, 2, 3], keep=True) == value
    assert value.taken(1, [-4, 1, -2, 3], keep=True) == value
    assert value.taken(1, [3, 2, 1, 0], keep=True).turned
    wrong: tuple[list[int], ...] = ([0, 1, 2], [0, 1, 2, 2], [1, 0, 2, 3], [0, 1, 2, 3, 3], [])
    for chosen in wrong:
        with pytest.raises(ValueError, match="got a part of"):
            value.taken(1, chosen, keep=True)


def test_the_features_of_one_direction() -> None:
    value = Value(("B", "T", "DF"), 251, 4, 5, ((1, 0), (1, 1)), (False, True))
    first, second = (value.taken(2, range(5 * part, 5 * part + 5), keep=True) for part in (0, 1))
    assert (first.axes, first.parts) == (("B", "T", "F"), ((1, 0),))
    assert (second.axes, second.parts) == (("B", "T", "F"), ((1, 1),))
    assert value.taken(2, [5, 6, 7, 8, 9], keep=True) == second
    wrong: tuple[Sequence[int], ...] = (range(1, 6), range(5, 9), range(10, 15), [5, 6, 7, 8, 8], [])
    for chosen in wrong:
        with pytest.raises(ValueError, match="got a part of"):
            value.taken(2, chosen, keep=True)


@pytest.mark.parametrize("axes", [[0, 0], [4, -1], [-5], [4], [1, 2, 2]])
def test_axes_that_are_not_there_or_twice(axes: list[int]) -> None:
    value = Value(("B", "T", "F"), 251, 4, 5)
    with pytest.raises(ValueError, match=f"expected different axes of a tensor with {3 + len(axes)}, got"):
        value.unsqueezed(axes)


def test_new_axes() -> None:
    value = Value(("B", "T", "F"), 251, 4, 5)
    assert value.unsqueezed([0, -1]).axes == ("", "B", "T", "F", "")


def test_a_value_that_is_joined_with_itself() -> None:
    """It doubles each time: 30 times over would take 16 GiB."""
    start = time.process_time()
    with limits.reading(0):
        assert len(doubled(1).parts) == 4
        with pytest.raises(ValueError, match=r"directions: expected a description .* max_bytes raises"):
            doubled(24)
    assert time.process_time() - start < 1
