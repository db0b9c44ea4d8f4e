"""Trainings whose calls of callbacks are written down, by the same lines in Keras and here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CASES", "record"]

X = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
Y = np.arange(10) % 3
HELD_OUT = (X[:3], Y[:3])
ALONE = ("train_begin", "train_end", "test_begin", "test_end", "predict_begin", "predict_end")
NUMBERED = (
    *("epoch_begin", "epoch_end", "batch_begin", "batch_end", "train_batch_begin", "train_batch_end"),
    *("test_batch_begin", "test_batch_end", "predict_batch_begin", "predict_batch_end"),
)
# Without those that Keras calls by their older names too.
HOOKS = tuple(f"on_{name}" for name in (*ALONE, *NUMBERED) if name not in ("batch_begin", "batch_end"))


def small_model(package: Any) -> Any:
    """Return a compiled classifier."""
    package.utils.set_random_seed(0)
    model = package.Sequential(
        [package.layers.Input((4,)), package.layers.Dense(3, activation="softmax")], name="small"
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def recorder(package: Any, calls: list[Any], stop: Callable[[str, Any], None] | None = None) -> Any:
    """Return a callback, in Keras's way of writing, that notes each call with the keys of its logs."""

    def alone(hook: str) -> Any:
        def method(self: Any, logs: Any) -> None:
            note(self, [hook, None], logs)

        return method

    def numbered(hook: str) -> Any:
        def method(self: Any, number: int, logs: Any = None) -> None:
            note(self, [hook, number], logs)

        return method

    def note(self: Any, call: list[Any], logs: Any) -> None:
        assert type(logs) is dict
        calls.append([*call, sorted(logs)])
        if stop is not None:
            stop(call[0], self.model)

    def set_params(self: Any, params: Any) -> None:
        self.params = params
        known = {key: params[key] for key in ("epochs", "steps", "verbose")}
        calls.append(["set_params", known, []])

    methods: dict[str, Any] = {f"on_{name}": alone(f"on_{name}") for name in ALONE}
    methods |= {f"on_{name}": numbered(f"on_{name}") for name in NUMBERED}
    return type("Recorder", (package.callbacks.Callback,), {**methods, "set_params": set_params})()


def fitted(package: Any, calls: list[Any]) -> None:
    """Train with validation, a scheduler before, and a resumed count of epochs."""
    scheduler = package.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch))
    hooks = [scheduler, recorder(package, calls)]
    small_model(package).fit(
        X, Y, 4, epochs=3, initial_epoch=1, verbose=0, validation_data=HELD_OUT, callbacks=hooks
    )


def evaluated(package: Any, calls: list[Any]) -> None:
    """Evaluate in batches."""
    small_model(package).evaluate(X, Y, batch_size=4, verbose=0, callbacks=[recorder(package, calls)])


def predicted(package: Any, calls: list[Any]) -> None:
    """Predict in batches."""
    small_model(package).predict(X, batch_size=6, verbose=0, callbacks=[recorder(package, calls)])


def stopping(hook: str, flag: str) -> Callable[[str, Any], None]:
    """Return what ends a run at a hook."""

    def stop(called: str, model: Any) -> None:
        if called == hook:
            setattr(model, flag, True)

    return stop


def stopped(package: Any, calls: list[Any]) -> None:
    """End each run early: after a batch, after an epoch, in an evaluation and in a prediction."""
    model = small_model(package)
    for hook in ("on_train_batch_end", "on_epoch_end"):
        hooks = [recorder(package, calls, stopping(hook, "stop_training"))]
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=hooks)
    hooks = [recorder(package, calls, stopping("on_test_batch_end", "stop_evaluating"))]
    model.evaluate(X, Y, batch_size=4, verbose=0, callbacks=hooks)
    hooks = [recorder(package, calls, stopping("on_predict_batch_end", "stop_predicting"))]
    calls.append(["predicted", len(model.predict(X, batch_size=4, verbose=0, callbacks=hooks)), []])


def functions(package: Any, calls: list[Any]) -> None:
    """Hand functions over, by place and by name."""

    def note(hook: str) -> Any:
        def function(*given: Any, **named: Any) -> None:
            *number, logs = (*given, *named.values())
            calls.append([hook, number[0] if number else None, sorted(logs)])

        return function

    by_name = {f"on_{name}": note(f"on_{name}") for name in ("train_begin", "train_end", "train_batch_end")}
    hooks = package.callbacks.LambdaCallback(note("on_epoch_begin"), note("on_epoch_end"), **by_name)
    small_model(package).fit(X, Y, batch_size=4, verbose=0, callbacks=[hooks])


def older_names(package: Any, calls: list[Any]) -> None:
    """Define Keras's older names of the hooks of batches only."""

    class Older(package.callbacks.Callback):  # type: ignore[misc]
        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            calls.append(["on_batch_begin", batch, sorted(logs)])

        def on_batch_end(self, batch: int, *, logs: Any) -> None:
            calls.append(["on_batch_end", batch, sorted(logs)])

    small_model(package).fit(X, Y, batch_size=4, verbose=0, callbacks=[Older()])


def by_hand(package: Any, calls: list[Any]) -> None:
    """Call a list of callbacks from a loop of one's own."""
    history = package.callbacks.History()
    hooks = package.callbacks.CallbackList(
        [recorder(package, calls), history], model=small_model(package), epochs=1, steps=2, verbose=0
    )
    hooks.on_train_begin()
    hooks.on_epoch_begin(0)
    for batch in range(2):
        hooks.on_train_batch_begin(batch)
        hooks.on_batch_begin(batch)
        hooks.on_batch_end(batch, {"loss": 1.0})
        hooks.on_train_batch_end(batch, {"loss": 1.0})
    hooks.on_test_begin()
    hooks.on_test_batch_begin(0)
    hooks.on_test_batch_end(0, {"loss": 2.0})
    hooks.on_test_end({"loss": 2.0})
    hooks.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    hooks.on_train_end({"loss": 1.0})
    hooks.on_predict_begin()
    hooks.on_predict_batch_begin(0)
    hooks.on_predict_batch_end(0, {"outputs": 1})
    hooks.on_predict_end()
    calls.append(["history", history.history, []])


CASES: dict[str, Callable[[Any, list[Any]], None]] = {
    case.__name__: case for case in (fitted, evaluated, predicted, stopped, functions, older_names, by_hand)
}


def record(name: str, package: Any) -> list[Any]:
    """Return the calls ``[hook, number, keys of the logs]`` of a case."""
    calls: list[Any] = []
    CASES[name](package, calls)
    return calls
