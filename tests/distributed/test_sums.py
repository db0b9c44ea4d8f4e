"""Shards, their tree, the messages that carry its sums, and how many bytes these have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm.base.devices import CPU
from fusedlstm.base.variable import Variable
from fusedlstm.distributed import Alone
from fusedlstm.distributed.bfloat16 import rounded, widened
from fusedlstm.distributed.communicator import cuts
from fusedlstm.distributed.exchange import Exchange
from fusedlstm.distributed.tree import Tree
from tests.distributed.threads import Thread, together

SHAPES = [(3, 5), (7,), (1, 1), (4, 4)]


@pytest.mark.parametrize("shards", [1, 2, 8, 32])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8, 13, 32])
def test_roots_make_up_the_tree(shards: int, ranks: int) -> None:
    if ranks > shards:
        return
    tree = Tree(shards, ranks)
    owned = [list(tree.owned(rank)) for rank in range(ranks)]
    assert [shard for some in owned for shard in some] == list(range(shards))
    assert max(map(len, owned)) - min(map(len, owned)) <= 1
    for rank in range(ranks):
        roots = tree.roots(rank)
        assert [one for start, end in roots for one in range(start, end)] == owned[rank]
        for start, end in roots:
            assert start % (end - start) == 0, "a part that no addition of the tree gives"
    text = {node: f"{node[0]}-{node[1] - 1}" for rank in range(ranks) for node in tree.roots(rank)}
    whole = tree.total(text, lambda left, right: f"{left.split('-')[0]}-{right.split('-')[1]}")
    assert whole == f"0-{shards - 1}"


@pytest.mark.parametrize("samples", [1, 5, 8, 9, 31, 64])
def test_rows_are_dealt_evenly(samples: int) -> None:
    """By their number alone."""
    tree = Tree(8, 3)
    rows = [tree.rows((shard, shard + 1), samples) for shard in range(8)]
    assert [row for some in rows for row in some] == list(range(samples))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    assert tree.rows((2, 4), samples) == range(rows[2].start, rows[3].stop)


def test_cuts() -> None:
    assert cuts(10, 3).tolist() == [0, 3, 6, 10]
    assert cuts(1, 3).tolist() == [0, 0, 0, 1]


def expected_sum(shards: list[list[Any] | None]) -> Any:
    """Return the sum of a complete binary tree, straight from its definition."""
    if len(shards) == 1:
        return shards[0]
    left, right = expected_sum(shards[: len(shards) // 2]), expected_sum(shards[len(shards) // 2 :])
    if left is None or right is None:
        return right if left is None else left
    return [a + b for a, b in zip(left, right, strict=True)]


def exchanged(
    ranks: int, samples: int, gradients: list[list[Any] | None], **options: Any
) -> tuple[list[Any], list[int]]:
    """Return the sums that each rank gets, and how many bytes it sends, in the second of two steps."""
    variables = [Variable(np.zeros(shape, np.float32)) for shape in SHAPES]
    shards = ranks if options.get("plain") else len(gradients)
    tree = Tree(shards, ranks)

    def run(comm: Thread) -> Any:
        exchange = Exchange([variables[:2], [], variables[2:]], tree, comm, CPU, **options)
        for _ in range(2):
            comm.sent = 0
            exchange.begin(samples)
            for shard in tree.owned(comm.rank):
                found = None
                values = gradients[shard]
                if values is not None:
                    found = exchange.shard(shard)
                    found.final = True
                    for step, some in ((2, slice(2, 4)), (0, slice(0, 2))):
                        for variable, value in zip(variables[some], values[some], strict=True):
                            found.add(variable, value)
                        found.passed(step)
                exchange.done(shard, found)
            total = exchange.total()
            result = [total[variable].copy() for variable in variables]
        return result, comm.sent

    found = together(ranks, run)
    return [result for result, _ in found], [sent for _, sent in found]


def shard_gradients(shards: int, samples: int) -> list[list[Any] | None]:
    random, tree = np.random.default_rng(samples), Tree(shards, 1)
    return [
        [(10 * random.normal(size=shape)).astype(np.float32) for shape in SHAPES]
        if tree.rows((shard, shard + 1), samples)
        else None
        for shard in range(shards)
    ]


@pytest.mark.parametrize("samples", [1, 3, 6, 8, 20])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 8])
def test_sums_are_those_of_the_tree(ranks: int, samples: int) -> None:
    gradients = shard_gradients(8, samples)
    for sums in exchanged(ranks, samples, gradients)[0]:
        for got, expected in zip(sums, expected_sum(gradients), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_bytes_are_those_of_the_formula(ranks: int, short: bool) -> None:
    """A rank sends (R - 1) / R of N numbers for each of its roots, and as many of its share of the sum."""
    gradients, tree = shard_gradients(8, 16), Tree(8, ranks)
    _, sent = exchanged(ranks, 16, gradients, short=short)
    numbers = sum(int(np.prod(shape)) for shape in SHAPES)
    own = np.diff(cuts(numbers, ranks))
    for rank, found in enumerate(sent):
        count = len(tree.roots(rank)) * (numbers - own[rank]) + (ranks - 1) * own[rank]
        assert found == count * (2 if short else 4)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_buffers_are_those_of_the_formula(ranks: int) -> None:
    """Sums on their way up the tree, and what comes from the other ranks."""
    numbers = 1 << 12
    variable = Variable(np.zeros(numbers, np.float32))

    def run(comm: Thread) -> int:
        tree = Tree(8, ranks)
        exchange = Exchange([[variable]], tree, comm, CPU)
        for _ in range(3):
            exchange.begin(8)
            for shard in tree.owned(comm.rank):
                found = exchange.shard(shard)
                found.add(variable, variable.value)
                exchange.done(shard, found)
            exchange.total()
        return exchange.buffer_bytes

    levels = max(1, int(np.log2(8 // ranks)))
    assert together(ranks, run) == [4 * numbers * (levels + (ranks > 1))] * ranks


def test_short_messages_round_once_and_sum_in_float32() -> None:
    gradients = shard_gradients(4, 4)

    def short(values: Any) -> Any:
        halves, wide = np.empty(values.size, np.uint16), np.empty(values.size, np.float32)
        rounded(values.reshape(-1), halves)
        widened(halves, wide)
        return wide.reshape(values.shape)

    expected = [short(one) for one in expected_sum([[short(v) for v in some or []] for some in gradients])]
    for sums in exchanged(4, 4, gradients, short=True)[0]:
        for got, want in zip(sums, expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_plain_sums() -> None:
    gradients = shard_gradients(4, 3)
    for sums in exchanged(4, 3, gradients, plain=True)[0]:
        for got, expected in zip(sums, expected_sum(gradients), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_rounding_to_16_bits() -> None:
    """The nearest, half of them to even; the largest become infinite, and NaN stays NaN."""
    one = np.float32(1)
    values = np.array(
        [0, -0.0, 1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -np.inf, np.nan, 1e-40], np.float32
    )
    expected = np.array([0, -0.0, 1, 1, 1 + 2**-6, 1 + 2**-7, np.inf, -np.inf, np.nan, 1e-40], np.float32)
    payload = np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)  # NaN that a carry would change
    halves, wide = np.empty(12, np.uint16), np.empty(12, np.float32)
    rounded(np.concatenate([values, payload]), halves)
    widened(halves, wide)
    np.testing.assert_array_equal(wide[:9], expected[:9])
    assert np.signbit(wide[1])
    assert abs(wide[9] - expected[9]) <= 2.0**-134 * one  # half of the smallest step
    assert np.isnan(wide[10:]).all()


def test_alone() -> None:
    alone, out = Alone(), np.zeros(3)
    assert (alone.allgather(5), alone.bcast(6)) == ([5], 6)
    alone.exchange(np.arange(3.0), [3], out, [3]).wait()
    np.testing.assert_array_equal(out, [0, 1, 2])
    alone.gather(np.ones(3), out, [3]).test()
    alone.sum(out).wait()
    np.testing.assert_array_equal(out, [1, 1, 1])
    with pytest.raises(SystemExit, match="why"):
        alone.abort("why")
