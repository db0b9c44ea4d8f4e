"""Graphs: what they refuse and how, and what they keep when they are used in unusual ways."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import Input, Model, Sequential, layers

if TYPE_CHECKING:
    from pathlib import Path

T, F = 5, 3


def numbers(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def two() -> Model:
    a, b = Input((F,), name="a"), Input((F,), name="b")
    return Model([a, b], layers.Dense(1, name="o")(layers.add([a, b])))


def inside_of_itself() -> None:
    model = Sequential([layers.Dense(3)])
    model.add(Sequential([Sequential([model])]))


def ids_to_both() -> None:
    x = Input((T,))
    y = layers.LSTM(2)(layers.Embedding(4, 2)(x))
    Model(x, layers.concatenate([y, layers.Dense(2, name="numbers")(x)]))


def called_twice(name: str) -> None:
    x = Input((F,), name="x")
    Model(x, layers.Dense(2, name=name)(layers.Dense(2, name="d")(x)))


def of_another_graph() -> None:
    Model(Input((F,)), two().output)


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "a model inside of itself": (inside_of_itself, ValueError, "no cycle, got sequential"),
    "an input twice": (lambda: Model([a := Input((F,), name="a"), a], a), ValueError, "got a twice"),
    "another graph": (of_another_graph, ValueError, r"outputs hang on, among which is (a|b), got"),
    "a name that is no text": (
        lambda: Model({1: (a := Input((F,))), "b": Input((F,))}, a),
        TypeError,
        "inputs: expected names in a dict, got 1",
    ),
    "no tensor": (lambda: Model([], []), ValueError, "inputs: expected at least one"),
    "a list in a list": (lambda: Model([[a := Input((F,))]], a), TypeError, "inputs: .*, got list"),
    "two names": (lambda: called_twice("d"), ValueError, "got 'd' twice"),
    "an input's name": (lambda: called_twice("x"), ValueError, "got 'x' twice"),
    "ids and numbers": (ids_to_both, ValueError, "numbers: expected numbers, got the ids"),
    "arrays among tensors": (
        lambda: two()([Input((F,)), numbers(2, F)]),
        TypeError,
        r"x\['b'\]: expected a symbolic tensor, as others are, got ndarray",
    ),
    "a tensor of another shape": (
        lambda: two()([Input((F,)), Input((4,))]),
        ValueError,
        r"x\['b'\]: expected shape \(None, 3\) for functional.*, got \(None, 4\)",
    ),
    "one output of two": (
        lambda: Sequential(
            [
                Input((T, F)),
                layers.Bidirectional(layers.LSTM(2), merge_mode=None, name="both"),
                layers.Dense(1),
            ]
        ),
        ValueError,
        "expected one output per layer, got 2 of both",
    ),
    "two outputs at each step": (
        lambda: layers.TimeDistributed(Model(x := Input((F,)), [x, layers.Dense(1)(x)]))(Input((T, F))),
        ValueError,
        "layer: expected one output, got 2 of functional",
    ),
    "two inputs at each step": (
        lambda: layers.TimeDistributed(two())(Input((T, F))),
        ValueError,
        r"input_shape: expected 2 shapes for functional.*, got \(None, 3\)",
    ),
    "states at each step": (
        lambda: layers.TimeDistributed(Sequential([layers.LSTM(2, stateful=True, name="s")])),
        ValueError,
        "expected a layer without stateful, got s",
    ),
    "a penalty at each step": (
        lambda: layers.TimeDistributed(Sequential([layers.Dense(2, activity_regularizer="l2", name="p")])),
        ValueError,
        "expected a layer without activity_regularizer, got p",
    ),
    "a mask of other steps": (
        lambda: layers.LSTM(2, name="l")(Input((T, F)), mask=Input((T + 1,))),
        ValueError,
        r"mask: expected shape \(None, 5\) for l, got \(None, 6\)",
    ),
    "a mask of features": (
        lambda: layers.LSTM(2, name="l")(x := Input((T, F)), mask=x),
        ValueError,
        r"mask: expected shape \(None, 5\) for l, got \(None, 5, 3\)",
    ),
    "a type that is none": (lambda: Input((F,), dtype="string"), ValueError, "dtype: .*, got 'string'"),
    "a mask in a graph": (
        lambda: two()([Input((F,)), Input((F,))], mask=Input((F,))),
        TypeError,
        "mask: expected None for a model in a graph",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_made(name: str) -> None:
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        make()


def test_training_false_is_not_ignored_in_silence() -> None:
    """On symbolic tensors it is what None is, so that layers that are random in training warn."""
    x = Input((T, F))
    inner = Sequential([Input((T, F)), layers.Dense(2), layers.LSTM(2, recurrent_dropout=0.5, name="noisy")])
    for layer, name in (
        (layers.Dropout(0.5, name="drop"), "drop"),
        (layers.GaussianNoise(0.5, name="noise"), "noise"),
        (layers.Bidirectional(layers.LSTM(2, dropout=0.5, name="one")), "forward_one"),
        (layers.StackedLSTM([2, 2], dropout=0.5, name="stack"), "stack.*"),
        (layers.TimeDistributed(layers.Dropout(0.5, name="each")), "each"),
        (inner, "noisy"),
    ):
        with pytest.warns(UserWarning, match=f"training: False has no effect .* {name} is random"):
            layer(x, training=False)
        layer(x)
        layer(x, training=True)
    for quiet in (layers.Dropout(0.0), layers.LSTM(2), Sequential([Input((T, F)), layers.LSTM(2)])):
        quiet(x, training=False)
    inner(numbers(2, T, F), training=False)


def test_masks_that_a_merge_cannot_combine() -> None:
    x, y = Input((None,)), Input((None,))
    table = layers.Embedding(4, 2, mask_zero=True)
    merged = layers.Add(name="sum")([table(x), layers.Masking()(table(y))])
    model = Model([x, y], layers.LSTM(2)(merged))
    with pytest.raises(ValueError, match=r"mask: expected masks that meet for sum|shapes that meet for sum"):
        model.predict([np.ones((2, 5)), np.ones((2, 4))], verbose=0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([numbers(4, F)], numbers(4, 1), r"x: expected a list of 2, for \['a', 'b'\], got 1"),
        ([numbers(4, F)] * 3, numbers(4, 1), "x: expected a list of 2, .* got 3"),
        (numbers(4, F), numbers(4, 1), "x: expected a list of 2, .* got ndarray"),
        ({"a": numbers(4, F)}, numbers(4, 1), r"x: expected the names \['a', 'b'\], got \['a'\]"),
        ([numbers(4, F), numbers(3, F)], numbers(4, 1), r"x\['b'\]: expected 4 entries, .* got 3"),
        (
            [numbers(4, F), numbers(4, 2)],
            numbers(4, 1),
            r"x\['b'\]: expected shape \(None, 3\), got \(4, 2\)",
        ),
        ([numbers(4, F), None], numbers(4, 1), r"x\['b'\]: expected an array, got None"),
        ([numbers(4, F)] * 2, numbers(3, 1), "y: expected 4 entries, .* got 3"),
        ([numbers(4, F)] * 2, {"z": numbers(4, 1)}, r"y: expected the names \['o'\], got \['z'\]"),
    ],
)
def test_refused_data_change_nothing(x: Any, y: Any, message: str) -> None:
    model = two()
    model.compile("adam", "mse")
    before = model.get_weights()
    for run in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises((TypeError, ValueError), match=message):
            run(x, y)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_of_an_output_that_has_no_loss() -> None:
    x = Input((F,))
    model = Model(x, [layers.Dense(1, name="p")(x), layers.Dense(1, name="q")(x)])
    model.compile("adam", {"p": "mse"})
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"y\['q'\]: expected None for output 'q', which has no loss"):
        model.fit(numbers(4, F), [numbers(4, 1), numbers(4, 1)])
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_outputs_of_one_name(tmp_path: Path) -> None:
    """Outputs of a layer that returns its states, and the same tensor twice, are named apart in logs."""
    x = Input((T, F), name="x")
    y, h, c = layers.LSTM(2, return_state=True, name="e")(x)
    model = Model(x, [y, h, c, y])
    model.compile("sgd", "mse", metrics=[["mae"], None, ["mae"], None])
    labels = [numbers(4, 2)] * 4
    model.fit(numbers(4, T, F), labels, verbose=0)
    names = ["loss", "e_loss", "e_1_loss", "e_2_loss", "e_3_loss", "e_2_mae", "e_mae"]
    assert model.metrics_names == names
    model.save(tmp_path / "m.safetensors")
    loaded = fusedlstm.load_model(tmp_path / "m.safetensors")
    assert loaded.metrics_names == names
    assert loaded.evaluate(numbers(4, T, F), labels, verbose=0) == model.evaluate(
        numbers(4, T, F), labels, verbose=0
    )


def test_inputs_as_outputs_and_without_use() -> None:
    a, b = Input((F,), name="a"), Input((2,), name="b")
    inner = layers.Dense(2, name="inner")(a)
    x, y = numbers(4, F), numbers(4, 2)
    model = Model([a, b], [a, inner])
    model.compile("sgd", "mse")
    model.fit([x, y], [x, y], verbose=0)
    np.testing.assert_array_equal(model.predict([x, y], verbose=0)[0], x)
    # An inner tensor as input and output at once.
    end = Model(inner, [layers.Dense(1)(inner), inner])
    np.testing.assert_array_equal(end.predict(y, verbose=0)[1], y)


def test_outputs_of_the_layers_of_copies_and_of_shared_layers() -> None:
    model = two()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        inner = Model(other.input, other.get_layer("o").output)
        x = [numbers(2, F), numbers(2, F)]
        np.testing.assert_array_equal(inner.predict(x, verbose=0), model.predict(x, verbose=0))
    a, b = Input((F,)), Input((F,))
    shared = layers.Dense(2)
    with pytest.raises(AttributeError, match="expected a call on symbolic tensors, got none"):
        _ = shared.output
    first, second = shared(a), shared(b)
    assert shared.output is first
    assert shared.input is a
    assert second is not first


def test_a_layer_in_two_models_is_trained_by_both() -> None:
    shared = layers.Dense(2)
    x, z = Input((F,)), Input((F,))
    one, other = Model(x, shared(x)), Model(z, layers.Dense(1)(shared(z)))
    for model, labels in ((one, numbers(4, 2)), (other, numbers(4, 1)), (one, numbers(4, 2))):
        model.compile("adam", "mse")
        before = shared.kernel.numpy()
        model.fit(numbers(4, F), labels, verbose=0)
        assert (shared.kernel.numpy() != before).any()


@pytest.mark.parametrize("shared", [True, False])
def test_chains_of_1500_layers(shared: bool) -> None:
    start = time.monotonic()
    x = y = Input((F,))
    one = layers.Dense(F, "tanh")
    for _ in range(1500):
        y = (one if shared else layers.Dense(F, "tanh"))(y)
    model = Model(x, y)
    model.compile("sgd", "mse")
    model.fit(numbers(4, F), numbers(4, F), verbose=0)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.predict(numbers(4, F), verbose=0), model.predict(numbers(4, F), verbose=0)
    )
    assert model.plan.size <= 2
    assert time.monotonic() - start < 60


def test_500_inputs_branches_and_outputs() -> None:
    inputs = [Input((F,)) for _ in range(500)]
    branches = [layers.Dense(1)(x) for x in inputs]
    model = Model(inputs, [*branches, layers.concatenate(branches)])
    model.compile("sgd", "mse")
    labels = [numbers(4, 1)] * 500 + [numbers(4, 500)]
    assert len(model.evaluate([numbers(4, F)] * 500, labels, verbose=0)) == 502


def test_one_thread_trains_and_others_predict() -> None:
    a, b = Input((T, F)), Input((T, F))
    encoder = layers.LSTM(4)
    model = Model([a, b], layers.Dense(1)(layers.concatenate([encoder(a), encoder(b)])))
    model.compile("adam", "mse")
    x, done, failed = [numbers(16, T, F)] * 2, threading.Event(), []

    def predict() -> None:
        while not done.is_set():
            try:
                assert np.isfinite(model.predict(x, verbose=0)).all()
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    model.fit(x, numbers(16, 1), epochs=10, verbose=0)
    done.set()
    for thread in threads:
        thread.join()
    assert not failed


def test_ids_reach_embeddings_through_merges() -> None:
    a, b = Input((T,), dtype="int32", name="a"), Input((T,), dtype="int32", name="b")
    table = layers.Embedding(4, 2)(layers.concatenate([a, b], axis=1))
    model = Model([a, b], table)
    assert model.predict([np.ones((2, T)), np.ones((2, T))], verbose=0).shape == (2, 2 * T, 2)
    with pytest.raises(ValueError, match=r"x\['b'\]: expected whole numbers in \[0, 4\), got 7"):
        model.predict([np.ones((2, T)), np.full((2, T), 7)], verbose=0)


def test_a_stack_that_ends_in_two_outputs() -> None:
    model = Sequential([layers.Bidirectional(layers.LSTM(2), merge_mode=None, name="both")])
    model.compile("sgd", "mse")
    labels = [numbers(4, 2), numbers(4, 2)]
    with pytest.raises(ValueError, match=r"expected compile\(\) after build\(\), as both gives 2 outputs"):
        model.fit(numbers(4, T, F), labels[0])
    model = Sequential([Input((T, F)), *model.layers])
    model.compile("sgd", "mse")
    assert list(model.fit(numbers(4, T, F), labels, verbose=0).history) == [
        "loss",
        "both_loss",
        "both_1_loss",
    ]
    one, two = model.predict(numbers(4, T, F), verbose=0)
    assert one.shape == two.shape == (4, 2)
    assert model.output_shape == [(None, 2), (None, 2)]


def test_a_layer_in_two_places_is_not_saved(tmp_path: Path) -> None:
    """A description would make two layers of it."""
    x = Input((T, F))
    shared = layers.LSTM(F, return_sequences=True, name="shared")
    inner = Model(x, shared(x))
    start = Input((T, F))
    model = Model(start, shared(inner(start)))
    assert len(model.weights) == 3
    with pytest.raises(
        ValueError, match="model: expected each layer in one place, got shared in a model inside"
    ):
        model.save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
