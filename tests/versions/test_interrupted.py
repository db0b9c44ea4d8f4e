"""KeyboardInterrupt at every line of what keeps versions apart: changes are whole, and all goes on."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Input, Sequential, layers
from fusedlstm.base import filling, held, limits, versions
from fusedlstm.constraints import NonNeg
from fusedlstm.ops import strict as strictness
from tests.interrupting import PACKAGE, each

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 30.0
X = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4)).astype(np.float32)
Y = np.ones((2, 1), np.float32)

VERSIONS = {versions.__file__, held.__file__}


def make(*, constrained: bool = False) -> Sequential:
    """Return a model whose weights are always the same at first."""
    kernel: Any = NonNeg() if constrained else None
    model = Sequential([Input((3, 4)), layers.LSTM(3), layers.Dense(1, kernel_constraint=kernel)])
    model.compile("sgd", "mse")
    model.set_weights(weights_of(model, 0))
    return model


def weights_of(model: Sequential, seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.uniform(-1, 1, v.shape).astype(np.float32) for v in model.weights]


def same(got: list[Any], expected: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def check(model: Sequential, outcomes: list[list[Any]], pool: ThreadPoolExecutor) -> None:
    """Check that weights are as one of the outcomes has them, and that everything goes on."""
    got = model.get_weights()
    assert any(same(got, outcome) for outcome in outcomes)
    fresh = make()
    fresh.set_weights(got)
    np.testing.assert_array_equal(model.predict(X, verbose=0), fresh.predict(X, verbose=0))
    for seed in (2, 0):  # another thread, then this one
        new = weights_of(model, seed)
        if seed:
            pool.submit(model.set_weights, new).result(SECONDS)
        else:
            model.set_weights(new)
        assert same(model.get_weights(), new)
        assert same(pool.submit(model.get_weights).result(SECONDS), new)
        fresh.set_weights(new)
        expected = fresh.predict(X, verbose=0)
        np.testing.assert_array_equal(model.predict(X, verbose=0), expected)
        np.testing.assert_array_equal(pool.submit(model.__call__, X).result(SECONDS), expected)
    versions.settle()
    assert (versions.changing, versions.keeping) == ({}, set())


CALLS: dict[str, Callable[[Sequential], Callable[[], Any]]] = {
    "set_weights": lambda model: lambda: model.set_weights(weights_of(model, 1)),
    "assign": lambda model: lambda: model.weights[1].assign(weights_of(model, 1)[1]),
    "train_on_batch": lambda model: lambda: model.train_on_batch(X, Y),
    "predict": lambda model: lambda: model.predict(X, verbose=0),
    "call": lambda model: lambda: model(X),
    "step": lambda model: (lambda stream: lambda: stream.step(X[:, 0]))(model.stream(2)),
    "get_weights": lambda model: model.get_weights,
}


def outcomes_of(call: Callable[[Sequential], Callable[[], Any]], *, constrained: bool) -> list[list[Any]]:
    model = make(constrained=constrained)
    old = model.get_weights()
    call(model)()
    return [old, model.get_weights()]


@pytest.mark.parametrize("constrained", [False, True], ids=["plain", "constrained"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_interrupted(call: Callable[[Sequential], Callable[[], Any]], constrained: bool) -> None:
    outcomes = outcomes_of(call, constrained=constrained)
    model = make(constrained=constrained)
    model.predict(X, verbose=0)  # has packed weights
    with ThreadPoolExecutor(1) as pool:
        for _ in each(call(model), VERSIONS):
            check(model, outcomes, pool)


class Gate(layers.Dropout):
    """Stops one call of another thread."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.here, self.go_on = threading.Event(), threading.Event()

    def forward(self, x: Any, training: bool = False) -> Any:
        self.here.set()
        assert self.go_on.wait(SECONDS)
        return super().forward(x, training)


@pytest.mark.parametrize("name", ["set_weights", "assign", "train_on_batch", "predict", "get_weights"])
def test_interrupted_beside_another_call(name: str) -> None:
    """Changes are made in new arrays then."""
    outcomes = outcomes_of(CALLS[name], constrained=False)
    model, gate = make(), Gate()
    x = np.ones((1, 2), np.float32)
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as beside:
        running = beside.submit(gate, x)
        try:
            assert gate.here.wait(SECONDS)
            for _ in each(CALLS[name](model), VERSIONS):
                assert not versions.alone()
                check_beside(model, outcomes, pool)
        finally:
            gate.go_on.set()
        running.result(SECONDS)


def check_beside(model: Sequential, outcomes: list[list[Any]], pool: ThreadPoolExecutor) -> None:
    got = model.get_weights()
    assert any(same(got, outcome) for outcome in outcomes)
    fresh = make()
    fresh.set_weights(got)
    np.testing.assert_array_equal(model(X), fresh(X))
    new = weights_of(model, 0)
    pool.submit(model.set_weights, new).result(SECONDS)
    assert same(model.get_weights(), new)


@pytest.mark.parametrize("name", ["set_weights", "call", "get_weights"])
def test_interrupted_anywhere(name: str) -> None:
    """Tracers come between lines where no signal does, as before the end of a ``with`` statement."""
    outcomes = outcomes_of(CALLS[name], constrained=False)
    model = make()
    with ThreadPoolExecutor(1) as pool:
        for _ in each(CALLS[name](model), PACKAGE):
            check(model, outcomes, pool)


@pytest.mark.parametrize("constrained", [False, True], ids=["plain", "constrained"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_updates_are_whole(optimizer: str, beside: bool, constrained: bool) -> None:
    """Weights, slots and the count of updates are those before or those after."""
    model, gate = make(constrained=constrained), Gate()
    model.compile(optimizer, "mse")
    model.train_on_batch(X, Y)
    assert model.optimizer is not None
    grads: list[Any] = [np.full(v.shape, 0.5, v.dtype) for v in model.trainable_weights]

    def state() -> list[Any]:
        assert model.optimizer is not None
        return [*model.get_weights(), *model.optimizer.get_state().values()]

    def put(weights: list[Any], slots: dict[str, Any]) -> None:
        assert model.optimizer is not None
        model.set_weights(weights)
        model.optimizer.set_state(slots, model.trainable_weights)

    def apply() -> None:
        assert model.optimizer is not None
        model.optimizer.apply(grads, model.trainable_weights)

    start = model.get_weights(), model.optimizer.get_state()
    before = state()
    apply()
    after = state()
    outcomes = set()
    with ThreadPoolExecutor(1) as pool:
        try:
            if beside:
                pool.submit(gate, np.ones((1, 2), np.float32))
                assert gate.here.wait(SECONDS)
            put(*start)
            for _ in each(apply, PACKAGE):
                got = state()
                assert same(got, before) or same(got, after)
                outcomes.add(same(got, after))
                put(*start)
        finally:
            gate.go_on.set()
    assert outcomes == {False, True}


def test_the_thread_that_waits_for_an_interrupted_change_goes_on() -> None:
    """It may begin to wait before the interrupt comes."""
    model = make()
    new = weights_of(model, 3)
    with ThreadPoolExecutor(2) as pool:
        with contextlib.suppress(KeyboardInterrupt), versions.writing(model.weights):
            setting = pool.submit(model.set_weights, new)
            seeing = pool.submit(model.__call__, X)
            raise KeyboardInterrupt
        setting.result(SECONDS)
        seeing.result(SECONDS)
    assert same(model.get_weights(), new)


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[], object]]] = {
    "strict": (lambda: fusedlstm.strict(not fusedlstm.get_strict()), fusedlstm.get_strict),
    "filling": (filling.filling, filling.room),
    "reading": (lambda: limits.reading(1000), lambda: limits._current.get()),
    "content": (lambda: limits.content(__file__), lambda: limits._current.get()),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_undone(name: str) -> None:
    context, get = SETTINGS[name]
    before = get()

    def with_statement() -> None:
        with context():
            assert get() != before

    files = {held.__file__, contextlib.__file__, strictness.__file__, filling.__file__, limits.__file__}
    for call in (with_statement, context()(lambda: None)):
        for _ in each(call, files):
            assert get() == before
        call()
        assert get() == before
    with contextlib.ExitStack() as stack:
        stack.enter_context(context())
        assert get() != before
    assert get() == before
