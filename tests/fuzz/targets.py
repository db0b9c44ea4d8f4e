"""The loaders, what they are given unharmed, and how it is changed."""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fusedlstm
from fusedlstm import exchange, io, layers, losses, optimizers
from fusedlstm.base import limits
from fusedlstm.datasets.idx import read_idx, write_idx
from fusedlstm.datasets.mnist import SUBSET_FOLDER
from fusedlstm.exchange.keras_config import config_of, model_from_config
from tests.fuzz import archives, graphs, hdf5, idx, states, tensors, trees
from tests.fuzz.damage import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["TARGETS", "Target"]

FIXTURES = Path(__file__).parent.parent / "fixtures"


@dataclass(frozen=True)
class Target:
    """A loader.

    Attributes
    ----------
    corpus : callable
        Returns unharmed inputs.
    mutators : mapping of str to callable
        Each makes another input of a random generator, one of the corpus, and the corpus.
    load : callable
        Loads an input, files by way of the given path.
    ending : str
        Of the file's name.
    allowed : tuple of exception classes
        Those that a changed input may raise.
    """

    corpus: Callable[[], Sequence[Any]]
    mutators: Mapping[str, Callable[[np.random.Generator, Any, Sequence[Any]], Any]]
    load: Callable[[Any, Path], object]
    ending: str = ""
    allowed: tuple[type[Exception], ...] = (ValueError, OSError)


def _of_file(load: Callable[[Path], object]) -> Callable[[Any, Path], object]:
    def written_and_loaded(content: bytes, path: Path) -> object:
        path.write_bytes(content)
        return load(path)

    return written_and_loaded


def _models() -> list[fusedlstm.Model]:
    """Return models with, together, every layer and most options."""
    fusedlstm.utils.set_random_seed(1)
    many = [
        layers.Masking(-1.0),
        layers.GaussianNoise(0.1, seed=2),
        layers.SpatialDropout1D(0.2),
        layers.TimeDistributed(layers.Dense(4, activation="relu", kernel_regularizer="l2")),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum"),
        layers.LayerNormalization(),
        layers.StackedLSTM([3, 2], between_dropout=0.1, return_sequences=True),
        layers.LSTM(
            4, return_sequences=True, use_peepholes=True, layer_norm=True, projection_units=2, seed=5
        ),
        layers.Permute((2, 1)),
        layers.Reshape((5, 2)),
        layers.GlobalMaxPooling1D(),
        layers.RepeatVector(2),
        layers.LSTM(
            2,
            kernel_constraint="max_norm",
            recurrent_initializer={"class_name": "Orthogonal", "config": {"gain": 0.5, "seed": 3}},
        ),
        layers.Dense(2),
        layers.Activation("softmax"),
    ]
    compiled = fusedlstm.Sequential([layers.Input((5, 3)), *many])
    compiled.compile(
        optimizers.Adam(optimizers.schedules.CosineDecay(0.1, 10)),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )
    compiled.fit(np.ones((4, 5, 3)), np.eye(2)[[0, 1, 0, 1]], verbose=0)
    text = fusedlstm.Sequential(
        [
            layers.Input((6,)),
            layers.Embedding(9, 4, mask_zero=True),
            layers.Dropout(0.1),
            layers.LSTM(3),
            layers.Flatten(),
        ]
    )
    text.compile("sgd", losses.MeanSquaredError())
    plain = fusedlstm.Sequential(
        [layers.Input((None, 2)), layers.LSTM(3, dtype="float64"), layers.Dense(1, dtype="float64")]
    )
    return [compiled, text, plain]


def _in_keras() -> list[fusedlstm.Model]:
    """Return models of layers and options that Keras has."""
    stack = fusedlstm.Sequential(
        [
            layers.Input((5, 3)),
            layers.Masking(-1.0),
            layers.TimeDistributed(layers.Dense(4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True, kernel_regularizer="l2")),
            layers.LayerNormalization(),
            layers.LSTM(2, bias_constraint="max_norm", dropout=0.1, seed=3),
            layers.Dense(2, "softmax"),
        ]
    )
    text, part = fusedlstm.Input((4,), dtype="int32", name="text"), fusedlstm.Input((4, 3), name="part")
    inner = fusedlstm.Model(part, [layers.Dense(3)(part), part], name="inner")
    start = fusedlstm.Input((4, 3), name="start")
    lstm = layers.LSTM(3, return_sequences=True, return_state=True)
    first, *states = lstm(layers.Embedding(5, 3, mask_zero=True)(text))
    second, *_ = lstm(inner(start)[0], initial_state=states)
    ends = [layers.Dense(2)(layers.add([first, second])), inner(first)[1]]
    graph = fusedlstm.Model({"text": text, "start": start}, ends)
    graph.compile(
        optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
        [losses.MeanSquaredError(), "mae"],
        loss_weights=[1.0, 0.5],
        metrics=[["accuracy"], []],
    )
    x, y = {"text": np.ones((4, 4)), "start": np.ones((4, 4, 3))}, [np.ones((4, 4, 2)), np.ones((4, 4, 3))]
    graph.fit(x, y, verbose=0)
    return [stack, graph]


def _written(models: Sequence[Any], ending: str, write: Callable[[Any, Path], object]) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{ending}"
        contents = []
        for model in models:
            write(model, path)
            contents.append(path.read_bytes())
        return contents


@cache
def _keras_files() -> list[bytes]:
    names = ("stack", "double", "noisy", "pooled", "repeated", "reshaped", "text")
    theirs = [(FIXTURES / f"{name}.keras").read_bytes() for name in names]
    return theirs + _written(_in_keras(), ".keras", io.save_model)


@cache
def _own_files() -> list[bytes]:
    return _written(_models(), ".safetensors", io.save_model)


@cache
def _keras_descriptions() -> list[Any]:
    import json
    import zipfile

    with tempfile.TemporaryDirectory() as folder:
        result = [config_of(model) for model in _in_keras()]
        for content in _keras_files():
            path = Path(folder) / "x.keras"
            path.write_bytes(content)
            with zipfile.ZipFile(path) as archive:
                result.append(json.loads(archive.read("config.json")))
        return result


@cache
def _own_descriptions() -> list[Any]:
    return [model.get_config() for model in _models()]


@cache
def _weights() -> list[bytes]:
    ours = _written([_weights_model()], ".weights.h5", exchange.save_keras_weights)
    return [(FIXTURES / "stack.weights.h5").read_bytes(), *ours]


@cache
def _weights_model() -> fusedlstm.Model:
    return fusedlstm.load_model(FIXTURES / "stack.keras")


@cache
def _onnx_files() -> list[bytes]:
    from tests.exchange.onnx import graphs as made

    theirs = [path.read_bytes() for path in sorted(FIXTURES.glob("*.onnx"))]
    models = [
        fusedlstm.Sequential(
            [
                layers.Input((5, 3)),
                layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode=mode),
                layers.LSTM(2, activation="relu", use_peepholes=True, go_backwards=True),
                layers.Dense(2, "softmax"),
            ]
        )
        for mode in ("concat", "ave")
    ]
    nodes = [
        made.lstm_model(
            made.lstm_arrays(given=("B", "P", "sequence_lens", "initial_h", "initial_c"), directions=2),
            direction="bidirectional",
        ).SerializeToString()
    ]
    made_here = _written([*models, *_graphs()], ".onnx", exchange.to_onnx)
    return theirs + made_here + nodes + _folding() + _pooling() + _indices() + _quantized(models[0])


def _quantized(model: fusedlstm.Sequential) -> list[bytes]:
    """Return graphs with weights of 8 bits, rounded for each column and in whole."""
    from tests.exchange.onnx import quantized as made

    model.quantize()
    arrays = made.node_arrays(given=("B", "sequence_lens"), directions=2, each_column=False, zero=True)
    node = made.node_model(arrays, direction="bidirectional")
    return [*_written([model], ".onnx", exchange.to_onnx), node.SerializeToString()]


def _graphs() -> list[fusedlstm.Model]:
    """Return a model with two inputs, shared layers, merges and states."""
    a, b = layers.Input((None, 3), name="a"), layers.Input((None, 3), name="b")
    encoder = layers.Bidirectional(layers.LSTM(2, return_sequences=True, return_state=True))
    (one, *states), (two, *_) = encoder(a), encoder(b)
    last, *_ = encoder(layers.Dense(3)(layers.concatenate([two, b])), initial_state=states)
    total = layers.LSTM(2)(layers.add([two, last]))
    return [fusedlstm.Model([a, b], [layers.dot([one, last], axes=2), layers.average([total, states[0]])])]


def _folding() -> list[bytes]:
    """Return a graph in which operators work on constants: they are computed when it is loaded."""
    from onnx import helper

    from tests.exchange.onnx import graphs as made

    two, x = np.asarray([2, 3], np.int64), np.ones((2, 3), np.float32)
    nodes = [
        helper.make_node("ConstantOfShape", ["two"], ["zeros"]),
        helper.make_node("Expand", ["one", "two"], ["ones"]),
        helper.make_node("Concat", ["zeros", "ones"], ["joined"], axis=0),
        helper.make_node("Transpose", ["joined"], ["turned"], perm=[1, 0]),
        helper.make_node("Shape", ["turned"], ["shape"]),
        helper.make_node("Gather", ["turned", "index"], ["part"], axis=1),
        helper.make_node("Slice", ["part", "from", "to"], ["piece"]),
        helper.make_node("Cast", ["index"], ["real"], to=1),
        helper.make_node("Unsqueeze", ["real", "from"], ["more"]),
        helper.make_node("Squeeze", ["more", "from"], ["less"]),
        helper.make_node("Reshape", ["joined", "flat"], ["row"]),
        helper.make_node("ReduceSum", ["row", "from"], ["sum"], keepdims=1),
        helper.make_node("Div", ["sum", "real"], ["share"]),
        helper.make_node("MatMul", ["x", "turned"], ["product"]),
        helper.make_node("Gemm", ["product", "joined", "less"], ["y"], alpha=0.5),
        helper.make_node("Where", ["test", "y", "share"], ["z"]),
        helper.make_node("Softmax", ["z"], ["out"], axis=-1),
    ]
    constants = {
        "two": two, "one": np.ones(1, np.float32), "index": two[:1] - 1, "flat": two[:1] - 3,
        "from": two[:1] - 2, "to": two[:1], "test": np.asarray([True]),
    }  # fmt: skip
    return [made.model_of(nodes, {"x": x}, ("out",), constants, 17).SerializeToString()]


def _pooling() -> list[bytes]:
    """Return a graph of constants with a branch, windows, repetitions and numbers of 16 bits."""
    from onnx import helper, numpy_helper

    from tests.exchange.onnx import graphs as made

    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7

    def branch(name: str, operator: str, constants: dict[str, Any]) -> Any:
        return helper.make_graph(
            [helper.make_node(operator, ["tiled", *constants], [f"{name} output"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name} output", 1, [None] * 3)],
            [numpy_helper.from_array(array, key) for key, array in constants.items()],
        )

    nodes = [
        helper.make_node("MaxPool", ["c"], ["max"], kernel_shape=[2], pads=[1, 0], strides=[2]),
        helper.make_node("AveragePool", ["c"], ["mean"], kernel_shape=[2], ceil_mode=1, dilations=[2]),
        helper.make_node("GlobalMaxPool", ["max"], ["largest"]),
        helper.make_node("GlobalAveragePool", ["mean"], ["middle"]),
        helper.make_node("Split", ["c", "sizes"], ["one", "two"], axis=2),
        helper.make_node("Cast", ["one"], ["half"], to=10),
        helper.make_node("Gelu", ["half"], ["gelu"], approximate="tanh"),
        helper.make_node("Erf", ["gelu"], ["erf"]),
        helper.make_node("Cast", ["erf"], ["whole"], to=1),
        helper.make_node("Tile", ["whole", "times"], ["tiled"]),
        helper.make_node(
            "If",
            ["yes"],
            ["chosen"],
            then_branch=branch("then", "Add", {"more": np.ones(1, np.float32)}),
            else_branch=branch("else", "Relu", {}),
        ),
        helper.make_node("Add", ["chosen", "largest"], ["sum"]),
        helper.make_node("Add", ["sum", "middle"], ["all"]),
        helper.make_node("Add", ["x", "all"], ["y"]),
    ]
    constants = {
        "c": x, "sizes": np.asarray([1, 3]), "times": np.asarray([1, 1, 4]), "yes": np.asarray([True])
    }  # fmt: skip
    return [made.model_of(nodes, {"x": x}, ["y"], constants).SerializeToString()]


def _indices() -> list[bytes]:
    """Return a graph of constants that are counted, sorted, chosen and normalized."""
    from onnx import helper

    from tests.exchange.onnx import graphs as made

    x = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
    nodes = [
        helper.make_node("Range", ["zero", "three", "one"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "ones"], ["column"]),
        helper.make_node("GatherND", ["c", "column"], ["rows"]),
        helper.make_node("TopK", ["rows", "two"], ["values", "places"], axis=1),
        helper.make_node("GatherElements", ["rows", "places"], ["chosen"], axis=1),
        helper.make_node("CumSum", ["chosen", "one"], ["sums"], exclusive=1, reverse=1),
        helper.make_node("BatchNormalization", ["sums", "v", "v", "v", "v"], ["normal"]),
        helper.make_node("PRelu", ["normal", "v"], ["sloped"]),
        helper.make_node("Reciprocal", ["sloped"], ["inverse"]),
        helper.make_node("ReduceProd", ["inverse", "ones"], ["product"]),
        helper.make_node("ArgMax", ["c"], ["most"], axis=1, keepdims=1),
        helper.make_node("Mod", ["most", "two"], ["rest"]),
        helper.make_node("Cast", ["rest"], ["real"], to=1),
        helper.make_node("Add", ["product", "real"], ["sum"]),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    constants = {
        "zero": np.asarray(0), "one": np.asarray(1), "three": np.asarray(3), "ones": np.asarray([1]),
        "two": np.asarray([2]), "c": x, "v": np.asarray([0.5, 2], np.float32),
    }  # fmt: skip
    return [made.model_of(nodes, {"x": x}, ["y"], constants, 18).SerializeToString()]


@cache
def _idx_files() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gz"
        write_idx(path, np.arange(3 * 28 * 28).astype(np.uint8).reshape(3, 28, 28))
        return [path.read_bytes(), (SUBSET_FOLDER / "t10k-images-idx3-ubyte.gz").read_bytes()]


@cache
def _states() -> list[dict[Any, Any]]:
    random = np.random.default_rng(0)

    def state(inputs: int, units: int, count: int, outputs: int | None, bias: bool) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        size = outputs or units
        for number in range(count):
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (4 * units, size if number else inputs),
                "weight_hh": (4 * units, size),
            }
            if bias:
                shapes.update(bias_ih=(4 * units,), bias_hh=(4 * units,))
            if outputs:
                shapes["weight_hr"] = (outputs, units)
            result |= {
                f"{name}_l{number}": random.standard_normal(shape).astype(np.float32)
                for name, shape in shapes.items()
            }
        return result

    return [state(3, 4, 2, None, True), state(2, 3, 1, None, False), state(3, 4, 3, 2, True)]


def _load_onnx(path: Path) -> object:
    model = exchange.from_onnx(path)
    repr(model)
    try:
        return model.sequential()
    except ValueError:
        return model.model()


def _described(make: Callable[[Any], object]) -> Callable[[Any, Path], object]:
    def made(description: Any, path: Path) -> object:
        del path
        with limits.reading(0):
            return make(description)

    return made


@cache
def _plain_idx_files() -> list[bytes]:
    return [gzip.decompress(content) for content in _idx_files()]


_TREE = {"tree": lambda random, tree, corpus: trees.changed_tree(random, tree)}  # noqa: ARG005

TARGETS: dict[str, Target] = {
    "keras": Target(
        _keras_files,
        {"bytes": damaged, "contents": archives.changed_contents, "structure": archives.changed_members},
        _of_file(fusedlstm.load_model),
        ".keras",
    ),
    "weights": Target(
        _weights,
        {"bytes": damaged, "structure": hdf5.changed_hdf5},
        _of_file(lambda path: _weights_model().load_weights(path)),
        ".weights.h5",
    ),
    "own": Target(
        _own_files,
        {"bytes": damaged, "header": tensors.changed_header, "contents": tensors.signed_anew},
        _of_file(fusedlstm.load_model),
        ".safetensors",
    ),
    "onnx": Target(
        _onnx_files,
        {"bytes": damaged, "contents": graphs.changed_fields, "structure": graphs.changed_graph},
        _of_file(_load_onnx),
        ".onnx",
    ),
    "gzip": Target(
        _idx_files,
        {"bytes": damaged, "contents": idx.changed_header, "structure": idx.compressed_anew},
        _of_file(lambda path: read_idx(path, ndim=3)),
        ".gz",
    ),
    "idx": Target(
        _plain_idx_files,
        {"bytes": damaged, "contents": idx.changed_header},
        _of_file(lambda path: read_idx(path, ndim=3)),
        "-idx3-ubyte",
    ),
    "keras-config": Target(_keras_descriptions, _TREE, _described(model_from_config)),
    "own-config": Target(_own_descriptions, _TREE, _described(fusedlstm.Sequential.from_config)),
    "torch": Target(
        _states,
        {"structure": states.changed_state},
        lambda state, path: exchange.from_torch(state),  # noqa: ARG005
        allowed=(TypeError, ValueError),
    ),
}
