"""`utils`: padding, windows of series, datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import preprocessing, utils
from fusedlstm.preprocessing.sequence import pad_sequences

# pad_sequences.


def test_padding() -> None:
    lists = [[1], [2, 3], [], [4, 5, 6]]
    assert pad_sequences(lists).tolist() == [[0, 0, 1], [0, 2, 3], [0, 0, 0], [4, 5, 6]]
    assert pad_sequences(lists).dtype == np.int32
    assert pad_sequences(lists, maxlen=2).tolist() == [[0, 1], [2, 3], [0, 0], [5, 6]]
    after = pad_sequences(lists, 2, "float32", "post", "post", -1.0)
    assert after.tolist() == [[1, -1], [2, 3], [-1, -1], [4, 5]]
    assert after.dtype == np.float32
    assert pad_sequences([np.ones((2, 3)), np.full((1, 3), 2.0)], padding="post").shape == (2, 2, 3)
    words = pad_sequences([["a"], ["b", "longer"]], dtype=object, value="<pad>")
    assert words.tolist() == [["<pad>", "a"], ["b", "longer"]]
    assert pad_sequences([], maxlen=2).shape == (0, 2)
    assert pad_sequences([(1, True), np.array([3], np.uint8)]).tolist() == [[1, 1], [0, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequences": []}, "^sequences: expected at least one sequence where maxlen is None"),
        ({"maxlen": 0}, "^maxlen: expected a positive integer, got 0"),
        ({"padding": "left"}, r"^padding: expected one of \['pre', 'post'\], got 'left'"),
        ({"truncating": "left"}, r"^truncating: expected one of \['pre', 'post'\], got 'left'"),
        ({"sequences": [[1], [2, 0.5]]}, r"^sequences\[1\]: expected numbers that int32 holds, got .*0.5"),
        ({"sequences": [[1], [np.nan]]}, r"^sequences\[1\]: expected numbers that int32 holds, got .*nan"),
        (
            {"sequences": [[], [2**31]]},
            r"^sequences\[1\]: expected numbers that int32 holds, got .*21474",
        ),
        ({"sequences": [[2**70]]}, r"^sequences\[0\]: expected numbers that int32 holds"),
        ({"sequences": [["a"]]}, r"^sequences\[0\]: expected numbers that int32 holds, got .*'a'"),
        ({"sequences": [["a"]], "dtype": "float32"}, r"^sequences\[0\]: expected steps that float32 holds"),
        ({"sequences": [[1], [[2, 3]]]}, r"^sequences\[1\]: expected steps of shape \(\).*got \(2,\)"),
        ({"sequences": [[1], [[2, 3], [1]]]}, r"^sequences\[1\]: expected steps that int32 holds"),
        ({"value": 0.5}, "^value: expected one that int32 holds, got 0.5"),
        ({"value": "a"}, "^value: expected one that int32 holds, got 'a'"),
        ({"value": "a", "dtype": "float32"}, "^value: expected one that float32 holds, got 'a'"),
    ],
)
def test_padding_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pad_sequences(**{"sequences": [[1], [2, 3]], **arguments})


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (3, "^sequences: expected a list of sequences, got int"),
        ([[1], 2], r"^sequences\[1\]: expected a sequence, got int"),
        (["12"], r"^sequences\[0\]: expected a sequence, got str"),
        ([{1: 2}], r"^sequences\[0\]: expected a sequence, got dict"),
    ],
)
def test_padding_refuses_what_is_no_list_of_sequences(sequences: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        pad_sequences(sequences)


# timeseries_dataset_from_array.

SERIES = np.random.default_rng(0).normal(size=(60, 2))


def by_hand(start: int, end: int, length: int, stride: int, rate: int) -> list[Any]:
    firsts = range(start, end - (length - 1) * rate, stride)
    return [[SERIES[first + step * rate] for step in range(length)] for first in firsts]


@pytest.mark.parametrize("bounds", [(None, None), (5, None), (None, 50), (5, 50)])
@pytest.mark.parametrize(("length", "stride", "rate"), [(7, 1, 1), (4, 3, 2), (9, 2, 5), (1, 1, 1)])
def test_windows(length: int, stride: int, rate: int, bounds: tuple[int | None, int | None]) -> None:
    start, end = bounds
    targets = np.arange(60)
    made = utils.timeseries_dataset_from_array(
        SERIES, targets, length, stride, rate, batch_size=6, start_index=start, end_index=end
    )
    expected = by_hand(start or 0, end or 60, length, stride, rate)
    batches = list(made)
    assert len(made) == len(batches) == -(-len(expected) // 6)
    assert all(len(x) == 6 for x, _ in batches[:-1])
    assert np.array_equal(np.concatenate([x for x, _ in batches]), expected)
    firsts = np.arange(start or 0, end or 60, stride)
    assert np.array_equal(np.concatenate([y for _, y in batches]), firsts[: len(expected)])


def test_windows_are_views() -> None:
    targets = np.arange(60)
    for x, y in utils.timeseries_dataset_from_array(SERIES, targets, 8, sampling_rate=2, batch_size=16):
        assert np.shares_memory(x, SERIES)
        assert np.shares_memory(y, targets)
        assert not x.flags.writeable
        assert not y.flags.writeable


def test_windows_without_targets_and_one_by_one() -> None:
    batch = next(iter(preprocessing.timeseries_dataset_from_array(np.arange(9), None, 3, batch_size=4)))
    assert batch.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    single = utils.timeseries_dataset_from_array(np.arange(9), np.arange(9)[3:], 3, batch_size=None)
    assert len(single) == 6
    assert [(x.tolist(), int(y)) for x, y in single][:2] == [([0, 1, 2], 3), ([1, 2, 3], 4)]


def test_shuffled_windows_come_in_another_order_each_time() -> None:
    def passes(seed: int | None) -> list[list[int]]:
        made = utils.timeseries_dataset_from_array(
            np.arange(40), np.arange(40), 3, batch_size=7, shuffle=True, seed=seed
        )
        found = []
        for _ in range(2):
            firsts: list[int] = []
            for x, y in made:
                assert np.array_equal(x, y[:, None] + np.arange(3))
                firsts += y.tolist()
            found.append(firsts)
        return found

    one, other = passes(3)
    assert one != other
    assert sorted(one) == sorted(other) == list(range(38))
    assert passes(3) == [one, other]
    assert passes(4)[0] != one
    utils.set_random_seed(0)
    drawn = passes(None)
    utils.set_random_seed(0)
    assert passes(None) == drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": 3.0}, "^data: expected at least one point in time, got shape"),
        ({"sequence_length": 0}, "^sequence_length: expected a positive integer, got 0"),
        ({"sequence_length": 61}, "^sequence_length: expected a window that fits into 60 points.*61 steps"),
        ({"sequence_length": 7, "sampling_rate": 10}, "^sequence_length: .*7 steps over 61 points"),
        ({"sequence_stride": 60}, "^sequence_stride: expected less than the 60 points of data, got 60"),
        ({"sampling_rate": 60}, "^sampling_rate: expected less than the 60 points of data, got 60"),
        ({"batch_size": 0}, "^batch_size: expected a positive integer, got 0"),
        ({"seed": -1}, "^seed: expected an integer >= 0, got -1"),
        ({"start_index": -1}, "^start_index: expected an integer >= 0, got -1"),
        ({"start_index": 60}, "^start_index: expected less than the 60 points of data, got 60"),
        ({"start_index": 20, "end_index": 20}, r"^end_index: expected more than start_index \(20\) and less"),
        ({"end_index": 60}, "^end_index: expected more than start_index .* less than the 60 .* got 60"),
        (
            {"start_index": 30, "targets": np.arange(40)},
            "^targets: expected one for each of 28 windows",
        ),
        ({"format": "torch"}, r"^format: expected one of \['tf', 'grain'\], got 'torch'"),
    ],
)
def test_windows_refuse(arguments: dict[str, Any], message: str) -> None:
    given = {"data": SERIES, "targets": np.arange(60), "sequence_length": 3, **arguments}
    with pytest.raises(ValueError, match=message):
        utils.timeseries_dataset_from_array(**given)


# PyDataset.


class Squares(utils.PyDataset):
    """Leaves out ``super().__init__()``, as many classes do."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index**2


def test_datasets() -> None:
    dataset = Squares(4)
    assert list(dataset) == [0, 1, 4, 9]
    assert (dataset.num_batches, dataset.workers) == (4, 1)
    assert utils.Sequence is utils.PyDataset
    assert utils.PyDataset(workers=3, max_queue_size=2).max_queue_size == 2
    with pytest.raises(NotImplementedError, match="PyDataset must define __getitem__"):
        utils.PyDataset()[0]
    with pytest.raises(NotImplementedError, match="PyDataset must define __len__ or num_batches"):
        list(utils.PyDataset())
