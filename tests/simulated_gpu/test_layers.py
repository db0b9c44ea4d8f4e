"""Layers, losses, metrics and optimizers on a device, compared with the CPU."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import activations, constraints, layers, losses, metrics, optimizers, regularizers, testing
from tests.simulated_gpu.device import SimArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulated_gpu.device import SimDevice

B, T, I, H = 3, 4, 5, 6  # noqa: E741
MASK = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)


def values(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ids(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, I, shape)


def lstm(**options: Any) -> layers.LSTM:
    return layers.LSTM(H, seed=1, **{"return_sequences": True, **options})


LAYERS: dict[str, tuple[Callable[[], layers.Layer], Any]] = {
    "Activation": (lambda: layers.Activation("softmax"), values(B, I)),
    "Bidirectional": (lambda: layers.Bidirectional(lstm()), values(B, T, I)),
    "Bidirectional, last, mul": (
        lambda: layers.Bidirectional(lstm(return_sequences=False), "mul"),
        values(B, T, I),
    ),
    "Bidirectional, ave": (lambda: layers.Bidirectional(lstm(), "ave"), values(B, T, I)),
    "Dense": (lambda: layers.Dense(H, "tanh"), values(B, T, I)),
    "Dropout": (lambda: layers.Dropout(0.4, seed=1), values(B, T, I)),
    "Embedding": (lambda: layers.Embedding(I, H), ids(B, T)),
    "Flatten": (lambda: layers.Flatten(), values(B, T, I)),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.5, seed=1), values(B, T, I)),
    "GlobalAveragePooling1D": (lambda: layers.GlobalAveragePooling1D(), values(B, T, I)),
    "GlobalMaxPooling1D": (lambda: layers.GlobalMaxPooling1D(), values(B, T, I)),
    "LSTM": (lambda: lstm(), values(B, T, I)),
    "LSTM, last": (lambda: lstm(return_sequences=False, go_backwards=True), values(B, T, I)),
    "LSTM, options": (
        lambda: lstm(
            use_peepholes=True,
            peephole_initializer="glorot_uniform",
            cell_clip=0.5,
            dropout=0.3,
            recurrent_dropout=0.3,
            zoneout_h=0.2,
            zoneout_c=0.3,
        ),
        values(B, T, I),
    ),
    "LSTM, normalized": (lambda: lstm(layer_norm=True, use_peepholes=True), values(B, T, I)),
    "LSTM, projected": (lambda: lstm(projection_units=2, zoneout_h=0.2), values(B, T, I)),
    "LSTM, both": (lambda: lstm(layer_norm=True, projection_units=2), values(B, T, I)),
    "LayerNormalization": (lambda: layers.LayerNormalization(), values(B, T, I)),
    "Add": (lambda: layers.Add(), [values(B, T, I), values(B, 1, I, seed=1)]),
    "Average": (lambda: layers.Average(), [values(B, T, I), values(B, T, I, seed=1)]),
    "Concatenate": (lambda: layers.Concatenate(), [values(B, T, I), values(B, T, H, seed=1)]),
    "Dot": (lambda: layers.Dot(2, normalize=True), [values(B, T, I), values(B, 2, I, seed=1)]),
    "Maximum": (lambda: layers.Maximum(), [values(B, T, I), values(B, T, I, seed=1)]),
    "Minimum": (lambda: layers.Minimum(), [values(B, T, I), values(B, T, I, seed=1)]),
    "Multiply": (lambda: layers.Multiply(), [values(B, T, I), values(B, T, I, seed=1)]),
    "Subtract": (lambda: layers.Subtract(), [values(B, T, I), values(B, I, seed=1)]),
    "Masking": (lambda: layers.Masking(), values(B, T, I) * MASK[..., None]),
    "Permute": (lambda: layers.Permute((2, 1)), values(B, T, I)),
    "RepeatVector": (lambda: layers.RepeatVector(T), values(B, I)),
    "Reshape": (lambda: layers.Reshape((I, T)), values(B, T, I)),
    "SpatialDropout1D": (lambda: layers.SpatialDropout1D(0.4, seed=1), values(B, T, I)),
    "StackedLSTM": (lambda: layers.StackedLSTM(H, between_dropout=0.3, seed=1), values(B, T, I)),
    "StackedLSTM, both ways": (
        lambda: layers.StackedLSTM([H, I], bidirectional=True, return_sequences=True),
        values(B, T, I),
    ),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(H, "relu")), values(B, T, I)),
}


def test_every_layer_is_here() -> None:
    """`LAYERS` has all that layers there are."""
    kinds = {getattr(layers, name) for name in layers.__all__}
    found = {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, layers.Layer)}
    assert {name.partition(",")[0] for name in LAYERS} == found - {
        "ActivatedLayer",
        "InputLayer",
        "Layer",
        "Merge",
    }


def assert_near(actual: Any, expected: Any) -> None:
    """Compare a result of the device with that of the CPU, a few sums of a few numbers later."""
    testing.assert_close(actual, expected, dtype=np.float32, terms=64, steps=T)


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str, masked: bool, device: SimDevice) -> None:
    """Output, gradients and mask are those of the CPU; results lie on the device."""
    make, x = LAYERS[name]
    here, there = make(), make()
    if masked and not (here.takes_mask and not here.takes_list and x.ndim == 3 and name != "TimeDistributed"):
        pytest.skip("no mask")
    mask: dict[str, Any] = {"mask": MASK} if masked else {}
    expected = here(x, training=True, **mask)
    there.to("simt")
    assert (here.device, there.device) == ("cpu", "simt")
    there(x)
    if there.weights:
        there.set_weights(here.get_weights())
        for seeds, same in zip(there.seed_generators, here.seed_generators, strict=True):
            seeds.state = (same.state[0], 0)
    actual = there(x, training=True, **mask)
    assert isinstance(actual, SimArray)
    assert_near(actual.get(), expected)
    dy = values(*expected.shape, seed=1)
    dx: Any = there.backward(device.put(dy))
    expected_dx: Any = here.backward(dy)
    assert (dx is None) == (expected_dx is None)
    # Merges take lists, and give as many gradients.
    pairs = zip(dx, expected_dx, strict=True) if here.takes_list else [(dx, expected_dx)]
    for slope, expected_slope in pairs if dx is not None else ():
        assert isinstance(slope, SimArray)
        assert_near(slope.get(), expected_slope)
    for ours, theirs in zip(there.weights, here.weights, strict=True):
        grad: Any = ours.grad
        assert isinstance(grad, SimArray)
        assert_near(grad.get(), theirs.grad)
    given: Any = [device.put(one) for one in x] if here.takes_list else device.put(x)
    real: Any = there.compute_mask(given, None)
    expected_real: Any = here.compute_mask(x, None)
    assert (real is None) == (expected_real is None)
    if real is not None:
        assert np.array_equal(real.get(), expected_real)


@pytest.mark.parametrize("name", [n for n in activations.TABLE if hasattr(activations, n)])
def test_activation(name: str, device: SimDevice) -> None:
    function, x, dy = activations.get(name), 3 * values(B, I), values(B, I, seed=1)
    here, there = layers.Activation(function), layers.Activation(function).to("simt")
    y = there(device.put(x), training=True)
    assert_near(y.get(), here(x, training=True))
    dx: Any = there.backward(device.put(dy))
    assert_near(dx.get(), here.backward(dy))


LOSSES: dict[str, tuple[losses.Loss, Any]] = {
    "mse": (losses.MeanSquaredError(), values(B, I)),
    "mae": (losses.MeanAbsoluteError(), values(B, I)),
    "binary": (losses.BinaryCrossentropy(label_smoothing=0.1), ids(B, I) % 2),
    "binary logits": (losses.BinaryCrossentropy(from_logits=True), ids(B, I) % 2),
    "categorical": (losses.CategoricalCrossentropy(), np.eye(I)[ids(B)]),
    "categorical logits": (losses.CategoricalCrossentropy(True, 0.1), np.eye(I)[ids(B)]),
    "sparse": (losses.SparseCategoricalCrossentropy(), ids(B)),
    "sparse logits": (losses.SparseCategoricalCrossentropy(True), ids(B)),
    "mape": (losses.MeanAbsolutePercentageError(), values(B, I)),
    "msle": (losses.MeanSquaredLogarithmicError(), values(B, I)),
    "huber": (losses.Huber(0.3), values(B, I)),
    "log_cosh": (losses.LogCosh(), values(B, I)),
    "cosine": (losses.CosineSimilarity(), values(B, I)),
    "poisson": (losses.Poisson(), values(B, I)),
    "kl": (losses.KLDivergence(), np.eye(I)[ids(B)]),
    "hinge": (losses.Hinge(), ids(B, I) % 2),
    "categorical hinge": (losses.CategoricalHinge(), np.eye(I)[ids(B)]),
    "binary focal": (losses.BinaryFocalCrossentropy(True), ids(B, I) % 2),
    "categorical focal": (losses.CategoricalFocalCrossentropy([0.1] * I), np.eye(I)[ids(B)]),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_loss(name: str, weighted: bool, device: SimDevice) -> None:
    """Values are Python floats; gradients lie on the device."""
    loss, y = LOSSES[name]
    z = values(B, I, seed=1)
    predictions = z if loss.from_logits and "logits" in name else np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    weights = values(B) if weighted else None
    there = [None if array is None else device.put(array) for array in (y, predictions, weights)]
    value = loss(*there)
    assert type(value) is float
    assert value == pytest.approx(loss(y, predictions, weights), rel=1e-6)
    gradient: Any = loss.gradient(*there)
    assert_near(gradient.get(), loss.gradient(y, predictions, weights))


def test_gradient_of_sparse_labels_in_any_layout(device: SimDevice) -> None:
    loss, y, z = losses.SparseCategoricalCrossentropy(True), ids(B), values(B, I, seed=1)
    turned = device.put(np.ascontiguousarray(z.T)).T
    gradient: Any = loss.gradient(device.put(y), turned)
    assert_near(gradient.get(), loss.gradient(y, z))


@pytest.mark.parametrize("weighted", [False, True])
def test_ctc(weighted: bool, device: SimDevice) -> None:
    loss, z = losses.CTC(), values(3, 12, 5)
    y = np.array([[1, 1, 2], [4, 0, 0], [3, 2, 1]])
    weights, mask = values(3) ** 2 if weighted else None, np.arange(12) < np.array([[12], [9], [4]])
    here = loss.value_and_gradient(y, z, weights, mask)
    moved: Any = [None if array is None else device.put(array) for array in (y, z, weights, mask)]
    there: Any = loss.value_and_gradient(*moved)
    assert there[0] == pytest.approx(here[0], rel=1e-5)
    assert_near(there[1].get(), here[1])
    with pytest.raises(ValueError, match=r"mask: expected padding on the right .* at index \(1, 3\)"):
        loss.value_and_gradient(device.put(y), device.put(z), None, device.put(mask[:, ::-1].copy()))


@pytest.mark.parametrize(
    ("name", "y"),
    [
        ("accuracy", ids(B)),
        ("categorical_accuracy", np.eye(I)[ids(B)]),
        ("binary_accuracy", ids(B, I) % 2),
        ("mse", values(B, I)),
        ("mean_absolute_percentage_error", values(B, I)),
        ("cosine_similarity", values(B, I)),
        ("root_mean_squared_error", values(B, I)),
        (metrics.TopKCategoricalAccuracy(2), np.eye(I)[ids(B)]),
        (metrics.SparseTopKCategoricalAccuracy(2), ids(B)),
        ("r2_score", values(B, I)),
        ("precision", ids(B, I) % 2),
        ("auc", ids(B, I) % 2),
        (metrics.F1Score("macro"), np.eye(I)[ids(B)]),
    ],
)
def test_metric(name: Any, y: Any, device: SimDevice) -> None:
    predictions = values(B, I, seed=1)
    here, there = metrics.get(name), metrics.get(copy.copy(name))
    here.update_state(y, predictions, MASK[:, 1])
    there.update_state(device.put(y), device.put(predictions), device.put(MASK[:, 1]))
    assert type(there.result()) is float
    assert there.result() == pytest.approx(here.result(), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, 7.5])
def test_errors_name_the_place(bad: float, device: SimDevice) -> None:
    y = np.ones((B, I))
    y[1, 2] = bad
    for place in (np.asarray, device.put):
        with pytest.raises(ValueError, match=rf"y_true: expected .* got {bad} at index \(1, 2\)"):
            losses.BinaryCrossentropy()(place(y), place(values(B, I)))


@pytest.mark.parametrize("name", ["L1L2", "OrthogonalRegularizer"])
def test_regularizer(name: str, device: SimDevice) -> None:
    options = {"l1": 0.1, "l2": 0.2} if name == "L1L2" else {"factor": 0.3, "mode": "columns"}
    regularizer, w = getattr(regularizers, name)(**options), values(I, H)
    there = device.put(w)
    assert regularizer(there) == pytest.approx(regularizer(w), rel=1e-6)
    assert_near(regularizer.gradient(there).get(), regularizer.gradient(w))


@pytest.mark.parametrize(
    "constraint", [constraints.NonNeg(), constraints.MinMaxNorm(0.5, 1, 0.7), constraints.UnitNorm([0, 1])]
)
def test_constraint(constraint: constraints.Constraint, device: SimDevice) -> None:
    w = values(I, H)
    there: Any = constraint(device.put(w))
    assert_near(there.get(), constraint(w))


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5),
        lambda: optimizers.RMSprop(0.1, momentum=0.9, centered=True, clipvalue=0.5),
        lambda: optimizers.AdamW(0.1, amsgrad=True, global_clipnorm=0.5),
    ],
    ids=["SGD", "RMSprop", "AdamW"],
)
def test_optimizer(make: Callable[[], optimizers.Optimizer], device: SimDevice) -> None:
    """Slots lie beside their variables, follow them, and their state is NumPy's."""
    results = []
    for name in ("cpu", "simt"):
        layer = layers.Dense(H, kernel_constraint="max_norm").to(name)
        layer.build((None, I))
        layer.set_weights([values(I, H), values(H)])
        optimizer = make()
        for step in range(3):
            if step == 2:
                layer.to("cpu")
            for variable in layer.weights:
                grad = values(*variable.shape, seed=step)
                variable.grad = grad if layer.device == "cpu" else device.put(grad)
            optimizer.apply([variable.grad for variable in layer.weights], layer.weights)
            assert all(slot.device is layer.place for slot in optimizer.variables)
        results.append(
            [*layer.get_weights(), *(value for key, value in sorted(optimizer.get_state().items()) if key)]
        )
    for ours, theirs in zip(results[1][:2], results[0][:2], strict=True):
        assert_near(ours, theirs)
    assert all(isinstance(array, np.ndarray) for array in results[1])
