"""Compiled models in Keras's files: training goes on there and here, with equal numbers."""

from __future__ import annotations

import copy
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, losses, metrics, models
from fusedlstm.exchange.keras_training import arrays_of, compile_config, compile_from_config
from tests.exchange.keras.test_trained_graphs import F, T, numbers, several_outputs, two_inputs, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

h5py: Any = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore")

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "adam": lambda k: k.optimizers.Adam(0.01, clipnorm=1.0),
    "amsgrad": lambda k: k.optimizers.AdamW(0.01, amsgrad=True),
    "momentum": lambda k: k.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "plain": lambda k: k.optimizers.SGD(0.05),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "nadam": lambda k: k.optimizers.Nadam(0.01),
    "adamax": lambda k: k.optimizers.Adamax(0.01),
    "adagrad": lambda k: k.optimizers.Adagrad(0.05),
    "adadelta": lambda k: k.optimizers.Adadelta(0.5),
    "schedule": lambda k: k.optimizers.Adam(k.optimizers.schedules.ExponentialDecay(0.02, 3, 0.5)),
}


def trained(k: Any, model: Any, optimizer: Any) -> Any:
    model.compile(
        optimizer,
        loss=["mse", k.losses.SparseCategoricalCrossentropy()],
        loss_weights=[0.5, 2.0],
        metrics=[["mae"], ["accuracy"]],
        weighted_metrics=[[], [k.metrics.SparseCategoricalAccuracy(name="mine")]],
    )
    return go_on(model)


def go_on(model: Any) -> Any:
    x, y = numbers(14, T, F), [numbers(14, 1), words(14) % 3]
    history = model.fit(x, y, epochs=2, batch_size=7, shuffle=False, verbose=0)
    return history.history


def same(ours: Any, theirs: Any) -> None:
    assert ours.keys() == theirs.keys()
    for key, values in theirs.items():
        np.testing.assert_allclose(ours[key], values, rtol=2e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on(keras: Any, tmp_path: Path, name: str) -> None:
    """Two epochs, a file, two more: from Keras to here and back, and from here to here."""
    theirs = several_outputs(keras)
    trained(keras, theirs, OPTIMIZERS[name](keras))
    theirs.save(tmp_path / "a.keras")
    ours = fusedlstm.load_model(tmp_path / "a.keras")
    assert ours.optimizer is not None
    assert ours.optimizer.iterations == 4
    assert ours.metrics_names == [
        "loss", "level_loss", "kind_loss", "kind_accuracy", "kind_mine", "level_mae",
    ]  # fmt: skip
    ours.save(tmp_path / "b.keras")
    one, two = fusedlstm.load_model(tmp_path / "b.keras"), keras.models.load_model(tmp_path / "b.keras")
    expected = go_on(theirs)
    same(go_on(ours), expected)
    same(go_on(two), expected)
    same(go_on(one), ours.history.history)  # type: ignore[union-attr]
    for w, v, u in zip(ours.get_weights(), theirs.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(w, v, rtol=2e-3, atol=2e-5)
        np.testing.assert_array_equal(w, u)


def test_a_rate_that_changed_and_frozen_layers(keras: Any, tmp_path: Path) -> None:
    model = several_outputs(fusedlstm)
    model.layers[1].trainable = False
    trained(fusedlstm, model, fusedlstm.optimizers.Adam(0.01))
    model.optimizer.learning_rate = 0.003
    model.save(tmp_path / "a.keras")
    theirs, ours = keras.models.load_model(tmp_path / "a.keras"), fusedlstm.load_model(tmp_path / "a.keras")
    assert ours.optimizer is not None
    assert ours.optimizer.learning_rate == 0.003
    assert float(theirs.optimizer.learning_rate) == pytest.approx(0.003)
    assert int(theirs.optimizer.iterations) == 4
    same(go_on(theirs), go_on(ours))


def test_moving_averages(keras: Any, tmp_path: Path) -> None:
    """On JAX, Keras does not train on after `fit` with them."""
    model = several_outputs(fusedlstm)
    optimizer = fusedlstm.optimizers.RMSprop(0.01, momentum=0.9, use_ema=True, ema_overwrite_frequency=3)
    trained(fusedlstm, model, optimizer)
    model.save(tmp_path / "a.keras")
    theirs = keras.models.load_model(tmp_path / "a.keras").optimizer
    arrays = arrays_of(optimizer, model.trainable_weights)
    names = [variable.path.rpartition("_")[2] for variable in theirs.variables[2:]]
    count = len(model.trainable_weights)
    assert names == ["average"] * count + ["velocity"] * count + ["momentum"] * count
    for variable, array in zip(theirs.variables, arrays, strict=True):
        np.testing.assert_allclose(np.asarray(variable), array, rtol=1e-6)
    read = fusedlstm.load_model(tmp_path / "a.keras").optimizer
    assert read is not None
    for one, other in zip(read.variables, optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_compiled_only(keras: Any, tmp_path: Path) -> None:
    """A model that has made no update has no arrays of an optimizer in its file."""
    for k, name in ((keras, "a.keras"), (fusedlstm, "b.keras")):
        model = two_inputs(k)
        model.compile(k.optimizers.Adam(0.02), "mse")
        model.save(tmp_path / name)
        read = fusedlstm.load_model(tmp_path / name)
        assert read.optimizer is not None
        assert read.optimizer.iterations == 0
        assert read.optimizer.learning_rate == pytest.approx(0.02)
        keras.models.load_model(tmp_path / name)
        assert fusedlstm.load_model(tmp_path / name, compile=False).optimizer is None


def test_without_the_optimizer(tmp_path: Path) -> None:
    model = several_outputs(fusedlstm)
    trained(fusedlstm, model, "adam")
    for ending in (".keras", ".safetensors"):
        path = tmp_path / f"a{ending}"
        fusedlstm.io.save_model(model, path, include_optimizer=False)
        assert fusedlstm.load_model(path).optimizer is None
        model.save(path)
        assert fusedlstm.load_model(path).optimizer is not None
        assert fusedlstm.load_model(path, compile=False).optimizer is None


def both(module: Any, theirs: Any) -> list[str]:
    """Return the names of the classes that both have."""
    return [name for name in module.REGISTRY.classes if hasattr(theirs, name)]


def test_all_losses_and_metrics(keras: Any) -> None:
    """The description of each is read by the other, to one of the same description."""
    for module, kind in ((losses, "loss"), (metrics, "metrics")):
        theirs = keras.losses if kind == "loss" else keras.metrics
        names = [name for name in both(module, theirs) if name not in ("Loss", "Metric")]
        assert len(names) > 5
        for name in names:
            options: dict[str, Any] = {"beta": 2.0} if name == "FBetaScore" else {}
            model = two_inputs(fusedlstm)
            ours = getattr(module, name)(**options)
            given = {"loss": ours} if kind == "loss" else {"loss": "mse", "metrics": [ours]}
            model.compile("sgd", **given)
            described = compile_config(model)
            part = described["loss"] if kind == "loss" else described["metrics"][0]
            made = keras.saving.deserialize_keras_object(part)
            assert type(made) is getattr(theirs, name), name
            back = {**described, "optimizer": "sgd"}
            serialized = keras.saving.serialize_keras_object(getattr(theirs, name)(**options))
            back[kind] = serialized if kind == "loss" else [serialized]
            compile_from_config(model, json.loads(json.dumps(back)), {})
            again = compile_config(model)
            assert (again["loss"] if kind == "loss" else again["metrics"][0]) == part, name


# ---- names that are not known here ----


class Mine(losses.MeanSquaredError):
    """A loss of the user."""


class Doubled(layers.Layer):
    """A layer of the user, under the name of a class of Keras's user."""

    def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape: Any) -> None:
        self.shift = self.add_weight(input_shape[-1:], "zeros", "shift")
        super().build(input_shape)

    def forward(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002
        return x * self.factor + self.shift.value, None

    def backprop(self, saved: Any, dy: Any, gradients: Any, need_dx: bool = True) -> Any:  # noqa: ARG002
        gradients.add(self.shift, dy.sum(axis=0))
        return dy * self.factor


def test_custom_losses_and_metrics(keras: Any, tmp_path: Path) -> None:
    def odd(y: Any, p: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(y - p))

    theirs = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    theirs.compile("sgd", loss=odd, metrics=[odd])
    theirs.save(tmp_path / "a.keras")
    with pytest.raises(
        ValueError, match=r"a\.keras: loss: expected one of .* got 'odd'; load it with compile=False"
    ):
        fusedlstm.load_model(tmp_path / "a.keras")
    assert fusedlstm.load_model(tmp_path / "a.keras", compile=False).optimizer is None
    with pytest.raises(ValueError, match="loss: expected"):
        fusedlstm.load_model(tmp_path / "a.keras", {"odd": 1})
    ours = fusedlstm.Sequential([layers.Input((3,)), layers.Dense(1)])
    ours.compile("sgd", Mine(), metrics=[metrics.BinaryAccuracy(threshold=0.3)])
    ours.save(tmp_path / "b.keras")
    with pytest.raises(ValueError, match=r"b\.keras: loss: expected a class of keras\.losses, got 'Mine'"):
        fusedlstm.load_model(tmp_path / "b.keras")
    for given in (Mine, Mine(name="other")):
        read = fusedlstm.load_model(tmp_path / "b.keras", {"Mine": given})
        assert type(read.loss) is Mine
        assert read.metrics[0].get_config() == {"name": "binary_accuracy", "threshold": 0.3}


def test_custom_layers(keras: Any, tmp_path: Path) -> None:
    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.factor = factor

        def build(self, input_shape: Any) -> None:
            self.shift = self.add_weight(shape=input_shape[-1:], initializer="ones", name="shift")

        def call(self, x: Any) -> Any:
            return x * self.factor + self.shift

        def get_config(self) -> Any:
            return {**super().get_config(), "factor": self.factor}

    x = keras.Input((3,))
    theirs = keras.Model(x, Twice(3.0)(keras.layers.Dense(2)(x)))
    theirs.save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match=r"layer 'twice': expected a class of keras\.layers, got 'Twice'"):
        fusedlstm.load_model(tmp_path / "a.keras")
    ours = fusedlstm.load_model(tmp_path / "a.keras", {"Twice": Doubled})
    data = numbers(4, 3)
    np.testing.assert_allclose(ours.predict(data, verbose=0), np.asarray(theirs(data)), rtol=1e-5, atol=1e-6)


def changed(
    path: Path, change: Callable[[Any], object] | None, other: Callable[[Any], object] | None
) -> None:
    """Change the description, or the arrays, of a file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if change is not None:
        config = json.loads(parts["config.json"])
        change(config["compile_config"])
        parts["config.json"] = json.dumps(config).encode()
    if other is not None:
        inner = path.with_suffix(".h5")
        inner.write_bytes(parts["model.weights.h5"])
        with h5py.File(inner, "a") as file:
            other(file["optimizer/vars"])
        parts["model.weights.h5"] = inner.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def replaced(group: Any, name: str, value: Any) -> None:
    del group[name]
    group[name] = value


DESCRIPTIONS: dict[str, tuple[Callable[[Any], object], str]] = {
    "optimizer": (
        lambda c: c["optimizer"].update(class_name="Muon"),
        "optimizer: expected one of .* got 'Muon'",
    ),
    "module": (
        lambda c: c["optimizer"].update(module="os"),
        "optimizer: expected a class of keras.optimizers",
    ),
    "argument": (
        lambda c: c["optimizer"]["config"].update(gradient_accumulation_steps=4),
        "optimizer: Adam: gradient_accumulation_steps: expected None, got 4",
    ),
    "unknown": (lambda c: c["optimizer"]["config"].update(wings=2), "Adam: wings: expected none, got 2"),
    "range": (lambda c: c["optimizer"]["config"].update(beta_1=7), "beta_1: expected"),
    "loss": (lambda c: c.update(loss=["mse", "mean_error"]), "loss: expected one of .* got 'mean_error'"),
    "outputs": (lambda c: c.update(loss=["mse"] * 3), "loss: expected a list of 2, .* got 3"),
    "names": (lambda c: c.update(loss={"x": "mse"}), r"loss: expected the names \['level', 'kind'\], got"),
    "metric": (lambda c: c.update(metrics=[["mae"], [{"class_name": []}]]), "metrics: "),
    "weights": (lambda c: c.update(loss_weights=["x", 1.0]), "loss_weights: expected a number, got 'x'"),
}
ARRAYS: dict[str, tuple[Callable[[Any], object], str]] = {
    "missing": (lambda g: g.__delitem__("5"), "expected 22 arrays of the optimizer, .* found 21"),
    "shape": (
        lambda g: replaced(g, "3", np.zeros(7, "f4")),
        r"optimizer/vars/3 of shape \(4, 20\) in float32",
    ),
    "type": (
        lambda g: replaced(g, "0", np.float32(3)),
        "optimizer/vars/0 of shape .* in int32 or int64, found",
    ),
    "group": (lambda g: (g.__delitem__("4"), g.create_group("4")), "found another thing at b'4'"),
    "name": (lambda g: g.move("6", "x"), "by their numbers, found none at b'6'"),
    "link": (lambda g: replaced(g, "6", h5py.SoftLink("/optimizer/vars/5")), "found none at b'6'"),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    model = several_outputs(fusedlstm)
    trained(fusedlstm, model, "adam")
    path = tmp_path_factory.mktemp("files") / "a.keras"
    model.save(path)
    content: bytes = path.read_bytes()
    return content


@pytest.mark.parametrize("name", [*DESCRIPTIONS, *ARRAYS])
def test_files_that_must_be_refused(tmp_path: Path, file: bytes, name: str) -> None:
    path = tmp_path / "a.keras"
    path.write_bytes(file)
    changed(path, None, None)
    fusedlstm.load_model(path)
    change, message = {**DESCRIPTIONS, **ARRAYS}[name]
    changed(path, change if name in DESCRIPTIONS else None, None if name in DESCRIPTIONS else change)
    with pytest.raises(ValueError, match=message) as caught:
        fusedlstm.load_model(path)
    assert str(caught.value).startswith(str(path))
    fusedlstm.load_model(path, compile=False)


# ---- models like others ----


@pytest.mark.parametrize("make", [two_inputs, several_outputs])
def test_clones(make: Callable[[Any], Any]) -> None:
    model = make(fusedlstm)
    before = copy.deepcopy(model.get_weights())
    made = models.clone_model(model)
    assert made.get_config() == model.get_config()
    assert made.layers[-1] is not model.layers[-1]
    made.set_weights([weight + 1 for weight in before])
    for w, v in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(w, v)


def test_clones_by_a_function() -> None:
    model = fusedlstm.Sequential([layers.Input((T, F)), layers.LSTM(3), layers.Dense(2, "tanh")])

    def other(layer: Any) -> Any:
        return (
            layers.Dense(5, name="wide")
            if isinstance(layer, layers.Dense)
            else type(layer).from_config(layer.get_config())
        )

    made = models.clone_model(model, clone_function=other)
    assert made.output_shape == (None, 5)
    assert model.output_shape == (None, 2)
    with pytest.raises(TypeError, match="clone_function: expected a layer, got None"):
        models.clone_model(model, clone_function=lambda layer: None)  # type: ignore[arg-type, return-value]  # noqa: ARG005
    with pytest.raises(TypeError, match="model: expected a model"):
        models.clone_model(layers.Dense(3))  # type: ignore[arg-type]


def test_texts(keras: Any) -> None:
    model = several_outputs(fusedlstm)
    read = models.model_from_json(model.to_json())
    assert read.to_json() == model.to_json()
    theirs = keras.models.model_from_json(model.to_json())
    assert [layer.name for layer in theirs.layers] == [layer.name for layer in model.layers]
    assert models.model_from_json(theirs.to_json()).output_shape == model.output_shape
    with pytest.raises(ValueError, match="text: expected JSON"):
        models.model_from_json("{")
