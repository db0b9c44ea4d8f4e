"""Changes under way: calls wait for them, they take turns, and fail without a trace."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm import Input, Sequential, layers
from fusedlstm.base import versions
from fusedlstm.constraints import Constraint
from tests.kernels.test_concurrency import in_child, needs_fork

from .common import SECONDS, Gate, X, Y, assert_same, make, meanwhile, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Slow(Constraint):
    """Stops in the middle of an optimizer's update."""

    def __init__(self) -> None:
        self.here, self.go_on = threading.Event(), threading.Event()
        self.stops = False

    def __call__(self, weights: Any) -> Any:
        if self.stops:
            self.here.set()
            assert self.go_on.wait(SECONDS)
        return weights * 0.5


def test_a_call_waits_for_a_change_under_way() -> None:
    slow = Slow()
    model = Sequential(
        [Input((4,)), layers.Dense(3), layers.Dense(3, kernel_constraint=slow), layers.Dense(2)]
    )
    model.compile("sgd", "mse")
    x = X[:, 0]
    fresh = Sequential([Input((4,)), layers.Dense(3), layers.Dense(3), layers.Dense(2)])
    slow.stops = True
    with ThreadPoolExecutor(3) as pool:
        training = pool.submit(model.train_on_batch, x, Y)
        assert slow.here.wait(SECONDS)
        got = pool.submit(model.predict_on_batch, x)
        weights = pool.submit(model.get_weights)
        slow.go_on.set()
        training.result(SECONDS)
        fresh.set_weights(model.get_weights())
        assert_same(got.result(SECONDS), fresh(x))
        for own, expected in zip(weights.result(SECONDS), fresh.get_weights(), strict=True):
            assert_same(own, expected)


def test_two_changes_take_turns() -> None:
    slow = Slow()
    model = Sequential([Input((4,)), layers.Dense(3, kernel_constraint=slow), layers.Dense(2)])
    model.compile("sgd", "mse")
    slow.stops = True
    new = weights_of(model, 3)
    with ThreadPoolExecutor(2) as pool:
        training = pool.submit(model.train_on_batch, X[:, 0], Y)
        assert slow.here.wait(SECONDS)
        setting = pool.submit(model.set_weights, new)
        slow.go_on.set()
        training.result(SECONDS)
        setting.result(SECONDS)
    for got, expected in zip(model.get_weights(), new, strict=True):
        assert_same(got, expected)


def test_a_change_that_fails_beside_a_call_changes_nothing() -> None:
    class Failing(Constraint):
        def __call__(self, weights: Any) -> Any:
            if fails:
                raise ArithmeticError("as asked for")
            return weights

    fails = False
    gate = Gate()
    model = Sequential([Input((4,)), layers.Dense(3), gate, layers.Dense(2, kernel_constraint=Failing())])
    model.compile("sgd", "mse")
    x = X[:, 0]
    kept = model.get_weights()
    fails = True

    def change() -> None:
        with pytest.raises(ArithmeticError):
            model.train_on_batch(x, Y)

    meanwhile(gate, lambda: model(x), change)
    for got, expected in zip(model.get_weights(), kept, strict=True):
        assert_same(got, expected)


def test_a_change_in_place_without_other_threads() -> None:
    """Views follow, and no array is made."""
    model, _ = make()
    views = [variable.value for variable in model.weights]
    model.set_weights(weights_of(model, 1))
    model.train_on_batch(X, Y)
    for view, variable in zip(views, model.weights, strict=True):
        assert variable.value is view


def test_many_threads() -> None:
    model, _ = make()
    given = [weights_of(model, seed) for seed in range(3)]
    expected = []
    for weights in given:
        model.set_weights(weights)
        expected.append(model(X).tobytes())
    stop = threading.Event()

    def change(first: int) -> None:
        number = first
        while not stop.is_set():
            model.set_weights(given[number % 3])
            number += 1

    def call() -> int:
        calls: list[Callable[[Any], Any]] = [model, lambda x: model.predict(x, batch_size=2, verbose=0)]
        got = [calls[k % 2](X).tobytes() for k in range(60)]
        return sum(result not in expected for result in got)

    with ThreadPoolExecutor(4) as pool:
        changing = [pool.submit(change, k) for k in range(2)]
        try:
            mixed = [done.result(SECONDS) for done in [pool.submit(call) for _ in range(2)]]
        finally:
            stop.set()
        for done in changing:
            done.result(SECONDS)
    assert mixed == [0, 0]


@needs_fork
def test_a_fork_amid_a_call_and_a_change() -> None:
    """Neither the call nor the change goes on in the child, which waits for none of them."""
    model, gate = make()
    before = model(X)

    def work() -> None:
        assert_same(model(X), before)
        view = model.weights[0].value
        model.set_weights(weights_of(model, 1))
        assert model.weights[0].value is view  # in place: there is no other call

    meanwhile(gate, lambda: model(X), lambda: None if in_child(work) == "finished" else pytest.fail("child"))

    change = versions.writing(model.weights)

    def hold() -> None:
        with change:
            gate.here.set()
            assert gate.go_on.wait(SECONDS)

    gate.here.clear()
    gate.go_on.clear()
    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert gate.here.wait(SECONDS)
        assert in_child(work) == "finished"
    finally:
        gate.go_on.set()
        holder.join()


def test_estimators() -> None:
    """What goes with a network, as the targets' scale, is replaced together with it."""
    pytest.importorskip("sklearn")
    from fusedlstm.sklearn import LSTMRegressor

    estimator = LSTMRegressor(4, epochs=1, random_state=0)
    y = X.sum(axis=(1, 2))
    estimator.fit(X, y)
    before = estimator.predict(X)
    during = []
    network = estimator._network

    def look(*given: Any) -> Any:
        during.append(estimator.predict(X))
        return network(*given)

    estimator._network = look  # type: ignore[assignment,method-assign]
    estimator.fit(X, 1000 * y + 5000)
    assert_same(during[0], before)
    assert (estimator.predict(X) > 1000).all()
    with pytest.raises(ValueError, match="rate"):
        estimator.set_params(learning_rate=-1).fit(X, y)
    assert (estimator.predict(X) > 1000).all()
