"""Copies and pickles of everything public: the same bits later on, or an error that says why not."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import pickle
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import constraints, initializers, layers, losses, metrics, ops, optimizers, regularizers
from fusedlstm.callbacks import Callback, History
from fusedlstm.optimizers import schedules
from fusedlstm.utils import SeedGenerator, clear_session, set_random_seed

from .examples import BASES, EXAMPLES, REFUSED, SHAPE, B, T, X, Y, array, first, inputs

if TYPE_CHECKING:
    from collections.abc import Callable

# What is not for users: tools that run in processes of their own, commands, the kernels' own classes for
# devices (tests/simulated_gpu), and what tells threads apart.
NOT_PUBLIC = {"benchmark", "commands", "cuda"}
# Values without anything of their own to keep, and contexts, which live as long as their with statement.
PLAIN = {
    "ScaleWarning",
    "datasets.SubsetWarning",
    "models.training.ExpectedLogs",
    "models.training.Leader",
    "models.training.Outputs",
    "models.prechecks.Batches",
}
NAMESPACES = [
    "fusedlstm",
    *(
        f"fusedlstm.{module.name}"
        for module in pkgutil.iter_modules(fusedlstm.__path__)
        if not module.name.startswith("_") and module.name not in NOT_PUBLIC
    ),
    "fusedlstm.models.prechecks",
    "fusedlstm.models.samples",
    "fusedlstm.models.streaming",
    "fusedlstm.models.training",
    "fusedlstm.optimizers.schedules",
]


def public_classes() -> dict[type, list[str]]:
    """Return all public classes of this package, with the names that users know them by."""
    found: dict[type, list[str]] = {}
    for namespace in NAMESPACES:
        try:
            module = importlib.import_module(namespace)
        except ImportError:  # an extra that is not installed
            continue
        for name in getattr(module, "__all__", vars(module)):
            value = getattr(module, name)
            if inspect.isclass(value) and value.__module__.startswith("fusedlstm") and name[0] != "_":
                known = f"{namespace}.{name}".removeprefix("fusedlstm.")
                found.setdefault(value, []).append(known)
    return found


def test_every_class_has_an_answer() -> None:
    answered = {*EXAMPLES, *REFUSED, *BASES, *PLAIN}
    missing = {str(names) for names in public_classes().values() if not answered.intersection(names)}
    assert not missing
    assert len(public_classes()) > 80


def test_examples_are_of_their_classes() -> None:
    by_name = {name: cls for cls, names in public_classes().items() for name in names}
    for name, makers in EXAMPLES.items():
        if name in by_name:
            assert isinstance(made(makers[-1]), by_name[name]), name


# ---- what an object does ----


def state(value: Any) -> Any:
    """Return all that is in an object, arrays as bytes, for comparisons."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, ops.LSTMWeights):
        return [state(part) for part in (value.storage, value.bias, *value.unpack(), value.factors)]
    if isinstance(value, layers.Gradients):
        return [state(entry) for entry in value.items()]
    if isinstance(value, dict):
        return {key: state(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [state(entry) for entry in value]
    if value is None or isinstance(value, str | int | float | type | Path) or inspect.isroutine(value):
        return value
    if hasattr(value, "state_dict"):
        return {key: tensor.tolist() for key, tensor in value.state_dict().items()}
    attributes = value.__getstate__() if hasattr(value, "__getstate__") else vars(value)
    return type(value), state(attributes)


def probe(value: Any) -> Any:
    """Return what an object does next, where the class does something, and then all that is in it."""
    kinds: list[tuple[Any, Callable[[Any], Any]]] = [
        (fusedlstm.Model, probe_model),
        (layers.Layer, probe_layer),
        (optimizers.Optimizer, probe_optimizer),
        (losses.Loss, probe_loss),
        (metrics.Metric, probe_metric),
        (initializers.Initializer, lambda initializer: initializer((3, 3))),
        (regularizers.Regularizer, lambda penalty: [penalty(array(3, 3)), penalty.gradient(array(3, 3))]),
        (constraints.Constraint, lambda constraint: constraint(array(3, 3))),
        (schedules.LearningRateSchedule, lambda schedule: [schedule(step) for step in range(9)]),
        (SeedGenerator, lambda seeds: [seeds.next() for _ in range(3)]),
        (fusedlstm.Variable, lambda variable: variable.assign(variable.numpy() + 1).value),
        (ops.LSTMWeights, lambda weights: ops.lstm_forward(array(*SHAPE), weights).y),
        (type(EXAMPLES["models.streaming.Stream"][0]()), lambda stream: stream.step(array(B, 2, seed=5))),
    ]
    # The first one: a model is a layer too.
    acts = [act for kind, act in kinds if isinstance(value, kind)]
    return [*(state(act(value)) for act in acts[:1]), state(value)]


def probe_loss(loss: losses.Loss) -> Any:
    if isinstance(loss, losses.CTC):
        return loss.value_and_gradient(np.ones((B, 2), np.int64), array(B, T, 3))
    sparse = isinstance(loss, losses.SparseCategoricalCrossentropy)
    labels = loss.prepare(Y if sparse else np.eye(3)[Y], (B, 3))
    return loss.value_and_gradient(labels, probabilities())


def probabilities() -> Any:
    values = np.abs(array(B, 3)) + 0.1
    return values / values.sum(-1, keepdims=True)


def probe_metric(metric: metrics.Metric) -> Any:
    if isinstance(metric, metrics.Mean):
        metric.update_state([1.0, 2.0])
    elif isinstance(metric, metrics.LabelErrorRate):
        metric.update_state(np.ones((B, 2), np.int64), array(B, T, 3))
    else:
        sparse = type(metric).__name__.startswith("Sparse")
        metric.update_state(Y if sparse else np.eye(3)[Y], probabilities())
    return metric.result()


def probe_layer(layer: Any) -> Any:
    if isinstance(layer, layers.InputLayer):
        return layer.get_config()
    x = inputs(layer, (B, 2) if isinstance(layer, layers.RepeatVector) else SHAPE)
    results = []
    for _ in range(2):
        y, saved = layer.forward(layer.prepare(x), training=True)
        gradients = layers.Gradients()
        dx = layer.backprop(saved, np.ones_like(first(y)), gradients)
        results += [first(y), dx, *(gradients[variable] for variable in layer.weights)]
        for variable in layer.weights:
            variable.assign(variable.value - gradients[variable])
    return results


def probe_model(model: fusedlstm.Sequential) -> Any:
    if model.optimizer is None:
        return model.get_config()
    history = model.fit(X, Y, epochs=2, batch_size=B, verbose=0)
    slots = model.optimizer.get_state()
    return [history.history, model.get_weights(), list(slots.values()), model.evaluate(X, Y, verbose=0)]


def probe_optimizer(optimizer: optimizers.Optimizer) -> Any:
    variables = optimizer.targets or [fusedlstm.Variable(array(3, 2), "a")]
    for _ in range(2):
        optimizer.apply([variable.value * 2 for variable in variables], variables)
    return [variable.value for variable in variables]


def made(make: Callable[[], Any]) -> Any:
    """Make an object the same way each time."""
    set_random_seed(3)
    clear_session()
    return make()


def through_joblib(value: Any, path: Path, **options: Any) -> Any:
    joblib = pytest.importorskip("joblib")
    joblib.dump(value, path)
    return joblib.load(path, **options)


def cases(table: dict[str, list[Callable[[], Any]]]) -> list[Any]:
    return [
        pytest.param(make, id=f"{name}-{number}")
        for name, makers in table.items()
        for number, make in enumerate(makers)
    ]


@pytest.mark.parametrize("make", cases(EXAMPLES))
def test_copies_go_on_with_the_same_bits(make: Callable[[], Any], tmp_path: Path) -> None:
    expected = probe(made(make))
    original = made(make)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert probe(pickle.loads(pickle.dumps(original, protocol))) == expected
    assert probe(copy.deepcopy(original)) == expected
    assert probe(through_joblib(original, tmp_path / "a")) == expected
    # A map of the file: read-only arrays, which are made into ones that training can write to.
    assert probe(through_joblib(original, tmp_path / "b", mmap_mode="r")) == expected
    again = copy.deepcopy(copy.copy(original))
    assert probe(again) == expected
    # Nothing that was done to copies reached the original.
    assert probe(original) == expected


@pytest.mark.parametrize("make", cases(EXAMPLES))
def test_shallow_copies(make: Callable[[], Any]) -> None:
    expected = probe(made(make))
    assert probe(copy.copy(made(make))) == expected


@pytest.mark.parametrize("make", cases(REFUSED))
def test_what_belongs_to_one_run_says_why_it_refuses(make: Callable[[], Any]) -> None:
    for act in (copy.deepcopy, pickle.dumps):
        with pytest.raises(
            TypeError,
            match=r"cannot be copied or pickled: .* (run the forward pass again|copy the model|distribute)",
        ):
            act(make())


# ---- sizes ----


@pytest.mark.parametrize("storage", [None, "bfloat16", "int8"])
def test_weights_are_pickled_in_the_bits_that_they_have(storage: str | None) -> None:
    weights = ops.LSTMWeights(array(64, 512), array(128, 512), storage=storage)
    count = (64 + 128) * 512 * {None: 4, "bfloat16": 2, "int8": 1}[storage] + (
        4096 if storage == "int8" else 0
    )
    assert count <= len(pickle.dumps(weights)) < count + 1000


def test_models_are_pickled_without_packed_weights_tapes_and_gradients() -> None:
    model = fusedlstm.Sequential(
        [layers.Input((T, 8)), layers.LSTM(64, return_sequences=True), layers.LSTM(64)]
    )
    model.compile("adam", "mse")
    model.fit(array(50, T, 8), array(50, 64), verbose=0)
    model.layers[0](array(50, T, 8), training=True)
    assert model.optimizer is not None
    numbers = sum(variable.value.nbytes for variable in (*model.weights, *model.optimizer.variables))
    assert len(pickle.dumps(model)) < numbers + 6000
    assert len(pickle.dumps(model.layers[0])) < sum(v.value.nbytes for v in model.layers[0].weights) + 3000
    assert len(pickle.dumps(model.history)) < 1000


# ---- what is shared ----


def test_a_shallow_copy_shares_layers_but_not_the_list_of_them() -> None:
    model = made(EXAMPLES["models.Sequential"][0])
    twin = copy.copy(model)
    assert twin.layers[0] is model.layers[0]
    twin.pop()
    assert len(model.layers) == len(twin.layers) + 1
    stream = made(EXAMPLES["models.streaming.Stream"][0])
    fork = copy.copy(stream)
    before = [h.tobytes() for h, _ in stream.states]
    fork.step(array(B, 2))
    assert [h.tobytes() for h, _ in stream.states] == before


def test_objects_that_are_copied_together_stay_together() -> None:
    model = made(EXAMPLES["models.Sequential"][1])
    twin, optimizer = pickle.loads(pickle.dumps((model, model.optimizer)))
    assert twin.optimizer is optimizer
    assert [id(target) for target in optimizer.targets] == [id(v) for v in twin.trainable_weights]
    assert isinstance(twin.history, History)
    assert twin.history.model is twin
    assert pickle.loads(pickle.dumps(model.history)).model is None


def test_options_follow_the_weights_of_the_copy() -> None:
    """Peepholes reach the kernels as views of the variables: of the copy's own."""
    layer = layers.LSTM(3, use_peepholes=True)
    x = array(*SHAPE)
    layer(x)
    twin = copy.deepcopy(layer)
    before = twin(x)
    assert twin.peepholes is not None
    twin.peepholes.assign(np.ones((3, 3)))
    assert not np.array_equal(twin(x), before)
    assert np.array_equal(layer(x), before)


def test_out_of_band_buffers_are_not_shared() -> None:
    variable = fusedlstm.Variable(array(3, 2))
    buffers: list[Any] = []
    content = pickle.dumps(variable, 5, buffer_callback=buffers.append)
    twin = pickle.loads(content, buffers=[bytearray(buffer) for buffer in buffers])
    twin.writable()[...] = 0
    assert variable.value.all()


# ---- classes of other origin ----


class Doubling(layers.Layer):
    """A layer with a weight and what users keep in attributes."""

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight((1,), "ones", "factor")
        super().build(input_shape)

    def forward(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002
        self.kept = x
        return x * self.factor.value, x

    def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:  # noqa: ARG002
        gradients.add(self.factor, (dy * saved).sum(keepdims=True).reshape(1))
        return dy * self.factor.value


class MyLoss(losses.MeanSquaredError):
    pass


class MyMetric(metrics.BinaryAccuracy):
    pass


class MyOptimizer(optimizers.SGD):
    pass


class MyCallback(Callback):
    def __init__(self, model: Any) -> None:
        self.of_my_own = model


def test_classes_of_other_origin() -> None:
    set_random_seed(0)
    model = fusedlstm.Sequential([layers.Input((T, 2)), Doubling(), layers.LSTM(3), layers.Dense(1)])
    model.compile(MyOptimizer(0.1, momentum=0.9), MyLoss(), metrics=[MyMetric()])
    callback = MyCallback(model)
    y = array(B, 1)
    model.fit(X, y, verbose=0, callbacks=callback)
    twin, other = pickle.loads(pickle.dumps((model, callback)))
    assert other.of_my_own is twin
    assert (type(twin.loss), type(twin.optimizer)) == (MyLoss, MyOptimizer)
    for each in (model, twin):
        each.fit(X, y, epochs=2, verbose=0)
    assert state(twin.get_weights()) == state(model.get_weights())


def test_a_lock_of_a_user_is_named_in_the_error() -> None:
    layer = Doubling()
    layer.file = io.TextIOWrapper(io.BytesIO())  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="TextIOWrapper"):
        pickle.dumps(layer)
