"""Models that are graphs, beside Keras: the same lines make both, and numbers are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore")

T, F, WORDS = 6, 4, 9
RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def words(*shape: int, least: int = 0) -> Any:
    return np.random.default_rng(1).integers(least, WORDS, shape)


# Each makes a model with the names of module `k`.


def two_inputs(k: Any) -> Any:
    a, b = k.Input((T, F), name="a"), k.Input((3,), name="b")
    x = k.layers.LSTM(5)(a)
    x = k.layers.concatenate([x, k.layers.Dense(2, "tanh")(b)])
    return k.Model([a, b], k.layers.Dense(1)(x))


def siamese(k: Any) -> Any:
    a, b = k.Input((T,), name="a", dtype="int32"), k.Input((T,), name="b", dtype="int32")
    table, encoder = k.layers.Embedding(WORDS, 3, mask_zero=True), k.layers.LSTM(4)
    one, two = encoder(table(a)), encoder(table(b))
    return k.Model([a, b], k.layers.Dense(1, "sigmoid")(k.layers.Subtract()([one, two])))


def cosine(k: Any) -> Any:
    a, b = k.Input((T, F), name="a"), k.Input((T, F), name="b")
    encoder = k.layers.Bidirectional(k.layers.LSTM(4))
    return k.Model([a, b], k.layers.Dot(axes=1, normalize=True)([encoder(a), encoder(b)]))


def translation(k: Any) -> Any:
    source, target = k.Input((None, F), name="source"), k.Input((None, 3), name="target")
    _, h, c = k.layers.LSTM(5, return_state=True, name="encoder")(source)
    y, _, _ = k.layers.LSTM(5, return_sequences=True, return_state=True, name="decoder")(
        target, initial_state=[h, c]
    )
    return k.Model([source, target], k.layers.Dense(3, "softmax", name="chars")(y))


def both_ways(k: Any) -> Any:
    source, target = k.Input((T, F), name="source"), k.Input((4, 2), name="target")
    outputs = k.layers.Bidirectional(k.layers.LSTM(3, return_state=True))(source)
    states = outputs[1:]
    y = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True))(target, initial_state=states)
    return k.Model([source, target], k.layers.TimeDistributed(k.layers.Dense(2))(y))


def autoencoder(k: Any) -> Any:
    x = k.Input((T, F))
    encoder = k.Model(x, k.layers.LSTM(3)(x), name="encoding")
    code = k.Input((3,))
    y = k.layers.LSTM(4, return_sequences=True)(k.layers.RepeatVector(T)(code))
    decoder = k.Model(code, k.layers.TimeDistributed(k.layers.Dense(F))(y), name="decoding")
    start = k.Input((T, F))
    return k.Model(start, decoder(encoder(start)))


def several_outputs(k: Any) -> Any:
    x = k.Input((T, F), name="x")
    y = k.layers.LSTM(5, return_sequences=True)(x)
    level = k.layers.Dense(1, name="level")(k.layers.GlobalAveragePooling1D()(y))
    kind = k.layers.Dense(3, "softmax", name="kind")(k.layers.LSTM(4)(y))
    return k.Model(x, [level, kind])


def tagging(k: Any) -> Any:
    x = k.Input((T,), dtype="int32")
    e = k.layers.Embedding(WORDS, 4, mask_zero=True)(x)
    y = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True))(e)
    y = k.layers.concatenate([y, e])
    return k.Model(x, k.layers.TimeDistributed(k.layers.Dense(5, "softmax"))(y))


def merges(k: Any) -> Any:
    a, b = k.Input((T, F), name="a"), k.Input((T, F), name="b")
    lstm = k.layers.LSTM(F, return_sequences=True)
    one, two = lstm(a), k.layers.LSTM(F, return_sequences=True)(b)
    parts = [
        k.layers.add([one, two]),
        k.layers.subtract([one, two]),
        k.layers.multiply([one, two, a]),
        k.layers.average([one, two]),
        k.layers.maximum([one, two, b]),
        k.layers.minimum([one, two]),
    ]
    y = k.layers.Concatenate(axis=1)(parts)
    return k.Model([a, b], k.layers.Dense(2)(k.layers.LSTM(3)(y)))


def twice(k: Any) -> Any:
    """Make a chain within a graph within a chain, and a layer that is called on its own output."""
    inner = k.Sequential([k.Input((T, F)), k.layers.LSTM(F, return_sequences=True), k.layers.Dense(F)])
    x = k.Input((T, F))
    middle = k.Model(x, k.layers.add([inner(inner(x)), x]))
    return k.Sequential([k.Input((T, F)), middle, k.layers.LSTM(3), k.layers.Dense(1)])


def states_along(k: Any) -> Any:
    """Make a chain of states, of which some are used, some are not, and two change places."""
    x = k.Input((T, F))
    y, h, c = k.layers.LSTM(4, return_state=True, return_sequences=True)(x)
    z, h2, c2 = k.layers.LSTM(4, return_state=True, return_sequences=True)(y, initial_state=[h, c])
    z, _, c3 = k.layers.LSTM(4, return_state=True, return_sequences=True)(z, initial_state=[c2, h2])
    states = [k.layers.Dense(2)(one) for one in (h, c, h2, c2)]
    ends = k.layers.Bidirectional(k.layers.LSTM(2, return_state=True), merge_mode="mul")(
        z, initial_state=states
    )
    return k.Model(x, k.layers.concatenate([ends[1], ends[4], c3]))


def frozen(k: Any) -> Any:
    x = k.Input((T, F))
    below, above = k.layers.LSTM(4, return_sequences=True), k.layers.LSTM(4, return_sequences=True)
    dense = k.layers.Dense(4, trainable=False, name="frozen")
    above.trainable = False
    y = above(dense(below(x)))
    return k.Model(x, [k.layers.Dense(2, name="top")(above(y)), dense(y)])


def directions(k: Any) -> Any:
    x = k.Input((T, F))
    both = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True), merge_mode=None)
    one, two = both(k.layers.Masking()(x))
    last = k.layers.LSTM(3)(k.layers.multiply([one, two]))
    return k.Model(x, k.layers.concatenate([k.layers.LSTM(2)(one), last]))


def rows_of_rows(k: Any) -> Any:
    row = k.Input((4, F))
    inner = k.Model(row, k.layers.Dense(3)(k.layers.LSTM(2)(k.layers.Masking()(row))))
    x = k.Input((T, 4, F))
    return k.Model(x, k.layers.LSTM(2)(k.layers.TimeDistributed(inner)(x)))


def joined_masks(k: Any) -> Any:
    """Make merges of masks: of two, of one and none, one after the other, and side by side."""
    a, b = k.Input((T, F), name="a"), k.Input((T, F), name="b")
    x, y = k.layers.Masking()(a), k.layers.Masking()(b)
    parts = [
        k.layers.add([x, y]),
        k.layers.add([x, b]),
        k.layers.concatenate([x, y]),
        k.layers.concatenate([x, b], axis=1),
    ]
    ends = [k.layers.LSTM(2)(part) for part in parts]
    steps = k.layers.Dense(2, name="steps")(parts[0])
    return k.Model({"a": a, "b": b}, {"steps": steps, "end": k.layers.concatenate(ends)})


def gaps(x: Any) -> Any:
    """Return sequences of which every other one ends early."""
    x[::2, 3:] = 0
    return x


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any], Callable[[], Any], Any]] = {
    "two inputs": (two_inputs, lambda: [numbers(20, T, F), numbers(20, 3)], lambda: numbers(20, 1), "mse"),
    "siamese": (
        siamese,
        lambda: [words(20, T), words(20, T)[::-1]],
        lambda: (words(20, 1) % 2).astype("float32"),
        "binary_crossentropy",
    ),
    "cosine": (cosine, lambda: [numbers(20, T, F), numbers(20, T, F)[::-1]], lambda: numbers(20, 1), "mse"),
    "translation": (
        translation,
        lambda: [numbers(20, T, F), numbers(20, 5, 3)],
        lambda: np.eye(3, dtype="float32")[words(20, 5) % 3],
        "categorical_crossentropy",
    ),
    "both ways": (
        both_ways,
        lambda: [numbers(20, T, F), numbers(20, 4, 2)],
        lambda: numbers(20, 4, 2),
        "mse",
    ),
    "autoencoder": (autoencoder, lambda: numbers(20, T, F), lambda: numbers(20, T, F), "mse"),
    "several outputs": (
        several_outputs,
        lambda: numbers(20, T, F),
        lambda: [numbers(20, 1), words(20) % 3],
        ["mse", "sparse_categorical_crossentropy"],
    ),
    "tagging": (
        tagging,
        lambda: words(20, T),
        lambda: words(20, T) % 5,
        "sparse_categorical_crossentropy",
    ),
    "merges": (merges, lambda: [numbers(20, T, F), numbers(20, T, F)[::-1]], lambda: numbers(20, 2), "mse"),
    "states along": (states_along, lambda: numbers(20, T, F), lambda: numbers(20, 8), "mse"),
    "frozen": (
        frozen,
        lambda: numbers(20, T, F),
        lambda: [numbers(20, T, 2), numbers(20, T, 4)],
        ["mse", "mse"],
    ),
    "directions": (directions, lambda: gaps(numbers(20, T, F)), lambda: numbers(20, 5), "mse"),
    "rows of rows": (rows_of_rows, lambda: gaps(numbers(20, T, 4, F)), lambda: numbers(20, 2), "mse"),
    "joined masks": (
        joined_masks,
        lambda: {"a": gaps(numbers(20, T, F)), "b": gaps(numbers(20, T, F))[::-1]},
        lambda: {"steps": numbers(20, T, 2), "end": numbers(20, 8)},
        "mse",
    ),
    "twice": (twice, lambda: numbers(20, T, F), lambda: numbers(20, 1), "mse"),
}


def pair(make: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return the model of Keras and that of this package, with the same weights."""
    import keras

    theirs, ours = make(keras), make(fusedlstm)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    ours.set_weights(theirs.get_weights())
    return theirs, ours


@pytest.mark.parametrize("name", CASES)
def test_trained_as_in_keras(name: str) -> None:
    make, inputs, labels, loss = CASES[name]
    theirs, ours = pair(make)
    x, y = inputs(), labels()
    np.testing.assert_allclose(
        flat(ours.predict(x, verbose=0)), flat(theirs.predict(x, verbose=0)), rtol=1e-4, atol=1e-5
    )
    weights = [0.5, 2.0] if isinstance(loss, list) else None
    metrics: Any = [["mae"], ["mse" if name == "frozen" else "accuracy"]]
    if not isinstance(loss, list):
        metrics = None if isinstance(y, dict) else ["mae"]
    if loss == "sparse_categorical_crossentropy":
        metrics = ["accuracy"]
    logs = []
    import keras

    for k, model in ((keras, theirs), (fusedlstm, ours)):
        model.compile(k.optimizers.SGD(0.1), loss=loss, loss_weights=weights, metrics=metrics)
        history = model.fit(x, y, epochs=3, batch_size=7, shuffle=False, verbose=0)
        logs.append(history.history)
    assert logs[1].keys() == logs[0].keys()
    if name == "tagging":
        # On JAX Keras loses the mask between a training step's loss and its metrics; `evaluate` keeps it.
        logs[0].pop("accuracy")
    for key, values in logs[0].items():
        np.testing.assert_allclose(logs[1][key], values, rtol=2e-4, atol=1e-5, err_msg=key)
    for w, v in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(w, v, rtol=2e-3, atol=2e-5)
    one, two = (model.evaluate(x, y, verbose=0) for model in (ours, theirs))
    np.testing.assert_allclose(one, two, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("ending", ["keras", "safetensors"])
@pytest.mark.parametrize("order", ["zab", "bz", "abz"])
def test_losses_of_dicts_come_in_the_order_of_compile(order: str, ending: str, tmp_path: Path) -> None:
    def make(k: Any) -> Any:
        x = k.Input((F,))
        return k.Model(x, {name: k.layers.Dense(1, name=name)(x) for name in "bza"})

    theirs, ours = pair(make)
    labels = {name: numbers(20, F)[:, number : number + 1] for number, name in enumerate(order)}
    loss = {name: "mse" if name == "z" else "mae" for name in order}
    metrics = None if len(order) < 3 else {"z": ["mae"], "b": ["mse"]}
    for model in (theirs, ours):
        model.compile("sgd", dict(loss), metrics=metrics)
    ours.save(tmp_path / f"model.{ending}")
    again = fusedlstm.load_model(tmp_path / f"model.{ending}")
    assert ours.metrics_names[: 1 + len(order)] == ["loss", *(f"{name}_loss" for name in order)]
    given = {name: labels[name] for name in order}
    expected = theirs.evaluate(numbers(20, F), given, verbose=0)
    for model in (ours, again):
        np.testing.assert_allclose(
            model.evaluate(numbers(20, F), given, verbose=0), expected, rtol=2e-4, atol=1e-5
        )


def flat(outputs: Any) -> Any:
    if isinstance(outputs, dict):
        outputs = [outputs[key] for key in sorted(outputs)]
    return np.concatenate([np.ravel(one) for one in (outputs if isinstance(outputs, list) else [outputs])])


@pytest.mark.parametrize("name", CASES)
def test_layers_are_in_the_same_order(name: str) -> None:
    theirs, ours = pair(CASES[name][0])
    assert [type(layer).__name__ for layer in ours.layers] == [
        {"Functional": "Model"}.get(type(layer).__name__, type(layer).__name__) for layer in theirs.layers
    ]
    assert ours.count_params() == theirs.count_params()
    # Of dicts Keras tells the inputs' shapes in a list.
    for one, other in ((ours.input_shape, theirs.input_shape), (ours.output_shape, theirs.output_shape)):
        assert listed(one) == listed(other)


def listed(shapes: Any) -> Any:
    return [shapes[key] for key in sorted(shapes)] if isinstance(shapes, dict) else shapes


def test_a_decoder_runs_a_step_at_a_time_with_its_states() -> None:
    """The encoder and decoder that teacher forcing trained, each a model of its own."""
    theirs, ours = pair(translation)

    def parts(k: Any, model: Any) -> tuple[Any, Any]:
        source, target = model.input
        _, h, c = model.get_layer("encoder").output
        encoder = k.Model(source, [h, c])
        states = [k.Input((5,)), k.Input((5,))]
        y, h, c = model.get_layer("decoder")(target, initial_state=states)
        return encoder, k.Model([target, *states], [model.get_layer("chars")(y), h, c])

    import keras

    x = numbers(3, T, F)
    results = []
    for k, model in ((keras, theirs), (fusedlstm, ours)):
        encoder, decoder = parts(k, model)
        states = encoder.predict(x, verbose=0)
        char = np.zeros((3, 1, 3), np.float32)
        steps = []
        for _ in range(5):
            y, *states = decoder.predict([char, *states], verbose=0)
            char = np.eye(3, dtype=np.float32)[y.argmax(axis=-1)]
            steps.append(y)
        results.append(np.concatenate(steps, axis=1))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-6)
