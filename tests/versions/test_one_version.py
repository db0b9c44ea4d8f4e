"""Weights that one thread changes while another is inside of a call: all of one version, and nobody waits."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Sequential, layers, load_model
from fusedlstm.base import versions
from fusedlstm.callbacks import Callback
from fusedlstm.constraints import Constraint
from tests.kernels.test_concurrency import in_child, needs_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 60.0


class Gate(layers.Dropout):
    """A layer in the middle of a model, in which one call of another thread stops until it is let on."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.here = threading.Event()
        self.go_on = threading.Event()
        self.stops = False

    def forward(self, x: Any, training: bool = False) -> Any:
        if self.stops:
            self.stops = False
            self.here.set()
            assert self.go_on.wait(SECONDS)
        return super().forward(x, training)


X = np.random.default_rng(0).uniform(-1, 1, (5, 3, 4)).astype(np.float32)
Y = np.zeros((5, 2), np.float32)


def make(*, options: bool = False) -> tuple[Sequential, Gate]:
    gate = Gate()
    model = Sequential(
        [
            Input((3, 4)),
            layers.LSTM(6, return_sequences=True),
            gate,
            layers.LSTM(3, use_peepholes=options, layer_norm=options, peephole_initializer="ones"),
            layers.LayerNormalization(),
            layers.Dense(2),
        ]
    )
    model.compile("sgd", "mse")
    return model, gate


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    assert versions.alone()
    versions.settle()
    assert (versions.changing, versions.keeping) == ({}, set())


def weights_of(model: Sequential, seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.uniform(-1, 1, v.shape).astype(np.float32) for v in model.weights]


def stepped(model: Sequential) -> Any:
    stream = model.stream(len(X))
    return [stream.step(X[:, t]).copy() for t in range(X.shape[1])]


CALLS: dict[str, Callable[[Sequential], Any]] = {
    "call": lambda model: model(X),
    "predict": lambda model: model.predict(X, batch_size=2, verbose=0),
    "predict_on_batch": lambda model: model.predict_on_batch(X),
    "evaluate": lambda model: model.evaluate(X, Y, batch_size=2, verbose=0),
    "test_on_batch": lambda model: model.test_on_batch(X, Y),
    "stream": lambda model: stepped(model)[0],
    "stream in few bits": lambda model: model.stream(len(X), storage="bfloat16").step(X[:, 0]).copy(),
}


def load(model: Sequential, folder: Path) -> None:
    other, _ = make()
    other.set_weights(weights_of(model, 5))
    other.save_weights(folder / "other.weights.h5")
    model.load_weights(folder / "other.weights.h5")


def assign_each(model: Sequential, _: Path) -> None:
    for variable, value in zip(model.weights, weights_of(model, 6), strict=True):
        variable.assign(value)


def saved(model: Sequential, folder: Path) -> list[Any]:
    """Save and copy beside a thread that changes weights all the time; return what each of it gave."""
    stop = threading.Event()

    def change() -> None:
        value = 0.0
        while not stop.is_set():
            value += 1.0
            model.set_weights([np.full(v.shape, value, np.float32) for v in model.weights])

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        try:
            results = []
            for _ in range(20):
                model.save(folder / "model.safetensors")
                results.append(load_model(folder / "model.safetensors").get_weights())
                results.append(model.get_weights())
                results.append(copy.deepcopy(model).get_weights())
        finally:
            stop.set()
        changing.result(SECONDS)
    return results


def test_copies_and_files_are_of_one_version(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = Sequential([Input((4,)), *(layers.Dense(64) for _ in range(4))])
    model.set_weights([np.zeros(v.shape, np.float32) for v in model.weights])
    for weights in saved(model, tmp_path):
        assert len({value for array in weights for value in np.unique(array).tolist()}) == 1


CHANGES: dict[str, Callable[[Sequential, Path], Any]] = {
    "set_weights": lambda model, _: model.set_weights(weights_of(model, 4)),
    "fit": lambda model, _: model.fit(X, Y, epochs=3, batch_size=3, verbose=0),
    "train_on_batch": lambda model, _: model.train_on_batch(X, Y),
    "assign": assign_each,
    "load_weights": load,
}


def meanwhile(gate: Gate, call: Callable[[], Any], change: Callable[[], Any]) -> Any:
    """Run `change` from begin to end while `call` is in the middle of the model."""
    gate.here.clear()
    gate.go_on.clear()
    gate.stops = True
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(call)
        try:
            assert gate.here.wait(SECONDS)
            change()
        finally:
            gate.go_on.set()
        return result.result(SECONDS)


def assert_same(got: Any, expected: Any) -> None:
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


def assert_differ(got: Any, other: Any) -> None:
    assert not np.array_equal(np.asarray(got), np.asarray(other))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_sees_one_version(call: Callable[[Sequential], Any]) -> None:
    model, gate = make()
    before = call(model)
    got = meanwhile(gate, lambda: call(model), lambda: model.set_weights(weights_of(model, 1)))
    assert_same(got, before)
    assert_differ(call(model), before)
    fresh, _ = make()
    fresh.set_weights(weights_of(model, 1))
    assert_same(call(model), call(fresh))


@pytest.mark.parametrize("options", [False, True], ids=["plain", "options"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_all_changes(change: Callable[[Sequential, Path], Any], options: bool, tmp_path: Path) -> None:
    if change is load:
        pytest.importorskip("h5py")
        options = False
    model, gate = make(options=options)
    before = model.predict(X, batch_size=2, verbose=0)
    kept = model.get_weights()
    got = meanwhile(gate, lambda: model.predict(X, batch_size=2, verbose=0), lambda: change(model, tmp_path))
    assert_same(got, before)
    assert any(not np.array_equal(a, b) for a, b in zip(model.get_weights(), kept, strict=True))
    fresh, _ = make(options=options)
    fresh.set_weights(model.get_weights())
    assert_same(model(X), fresh(X))


def test_changed_beside_a_call_as_without_one() -> None:
    """Training into new arrays gives the bits of training in place."""
    model, gate = make()
    fresh, _ = make()
    fresh.set_weights(model.get_weights())
    for one in (model, fresh):
        one.compile("adam", "mse")
    meanwhile(gate, lambda: model(X), lambda: model.fit(X, Y, epochs=2, shuffle=False, verbose=0))
    fresh.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for got, expected in zip(model.get_weights(), fresh.get_weights(), strict=True):
        assert_same(got, expected)


def test_several_changes_during_one_call() -> None:
    model, gate = make()
    before = model(X)

    def change() -> None:
        for seed in range(3):
            model.set_weights(weights_of(model, seed))
            assert_same(model.get_weights()[0], weights_of(model, seed)[0])
            assert_differ(model(X), before)

    assert_same(meanwhile(gate, lambda: model(X), change), before)


def test_a_layer_called_by_itself() -> None:
    gate = Gate()
    layer = layers.TimeDistributed(gate)
    stack = layers.StackedLSTM(3, 2, dropout=0.0)
    stack(X)

    class Both(layers.Layer):
        """Calls of layers inside of a layer belong to the outer call."""

        @property
        def _layers(self) -> list[layers.Layer]:
            return [stack]

        def forward(self, x: Any, training: bool = False) -> Any:
            before = stack.weights[0].value.copy()
            layer.forward(x)
            assert_same(stack.weights[0].value, before)
            return stack(x, training=training)

    both = Both()
    expected = both(X)
    changed = [2 * w for w in stack.get_weights()]
    assert_same(meanwhile(gate, lambda: both(X), lambda: stack.set_weights(changed)), expected)
    assert_differ(both(X), expected)


def test_what_a_thread_changes_itself_it_sees() -> None:
    """A callback changes weights between two batches; all later ones have them, and nothing waits."""
    model, _ = make()
    old, new = model(X), weights_of(model, 2)

    class Change(Callback):
        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 (Keras's)
            if batch == 0:
                model.set_weights(new)
                assert_same(model.get_weights()[0], new[0])

    got = model.predict(X, batch_size=2, verbose=0, callbacks=[Change()])
    assert_same(got[:2], old[:2])
    assert_same(got[2:], model(X)[2:])
    assert_differ(got[2:], old[2:])


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
