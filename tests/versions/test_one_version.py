"""A call sees weights of one version, whatever other threads change meanwhile."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Sequential, layers, load_model
from fusedlstm.callbacks import Callback

from .common import SECONDS, Gate, X, Y, assert_same, make, meanwhile, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
            return stack(x, training=training), None

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
