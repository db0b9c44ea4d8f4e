"""Which arrays of a call may share memory, against sets of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from fusedlstm import _core
from fusedlstm.ops import CellOptions, LayerNorm

from .devices import ops
from .problems import REDUCED, Array, assert_same_bits
from .updates import UPDATES, run_update

DEVICES = True
SETTINGS = settings(max_examples=20 if REDUCED else 400, deadline=None, derandomize=True, database=None)
I, H = 5, 6  # noqa: E741
KERNELS = tuple(
    np.random.default_rng(7).uniform(-1, 1, shape).astype(np.float32)
    for shape in ((I, 4 * H), (H, 4 * H), (4 * H,))
)


def bytes_of(array: Array) -> set[int]:
    """Addresses of all bytes of all elements."""
    places = np.zeros(array.shape, np.int64) + array.__array_interface__["data"][0]
    for axis, stride in enumerate(array.strides):
        shape = [1] * array.ndim
        shape[axis] = array.shape[axis]
        places = places + stride * np.arange(array.shape[axis]).reshape(shape)
    return {int(place) + byte for place in places.reshape(-1) for byte in range(array.itemsize)}


@pytest.mark.cpu
@SETTINGS
@given(
    first=st.integers(0, 60),
    size=st.integers(0, 30),
    other=st.integers(200, 260),
    width=st.integers(0, 12),
    count=st.integers(0, 6),
    stride=st.integers(-40, 40),
)
def test_a_piece_and_rows_share_bytes(
    first: int, size: int, other: int, width: int, count: int, stride: int
) -> None:
    """Rows may overlap each other, lie in any distance, backwards, and be empty."""
    first += 200
    piece = set(range(first, first + size))
    rows = {other + i * stride + j for i in range(count) for j in range(width)}
    assert _core.overlap(first, size, other, width, count, stride) == bool(piece & rows)


@pytest.mark.cpu
@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9), st.booleans()), max_size=6))
def test_the_first_conflict_is_one(pieces: list[tuple[int, int, bool]]) -> None:
    """Two pieces are told if there are any that share bytes, of which one is written."""
    conflicts = [
        (i, j)
        for i, (first, size, written) in enumerate(pieces)
        for j, (other, other_size, other_written) in enumerate(pieces[:i])
        if (written or other_written)
        and set(range(first, first + size)) & set(range(other, other + other_size))
    ]
    found = _core.first_conflict(pieces)
    assert (found is None) == (not conflicts)
    assert found is None or found[::-1] in conflicts


def buffer(rows: int) -> Array:
    return np.random.default_rng(3).uniform(-1, 1, (rows, H)).astype(np.float32)


def views(memory: Array, first: int, batch: int, width: int, stride: int) -> Array:
    """Rows of the width from an element on, so many elements apart."""
    flat = memory.reshape(-1)
    low, high = first + min(0, (batch - 1) * stride), first + max(0, (batch - 1) * stride) + width
    assert low >= 0
    assert high <= flat.size
    return as_strided(flat[first:], (batch, width), (4 * stride, 4))


@pytest.mark.cpu
@SETTINGS
@given(data=st.data(), batch=st.integers(1, 3))
def test_steps_write_to_what_is_theirs(data: st.DataObject, batch: int) -> None:
    """A step with arrays anywhere in one block has the bits of those apart, or says what is shared."""
    memory = np.random.default_rng(3).uniform(-1, 1, 120).astype(np.float32)

    def rows(width: int) -> Array:
        return views(memory, data.draw(st.integers(0, 119 - batch * width)), batch, width, width)

    stride = data.draw(st.integers(-20, 20))
    reach = (batch - 1) * stride
    x = views(memory, data.draw(st.integers(max(0, -reach), 114 - max(0, reach))), batch, I, stride)
    h, c = rows(H), rows(H)
    h_new = h if data.draw(st.booleans()) else rows(H)
    c_new = c if data.draw(st.booleans()) else rows(H)
    packed = ops.LSTMWeights(*KERNELS)
    expected = ops.lstm_step(x.copy(), h.copy(), c.copy(), packed)
    places = {"x": bytes_of(x), "h": bytes_of(h), "c": bytes_of(c)}
    h_bytes, c_bytes = bytes_of(h_new), bytes_of(c_new)
    allowed = not (h_bytes & c_bytes or h_bytes & places["x"] or c_bytes & places["x"])
    allowed &= not (h_bytes & places["c"] or c_bytes & places["h"])
    allowed &= h_bytes == places["h"] or not h_bytes & places["h"]
    allowed &= c_bytes == places["c"] or not c_bytes & places["c"]
    before = memory.copy()
    if allowed:
        ops.lstm_step(x, h, c, packed, out=(h_new, c_new))
        assert_same_bits(h_new, expected[0], "h")
        assert_same_bits(c_new, expected[1], "c")
    else:
        with pytest.raises(ValueError, match=r"^out\[[01]\]: expected [hc] itself or memory .*, got some "):
            ops.lstm_step(x, h, c, packed, out=(h_new, c_new))
        assert_same_bits(memory, before, "memory")


@pytest.mark.cpu
def test_rows_between_rows() -> None:
    """Strides count: every second row of x, and results in those between; and backwards.

    On a GPU rows apart from each other are copied first, and may lie anywhere.
    """
    block = buffer(40)
    x = block[::2][:16, :I]
    packed = ops.LSTMWeights(*KERNELS)
    h, c = buffer(16), buffer(16)[::-1].copy()
    with pytest.raises(ValueError, match=r"^out\[0\]: .*, got some that it shares with x"):
        ops.lstm_step(x, h, c, packed, out=(block[16:32], np.empty_like(c)))
    with pytest.raises(ValueError, match=r"^out\[1\]: .*, got some that it shares with x"):
        ops.lstm_step(x, h, c, packed, out=(np.empty_like(h), block[24:40]))
    both = buffer(8)
    backwards, states = both[:4][::-1, :I], both[4:]
    expected = ops.lstm_step(backwards.copy(), states.copy(), c[:4], packed)
    got = ops.lstm_step(backwards, states, c[:4], packed, out=(states, np.empty((4, H), np.float32)))
    assert_same_bits(got[0], expected[0], "h")
    assert_same_bits(got[1], expected[1], "c")


def test_steps_leave_the_options_alone() -> None:
    x, h, c = np.ones((3, I), np.float32), buffer(3), buffer(3)
    ones = np.ones(4 * H, np.float32)
    others = ones.copy(), ones[:H].copy(), ones[:H].copy()
    target = ones[: 3 * H].reshape(3, H)
    for options in (
        CellOptions(peepholes=target.copy(), layer_norm=LayerNorm(ones, *others)),
        CellOptions(peepholes=target),
    ):
        with pytest.raises(ValueError, match=r"^out\[0\]: .*, got some that it shares with options"):
            ops.lstm_step(x, h, c, KERNELS, options=options, out=(target, np.empty_like(c)))
        np.testing.assert_array_equal(ones, 1.0)


def test_empty_arrays_share_nothing() -> None:
    packed = ops.LSTMWeights(*KERNELS)
    block = buffer(4)
    none = block[2:2]
    h, c = ops.lstm_step(none[:, :I], none, none, packed, out=(none, block[1:1]))
    assert h.shape == c.shape == (0, H)
    ops.sgd_update([block, none], [np.zeros_like(block), none], None, learning_rate=0.1)


PAIRS = [
    pytest.param(update, i, j, id=f"{update}-{names[i]}-{names[j]}")
    for update, names in ((update, UPDATES[update].arrays) for update in UPDATES)
    for i in range(len(names))
    for j in range(i)
]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize(("update", "i", "j"), PAIRS)
def test_updates_of_arrays_that_share_memory(update: str, i: int, j: int, shift: int) -> None:
    """One array, or a part of it, in two places: of one call, and of two parameters of a list."""
    names, block = UPDATES[update].arrays, np.ones(8, np.float32)
    arrays = [np.ones(6, np.float32) for _ in names]
    arrays[j], arrays[i] = block[:6], block[shift : shift + 6]
    with pytest.raises(ValueError, match=rf"^{names[i]}: expected memory apart .* memory with {names[j]}$"):
        run_update(ops, update, dict(zip(names, arrays, strict=True)))
    others = [np.ones(6, np.float32) for _ in names]
    lists = [[array, other] for array, other in zip(arrays, others, strict=True)]
    lists[i] = lists[i][::-1]
    with pytest.raises(
        ValueError, match=rf"^{names[i]}\[1\]: expected memory apart .* memory with {names[j]}\[0\]$"
    ):
        run_update(ops, update, dict(zip(names, lists, strict=True)))
    for array in (*arrays, *others):
        np.testing.assert_array_equal(array, 1.0)


def test_gradients_may_share_memory() -> None:
    """They are only read."""
    grad = np.ones(6, np.float32)
    params = [np.zeros(6, np.float32), np.zeros(5, np.float32)]
    ops.sgd_update(params, [grad, grad[1:]], None, learning_rate=0.5)
    for param in params:
        np.testing.assert_array_equal(param, -0.5)


def test_dropout_into_parts_of_its_input() -> None:
    block = np.ones(20, np.float32)
    with pytest.raises(
        ValueError, match=r"^out: expected x itself or an array apart from it, got one that ov"
    ):
        ops.dropout(block[:10], 0.5, 1, out=block[9:19])
    np.testing.assert_array_equal(block, 1.0)
    expected = ops.dropout(np.ones(10, np.float32), 0.5, 1)
    assert_same_bits(ops.dropout(block[:10], 0.5, 1, out=block[10:]), expected, "out")
    assert_same_bits(ops.dropout(block[:10], 0.5, 1, out=block[:10]), expected, "in place")
