"""Models that are graphs: to Keras and from it, in files and in memory, with equal outputs."""

from __future__ import annotations

import copy
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers
from fusedlstm.exchange.keras_config import config_of, model_from_config
from tests.exchange.keras.test_trained_graphs import CASES, F, T, numbers, pair, translation, twice
from tests.refused import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore")


def dicts(k: Any) -> Any:
    """Call a model of dicts twice, within one of lists."""
    a, b = k.Input((T, F), name="a"), k.Input((T, F), name="b")
    y = k.layers.LSTM(F, return_sequences=True)(k.layers.add([a, b]))
    inner = k.Model({"a": a, "b": b}, {"x": y, "y": a}, name="inner")
    p, q = k.Input((T, F), name="p"), k.Input((T, F), name="q")
    return k.Model(
        [p, q], [inner({"a": p, "b": q})["y"], inner({"a": q, "b": inner({"a": p, "b": q})["x"]})["x"]]
    )


def masks(k: Any) -> Any:
    """Let masks travel through merges and models, with a branch that is deeper than these without them."""
    a, b = k.Input((T, F), name="a"), k.Input((T, F), name="b")
    x, y = k.layers.Masking()(a), k.layers.Masking(2.0)(b)
    merged = [
        k.layers.add([x, y]),
        *(merge([x, y]) for merge in (k.layers.multiply, k.layers.maximum, k.layers.minimum)),
        k.layers.multiply([b, x]),
        k.layers.maximum([x, b, y]),
        k.layers.minimum([b, x, k.layers.Dense(1)(y)]),
        k.layers.concatenate([x, y]),
        k.layers.Concatenate(axis=1)([x, y]),
        k.layers.Concatenate(axis=1)([x, b]),
    ]
    inner = k.Sequential([k.Input((T, F)), k.layers.Masking(), k.layers.LSTM(3, return_sequences=True)])
    start = k.Input((T, F))
    model = k.Model(start, k.layers.LSTM(3, return_sequences=True)(k.layers.Masking()(start)))
    mean = k.layers.GlobalAveragePooling1D()(k.layers.TimeDistributed(k.layers.Dense(2))(x))
    deep = k.layers.LSTM(2)(b)
    for _ in range(3):
        deep = k.layers.Dense(2)(deep)
    ends = [*merged, inner(a), model(a), model(x), k.layers.Dropout(0.1)(x)]
    return k.Model([a, b], [*(k.layers.LSTM(2)(end) for end in ends), mean, deep])


def given(k: Any) -> Any:
    """Take a mask as an input, and states from another call of the same layer."""
    a, real = k.Input((T, F), name="a"), k.Input((T,), dtype="bool", name="real")
    lstm = k.layers.LSTM(3, return_sequences=True, return_state=True)
    _, h, c = lstm(a, mask=real)
    y, h, c = lstm(a, initial_state=[h, c])
    return k.Model([a, real], {"y": k.layers.Dense(2)(y), "h": h, "c": c})


def same_input(k: Any) -> Any:
    """Use an input in a model and in one within it."""
    a, c = k.Input((T, F)), k.Input((3,))
    encoder = k.Model(a, k.layers.LSTM(3)(a))
    decoder = k.Model(c, k.layers.LSTM(F, return_sequences=True)(k.layers.RepeatVector(T)(c)))
    return k.Model(a, decoder(encoder(a)))


def padded() -> list[Any]:
    one, two = numbers(20, T, F), numbers(20, T, F)[::-1].copy()
    one[:, 2:4] = 0
    two[1:3, 4:] = 2
    return [one, two]


MORE: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "dicts": (dicts, padded),
    "masks": (masks, padded),
    "given": (given, lambda: [numbers(20, T, F), np.random.default_rng(3).random((20, T)) < 0.7]),
    "same input": (same_input, lambda: numbers(20, T, F)),
}
ALL = {**{name: case[:2] for name, case in CASES.items()}, **MORE}


def flat(outputs: Any) -> Any:
    if isinstance(outputs, dict):
        outputs = [outputs[name] for name in sorted(outputs)]
    return np.concatenate([np.ravel(one) for one in (outputs if isinstance(outputs, list) else [outputs])])


@pytest.mark.parametrize("name", ALL)
def test_to_keras_and_back(keras: Any, tmp_path: Path, name: str) -> None:
    make, inputs = ALL[name]
    theirs, ours = pair(make)
    x = inputs()
    expected = flat(theirs.predict(x, verbose=0))
    one, two, weights = tmp_path / "one.keras", tmp_path / "two.keras", tmp_path / "x.weights.h5"
    theirs.save(one)
    ours.save(two)
    read = fusedlstm.load_model(one)
    read.save(one)
    again = fusedlstm.load_model(two)
    for model in (read, again, fusedlstm.from_keras(theirs)):
        np.testing.assert_allclose(flat(model.predict(x, verbose=0)), expected, rtol=1e-4, atol=1e-5)
        kinds = [type(layer).__name__.replace("Functional", "Model") for layer in theirs.layers]
        assert [type(layer).__name__ for layer in model.layers] == kinds
    for model in (keras.models.load_model(one), keras.models.load_model(two), fusedlstm.to_keras(ours)):
        np.testing.assert_allclose(flat(model(x)), expected, rtol=1e-4, atol=1e-5)
    assert config_of(again) == config_of(ours)
    for source, target in ((theirs, ours), (ours, theirs)):
        changed = [2 * weight for weight in source.get_weights()]
        source.set_weights(changed)
        source.save_weights(weights)
        target.load_weights(weights)
        for w, v in zip(target.get_weights(), changed, strict=True):
            np.testing.assert_array_equal(w, v)


def test_frozen_and_training(keras: Any, tmp_path: Path) -> None:
    x = fusedlstm.Input((T, F))
    lstm = layers.LSTM(3, name="frozen", trainable=False)
    inner = fusedlstm.Model(x, layers.Dropout(0.5, name="drop")(lstm(x), training=True), name="inner")
    start = fusedlstm.Input((T, F))
    model = fusedlstm.Model(start, layers.Dense(1)(inner(start)), name="outer")
    model.save(tmp_path / "a.keras")
    theirs = keras.models.load_model(tmp_path / "a.keras")
    theirs.save(tmp_path / "b.keras")
    for name in ("a.keras", "b.keras"):
        read: Any = fusedlstm.load_model(tmp_path / name)
        assert read.name == "outer"
        assert [layer.trainable for layer in read.get_layer("inner").layers] == [True, False, True]
        assert [call.training for call in read.get_layer("inner").graph.calls] == [False, False, True]
    assert [layer.trainable for layer in theirs.get_layer("inner").layers] == [True, False, True]


def test_layers_that_models_share_are_not_written(tmp_path: Path) -> None:
    """Keras does not read its own files of such models."""
    x, lstm = fusedlstm.Input((T, F)), layers.LSTM(3, name="shared")
    inner = fusedlstm.Model(x, lstm(x))
    start = fusedlstm.Input((T, F))
    model = fusedlstm.Model(start, layers.add([inner(start), lstm(start)]))
    with pytest.raises(
        ValueError, match=r"layer 'shared' \(LSTM\): expected it in one model, .* got it in two"
    ):
        model.save(tmp_path / "a.keras")
    assert not list(tmp_path.iterdir())


# ---- what must be refused ----


def item(config: Any, name: str) -> Any:
    return next(one for one in config["config"]["layers"] if one["name"] == name)


def call(config: Any, name: str) -> Any:
    return item(config, name)["inbound_nodes"][0]


def history(config: Any, name: str) -> Any:
    return call(config, name)["args"][0]["config"]["keras_history"]


REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    "no layer": (lambda c: history(c, "chars").__setitem__(0, "x"), r"layer 'chars': .*got \['x', 0\]"),
    "no node": (
        lambda c: history(c, "chars").__setitem__(1, 3),
        "layer 'chars': .*expected a node of the model",
    ),
    "before": (
        lambda c: history(c, "chars").__setitem__(1, -1),
        "keras_history: expected numbers of at least 0",
    ),
    "no output": (
        lambda c: history(c, "chars").__setitem__(2, 3),
        "layer 'chars': .*an output among 3 of a no",
    ),
    "no number": (
        lambda c: history(c, "chars").__setitem__(1, True),
        "expected a layer's name and two numbers",
    ),
    "cycle": (
        lambda c: call(c, "decoder")["kwargs"].update(initial_state=[call(c, "chars")["args"][0]] * 2),
        r"expected a graph without cycles, got one of the layers \['decoder'\]",
    ),
    "states": (
        lambda c: call(c, "decoder")["kwargs"]["initial_state"].pop(),
        r"layer 'decoder': inbound_nodes\[0\]: initial_state: expected shapes .* got",
    ),
    "training": (
        lambda c: call(c, "decoder")["kwargs"].update(training=1),
        "layer 'decoder': .*training: expected true, false or null, got 1",
    ),
    "argument": (
        lambda c: call(c, "chars")["kwargs"].update(initial_state=None),
        r"layer 'chars': .*expected the arguments \['mask', 'training'\], got 'initial_state'",
    ),
    "mask": (
        lambda c: call(c, "chars")["kwargs"].update(mask=call(c, "chars")["args"][0]),
        "layer 'chars': .*mask: expected none for layer chars",
    ),
    "array": (
        lambda c: call(c, "chars")["args"].__setitem__(0, [[1.0]]),
        "layer 'chars': .* got 1.0|in one list",
    ),
    "name": (lambda c: item(c, "chars").update(name="x"), "name: expected 'chars' as in its config, got 'x'"),
    "twice": (
        lambda c: c["config"]["layers"].append(item(c, "chars")),
        "different names .* got 'chars' twice",
    ),
    "output": (lambda c: c["config"]["output_layers"].__setitem__(0, "x"), "expected an output among 0"),
    "input": (
        lambda c: c["config"].update(input_layers=[["source", 0, 0]]),
        "expected all that the outputs hang",
    ),
    "none": (
        lambda c: c["config"].update(input_layers=None),
        "input_layers: expected lists of a layer and two",
    ),
    "class": (
        lambda c: item(c, "chars").update(class_name="GRU"),
        "layer 'chars': expected one of the classes",
    ),
    "operation": (
        lambda c: item(c, "chars").update(module="keras.src.ops.numpy", class_name="Exp"),
        "layer 5|class_name: expected one of .* got 'Exp'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_graphs_that_must_be_refused(name: str) -> None:
    change, message = REFUSED[name]
    config = copy.deepcopy(config_of(translation(fusedlstm)))
    model_from_config(config)
    change(config)
    with pytest.raises(ValueError, match=message):
        model_from_config(config)


def test_masks_of_others_are_refused(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((T, F))
    y = keras.layers.LSTM(2)(x, mask=keras.ops.any(keras.ops.not_equal(x, 3.0), axis=-1))
    keras.Model(x, y).save(tmp_path / "a.keras")
    with pytest.raises(
        ValueError, match=r"layer 'lstm.*': .*mask: expected the one that travels with the input"
    ):
        fusedlstm.load_model(tmp_path / "a.keras")


@pytest.mark.parametrize("kind", ["dense", "empty", "steps"])
def test_models_that_double_at_each_level(tmp_path: Path, kind: str) -> None:
    """A short text of models within models would be millions of calls, at once or for shapes of steps."""
    levels = 17 if kind == "steps" else 25
    x = fusedlstm.Input((3,), name="x")
    described = first = config_of(fusedlstm.Model(x, x if kind == "empty" else layers.Dense(3)(x), name="m"))
    for level in range(levels):
        shape = [None, *[3] * (level + 2 if kind == "steps" else 1)]
        start = layers.InputLayer(batch_shape=shape, dtype="float32", name="x")
        inner = {
            "module": "keras.layers",
            "class_name": "TimeDistributed",
            "config": {"name": "m", "layer": described},
        }
        within = {**(inner if kind == "steps" else described), "name": "m"}
        within["inbound_nodes"] = [{"args": [_tensor(name)], "kwargs": {}} for name in ("x", "m")]
        item = {"module": "keras.layers", "class_name": "InputLayer", "config": start.get_config()}
        config = {
            "name": "m",
            "layers": [{**item, "name": "x", "inbound_nodes": []}, within],
            "input_layers": ["x", 0, 0],
            "output_layers": ["m", 1 if kind == "steps" else 2, 0],
        }
        described = {**first, "config": config}
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(described))
        archive.writestr("model.weights.h5", _weights(tmp_path))
    refused(
        lambda: fusedlstm.load_model(path), r"a\.keras: .*calls? of (a layer|layers): expected a description"
    )


def _tensor(name: str) -> Any:
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 3], "dtype": "float32", "keras_history": [name, 0, 0]},
    }


def _weights(tmp_path: Path) -> bytes:
    model = fusedlstm.Sequential([fusedlstm.Input((3,)), layers.Dense(3)])
    model.save_weights(tmp_path / "a.weights.h5")
    return (tmp_path / "a.weights.h5").read_bytes()


def test_a_chain_within_a_graph_within_a_chain() -> None:
    """Descriptions say the same after a way through them."""
    described = config_of(twice(fusedlstm))
    assert config_of(model_from_config(described)) == described
