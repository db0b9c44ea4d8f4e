"""One thread at a time trains or evaluates a model: a second one gets an error that says so."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Sequential, callbacks, layers
from fusedlstm.base import held
from fusedlstm.models import one_thread

from .interrupting import each
from .kernels.test_concurrency import in_child, needs_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 30.0
X = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4)).astype(np.float32)
Y = np.ones((2, 1), np.float32)
MESSAGE = "model: expected one thread at a time to train or evaluate it, got 'second.*' while 'first.*' does"

CALLS: dict[str, Callable[[Sequential], Any]] = {
    "fit": lambda model: model.fit(X, Y, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(X, Y),
    "evaluate": lambda model: model.evaluate(X, Y, verbose=0),
    "test_on_batch": lambda model: model.test_on_batch(X, Y),
}


class Gate(layers.Dropout):
    """Stops the pass of one thread."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.stops = False
        self.here, self.go_on = threading.Event(), threading.Event()

    def forward(self, x: Any, training: bool = False) -> Any:
        if self.stops and threading.current_thread().name.startswith("first"):
            self.here.set()
            assert self.go_on.wait(SECONDS)
        return super().forward(x, training)


def make() -> tuple[Sequential, Gate]:
    gate = Gate()
    model = Sequential([Input((3, 4)), gate, layers.LSTM(3), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model, gate


@pytest.fixture
def pools() -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    with ThreadPoolExecutor(1, "first") as first, ThreadPoolExecutor(1, "second") as second:
        yield first, second


Pools = tuple[ThreadPoolExecutor, ThreadPoolExecutor]


@pytest.mark.parametrize("other", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_second_thread_is_refused(
    call: Callable[[Sequential], Any], other: Callable[[Sequential], Any], pools: Pools
) -> None:
    """The first one goes on as if there had been no other, and then the second may."""
    first, second = pools
    model, gate = make()
    alone, _ = make()
    alone.set_weights(model.get_weights())
    gate.stops = True
    running = first.submit(call, model)
    try:
        assert gate.here.wait(SECONDS)
        kept = model.get_weights()
        with pytest.raises(RuntimeError, match=MESSAGE):
            second.submit(other, model).result(SECONDS)
        for got, expected in zip(model.get_weights(), kept, strict=True):
            np.testing.assert_array_equal(got, expected)
        # What many threads may do goes on.
        for training in (False, True):
            got = second.submit(model.__call__, X, training=training).result(SECONDS)
            np.testing.assert_array_equal(got, alone(X))
        second.submit(model.predict, X, verbose=0).result(SECONDS)
    finally:
        gate.go_on.set()
    result, expected_result = running.result(SECONDS), call(alone)
    if isinstance(result, callbacks.History):
        result, expected_result = result.history["loss"], expected_result.history["loss"]
    np.testing.assert_array_equal(result, expected_result)
    second.submit(other, model).result(SECONDS)
    first.submit(other, model).result(SECONDS)
    assert not model._users


def test_calls_inside_of_others() -> None:
    model, _ = make()
    losses = []

    class Inner(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            del epoch, logs
            losses.append(model.evaluate(X, Y, verbose=0)[0])

    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Inner()])
    assert len(losses) == 2
    assert not model._users


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_stays_held(call: Callable[[Sequential], Any], pools: Pools) -> None:
    """Interrupts, whose tracebacks keep the frames, and errors leave the model to all threads."""
    model, _ = make()
    for _error in each(lambda: call(model), {one_thread.__file__, held.__file__}):
        for pool in pools:
            pool.submit(call, model).result(SECONDS)
        assert not model._users
    with pytest.raises(ValueError, match="x: expected shape"):
        model.train_on_batch(X[:, :2], Y)
    pools[0].submit(call, model).result(SECONDS)


def test_copies_are_models_of_their_own(pools: Pools) -> None:
    first, second = pools
    model, gate = make()
    bare = Sequential([Input((3, 4)), layers.Dense(1)])
    bare.compile("sgd", "mse")
    gate.stops = True
    running = first.submit(model.train_on_batch, X, Y)
    try:
        assert gate.here.wait(SECONDS)
        for twin in (copy.copy(model), copy.copy(bare), pickle.loads(pickle.dumps(bare))):
            assert twin._users == {}
            assert twin._users is not model._users
        second.submit(bare.test_on_batch, X, np.ones((2, 3, 1), np.float32)).result(SECONDS)
    finally:
        gate.go_on.set()
    running.result(SECONDS)


@needs_fork
def test_a_fork_while_another_thread_trains(pools: Pools) -> None:
    """That thread does not go on in the child, which may train."""
    model, gate = make()
    gate.stops = True
    running = pools[0].submit(model.train_on_batch, X, Y)
    try:
        assert gate.here.wait(SECONDS)
        assert in_child(lambda: CALLS["train_on_batch"](model)) == "finished"
    finally:
        gate.go_on.set()
    running.result(SECONDS)
