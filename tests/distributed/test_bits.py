"""The same bits for any number of ranks, and what they have to do with a training that nobody shares."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Input, distributed, layers, optimizers, utils
from tests.distributed import trainings
from tests.distributed.threads import copies, together
from tests.distributed.trainings import CASES, CLASSES, N, T, X, made, train

SHORT = {"transport": "bfloat16"}
# Their shards draw other numbers than a training that nobody shares.
RANDOM = {"random", "two directions", "several batches", "generator", "callbacks"}


def shared(model: Any, case: str, ranks: int, **options: Any) -> list[Any]:
    """Return what trainings of copies leave, in each of several ranks."""
    models = copies(model, ranks)
    return together(ranks, lambda comm: train(models[comm.rank], case, comm, **options))


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_for_any_number_of_ranks(case: str) -> None:
    """Weights, optimizer, random streams and history, on all ranks."""
    model = made(case)
    alone = train(copy.deepcopy(model), case, distributed.Alone())
    for ranks in (1, 2, 3, 4, 8):
        for rank, found in enumerate(shared(model, case, ranks)):
            for what, expected in alone.items():
                assert found[what] == expected, (ranks, rank, what)


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("case", sorted(set(CASES) - RANDOM))
def test_as_one_that_nobody_shares(case: str, mode: str) -> None:
    """But for rounding: float64 sums in another order, and what follows from that in some updates."""
    fusedlstm.config.set_floatx("float64")
    try:
        model = made(case)
        plain = copy.deepcopy(model)
        history = plain.fit(verbose=0, **CASES[case].data())
        models = copies(model, 3)
        together(3, lambda comm: train(models[comm.rank], case, comm, mode=mode))
    finally:
        fusedlstm.config.set_floatx("float32")
    for key, expected in history.history.items():
        np.testing.assert_allclose(models[0].history.history[key], expected, rtol=1e-9, err_msg=key)
    for got, want in zip(models[0].get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("options", [{"mode": "fast"}, SHORT, {"mode": "fast", **SHORT}])
@pytest.mark.parametrize("ranks", [1, 3])
def test_all_ranks_have_the_same_bits(ranks: int, options: Any) -> None:
    """Once more, too, where bits hang on their number."""
    model = made("random")
    found = []
    for _ in range(2):
        found += shared(model, "random", ranks, **options)
    assert all(one == found[0] for one in found)


def test_shards_are_an_option() -> None:
    """Their number decides about the bits, and not that of the ranks."""
    found = {}
    for shards in (2, 16):
        model = made("classes")
        alone = train(copy.deepcopy(model), "classes", distributed.Alone(), shards=shards)
        assert shared(model, "classes", 2, shards=shards) == [alone, alone]
        found[shards] = alone["weights"]
    assert found[2] != found[16]


def test_one_shard_is_a_training_that_nobody_shares() -> None:
    model = made("weights")
    plain = copy.deepcopy(model)
    plain.fit(verbose=0, **CASES["weights"].data())
    train(model, "weights", distributed.Alone(), shards=1)
    for got, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_predictions_and_evaluations() -> None:
    """Everybody gets all of them, for batches of any size."""
    model = made("metrics")
    y = np.eye(3)[CLASSES]
    expected = model.predict(X, verbose=0)
    plain = model.evaluate(X, y, 9, verbose=0)

    def run(comm: Any) -> Any:
        own = models[comm.rank]
        own.distribute(comm)
        outputs = [own.predict(X, size, verbose=0) for size in (2, 9, 64)]
        outputs.append(own.predict((X[n : n + 5] for n in range(0, N, 5)), verbose=0))
        return outputs, own.evaluate(X, y, 9, verbose=0), own.test_on_batch(X, y)

    for ranks in (2, 3):
        models = copies(model, ranks)
        found = together(ranks, run)
        for outputs, losses, _ in found:
            for output in outputs:
                np.testing.assert_array_equal(output, expected)
            np.testing.assert_allclose(losses, plain, rtol=1e-6)
        assert all(one[1:] == found[0][1:] for one in found)


def test_predictions_of_several_outputs_and_with_callbacks() -> None:
    model = made("shared layer")
    expected = model.predict([X, X], verbose=0)
    seen: list[Any] = []
    watch = fusedlstm.callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: seen.append((batch, logs["outputs"]))
    )
    models = copies(model, 2)

    def run(comm: Any) -> Any:
        models[comm.rank].distribute(comm)
        return models[comm.rank].predict([X, X], 9, verbose=0, callbacks=watch)

    for outputs in together(2, run):
        for got, want in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(got, want)
    assert [batch for batch, _ in seen] == [0, 1, 2]
    np.testing.assert_array_equal(np.concatenate([outputs[1] for _, outputs in seen]), expected[1])


def test_single_batches() -> None:
    model = made("random")

    def run(comm: Any) -> Any:
        own = models[comm.rank]
        own.distribute(comm)
        return [own.train_on_batch(X, CLASSES) for _ in range(3)], [w.tobytes() for w in own.get_weights()]

    found = []
    for ranks in (1, 2, 3):
        models = copies(model, ranks)
        found += together(ranks, run)
    assert all(one == found[0] for one in found)


def test_only_own_rows_are_read() -> None:
    """Of inputs; others' may hold anything."""
    model = made("classes")
    options: dict[str, Any] = {"batch_size": N, "verbose": 0, "shuffle": False}
    alone = copy.deepcopy(model)
    alone.distribute(distributed.Alone())
    alone.fit(X, CLASSES, **options)
    models = copies(model, 2)

    def run(comm: Any) -> None:
        x = np.full_like(X, np.nan)
        own = slice(0, N // 2) if comm.rank == 0 else slice(N // 2, N)
        x[own] = X[own]
        models[comm.rank].distribute(comm)
        models[comm.rank].fit(x, CLASSES, **options)

    together(2, run)
    for one in models:
        for got, expected in zip(one.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_copies_are_not_shared() -> None:
    model = made("classes")
    model.distribute(distributed.Alone())
    assert copy.deepcopy(model).group is None
    model.distribute(None)
    assert model.group is None


def test_weights_are_frozen_on_all_ranks() -> None:
    utils.set_random_seed(0)
    model = fusedlstm.Sequential([Input((T, 3)), layers.LSTM(4), layers.Dense(3, "softmax")])
    model.compile(optimizers.SGD(0.1), "sparse_categorical_crossentropy")

    def freeze(epoch: int, _: Any) -> None:
        models[0].layers[0].trainable = epoch != 1

    models = copies(model, 2)

    def run(comm: Any) -> Any:
        models[comm.rank].distribute(comm)
        watch = fusedlstm.callbacks.LambdaCallback(on_epoch_begin=freeze)
        models[comm.rank].fit(X, CLASSES, 11, epochs=3, verbose=0, callbacks=watch)
        return [w.tobytes() for w in models[comm.rank].get_weights()]

    one, other = together(2, run)
    assert one == other
    assert trainings.T == T
