"""Which models compute the shards of a rank at once, and that they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import distributed, layers
from fusedlstm.base.seeds import SeedGenerator
from fusedlstm.base.shards import Seeds
from fusedlstm.base.variable import Variable
from fusedlstm.distributed.exchange import Exchange
from fusedlstm.distributed.tree import Tree
from fusedlstm.models.batching import BatchTrainer
from fusedlstm.models.groups import computes_groups
from tests.distributed.trainings import F, T, made, train


class Own(layers.Dense):
    """A subclass, which may do anything."""


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.LSTM(4, dropout=0.1, recurrent_dropout=0.1), True),
        (layers.Bidirectional(layers.LSTM(4)), True),
        (layers.Dense(3, "softmax"), True),
        (layers.Dropout(0.5), True),
        (layers.LSTM(4, zoneout_h=0.1), False),
        (layers.LSTM(4, use_peepholes=True), False),
        (layers.LSTM(4, projection_units=2), False),
        (layers.LSTM(4, layer_norm=True), False),
        (layers.Bidirectional(layers.LSTM(4, zoneout_c=0.1)), False),
        (layers.LSTM(4, activity_regularizer="l2"), False),
        (layers.LayerNormalization(), False),
        (layers.TimeDistributed(layers.Dense(3)), False),
        (Own(3), False),
    ],
)
def test_layers(layer: Any, expected: bool) -> None:
    layer.build((None, T, F))
    assert computes_groups(layer) is expected


@pytest.mark.parametrize("case", ["classes", "weights", "masks", "shared layer", "metrics"])
def test_models_do(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass for each batch: the test of equal bits beside it compares these with passes of each shard."""
    passes = []
    run = BatchTrainer.run

    def counted(self: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        passes.append(len(inputs[0]))
        return run(self, inputs, *arguments, **options)

    monkeypatch.setattr(BatchTrainer, "run", counted)
    train(made(case), case, distributed.Alone())
    assert set(passes) <= {9, 4, 22}, "passes of whole batches, and of the epoch's last one"


def test_series_of_shards() -> None:
    """Each shard draws what it would alone, and the series goes on where it was."""
    seeds = SeedGenerator(5)
    seeds.next()
    before = seeds.state
    seeds.split((0, 2, 5), [3, 4])
    found = [seeds.next() for _ in range(2)]
    seeds.join()
    assert seeds.state == before
    for place, number in enumerate((3, 4)):
        own = SeedGenerator(0)
        own.state = seeds.branch(number)
        assert [one.seeds[place] for one in found] == [own.next(), own.next()]
    assert all(one.ends == (0, 2, 5) for one in found)
    assert len({seed for one in found for seed in one.seeds}) == 4
    assert Seeds((0, 2, 5), (7, 8)).slices() == [(slice(0, 2), 7), (slice(2, 5), 8)]


def test_sums_over_all_rows_are_refused() -> None:
    variable = Variable(np.zeros(3, np.float32), "w")
    exchange = Exchange([[variable]], Tree(2, 1), distributed.Alone(), variable.device)
    gradients = exchange.together([0, 1], (0, 1, 2))
    with pytest.raises(TypeError, match=r"w: expected gradients of 2 groups, got \(3,\)"):
        gradients.add(variable, variable.value)
