"""Gradients summed over several batches for one update: what is the same as with one large batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Input, Sequential, callbacks, constraints, layers, optimizers, utils
from fusedlstm.models.batching import BatchTrainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N, T, F, H = 22, 5, 3, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(N, T, F))
# Samples of different lengths: a mean over real steps is no mean of their batches' means.
PADDED = np.where(np.arange(T) < RANDOM.integers(0, T + 1, N)[:, None], 1.0, 0.0)[..., None] * X
CLASSES = RANDOM.integers(0, 3, N)
STEPS = RANDOM.normal(size=(N, T, 2))
WEIGHTS = RANDOM.uniform(0, 2, N)
DENSE: Any = {"dtype": "float64"}


def classifier() -> list[layers.Layer]:
    return [layers.LSTM(H, **DENSE), layers.Dense(3, "softmax", **DENSE)]


def dropping() -> list[layers.Layer]:
    lstm, dense = classifier()
    return [lstm, layers.Dropout(0.5, **DENSE), dense]


def masked() -> list[layers.Layer]:
    lstm = layers.LSTM(H, return_sequences=True, kernel_regularizer="l2", **DENSE)
    return [layers.Masking(**DENSE), lstm, layers.Dense(2, bias_regularizer="l1", **DENSE)]


def penalized() -> list[layers.Layer]:
    lstm = layers.LSTM(H, activity_regularizer="l2", recurrent_constraint=constraints.MaxNorm(0.5), **DENSE)
    return [lstm, layers.Dense(3, activity_regularizer="l1", **DENSE), layers.Activation("softmax", **DENSE)]


def tied() -> list[layers.Layer]:
    return [layers.StackedLSTM(H, 2, bidirectional=True, **DENSE), layers.Dense(3, "softmax", **DENSE)]


SPARSE = "sparse_categorical_crossentropy"
CASES: dict[str, tuple[Callable[[], list[layers.Layer]], Any, Any, Any, Any, Any]] = {
    "classes": (classifier, SPARSE, X, CLASSES, None, "adam"),
    "weights": (classifier, SPARSE, X, CLASSES, WEIGHTS, optimizers.Adam(clipnorm=0.1)),
    "stack": (tied, SPARSE, X, CLASSES, None, optimizers.RMSprop(global_clipnorm=0.05)),
    "penalties": (penalized, SPARSE, X, CLASSES, None, optimizers.SGD(0.1, clipvalue=0.01)),
    "masks": (masked, "mse", PADDED, STEPS, None, "adam"),
    "masks and weights": (masked, "mae", PADDED, STEPS, WEIGHTS, optimizers.AdamW(clipnorm=0.1)),
    "weights of steps": (masked, "mse", X, STEPS, RANDOM.uniform(0, 2, (N, T)), "sgd"),
    "sums": (masked, fusedlstm.losses.MeanSquaredError("sum"), PADDED, STEPS, None, "sgd"),
}


def make(stack: Callable[[], list[layers.Layer]], loss: Any, optimizer: Any = "sgd") -> Sequential:
    utils.set_random_seed(2)
    model = Sequential([Input((None, F)), *stack()])
    chosen = (
        type(optimizer).from_config(optimizer.get_config()) if not isinstance(optimizer, str) else optimizer
    )
    model.compile(chosen, loss, metrics=["accuracy" if loss == SPARSE else "mae"])
    return model


def fitted(case: str, size: int, steps: int) -> Sequential:
    stack, loss, x, y, weights, optimizer = CASES[case]
    model = make(stack, loss, optimizer)
    model.fit(
        x,
        y,
        size,
        epochs=3,
        verbose=0,
        sample_weight=weights,
        gradient_accumulation_steps=steps,
    )
    return model


@pytest.mark.parametrize(("size", "steps"), [(4, 2), (2, 5), (1, 22), (3, 30), (11, 2)])
@pytest.mark.parametrize("case", CASES)
def test_as_one_large_batch(case: str, size: int, steps: int) -> None:
    """Also where the last batch is smaller, as of 22 samples in batches of 4, 3 or 2 for an update of 10."""
    large, small = fitted(case, size * steps, 1), fitted(case, size, steps)
    assert large.history is not None
    assert small.history is not None
    assert large.history.history.keys() == small.history.history.keys()
    # Float64 sums in another order, and three epochs of what follows from that.
    for key, expected in large.history.history.items():
        np.testing.assert_allclose(small.history.history[key], expected, rtol=1e-10, err_msg=key)
    for got, want in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)
    assert large.optimizer is not None
    assert small.optimizer is not None
    assert small.optimizer.iterations == large.optimizer.iterations


def test_the_same_bits_where_sums_are_exact() -> None:
    """Small whole numbers and powers of two leave nothing to round, in any order."""
    x, y = RANDOM.integers(-4, 5, (32, 6)), RANDOM.integers(-4, 5, (32, 2))
    outcomes = []
    for size, steps in ((16, 1), (8, 2), (4, 4), (1, 16)):
        model = Sequential([Input((6,)), layers.Dense(2, kernel_initializer="ones")])
        model.compile(optimizers.SGD(0.25), "mse")
        model.fit(x, y, size, verbose=0, shuffle=False, gradient_accumulation_steps=steps)
        outcomes.append([w.tobytes() for w in model.get_weights()])
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_callbacks_see_updates() -> None:
    """Nothing half summed is ever there to be seen, saved or stopped at."""
    seen: list[Any] = []

    class Watch(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            assert self.model.optimizer is not None
            seen.append((batch, self.model.optimizer.iterations, sorted(logs)))

    model = make(classifier, SPARSE)
    watch = Watch()
    model.fit(X, CLASSES, 4, epochs=2, verbose=0, callbacks=watch, gradient_accumulation_steps=2)
    assert [(batch, count) for batch, count, _ in seen] == [(0, 1), (1, 2), (2, 3), (0, 4), (1, 5), (2, 6)]
    assert seen[0][2] == ["accuracy", "loss"]
    assert (watch.params["steps"], watch.params["batch_size"]) == (3, 8)


def test_a_training_stops_between_updates() -> None:
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 (Keras's)
            self.model.stop_training = batch == 0

    model = make(classifier, SPARSE)
    model.fit(X, CLASSES, 4, verbose=0, shuffle=False, callbacks=Stop(), gradient_accumulation_steps=2)
    other = make(classifier, SPARSE)
    other.fit(X[:8], CLASSES[:8], 4, verbose=0, shuffle=False, gradient_accumulation_steps=2)
    for got, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("save_freq", ["epoch", 2])
def test_resumed_from_a_backup(save_freq: Any, tmp_path: Path) -> None:
    """From an epoch's end with the same bits; from the middle with what an update there had left."""
    pytest.importorskip("safetensors")
    options: dict[str, Any] = {"batch_size": 4, "verbose": 0, "gradient_accumulation_steps": 2}
    path = tmp_path / ("{epoch}.safetensors" if save_freq == "epoch" else "{epoch}-{batch}.safetensors")
    kept: list[Any] = []
    backup = callbacks.ModelCheckpoint(path, save_freq=save_freq)
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda *_: kept.append(straight.get_weights()))
    straight = make(dropping, SPARSE, "adam")
    straight.fit(X, CLASSES, epochs=4, callbacks=[backup, watch], **options)
    if save_freq == "epoch":
        model = fusedlstm.load_model(tmp_path / "2.safetensors")
        model.fit(X, CLASSES, epochs=4, initial_epoch=2, **options)
        expected = straight.get_weights()
    else:
        model = fusedlstm.load_model(tmp_path / "2-1.safetensors")
        expected = kept[3]
    for got, want in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_states_go_on_from_batch_to_batch() -> None:
    lstm = layers.LSTM(H, stateful=True, **DENSE)
    model = make(lambda: [lstm, layers.Dense(3, **DENSE)], "mse")
    model.fit(X[:8], STEPS[:8, 0, [0, 1, 0]], 2, verbose=0, shuffle=False, gradient_accumulation_steps=2)
    assert lstm.kept_batch == 2
    lstm.reset_state()
    with pytest.raises(ValueError, match="x: expected whole batches of 4 samples"):
        model.fit(X, STEPS[:, 0, [0, 1, 0]], 4, verbose=0, gradient_accumulation_steps=2)


def test_what_masks_and_activity_regularizers_cannot_have() -> None:
    lstm = layers.LSTM(H, return_sequences=True, activity_regularizer="l2", **DENSE)
    model = make(lambda: [layers.Masking(**DENSE), lstm], "mse")
    y, before = np.zeros((N, T, H)), model.get_weights()
    with pytest.raises(
        ValueError, match="gradient_accumulation_steps: expected 1 for a model with masks and"
    ):
        model.fit(PADDED, y, 4, verbose=0, gradient_accumulation_steps=2)
    for got, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)
    model.fit(PADDED, y, 4, verbose=0)
    model.compile("sgd", fusedlstm.losses.MeanSquaredError("sum"))
    model.fit(PADDED, y, 4, verbose=0, gradient_accumulation_steps=2)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None])
def test_bad_arguments(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(classifier, SPARSE)
    monkeypatch.setattr(BatchTrainer, "run", None)
    with pytest.raises(
        (TypeError, ValueError), match="gradient_accumulation_steps: expected a positive integer"
    ):
        model.fit(X, CLASSES, verbose=0, gradient_accumulation_steps=value)


def test_an_interrupted_sum_is_dropped() -> None:
    class Failing(layers.Activation):
        calls = 0

        def forward(self, x: Any, training: bool = False) -> Any:
            self.calls += training
            if self.calls == 4:
                raise KeyboardInterrupt
            return super().forward(x, training)

    stack = [layers.LSTM(H, **DENSE), Failing("tanh", **DENSE), layers.Dense(3, **DENSE)]
    model = make(lambda: stack, "mse")
    y = STEPS[:, 0, [0, 1, 0]]
    kept: list[Any] = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda *_: kept.append(model.get_weights()))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, 4, verbose=0, callbacks=watch, gradient_accumulation_steps=3)
    for got, expected in zip(model.get_weights(), kept[-1], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_masks_of_some_batches_only() -> None:
    """A layer may say that all steps of a batch are real by no mask at all."""

    class Real(layers.Layer):
        def forward(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002
            return x, None

        def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:  # noqa: ARG002
            return dy

        def compute_mask(self, x: Any, mask: Any) -> Any:  # noqa: ARG002
            real = (x != 0).any(axis=-1)
            return None if real.all() else real

    x = X[:8].copy()
    x[4:, 2:] = 0
    results = []
    for batch_size, count in ((8, 1), (4, 2), (2, 4)):
        model = Sequential(
            [Input((T, F)), Real(**DENSE), layers.Dense(2, kernel_initializer="ones", **DENSE)]
        )
        model.compile(optimizers.SGD(0.1), "mse")
        fit = model.fit(
            x, STEPS[:8], batch_size=batch_size, gradient_accumulation_steps=count, shuffle=False, verbose=0
        )
        results.append([fit.history["loss"][0], *np.ravel(model.get_weights()[0])])
    np.testing.assert_allclose(results[1:], results[:1] * 2, rtol=1e-12)
