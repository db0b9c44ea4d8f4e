"""Models and weights from Keras 3 and back, by files and in memory.

The files in ``tests/fixtures`` are those of ``tests/tools/make_keras_fixtures.py``.
Most tests need h5py only.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import exchange, layers
from fusedlstm.testing import assert_close

if TYPE_CHECKING:
    from collections.abc import Callable

h5py: Any = pytest.importorskip("h5py")

FIXTURES = Path(__file__).parents[2] / "fixtures"
NAMES = ["stack", "double"]
EXPECTED = dict(np.load(FIXTURES / "keras.npz"))


def make_model(dtype: str = "float32") -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(4)
    return fusedlstm.Sequential(
        [
            layers.Input((None, 3)),
            layers.LSTM(6, return_sequences=True, dropout=0.1, dtype=dtype),
            layers.Dropout(0.3, seed=3, dtype=dtype),
            layers.LSTM(5, go_backwards=True, use_bias=False, dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(4, activation="relu", kernel_initializer="he_normal", dtype=dtype),
            layers.Dense(2, use_bias=False, dtype=dtype),
            layers.Activation("softmax", dtype=dtype),
        ],
        name="mine",
    )


def assert_equal_weights(model: Any, weights: list[Any]) -> None:
    for left, right in zip(model.get_weights(), weights, strict=True):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()


def weights_of(name: str) -> list[Any]:
    return [value for key, value in EXPECTED.items() if key.startswith(f"{name}/")]


# ---- files that Keras wrote ----


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_keras(name: str) -> None:
    model = fusedlstm.load_model(FIXTURES / f"{name}.keras")
    assert model.name == name
    assert model.optimizer is None
    if name == "stack":
        assert [layer.name for layer in model.layers][:2] == ["first", "dropout"]
        assert [layer.trainable for layer in model.layers] == [True] * 4 + [False] + [True] * 2
    assert_equal_weights(model, weights_of(name))
    expected = EXPECTED[name]
    got = model.predict(EXPECTED["x"], verbose=0)
    assert_close(got, expected, dtype=expected.dtype, terms=20, steps=16)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_keras(name: str) -> None:
    model = fusedlstm.load_model(FIXTURES / f"{name}.keras")
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    model.load_weights(FIXTURES / f"{name}.weights.h5")
    assert_equal_weights(model, weights_of(name))


def test_weights_are_converted_to_the_model() -> None:
    model = fusedlstm.Sequential([layers.Input((6, 3)), layers.LSTM(2)])
    model.load_weights(FIXTURES / "double.weights.h5")
    assert_equal_weights(model, [weight.astype(np.float32) for weight in weights_of("double")])


def test_a_loaded_model_trains() -> None:
    model = fusedlstm.load_model(FIXTURES / "stack.keras")
    model.compile("adam", "mean_squared_error")
    model.fit(EXPECTED["x"], np.zeros((4, 2), np.float32), verbose=0)


# ---- files of our own ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    model = make_model(dtype)
    model.save(tmp_path / "a.keras")
    loaded = fusedlstm.load_model(tmp_path / "a.keras")
    assert loaded.get_config() == model.get_config()
    assert_equal_weights(loaded, model.get_weights())
    loaded.save(tmp_path / "b.keras")
    assert (tmp_path / "b.keras").read_bytes() == (tmp_path / "a.keras").read_bytes()
    model.save_weights(tmp_path / "a.weights.h5")
    loaded.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    loaded.load_weights(tmp_path / "a.weights.h5")
    assert_equal_weights(loaded, model.get_weights())


def test_nothing_is_written_for_what_keras_does_not_have(tmp_path: Path) -> None:
    class MyLayer(layers.Activation):
        pass

    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.Sequential([layers.LSTM(3)]).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.Sequential([layers.LSTM(3)]).save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.Sequential([layers.LSTM(3)]).load_weights(FIXTURES / "double.weights.h5")
    with pytest.raises(ValueError, match=r"model: expected layers of the classes .*, got <MyLayer"):
        fusedlstm.Sequential([layers.Input((3,)), MyLayer("relu")]).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match=r"path: expected a file name that ends in \.weights\.h5, got"):
        make_model().save_weights(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"path: expected a file name that ends in \.keras, got"):
        exchange.save_keras(make_model(), tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


# ---- what must be refused ----


def rewritten(path: Path, change: Callable[[Any], object]) -> Path:
    """Write stack.keras with another config.json."""
    with zipfile.ZipFile(FIXTURES / "stack.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            target.writestr(name, content)
    return path


def item(config: Any, number: int) -> Any:
    return config["config"]["layers"][number]


def inside(name: str) -> Any:
    """Describe a TimeDistributed with a layer of some class inside."""
    config = {"batch_shape": [None, 3], "name": "deep"}
    layer = {"module": "keras.layers", "class_name": name, "config": config}
    return {
        "module": "keras.layers",
        "class_name": "TimeDistributed",
        "config": {"name": "outer", "layer": layer},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(class_name="Functional"), r"model: expected one of the classes \['Sequential'\]"),
        (lambda c: c.update(module="os"), "model: expected a class of keras, got 'Sequential' of 'os'"),
        (lambda c: c.pop("config"), "model: config: expected a dict, got NoneType"),
        (lambda c: c["config"].pop("layers"), "model: layers: expected a list, got NoneType"),
        (lambda c: c["config"]["layers"].append(3), "layer 8: expected Keras's description of an object"),
        (lambda c: item(c, 1).update(class_name="GRU"), "layer 'first': expected one of the classes .*'GRU'"),
        (lambda c: item(c, 1).update(class_name="Lambda"), "layer 'first': .* got 'Lambda'"),
        (
            lambda c: item(c, 1).update(module="builtins", registered_name="Custom>LSTM"),
            "layer 'first': expected a class of keras.layers, got 'LSTM' of 'builtins'",
        ),
        (
            lambda c: item(c, 1).update(registered_name="Custom>LSTM"),
            "layer 'first': expected a class of ker",
        ),
        (lambda c: item(c, 1)["config"].update(wings=2), r"layer 'first' \(LSTM\): wings: unknown argument"),
        (
            lambda c: item(c, 1)["config"].update(activation="gelu"),
            r"layer 'first' \(LSTM\): activation: expected one of",
        ),
        (
            lambda c: item(c, 1)["config"].update(activation={"class_name": "function", "config": "x"}),
            r"layer 'first' \(LSTM\): activation: expected one of",
        ),
        (lambda c: item(c, 0)["config"].update(ragged=True), "ragged: expected False, got True"),
        (lambda c: item(c, 1)["config"].update(units=0), r"layer 'first' \(LSTM\): units: expected"),
        (lambda c: item(c, 1)["config"].update(units=10**14), "stack.keras: "),
        (
            lambda c: item(c, 1)["config"]["dtype"]["config"].update(name="mixed_float16"),
            r"layer 'first' \(LSTM\): dtype: expected one of",
        ),
        (
            lambda c: item(c, 1)["config"]["kernel_initializer"].update(module="os", class_name="system"),
            "kernel_initializer: expected a class of keras.initializers, got 'system' of 'os'",
        ),
        (
            lambda c: item(c, 1)["config"]["kernel_initializer"].update(class_name="Identity"),
            r"layer 'first' \(LSTM\): kernel_initializer: expected one of",
        ),
        (
            lambda c: c["config"]["layers"].insert(1, inside("InputLayer")),
            r"layer 'deep': expected one of the classes .*got 'InputLayer'",
        ),
        (lambda c: item(c, 0)["config"].update(sparse=True), "layer 'input_layer'.*sparse: expected False"),
        (
            lambda c: item(c, 5)["config"].update(units=4),
            "expected layers for the .* numbers .*got dense",
        ),
        (lambda c: c["config"]["layers"].pop(6), "expected datasets .* found layers/dense_1/vars/0"),
        (
            lambda c: c["config"]["layers"].insert(6, item(c, 5)),
            "stack.keras: layer: expected different name",
        ),
    ],
)
def test_descriptions_that_must_be_refused(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = rewritten(tmp_path / "stack.keras", change)
    with pytest.raises(ValueError, match=message) as caught:
        fusedlstm.load_model(path)
    assert str(caught.value).startswith(str(path))


def delete_and_link(file: Any, link: Any) -> None:
    del file["layers/lstm/cell/vars/0"]
    file["layers/lstm/cell/vars/0"] = link


def replace(file: Any, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.__delitem__("layers"), r"expected datasets layers/dense/vars/0 of shape .*found none"),
        (lambda f: f.__delitem__("layers/dense/vars/1"), "expected datasets layers/dense/vars/1 of shape"),
        (lambda f: f.__setitem__("layers/dense/vars/2", [1.0]), "found layers/dense/vars/2"),
        (
            lambda f: replace(f, "layers/dense/vars/0", np.zeros((5, 4), "f4")),
            r"of shape \(5, 3\) in .*found",
        ),
        (
            lambda f: replace(f, "layers/dense/vars/1", np.zeros(3, "f2")),
            "float32 or float64, found .*float16",
        ),
        (lambda f: replace(f, "layers/dense/vars/1", "text"), r"float32 or float64, found \(\) of text"),
        (
            lambda f: replace(f, "layers/dense/vars/1", np.arange(3)),
            r"float32 or float64, found \(3,\) of integers",
        ),
        (
            lambda f: replace(f, "layers/dense/vars/1", np.ones(3, complex)),
            r"float32 or float64, found \(3,\) of compound values",
        ),
        (lambda f: delete_and_link(f, h5py.ExternalLink("/etc/x", "/y")), "found a link at layers/lstm/c"),
        (
            lambda f: delete_and_link(f, h5py.SoftLink("/layers/dense")),
            "found a link at layers/lstm/cell/v",
        ),
        (lambda f: f["layers"].__setitem__("circle", f["layers"]), "another name at layers/circle"),
    ],
)
def test_weights_that_must_be_refused(tmp_path: Path, change: Callable[[Any], object], message: str) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_bytes((FIXTURES / "stack.weights.h5").read_bytes())
    with h5py.File(path, "a") as file:
        change(file)
    model = fusedlstm.load_model(FIXTURES / "stack.keras")
    with pytest.raises(ValueError, match=message) as caught:
        model.load_weights(path)
    assert str(caught.value).startswith(str(path))
    assert_equal_weights(model, weights_of("stack"))


def test_numbers_of_other_files_are_not_read(tmp_path: Path) -> None:
    """Nor announced sizes believed."""
    secret, path = tmp_path / "secret", tmp_path / "a.weights.h5"
    secret.write_bytes(bytes(range(24)))
    model = fusedlstm.Sequential([layers.Input((3,)), layers.Dense(2, use_bias=False)])
    before = model.get_weights()
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (3, 2), "f4", external=[(str(secret), 0, 24)])
    with pytest.raises(ValueError, match="found a reference to another one"):
        model.load_weights(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (2**40, 2**20), "f4", chunks=True)
    with pytest.raises(ValueError, match=r"of shape \(3, 2\) in float32 or float64, found \(1099511627776"):
        model.load_weights(path)
    assert_equal_weights(model, before)


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["stack.keras", "stack.weights.h5"])
def test_truncated_files(tmp_path: Path, name: str, part: float) -> None:
    content = (FIXTURES / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * part)])
    model = fusedlstm.load_model(FIXTURES / "stack.keras")
    with pytest.raises(ValueError, match=f"{name}: expected a complete .* found"):
        fusedlstm.load_model(path) if name.endswith(".keras") else model.load_weights(path)
    assert_equal_weights(model, weights_of("stack"))


def test_damaged_archives(tmp_path: Path) -> None:
    content = (FIXTURES / "stack.keras").read_bytes()
    for position in range(0, len(content), 997):
        damaged = bytearray(content)
        damaged[position] ^= 16
        path = tmp_path / "a.keras"
        path.write_bytes(bytes(damaged))
        try:
            model = fusedlstm.load_model(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017  (damage of what is not read is no error)
        else:
            assert_equal_weights(model, weights_of("stack"))


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_incomplete_archives(tmp_path: Path, missing: str) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in {"config.json", "model.weights.h5"} - {missing}:
            archive.writestr(name, b"{}")
    (tmp_path / "a.keras").write_bytes(memory.getvalue())
    with pytest.raises(ValueError, match=rf"a\.keras: expected a complete \.keras file .*{missing}"):
        fusedlstm.load_model(tmp_path / "a.keras")


def test_missing_files() -> None:
    with pytest.raises(FileNotFoundError):
        fusedlstm.load_model("none.keras")
    with pytest.raises(FileNotFoundError):
        make_model().load_weights("none.weights.h5")


def test_without_h5py() -> None:
    code = f"""
import sys
sys.modules["h5py"] = None
import fusedlstm
try:
    fusedlstm.load_model({str(FIXTURES / "stack.keras")!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "fusedlstm[keras]"' in done.stdout


def test_no_model_of_keras() -> None:
    with pytest.raises(TypeError, match=r"model: expected a keras\.Sequential, got fusedlstm\.models"):
        fusedlstm.from_keras(make_model())


# ---- with Keras ----


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Keras and of its backend
        yield pytest.importorskip("keras")


@pytest.mark.filterwarnings("ignore")
def test_keras_reads_our_files(keras: Any, tmp_path: Path) -> None:
    model, x = make_model(), EXPECTED["x"]
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    theirs = keras.saving.load_model(tmp_path / "a.keras")
    assert theirs.name == "mine"
    assert_equal_weights(theirs, model.get_weights())
    assert np.allclose(np.asarray(theirs(x)), model(x), atol=1e-6)
    theirs.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    theirs.load_weights(tmp_path / "a.weights.h5")
    assert_equal_weights(theirs, model.get_weights())
    theirs.save(tmp_path / "b.keras")
    assert_equal_weights(fusedlstm.load_model(tmp_path / "b.keras"), model.get_weights())


@pytest.mark.filterwarnings("ignore")
def test_models_in_memory(keras: Any) -> None:
    model, x = make_model(), EXPECTED["x"]
    model.layers[0].trainable = False
    theirs = fusedlstm.to_keras(model)
    assert [layer.name for layer in theirs.layers] == [layer.name for layer in model.layers]
    assert [layer.trainable for layer in theirs.layers] == [layer.trainable for layer in model.layers]
    assert np.allclose(np.asarray(theirs(x)), model(x), atol=1e-6)
    again = fusedlstm.from_keras(theirs)
    assert again.get_config() == model.get_config()
    assert_equal_weights(again, model.get_weights())
    with pytest.raises(ValueError, match="model: expected a built model"):
        fusedlstm.from_keras(keras.Sequential([keras.layers.LSTM(3)]))
    with pytest.raises(ValueError, match=r"layer 'gru.*': expected one of the classes .* got 'GRU'"):
        fusedlstm.from_keras(keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(3)]))
    inputs = keras.Input((3,))
    with pytest.raises(TypeError, match=r"model: expected a keras\.Sequential, got keras\..*Functional"):
        fusedlstm.from_keras(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


@pytest.mark.filterwarnings("ignore")
def test_log_softmax(keras: Any) -> None:
    model = fusedlstm.Sequential([layers.Input((3,)), layers.Dense(4, activation="log_softmax")])
    theirs, x = fusedlstm.to_keras(model), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert theirs.layers[0].activation is keras.activations.log_softmax
    assert np.allclose(np.asarray(theirs(x)), model(x), atol=1e-6)
    assert fusedlstm.from_keras(theirs).get_config() == model.get_config()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("activation", "recurrent_activation"),
    [
        ("tanh", "sigmoid"),
        ("relu", "hard_sigmoid"),
        ("softsign", "sigmoid"),
        ("elu", "hard_sigmoid"),
        ("softplus", "sigmoid"),
        ("leaky_relu", "sigmoid"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
def test_options_and_masks_are_those_of_keras(
    keras: Any, activation: str, recurrent_activation: str, backwards: bool, zero_output: bool
) -> None:
    """Masked steps with holes, options of the cell, both orders: outputs of a model that comes from Keras."""
    random = np.random.default_rng(4)
    theirs = keras.Sequential(
        [
            keras.Input((7, 5)),
            keras.layers.Masking(),
            keras.layers.LSTM(
                6,
                activation=activation,
                recurrent_activation=recurrent_activation,
                return_sequences=True,
                go_backwards=backwards,
                zero_output_for_mask=zero_output,
                bias_initializer="random_normal",
            ),
        ]
    )
    x = random.normal(size=(9, 7, 5)).astype("float32")
    x[random.random((9, 7)) < 0.4] = 0
    ours = fusedlstm.from_keras(theirs)
    assert np.allclose(ours(x), np.asarray(theirs(x)), atol=1e-5)


def test_types_nested_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dtype of such a type takes time and memory by the square of its depth, so that none may be made."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    for _ in range(1500):
        kind = h5py.h5t.vlen_create(kind)
    with h5py.File(tmp_path / "a.weights.h5", "w", libver="latest") as file:
        kind.commit(file.id, b"kind")
        group = file.require_group("layers/dense/vars")
        for number in range(2):
            h5py.h5d.create(group.id, str(number).encode(), kind, h5py.h5s.create_simple((1,)))
    model = fusedlstm.Sequential([fusedlstm.Input((3,)), layers.Dense(1)])
    monkeypatch.setattr(h5py.Dataset, "dtype", property(lambda _: pytest.fail("a dtype was made")))
    with pytest.raises(ValueError, match="in float32 or float64, found"):
        model.load_weights(tmp_path / "a.weights.h5")
