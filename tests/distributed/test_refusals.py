"""What cannot be shared is one error on all ranks, before the first step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Input, callbacks, distributed, layers, losses, metrics, optimizers, utils
from fusedlstm.models.batching import BatchTrainer
from tests.distributed.threads import Board, Thread, copies
from tests.distributed.trainings import CLASSES, SPARSE, F, T, X, classifier, made

if TYPE_CHECKING:
    from collections.abc import Callable


def errors(ranks: int, function: Callable[[Any], Any]) -> list[str]:
    """Return the errors of all ranks."""
    board = Board(ranks)
    with ThreadPoolExecutor(ranks) as pool:
        futures = [pool.submit(function, Thread(board, rank)) for rank in range(ranks)]
        found = [future.exception() for future in futures]
    return [f"{type(error).__name__}: {error}" for error in found]


@pytest.fixture(autouse=True)
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("a pass through a model")

    monkeypatch.setattr(BatchTrainer, "run", run)


def models_of_seeds(*seeds: int) -> list[Any]:
    found = []
    for seed in seeds:
        utils.set_random_seed(seed)
        found.append(classifier())
    return found


def fit(models: list[Any], **options: Any) -> list[str]:
    def run(comm: Any) -> None:
        model = models[comm.rank]
        model.distribute(comm)
        own = {key: value(comm.rank) if callable(value) else value for key, value in options.items()}
        model.fit(**{"x": X, "y": CLASSES, "batch_size": 8, "verbose": 0, **own})

    return errors(len(models), run)


def test_other_seeds() -> None:
    for error in fit(models_of_seeds(1, 1, 2)):
        assert "ValueError: distribute: expected the same on all ranks, got other " in error
        assert "values of weights (on rank 2 '" in error
        assert "', on rank 0 '" in error
        assert "utils.set_random_seed(n)" in error


def test_another_model() -> None:
    utils.set_random_seed(0)
    models = [classifier(layers.LSTM(units)) for units in (4, 5)]
    for error in fit(models):
        assert "layers.0 LSTM.units (on rank 1 '5', on rank 0 '4')" in error


def test_another_optimizer_and_learning_rate() -> None:
    models = copies(made("classes"), 2)
    models[1].optimizer.learning_rate = 0.5
    assert all("learning rate (on rank 1 0.5" in error for error in fit(models))
    models = copies(made("classes"), 2)
    models[1].compile(optimizers.Adam(beta_1=0.5), SPARSE, metrics=["accuracy"])
    assert all("optimizer.beta_1 (on rank 1 '0.5', on rank 0 '0.9')" in error for error in fit(models))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"x": lambda rank: X[: 20 + rank], "y": lambda rank: CLASSES[: 20 + rank]}, "x.samples"),
        ({"batch_size": lambda rank: 8 + rank}, "x.batch_size (on rank 1 9, on rank 0 8)"),
        ({"epochs": lambda rank: 1 + rank}, "epochs[1] (on rank 1 2, on rank 0 1)"),
        ({"shuffle": lambda rank: rank == 0}, "x.shuffle"),
        ({"sample_weight": lambda rank: np.ones(22) if rank else None}, "x.weights[0]"),
        ({"validation_data": lambda rank: (X, CLASSES) if rank else None}, "validation_data"),
    ],
)
def test_other_data(options: Any, told: str) -> None:
    for error in fit(copies(made("classes"), 2), **options):
        assert "expected the same on all ranks" in error
        assert told in error


def test_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["one", "another"])

    class Named(Thread):
        name = property(lambda self: self.named)

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.named = next(names)

    monkeypatch.setitem(globals(), "Thread", Named)
    for error in fit(copies(made("classes"), 2)):
        assert "versions.messages (on rank 1 '" in error


def test_options_that_differ() -> None:
    models = copies(made("classes"), 2)

    def run(comm: Any) -> None:
        models[comm.rank].distribute(comm, shards=8 << comm.rank)
        models[comm.rank].fit(X, CLASSES, verbose=0)

    assert all("mode[1] (on rank 1 16, on rank 0 8)" in error for error in errors(2, run))


def test_an_error_of_one_rank_is_one_of_all() -> None:
    y = np.where(np.arange(22) == 5, 7, CLASSES)
    found = fit(copies(made("classes"), 3), y=lambda rank: y if rank == 1 else CLASSES)
    assert "y" in found[1]
    assert found[1].startswith("ValueError")
    for rank in (0, 2):
        assert found[rank] == f"RuntimeError: distribute: rank 1 could not begin: {found[1]}"


def test_an_error_of_a_callback_is_one_of_all(tmp_path: Any) -> None:
    def missing(rank: int) -> Any:  # noqa: ARG001
        return callbacks.CSVLogger(tmp_path / "missing" / "log.csv")

    found = fit(copies(made("classes"), 2), callbacks=missing)
    assert found[0].startswith("FileNotFoundError")
    assert found[1] == f"RuntimeError: distribute: rank 0 could not begin: {found[0]}"


def test_two_runs_on_one_backup_folder(tmp_path: Any) -> None:
    pytest.importorskip("safetensors")
    backup = callbacks.BackupAndRestore(tmp_path / "b")
    model = made("classes")
    holder = callbacks.BackupAndRestore(tmp_path / "b")

    class Inner(callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            found.extend(fit(copies(model, 2), callbacks=lambda _: backup))
            self.model.stop_training = True
            raise KeyboardInterrupt

    found: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, CLASSES, verbose=0, callbacks=[holder, Inner()])
    assert "backup_dir: expected a folder that no other training uses" in found[0]
    assert found[1] == f"RuntimeError: distribute: rank 0 could not begin: {found[0]}"


def test_different_calls() -> None:
    models = copies(made("classes"), 2)

    def run(comm: Any) -> None:
        own = models[comm.rank]
        own.distribute(comm)
        if comm.rank:
            own.evaluate(X, CLASSES, verbose=0)
        else:
            own.fit(X, CLASSES, verbose=0)

    assert errors(2, run) == [
        "RuntimeError: distribute: expected fit on all ranks, got evaluate on rank 1",
        "RuntimeError: distribute: expected evaluate on all ranks, got fit on rank 0",
    ]


def test_fewer_samples_than_ranks() -> None:
    told = "ValueError: x: expected batches of at least 3 samples, one for each rank, got 2"
    assert fit(copies(made("classes"), 3), batch_size=2) == [told] * 3


def test_more_ranks_than_shards() -> None:
    model = made("classes")

    def run(comm: Any) -> None:
        model.distribute(comm, shards=2)

    told = "ValueError: shards: expected at least the 3 ranks, got 2; 4 would do, and have other bits"
    assert errors(3, run) == [told] * 3


def test_stateful_layers() -> None:
    model = classifier(layers.LSTM(4, stateful=True, name="keeper"))
    model.distribute(distributed.Alone())
    with pytest.raises(ValueError, match="distribute: expected no stateful layers, got keeper"):
        model.fit(X, CLASSES, verbose=0)


def test_means_by_weight() -> None:
    model = made("classes")
    model.compile("sgd", losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"))
    model.distribute(distributed.Alone())
    with pytest.raises(ValueError, match="distribute: expected a reduction other than 'mean_with_sample"):
        model.fit(X, CLASSES, verbose=0)


def test_metrics_that_do_not_say_what_they_add_up() -> None:
    class Most(metrics.Metric):
        def reset_state(self) -> None:
            self.most = 0.0

    model = made("classes")
    model.compile("sgd", SPARSE, metrics=[Most("most")])
    model.distribute(distributed.Alone())
    with pytest.raises(ValueError, match="metrics: expected a class attribute `sums` of Most"):
        model.fit(X, CLASSES, verbose=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mode": "quick"}, "mode: expected .*'exact'.*'fast'.*, got 'quick'"),
        ({"shards": 6}, "shards: expected a power of two, got 6"),
        ({"shards": 0}, "shards: expected"),
        ({"transport": "int8"}, "transport: expected"),
    ],
)
def test_bad_options(options: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        made("classes").distribute(distributed.Alone(), **options)


def test_short_messages_of_float64() -> None:
    model = fusedlstm.Sequential([Input((T, F)), layers.LSTM(4, dtype="float64")])
    with pytest.raises(ValueError, match="transport: expected float32 for a model of float64"):
        model.distribute(distributed.Alone(), transport="bfloat16")


@pytest.mark.parametrize("communicator", ["gloo", 5, object()])
def test_bad_communicators(communicator: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="distribute: expected 'mpi', 'nccl' or a communicator"):
        made("classes").fit(X, CLASSES, verbose=0, distribute=communicator)
