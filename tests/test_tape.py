"""What a forward pass saves for its backward pass is a value: layers and models keep nothing of a call."""

from __future__ import annotations

import copy
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import Input, Sequential, layers, utils
from fusedlstm.callbacks import LambdaCallback
from fusedlstm.testing import check_gradients

if TYPE_CHECKING:
    from collections.abc import Callable

B, T, F, H = 3, 4, 5, 6
RANDOM = np.random.default_rng(0)
SECONDS = 60.0


def lstm(**options: Any) -> layers.LSTM:
    return layers.LSTM(H, return_sequences=True, **options)


LAYERS: dict[str, Callable[[], layers.Layer]] = {
    "LSTM": lambda: lstm(dropout=0.3, recurrent_dropout=0.3, zoneout_h=0.2),
    "last step": lambda: layers.LSTM(H, layer_norm=True, use_peepholes=True, projection_units=2),
    "Bidirectional": lambda: layers.Bidirectional(lstm(), "mul"),
    "concat": lambda: layers.Bidirectional(layers.LSTM(H, dropout=0.3)),
    "StackedLSTM": lambda: layers.StackedLSTM(H, 3, between_dropout=0.4),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(2, "tanh")),
    "steps": lambda: layers.TimeDistributed(layers.Dropout(0.5)),
    "Dense": lambda: layers.Dense(2, "softmax"),
    "Dropout": lambda: layers.Dropout(0.5),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.5),
    "GaussianNoise": lambda: layers.GaussianNoise(0.5),
    "Activation": lambda: layers.Activation("sigmoid"),
    "Masking": lambda: layers.Masking(0.0),
    "Embedding": lambda: layers.Embedding(7, 2),
    "LayerNormalization": layers.LayerNormalization,
    "GlobalAveragePooling1D": layers.GlobalAveragePooling1D,
    "GlobalMaxPooling1D": layers.GlobalMaxPooling1D,
    "Flatten": layers.Flatten,
    "Permute": lambda: layers.Permute((2, 1)),
    "Reshape": lambda: layers.Reshape((-1, 2)),
    "Add": layers.Add,
    "Average": layers.Average,
    "Concatenate": lambda: layers.Concatenate(axis=1),
    "Dot": lambda: layers.Dot((1, 1), normalize=True),
    "Maximum": layers.Maximum,
    "Minimum": layers.Minimum,
    "Multiply": layers.Multiply,
    "Subtract": layers.Subtract,
    "RepeatVector": lambda: layers.RepeatVector(2),
}


def batches(layer: layers.Layer) -> list[Any]:
    """Return two inputs, of different numbers of samples."""
    if layer.ids is not None:
        return [RANDOM.integers(0, layer.ids, (count, T)) for count in (B, 2)]
    if layer.takes_list:
        return [[RANDOM.normal(size=(count, T, F)).astype(np.float32) for _ in "ab"] for count in (B, 2)]
    shape = (F,) if isinstance(layer, layers.RepeatVector) else (T, 2 * F)
    return [RANDOM.normal(size=(count, *shape)).astype(np.float32) for count in (B, 2)]


def test_all_layers_are_here() -> None:
    kinds = [getattr(layers, name) for name in layers.__all__ if isinstance(getattr(layers, name), type)]
    concrete = {kind for kind in kinds if issubclass(kind, layers.Layer)}
    here = {type(make()) for make in LAYERS.values()}
    assert concrete - here == {layers.Layer, layers.ActivatedLayer, layers.InputLayer, layers.Merge}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_two_forward_passes_before_their_backward_passes(make: Callable[[], layers.Layer]) -> None:
    """In either order the bits are those of one pass after the other."""
    utils.set_random_seed(0)
    layer = make()
    inputs = [layer.prepare(x) for x in batches(layer)]
    other, twin = copy.deepcopy(layer), copy.deepcopy(layer)
    expected, total = [], layers.Gradients()
    for x in inputs:
        y, saved = twin.forward(x, training=True)
        gradients = layers.Gradients()
        dx = twin.backprop(saved, np.cos(y), gradients)
        expected.append((y, dx, [gradients[v] for v in twin.weights]))
    for one, order in ((layer, (0, 1)), (other, (1, 0))):
        passes = [one.forward(x, training=True) for x in inputs]
        before = pickle.dumps(one)
        for number in order:
            y, saved = passes[number]
            gradients = layers.Gradients()
            dx = one.backprop(saved, np.cos(y), gradients)
            for got, want in zip(
                (y, dx, *map(gradients.get, one.weights)), flat(expected[number]), strict=True
            ):
                np.testing.assert_array_equal(got, want)
            assert pickle.dumps(one) == before
    # A sum over passes is made by the gradients alone.
    for x in inputs:
        y, saved = other.forward(x, training=False)[0], other.forward(x, training=True)[1]
        other.backprop(saved, np.ones_like(y), total, need_dx=False)
    assert set(total) == set(other.weights)


def flat(expected: tuple[Any, Any, list[Any]]) -> list[Any]:
    y, dx, gradients = expected
    return [y, dx, *gradients]


def test_gradients_are_summed() -> None:
    layer = layers.Dense(2, dtype="float64")
    one, other = (layer.prepare(RANDOM.normal(size=(B, F))) for _ in range(2))
    parts, total = [], layers.Gradients()
    for x in (one, other):
        y, saved = layer.forward(x, training=True)
        parts.append(layers.Gradients())
        layer.backprop(saved, y, parts[-1])
        layer.backprop(saved, y, total)
        if len(parts) == 1:  # the first one is kept as it is
            first = total[layer.kernel]
            kept = first.copy()
    np.testing.assert_array_equal(first, kept)
    for variable in layer.weights:
        np.testing.assert_array_equal(total[variable], parts[0][variable] + parts[1][variable])
        assert variable.grad is None


class Twice(layers.Layer):
    """The same layer twice in one pass."""

    def __init__(self, inner: layers.Layer) -> None:
        super().__init__(dtype=inner.dtype)
        self.inner = inner

    @property
    def _layers(self) -> list[layers.Layer]:
        return [self.inner]

    def build(self, input_shape: Any) -> None:
        self.inner.build(input_shape)
        super().build(input_shape)

    def forward(self, x: Any, training: bool = False) -> Any:
        y, one = self.inner.forward(x, training)
        z, other = self.inner.forward(y, training)
        return z, (one, other)

    def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:
        one, other = saved
        between: Any = self.inner.backprop(other, dy, gradients)
        return self.inner.backprop(one, between, gradients, need_dx)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(F, return_sequences=True, dtype="float64"),
        lambda: layers.Bidirectional(layers.LSTM(F, return_sequences=True, dtype="float64"), "sum"),
        lambda: layers.StackedLSTM([H, F], return_sequences=True, dtype="float64"),
        lambda: layers.TimeDistributed(layers.Dense(F, "tanh", dtype="float64")),
        lambda: layers.LayerNormalization(dtype="float64"),
    ],
    ids=["LSTM", "Bidirectional", "StackedLSTM", "Dense", "LayerNormalization"],
)
def test_the_same_layer_twice_in_one_pass(make: Callable[[], layers.Layer]) -> None:
    layer = Twice(make())
    x = RANDOM.normal(size=(B, T, F))
    layer(x)
    names = [v.path for v in layer.weights]

    def function(x: Any, **weights: Any) -> Any:
        layer.set_weights([weights[name] for name in names])
        return layer(x)

    def gradient(dy: Any, x: Any, **weights: Any) -> Any:
        layer.set_weights([weights[name] for name in names])
        layer(x, training=True)
        dx = layer.backward(dy[0])
        return {"x": dx, **{v.path: v.grad for v in layer.weights}}

    arrays = {"x": x, **{v.path: v.numpy() for v in layer.weights}}
    check_gradients(function, gradient, arrays, terms=2 * (F + H), steps=4 * T)
    model = Sequential([Input((T, F)), layer, layers.GlobalAveragePooling1D(dtype="float64")])
    model.compile("adam", "mse")
    history = model.fit(x, np.zeros((B, F)), epochs=3, verbose=0).history["loss"]
    assert history[2] < history[0]


class Saved:
    pass


class Spy(layers.Layer):
    """Keeps no more than a weak reference to what it has saved."""

    def forward(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002
        saved = Saved()
        self.saved = weakref.ref(saved)
        return x, saved

    def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:  # noqa: ARG002
        assert isinstance(saved, Saved)
        return dy


def test_what_was_saved_is_given_back_when_it_was_used() -> None:
    """The passes below need the memory; so does the update."""

    class Below(Spy):
        def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:
            assert above.saved() is None
            assert self.saved() is not None
            assert frozen.saved() is None
            return super().backprop(saved, dy, gradients, need_dx)

    frozen, below, above = Spy(), Below(), Spy()
    model = Sequential([Input((F,)), frozen, layers.Dense(F), below, above, layers.Dense(2)])
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((B, F)), np.ones((B, 2)))
    assert below.saved() is None
    model(np.ones((B, F)), training=True)
    assert above.saved() is None


def test_a_value_serves_once() -> None:
    stack, x = layers.StackedLSTM(H, 2), np.ones((B, T, F), np.float32)
    model = Sequential([Input((T, F)), layers.LSTM(H), layers.Dense(2)])
    for one in (stack, model.layers[0], model):
        y, saved = one.forward(stack.prepare(x), training=True)
        one.backprop(saved, y, layers.Gradients())
        with pytest.raises(RuntimeError, match=r"no backward pass has used yet|for one backward pass"):
            one.backprop(saved, y, layers.Gradients())
    y, saved = model.forward(x)
    with pytest.raises(RuntimeError, match="saved: expected that of a forward"):
        model.backprop(saved, y, layers.Gradients())


def test_a_model_is_differentiated_like_a_layer() -> None:
    model = Sequential(
        [
            Input((T, F)),
            layers.LSTM(H, dtype="float64", activity_regularizer="l2"),
            layers.Dense(3, "softmax", dtype="float64"),
        ]
    )
    x = RANDOM.normal(size=(B, T, F))
    penalty = model.layers[0].activity_regularizer
    assert penalty is not None

    def function(x: Any) -> Any:
        return model(x), np.array(penalty(model.layers[0](x)) / B)

    def gradient(douts: Any, x: Any) -> Any:
        _, saved = model.forward(x, training=True)
        # The penalty's factor is 1 in what models train.
        return {"x": model.backprop(saved, douts[0] / douts[1], layers.Gradients()) * douts[1]}

    check_gradients(function, gradient, {"x": x}, terms=F + H, steps=T)


def test_direct_use_refuses_what_is_not_clear() -> None:
    layer, x = layers.Dense(2), np.ones((B, F), np.float32)
    dy = layer(x, training=True)
    layer(x, training=True)
    with pytest.raises(
        RuntimeError, match=f"{layer.name}: backward needs .* one for each, got 2; what `forward`"
    ):
        layer.backward(dy)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(dy)
    layer(x)
    layer(x, training=True)
    assert layer.backward(dy) is not None
    # Passes by value are none of its calls.
    layer.forward(x, training=True)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        layer.backward(dy)


def test_direct_use_in_two_threads() -> None:
    layer = lstm()
    one, other = (RANDOM.normal(size=(B, T, F)).astype(np.float32) for _ in range(2))
    y = layer(one, training=True)
    expected = layer.backward(y)
    layer(one, training=True)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(RuntimeError, match="backward needs a forward"):
            pool.submit(layer.backward, y).result(SECONDS)
        pool.submit(layer, other, training=True).result(SECONDS)
        np.testing.assert_array_equal(layer.backward(y), expected)
        assert pool.submit(layer.backward, y).result(SECONDS) is not None


def test_a_layer_dies_with_what_waits_for_its_backward_pass() -> None:
    layer = Spy()
    layer(np.ones((B, F)), training=True)
    saved, layer = layer.saved, Spy()
    assert saved() is None


def test_layers_of_the_contract_before() -> None:
    class Old(layers.Layer):
        def forward(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002
            return x

    x = np.ones((2, F), np.float32)  # which would fall into two parts
    message = "old.*: expected forward to return .y, saved., got ndarray"
    for call in (Old(), Sequential([Old()]), layers.TimeDistributed(Old())):
        with pytest.raises(TypeError, match=message):
            call(x[:, None])


def test_fit_in_one_thread_while_others_compute() -> None:
    """The training gets the bits that it has alone, and each prediction is that after some update."""
    x = RANDOM.normal(size=(24, T, F)).astype(np.float32)
    y = RANDOM.normal(size=(24, 1)).astype(np.float32)

    def make() -> Sequential:
        utils.set_random_seed(1)
        model = Sequential(
            [Input((T, F)), layers.StackedLSTM(H, 2), layers.Dropout(0.3), layers.Dense(1, "tanh")]
        )
        model.compile("adam", "mse")
        return model

    model, alone = make(), make()
    versions, alone_versions = [model.predict(x, verbose=0)], [alone.predict(x, verbose=0)]
    stop, seen, started = threading.Event(), [], threading.Barrier(5)

    def training(model: Sequential, versions: list[Any]) -> Any:
        keep = LambdaCallback(on_train_batch_end=lambda *_: versions.append(model.predict(x, verbose=0)))
        return model.fit(x, y, 4, epochs=4, verbose=0, callbacks=keep, gradient_accumulation_steps=2)

    def others(call: Callable[[], Any]) -> None:
        started.wait(SECONDS)
        while not stop.is_set():
            call()

    def by_value() -> None:
        layer, dense = model.layers[0], model.layers[2]
        dy: Any
        gradients = layers.Gradients()
        output, saved = layer.forward(x, training=True)
        logits, above = dense.forward(output, training=True)
        try:
            dy = dense.backprop(above, logits, gradients)
        except RuntimeError as error:  # The training has made an update in between.
            if "expected the weights that forward saw" not in str(error):
                raise
            return
        layer.backprop(saved, dy, gradients)
        assert set(gradients) == set(model.weights)

    calls: list[Callable[[], Any]] = [
        lambda: seen.append(model.predict(x, verbose=0)),
        lambda: seen.append(model(x)),
        by_value,
        lambda: model.layers[0](x, training=True) is not None and model.layers[0].backward(seen_dy),
    ]
    seen_dy = np.ones((24, H), np.float32)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(others, call) for call in calls]
        started.wait(SECONDS)
        try:
            history = training(model, versions).history
        finally:
            stop.set()
        for one in running:
            one.result(SECONDS)
    assert history == training(alone, alone_versions).history
    for got, expected in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
    known = {version.tobytes() for version in versions}
    assert len(known) == 1 + 4 * 3
    assert seen
    assert {output.tobytes() for output in seen} <= known


@pytest.mark.parametrize("make", [lambda: layers.Dense(2), layers.LayerNormalization], ids=["Dense", "norm"])
def test_weights_that_change_before_the_backward_pass(make: Callable[[], layers.Layer]) -> None:
    """A gradient of other weights than the pass had would be wrong without a word."""
    model = Sequential([Input((F,)), make(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = RANDOM.normal(size=(B, F)).astype(np.float32)
    y, saved = model.forward(x, training=True)
    model.train_on_batch(x, np.ones((B, 1)))
    with pytest.raises(RuntimeError, match="expected the weights that forward saw"):
        model.backprop(saved, np.ones_like(y), layers.Gradients())


def test_a_model_by_value_sees_one_version() -> None:
    model = Sequential([Input((T, F)), lstm(), layers.Dense(2)])
    versions = [[np.full(w.shape, value, np.float32) for w in model.weights] for value in (0.1, 0.3)]
    x = np.ones((B, T, F), np.float32)
    expected = []
    for weights in versions:
        model.set_weights(weights)
        expected.append(model.predict(x, verbose=0).tobytes())
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for weights in versions:
                model.set_weights(weights)

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        try:
            for _ in range(300):
                assert model.forward(x)[0].tobytes() in expected
        finally:
            done.set()
        changing.result()


@pytest.mark.parametrize("kind", [layers.LSTM, layers.Bidirectional, layers.Dense, layers.TimeDistributed])
def test_layers_whose_forward_returns_the_output_alone(kind: Any) -> None:
    """An output with two rows is not taken for a pair; a gradient that no model asks for is refused."""

    class Old(kind):  # type: ignore[misc]
        def forward(self, *args: Any, **options: Any) -> Any:
            return super().forward(*args, **options)[0]

    inner: Any = {layers.Bidirectional: lstm(), layers.TimeDistributed: layers.Dense(2)}.get(kind, 2)
    with pytest.raises(TypeError, match=r"expected forward to return \(y, saved\), got ndarray"):
        Old(inner)(np.ones((2, T, F), np.float32))
    with pytest.raises(TypeError, match="Old: expected a method backprop"):
        type("Old", (kind,), {"backward": lambda *_: None})


def test_a_gradient_that_ends_in_the_middle() -> None:
    class Ends(layers.Layer):
        def forward(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002
            return x, None

        def backprop(self, *_: Any) -> None:
            return None

    model = Sequential([Input((F,)), layers.Dense(2), Ends(name="ends"), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="ends: expected backprop to return a gradient, got None"):
        model.train_on_batch(np.ones((B, F)), np.ones((B, 1)))


def test_both_directions_of_a_class_of_its_own() -> None:
    class Ten(layers.LSTM):
        pass

    with pytest.raises(TypeError, match="layer: expected an LSTM, got Ten"):
        layers.Bidirectional(Ten(2))
