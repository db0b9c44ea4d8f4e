"""Copies of models go on training to the same bits: in the middle of it, and in other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks
from fusedlstm.utils import clear_session, set_random_seed

from .examples import X, Y, array, model

if TYPE_CHECKING:
    from collections.abc import Callable


def fresh() -> fusedlstm.Sequential:
    set_random_seed(5)
    clear_session()
    return model()


def results(trained: fusedlstm.Sequential) -> list[bytes]:
    assert trained.optimizer is not None
    arrays = [*trained.get_weights(), *trained.optimizer.get_state().values(), trained.predict(X, verbose=0)]
    return [entry.tobytes() for entry in arrays]


def go_on(trained: fusedlstm.Sequential, updates: int = 4) -> list[bytes]:
    """Train further; a function of the module, so that processes find it."""
    for _ in range(updates):
        trained.train_on_batch(X, Y)
    return results(trained)


COPIES: list[Callable[[Any], Any]] = [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_training_goes_on_from_a_copy(copied: Callable[[Any], Any], before: int) -> None:
    straight = fresh()
    straight.fit(X, Y, batch_size=3, epochs=6, verbose=0)
    first = fresh()
    if before:
        first.fit(X, Y, batch_size=3, epochs=before, verbose=0)
    second = copied(first)
    set_random_seed(99)  # the copy alone must suffice
    second.fit(X, Y, batch_size=3, epochs=6, initial_epoch=before, verbose=0)
    assert results(second) == results(straight)


@pytest.mark.parametrize("copied", COPIES)
def test_copies_in_the_middle_of_an_epoch(copied: Callable[[Any], Any]) -> None:
    """A callback may keep models, for averages or for later: they have the numbers of that moment."""
    kept: list[Any] = []
    trained = fresh()

    def keep(batch: int, logs: Any) -> None:  # noqa: ARG001
        if batch == 1:
            kept.extend([copied(trained), results(trained)])

    hook = callbacks.LambdaCallback(on_train_batch_end=keep)
    trained.fit(np.repeat(X, 3, 0), np.repeat(Y, 3), batch_size=3, verbose=0, shuffle=False, callbacks=hook)
    twin, expected = kept
    assert results(twin) == expected
    assert go_on(copied(twin)) == go_on(twin)


def test_a_copy_between_forward_and_backward_needs_another_forward() -> None:
    layer = fresh().layers[0]
    layer(X, training=True)
    twin = copy.deepcopy(layer)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        twin.backward(array(3, 4, 5))
    layer.backward(array(3, 4, 5))


def test_process_pools() -> None:
    first = fresh()
    first.train_on_batch(X, Y)
    expected = go_on(copy.deepcopy(first))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(go_on, [first, first])) == [expected] * 2
    assert go_on(first) == expected


def test_joblib_pools_with_arrays_in_shared_files() -> None:
    """Workers get the weights as read-only maps of files."""
    joblib = pytest.importorskip("joblib")
    first = fresh()
    first.train_on_batch(X, Y)
    expected = go_on(copy.deepcopy(first))
    work = joblib.Parallel(n_jobs=2, max_nbytes=1)
    assert work(joblib.delayed(go_on)(each) for each in (first, first)) == [expected] * 2


def test_torch_saves_and_loads_the_layer(tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    from fusedlstm.torch import LSTM

    layer = LSTM(2, 5, 2, batch_first=True)
    x = torch.from_numpy(X)
    expected = layer(x)[0].detach().numpy().tobytes()
    torch.save(layer, tmp_path / "a.pt")
    loaded = torch.load(tmp_path / "a.pt", weights_only=False)
    torch.save(layer.state_dict(), tmp_path / "b.pt")
    other = LSTM(2, 5, 2, batch_first=True)
    other.load_state_dict(torch.load(tmp_path / "b.pt"))
    for twin in (loaded, other, copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin(x)[0].detach().numpy().tobytes() == expected
