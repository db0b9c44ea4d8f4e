"""Training, evaluation and prediction with what yields batches, and with steps of one's own number."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import callbacks, layers, utils

from .common import RANDOM, C, I, T, X, Y, compiled, same
from .feeds import SIZE, Again, Batches, N, Recorder, fitted, generator

if TYPE_CHECKING:
    from collections.abc import Callable


def calls_of(make: Callable[[list[str]], Any], y: Any = None, **options: Any) -> str:
    calls: list[str] = []
    fitted(make(calls), y, callbacks=[Recorder(calls)], **options)
    return " ".join(calls)


def loaders() -> Any:
    torch: Any = pytest.importorskip("torch")
    data = torch.utils.data
    return data.DataLoader(data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=SIZE)


SOURCES: dict[str, Callable[[], Any]] = {
    "dataset": Batches,
    "dataset with workers": lambda: Batches(workers=3, max_queue_size=2),
    "iterable": lambda: Again(list(Batches())),
    "lists": lambda: Again([list(batch) for batch in Batches()]),
    "generator": lambda: generator(3 * N),
    "loader": loaders,
}


@pytest.mark.parametrize("name", SOURCES)
def test_bits_are_those_of_arrays(name: str) -> None:
    make = SOURCES[name]
    steps = {"steps_per_epoch": N} if name == "generator" else {}
    tests = {"validation_steps": N} if name == "generator" else {}
    expected = fitted(X, Y, batch_size=SIZE, epochs=3, validation_data=(X, Y))
    model = fitted(make(), epochs=3, validation_data=make(), **steps, **tests)
    assert same(model.get_weights(), expected.get_weights())
    assert model.history.history == expected.history.history
    assert model.evaluate(make(), verbose=0, steps=N) == expected.evaluate(X, Y, SIZE, 0)
    assert np.array_equal(model.predict(make(), verbose=0, steps=N), expected.predict(X, verbose=0))


def test_sample_weights_come_with_batches() -> None:
    weights = RANDOM.random(len(X))
    batches = [(x, y, weights[n * SIZE : (n + 1) * SIZE]) for n, (x, y) in enumerate(Batches())]
    expected = fitted(X, Y, batch_size=SIZE, sample_weight=weights)
    assert same(fitted(iter(batches)).get_weights(), expected.get_weights())


def test_accumulated_gradients() -> None:
    options = {"epochs": 2, "gradient_accumulation_steps": 2}
    expected = fitted(X, Y, batch_size=SIZE, **options)
    calls: list[str] = []
    model = fitted(Batches(), callbacks=[Recorder(calls)], **options)
    assert same(model.get_weights(), expected.get_weights())
    assert calls == ["E0", "b0", "b1", "e", "E1", "b0", "b1", "e"]


def test_models_with_several_inputs() -> None:
    one, other = layers.Input((T, I), name="one"), layers.Input((T, I), name="other")
    joined = layers.concatenate([layers.LSTM(3)(one), layers.LSTM(2)(other)])
    model: Any = fusedlstm.Model([one, other], layers.Dense(C, activation="softmax")(joined))
    model.compile("adam", "sparse_categorical_crossentropy")
    twin = fusedlstm.models.Model.from_config(model.get_config())
    twin.compile("adam", "sparse_categorical_crossentropy")
    twin.set_weights(model.get_weights())
    model.fit([X, X[::-1]], Y, batch_size=SIZE, shuffle=False, verbose=0)
    parts = [slice(n * SIZE, (n + 1) * SIZE) for n in range(N)]
    twin.fit((((X[rows], X[::-1][rows]), Y[rows]) for rows in parts), verbose=0)
    assert same(model.get_weights(), twin.get_weights())
    named = ({"one": X[rows], "other": X[::-1][rows]} for rows in parts)
    assert np.array_equal(twin.predict(named, verbose=0), model.predict([X, X[::-1]], verbose=0))


def test_windows_of_a_series() -> None:
    series = np.sin(np.arange(200) / 9).astype(np.float32)[:, None]
    windows = utils.timeseries_dataset_from_array(series[:-8], series[8:], 8, batch_size=32)
    model = fusedlstm.Sequential([layers.Input((8, 1)), layers.LSTM(8), layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(windows, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert model.predict(windows, verbose=0).shape == (185, 1)


# Epochs and steps, as in Keras; of what is peeked at before, it wants two batches of a generator.


def test_calls_of_a_dataset() -> None:
    assert calls_of(Batches, epochs=2) == "0 > E0 < 0 b0 1 b1 2 b2 > e E1 < 0 b0 1 b1 2 b2 > e"
    with pytest.warns(UserWarning, match="ran out of data"):
        assert calls_of(Batches, epochs=3, steps_per_epoch=2) == (
            "0 > E0 < 0 b0 1 b1 > e E1 < 2 b0 > e E2 < 0 b0 1 b1 > e"
        )


def test_a_generator_gives_what_is_asked_for_and_one_batch_before() -> None:
    calls: list[str] = []
    endless = generator(10**9, calls)
    fitted(endless, epochs=2, steps_per_epoch=2, callbacks=[Recorder(calls)])
    assert " ".join(calls) == "g0 E0 b0 g1 b1 e g2 E1 b0 g3 b1 e"
    model = compiled()
    model.evaluate(endless, steps=2, verbose=0)
    model.predict(endless, steps=1, verbose=0)
    assert calls[-3:] == ["g4", "g5", "g6"]


def test_a_generator_that_ends_early_warns() -> None:
    def calls(count: int, **options: Any) -> str:
        with pytest.warns(UserWarning, match="Your input ran out of data; interrupting training"):
            return calls_of(lambda _: generator(count), **options)

    assert calls(5, epochs=2, steps_per_epoch=3) == "E0 b0 b1 b2 e E1 b0 b1 e"
    assert calls(6, epochs=4, steps_per_epoch=3) == "E0 b0 b1 b2 e E1 b0 b1 b2 e"
    assert calls(2, epochs=2) == "E0 b0 b1 e"
    with pytest.warns(UserWarning, match="ran out of data"):
        assert compiled().evaluate(generator(2), steps=3, verbose=0)
    assert calls_of(lambda _: generator(2)) == "E0 b0 b1 e"  # warns of nothing


def test_steps_of_arrays() -> None:
    def calls(**options: Any) -> str:
        return calls_of(lambda _: X, Y, **options)

    assert calls(steps_per_epoch=5) == "E0 b0 b1 b2 b3 b4 e"  # batches of 5 samples
    assert calls(steps_per_epoch=3, epochs=2) == "E0 b0 b1 b2 e E1 b0 b1 b2 e"
    with pytest.warns(UserWarning, match="ran out of data"):
        assert calls(batch_size=5, epochs=4, steps_per_epoch=2) == (
            "E0 b0 b1 e E1 b0 b1 e E2 b0 e E3 b0 b1 e"
        )
    model = compiled()
    assert model.evaluate(X, Y, steps=2, batch_size=5, verbose=0) == model.evaluate(X[:10], Y[:10], 10, 0)
    assert np.array_equal(
        model.predict(X, steps=2, batch_size=5, verbose=0), model.predict(X[:10], verbose=0)
    )


def test_an_epoch_goes_on_where_the_one_before_ended() -> None:
    expected = fitted(X, Y, batch_size=4, epochs=1)
    model = fitted(X, Y, batch_size=4, epochs=3, steps_per_epoch=2)
    assert same(model.get_weights(), expected.get_weights())


def test_validation_at_some_epochs() -> None:
    def calls(**options: Any) -> str:
        return calls_of(lambda _: X, Y, batch_size=24, epochs=4, **options)

    held_out = {"validation_data": (X, Y)}
    assert calls(**held_out, validation_freq=2) == "E0 b0 e E1 b0 t0 v E2 b0 e E3 b0 t0 v"
    assert calls(**held_out, validation_freq=[1, 4]) == "E0 b0 t0 v E1 b0 e E2 b0 e E3 b0 t0 v"
    assert calls(validation_split=0.5, validation_batch_size=6, validation_steps=2, validation_freq=(3,)) == (
        "E0 b0 e E1 b0 e E2 b0 t0 t1 v E3 b0 e"
    )


def test_validation_by_what_yields_batches() -> None:
    def calls(make: Callable[[list[str]], Any], **options: Any) -> str:
        made: list[str] = []
        fitted(X, Y, batch_size=24, validation_data=make(made), callbacks=[Recorder(made)], **options)
        return " ".join(made)

    assert calls(Batches, epochs=2, validation_freq=2) == "0 E0 b0 e E1 b0 > < 0 t0 1 t1 2 t2 > v"
    assert calls(lambda made: generator(9, made), epochs=2, validation_steps=2) == (
        "g0 E0 b0 t0 g1 t1 v g2 E1 b0 t0 g3 t1 v"
    )
    with pytest.warns(UserWarning, match="ran out of data"):
        assert calls(lambda _: generator(2), epochs=3) == "E0 b0 t0 t1 v"


def test_the_best_is_saved_where_there_is_a_validation(tmp_path: Any) -> None:
    saver = callbacks.ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_best_only=True)
    fitted(X, Y, epochs=4, validation_data=(X, Y), validation_freq=2, callbacks=[saver])
    assert {path.name for path in tmp_path.iterdir()} <= {"2.safetensors", "4.safetensors"}
    assert (tmp_path / "2.safetensors").exists()
    with pytest.raises(ValueError, match=r"monitor: expected a log of epochs, .* got 'val_loss'"):
        fitted(X, Y, epochs=4, validation_data=(X, Y), validation_freq=5, callbacks=[saver])


def test_saving_at_steps_of_an_unknown_number(tmp_path: Any) -> None:
    saver = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}.safetensors", save_freq=2)
    fitted(Again(list(Batches())), epochs=2, callbacks=[saver])
    assert {path.name for path in tmp_path.iterdir()} == {
        "1-2.safetensors",
        "2-1.safetensors",
        "2-3.safetensors",
    }


def test_shuffled_batches_of_a_dataset() -> None:
    def order(seed: int) -> list[str]:
        calls: list[str] = []
        utils.set_random_seed(seed)
        model = compiled(seed=seed)
        model.fit(Batches(calls), epochs=8, verbose=0)
        return [call for call in calls[2:] if call.isdigit()]

    drawn = order(0)
    epochs = [tuple(drawn[start : start + N]) for start in range(0, 8 * N, N)]
    assert len(set(epochs)) > 2
    assert all(sorted(epoch) == ["0", "1", "2"] for epoch in epochs)
    assert order(0) == drawn != order(1)


def test_the_bar_counts_steps(capsys: pytest.CaptureFixture[str]) -> None:
    fitted(generator(4), verbose=2)
    fitted(X, Y, verbose=2, epochs=2, steps_per_epoch=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(" steps/s - loss: " in line for line in lines)


def test_the_live_bar_finds_out_how_many_steps_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("fusedlstm.callbacks.progress._REDRAW_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    fitted(Again(list(Batches())), epochs=2, verbose=1)
    first, second = capsys.readouterr().out.split("Epoch 1/2 - ")
    assert "2/? - loss: " in first
    assert "2/3 - loss: " in second
    assert "steps/s" in first


# Weights of classes.


def test_weights_of_classes() -> None:
    factors = {0: 2.0, 2: 0.25}
    weights = np.array([2.0, 1.0, 0.25], np.float32)[Y]
    expected = fitted(X, Y, batch_size=SIZE, sample_weight=weights, validation_data=(X, Y))
    rows = np.eye(C)[Y]
    one_hot = compiled()
    one_hot.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    for model, x, y in (
        (compiled(), X, Y),
        (compiled(), X, Y[:, None]),
        (compiled(), Batches(), None),
        (one_hot, X, rows),
    ):
        held_out = (X, rows if model is one_hot else Y)
        history = model.fit(
            x, y, SIZE, class_weight=factors, shuffle=False, verbose=0, validation_data=held_out
        )
        assert same(model.get_weights(), expected.get_weights())
        assert history.history == expected.history.history
    single, twin = compiled(), compiled()
    assert single.train_on_batch(X, Y, class_weight=factors) == twin.train_on_batch(X, Y, weights)


def test_the_split_of_a_training_has_no_weights_of_classes() -> None:
    model = fitted(X, Y, class_weight={0: 5.0, 1: 3.0}, validation_split=0.5)
    loss, accuracy = model.evaluate(X[12:], Y[12:], verbose=0)
    assert model.history.history["val_loss"] == [loss]
    assert model.history.history["val_accuracy"] == [accuracy]


def test_weights_of_classes_by_step() -> None:
    labels = RANDOM.integers(0, C, (len(X), T))
    weights = np.array([2.0, 1.0, 0.25], np.float32)[labels]
    made = []
    for options in ({"class_weight": {0: 2.0, 2: 0.25}}, {"sample_weight": weights}):
        utils.set_random_seed(0)
        model = fusedlstm.Sequential(
            [layers.Input((T, I)), layers.LSTM(4, return_sequences=True), layers.Dense(C)]
        )
        model.compile("sgd", fusedlstm.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(X, labels, verbose=0, shuffle=False, **options)
        made.append(model.get_weights())
    assert same(*made)
