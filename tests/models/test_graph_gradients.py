"""Gradients of random graphs, frozen layers and unused outputs among them, by finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import Input, Model, Sequential, layers, optimizers

T, F = 3, 2
KIND: dict[str, Any] = {"dtype": "float64"}
MERGES = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)


def random_layer(random: np.random.Generator) -> Any:
    """Return a layer from (B, T, F) to the same shape; every third one is frozen."""
    made: list[Any] = [
        lambda: layers.LSTM(F, return_sequences=True, **KIND),
        lambda: layers.Bidirectional(layers.LSTM(F, return_sequences=True, **KIND), merge_mode="mul"),
        lambda: layers.Dense(F, "tanh", **KIND),
        lambda: layers.TimeDistributed(layers.Dense(F, "sigmoid", **KIND)),
        lambda: layers.LayerNormalization(**KIND),
        lambda: layers.Activation("tanh", **KIND),
        lambda: layers.StackedLSTM(F, 2, return_sequences=True, **KIND),
        lambda: layers.Masking(mask_value=9.0, **KIND),
        lambda: Sequential([Input((T, F)), layers.LSTM(F, return_sequences=True, **KIND)]),
    ]
    layer = made[random.integers(len(made))]()
    layer.trainable = bool(random.random() < 0.6)
    return layer


def random_graph(random: np.random.Generator) -> tuple[Model, list[Any]]:
    """Return a model and the losses of its outputs, some of which are None."""
    pool = [random_layer(random) for _ in range(5)]
    inputs = [Input((T, F)) for _ in range(random.integers(1, 4))]
    values: list[Any] = list(inputs)
    states: list[Any] = []

    def some(given: list[Any]) -> Any:
        return given[random.integers(len(given))]

    for _ in range(random.integers(3, 14)):
        kind = random.integers(6)
        if kind < 3:
            layer = some(pool) if random.random() < 0.5 else random_layer(random)
            values.append(layer(some(values)))
        elif kind == 3:
            values.append(some(list(MERGES))(**KIND)([some(values), some(values)]))
        elif kind == 4:
            lstm = layers.LSTM(F, return_sequences=True, return_state=True, **KIND)
            lstm.trainable = bool(random.random() < 0.6)
            first = [some(states), some(states)] if states and random.random() < 0.7 else None
            y, *ends = lstm(some(values), initial_state=first)
            values.append(y)
            states += ends
        else:
            joined = layers.Concatenate(**KIND)([some(values), some(values)])
            values.append(layers.Dense(F, **KIND)(joined))
    outputs = list(dict.fromkeys(some(values + states) for _ in range(random.integers(1, 5))))
    losses: list[Any] = [None if random.random() < 0.3 else "mse" for _ in outputs]
    losses[0] = "mse"
    return Model(inputs, outputs), losses


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed: int) -> None:
    random = np.random.default_rng(seed)
    model, losses = random_graph(random)
    x = [random.normal(size=(2, T, F)) for _ in model.inputs]
    x[0][0, 1] = 9  # for Masking
    y: list[Any] = [
        random.normal(size=tuple(size or 2 for size in output.shape)) if loss else None
        for output, loss in zip(model.outputs, losses, strict=True)
    ]
    model.compile(optimizers.SGD(1.0), losses)
    before = model.get_weights()
    trained = {id(variable) for variable in model.trainable_weights}
    model.train_on_batch(x, y)
    after = model.get_weights()
    model.set_weights(before)
    for variable, old, new in zip(model.weights, before, after, strict=True):
        if id(variable) not in trained:
            np.testing.assert_array_equal(new, old)
            continue
        place = tuple(random.integers(size) for size in old.shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = old.copy()
            moved[place] += step
            variable.assign(moved)
            ends.append(np.ravel(model.test_on_batch(x, y))[0])
        variable.assign(old)
        # The step's square times the third derivative, and rounding over the step.
        expected = (ends[0] - ends[1]) / 2e-6
        assert abs((old - new)[place] - expected) < 1e-6 * max(1, abs(expected)), variable.path


def test_a_frozen_branch_leaves_no_gradient_in_a_place_that_others_had() -> None:
    """The place of the frozen branch's output was that of a trained branch's before."""
    x, z = Input((F,)), Input((F,))
    one, two = layers.Dense(F, use_bias=False, **KIND), layers.Dense(F, use_bias=False, **KIND)
    end = layers.Add(**KIND)([one(x), two(x)])
    frozen = layers.Dense(F, trainable=False, **KIND)
    model = Model([x, z], [end, frozen(z), layers.Activation("tanh", **KIND)(z)])
    model.compile(optimizers.SGD(1.0), ["mse", "mse", None], loss_weights=[1, 1e6, None])
    alone = Model(x, end)
    alone.compile(optimizers.SGD(1.0), "mse")
    random = np.random.default_rng(0)
    inputs, labels = random.normal(size=(2, 3, F)), random.normal(size=(2, 3, F))
    before = model.get_weights()
    found = []
    calls: list[Any] = [
        lambda: model.train_on_batch(list(inputs), [*labels, None]),
        lambda: alone.train_on_batch(inputs[0], labels[0]),
    ]
    for step in calls:
        model.set_weights(before)
        step()
        found.append((one.kernel.numpy(), two.kernel.numpy()))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("grouped", [1, 2])
def test_weights_that_no_loss_hangs_on_stay(grouped: int) -> None:
    x = Input((F,))
    used, idle = layers.Dense(1), layers.Dense(1)
    shrunk = layers.Dense(1, kernel_regularizer="l2")
    model = Model(x, [used(x), idle(x), shrunk(x)])
    model.compile("adam", ["mse", None, None])
    before = idle.get_weights(), used.kernel.numpy(), shrunk.kernel.numpy()
    data = np.ones((8, F)), [np.ones((8, 1)), None, None]
    model.fit(*data, batch_size=2, verbose=0, gradient_accumulation_steps=grouped)
    for one, other in zip(idle.get_weights(), before[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert (used.kernel.numpy() != before[1]).all()
    assert (abs(shrunk.kernel.numpy()) < abs(before[2])).all()


class Pair(layers.Layer):
    """Gives its input, and twice that."""

    def output_shapes(self, input_shape: Any) -> list[Any]:
        return [input_shape, input_shape]

    def forward(self, x: Any, training: bool = False) -> tuple[Any, Any]:  # noqa: ARG002
        return [x, 2 * x], None

    def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:
        del saved, gradients
        return sum(k * one for k, one in zip((1, 2), dy, strict=True) if one is not None) if need_dx else None


class Product(layers.Layer):
    """Takes two inputs."""

    takes_list = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]

    def forward(self, x: Any, training: bool = False) -> tuple[Any, Any]:  # noqa: ARG002
        return x[0] * x[1], x

    def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:
        del gradients
        return [dy * saved[1], dy * saved[0]] if need_dx else None


@pytest.mark.parametrize("both", [True, False])
def test_layers_of_ones_own_with_several_inputs_and_outputs(both: bool) -> None:
    def trained(k: bool) -> Any:
        x = Input((F,), dtype="float64")
        dense = layers.Dense(F, "tanh", kernel_initializer="ones", **KIND)
        y = dense(x)
        if k:
            one, two = Pair(**KIND)(y)
            y = Product(**KIND)([one, two]) if both else two
        else:
            two = layers.Add(**KIND)([y, y])
            y = layers.Multiply(**KIND)([y, two]) if both else two
        model = Model(x, y)
        model.compile(optimizers.SGD(0.1), "mse")
        data = np.random.default_rng(0).normal(size=(2, 4, F))
        return model.fit(data[0], data[1], epochs=3, verbose=0).history["loss"]

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-12)


@pytest.mark.parametrize("merge", [layers.Multiply, layers.Maximum, layers.Minimum])
def test_merges_leave_masked_steps_out(merge: type[layers.Merge]) -> None:
    """The values of masked steps, which a Dense layer moves from zero, have no influence and no gradient."""
    inputs = [Input((T, F)) for _ in range(3)]
    moved = [layers.Dense(F, **KIND)(layers.Masking(**KIND)(one)) for one in inputs[:2]]
    plain = layers.Dense(F, **KIND)(inputs[2])
    outputs = [
        merge(**KIND)(some) for some in (moved, [*moved, plain], [plain, *moved], [moved[0], moved[0]])
    ]
    model = Model(inputs, outputs)
    random = np.random.default_rng(0)
    x = [random.normal(size=(4, T, F)) for _ in inputs]
    x[0][:2, 1:], x[1][1:3, 2:] = 0, 0
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    slopes = [random.normal(size=(4, T, F)) for _ in outputs]

    def total() -> float:
        return sum(float((slope * y).sum()) for slope, y in zip(slopes, model(x), strict=True))

    _, saved = model.forward(x, training=True)
    gradients = layers.Gradients()
    model.backprop(saved, slopes, gradients)
    for variable in model.weights:
        for place in np.ndindex(variable.shape):
            ends = []
            for step in (1e-6, -1e-6):
                value = variable.numpy()
                value[place] += step
                variable.assign(value)
                ends.append(total())
                value[place] -= step
                variable.assign(value)
            expected = (ends[0] - ends[1]) / 2e-6
            assert abs(gradients[variable][place] - expected) < 1e-6 * max(1, abs(expected)), variable.path
    real = x[0].any(axis=-1) | x[1].any(axis=-1)
    assert not real.all()
    if merge is layers.Multiply:
        assert not model(x)[0][~real].any()
