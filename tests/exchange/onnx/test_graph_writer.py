"""`to_onnx` of models that are graphs: the same here, by this package's own runner and in ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import fusedlstm
from fusedlstm import Input, Model, Sequential, layers, utils

from .written import assert_equal, run_in_onnx_runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

B, T, F = 4, 6, 3
SIGNAL = np.random.default_rng(0).normal(size=(B, T, F)).astype("float32")
OTHER = np.random.default_rng(1).normal(size=(B, T, F)).astype("float32")
VECTOR = np.random.default_rng(2).normal(size=(B, F)).astype("float32")
WORDS = np.random.default_rng(3).integers(1, 5, (B, T))
PADDED, SHORT = WORDS.copy(), WORDS.copy()
for row, length in enumerate((6, 3, 1, 0)):
    PADDED[row, length:] = 0
    SHORT[row, max(0, length - 2) :] = 0


def signals() -> tuple[Any, Any]:
    return Input((None, F), name="a"), Input((None, F), name="b")


def merges() -> Model:
    a, b = signals()
    one, two = layers.LSTM(F, return_sequences=True)(a), layers.Dense(F, "tanh")(b)
    pairs: list[Any] = [layers.add, layers.subtract, layers.multiply, layers.average]
    pairs += [layers.maximum, layers.minimum]
    parts = [kind([one, two]) for kind in pairs]
    # Of values whose steps come first, and of more than two.
    turned = layers.LSTM(F, return_sequences=True)(b)
    parts += [layers.add([one, turned]), layers.add([one, two, a]), layers.multiply([one, turned, b])]
    parts += [layers.average([one, two, a]), layers.maximum([a, b, one]), layers.concatenate([one, turned])]
    return Model([a, b], [*parts, layers.concatenate([one, a, two], axis=1)])


def broadcast() -> Model:
    a, b = Input((T, F), name="a"), Input((F,), name="b")
    y = layers.LSTM(F, return_sequences=True)(a)
    return Model({"a": a, "b": b}, {"sum": layers.add([y, b]), "scaled": layers.multiply([b, a])})


def products() -> Model:
    a, b = signals()
    one, two = layers.LSTM(F)(a), layers.LSTM(F)(b)
    pairs = [
        layers.dot([one, two], axes=1),
        layers.dot([one, two], axes=1, normalize=True),
        layers.dot([a, b], axes=2),
        layers.dot([a, b], axes=(1, 1), normalize=True),
        layers.dot([a, one], axes=(2, 1)),
        layers.dot([one, b], axes=(1, 2)),
    ]
    return Model([a, b], pairs)


def translation() -> Model:
    a, b = signals()
    _, h, c = layers.LSTM(5, return_state=True)(a)
    y, h, c = layers.LSTM(5, return_sequences=True, return_state=True)(b, initial_state=[h, c])
    return Model([a, b], [layers.Dense(2, "softmax", name="chars")(y), h, c])


def both_ways() -> Model:
    a, b = signals()
    y, *states = layers.Bidirectional(layers.LSTM(4, return_state=True))(a)
    one, two = layers.Bidirectional(layers.LSTM(4, return_sequences=True), merge_mode=None)(
        b, initial_state=states
    )
    back = layers.LSTM(4, go_backwards=True, return_sequences=True)(b, initial_state=states[:2])
    return Model([a, b], [layers.multiply([one, two, back]), y])


def stacks() -> Model:
    a, b = signals()
    y, *states = layers.StackedLSTM([4, 2], return_state=True, bidirectional=True)(a)
    z, *ends = layers.StackedLSTM([4, 2], return_state=True, bidirectional=True)(b, initial_state=states)
    return Model([a, b], [y, z, *ends])


def shared() -> Model:
    a, b = signals()
    inner = Sequential([Input((None, F)), layers.LSTM(F, return_sequences=True), layers.Dense(F)])
    encoder = layers.LSTM(4, name="encoder")
    x = Input((None, F))
    middle = Model(x, layers.add([inner(inner(x)), x]))
    return Model([a, b], layers.concatenate([encoder(middle(a)), encoder(b)]))


def vectors() -> Model:
    """Return a model whose inputs and outputs are the same tensors, with names that constants have too."""
    a, b = Input((F,), name="zero"), Input((F,), name="half")
    return Model([a, b], [a, layers.Dense(2, name="output")(layers.average([a, b])), b, b])


def masked() -> Model:
    a, b = Input((None,), name="a"), Input((None,), name="b")
    table = layers.Embedding(5, F, mask_zero=True)
    one, two = table(a), table(b)
    _, h, c = layers.LSTM(4, return_state=True)(one)
    y, *ends = layers.LSTM(4, return_state=True, return_sequences=True)(two, initial_state=[h, c])
    back = layers.LSTM(4, return_sequences=True, go_backwards=True)(two, initial_state=[h, c])
    zeros = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(two, initial_state=[h, c, c, h])
    joined = layers.concatenate([y, two, zeros])
    either = layers.LSTM(3)(layers.add([one, two]))
    every = layers.LSTM(3)(layers.concatenate([one, layers.Dropout(0.5)(two), one]))
    pooled = layers.GlobalAveragePooling1D()(layers.maximum([one, two]))
    loose = layers.Dense(F)(layers.Embedding(5, F)(b))
    largest = layers.GlobalMaxPooling1D()(layers.maximum([one, loose, two]))
    smallest = layers.GlobalMaxPooling1D()(layers.minimum([loose, one, two]))
    products = [layers.multiply([one, two]), layers.multiply([loose, one, two])]
    more = [layers.GlobalMaxPooling1D()(one) for one in products]
    return Model(
        [a, b], [y, *ends, layers.LSTM(2)(joined), back, either, every, pooled, largest, smallest, *more]
    )


def by_masks() -> Model:
    a, real = Input((None, F), name="a"), Input((None,), name="real", dtype="bool")
    y = layers.StackedLSTM([4, 3], return_sequences=True)(a, mask=real)
    return Model([a, real], [y, layers.LSTM(2)(y)])


CASES: dict[str, tuple[Callable[[], Model], dict[str, Any]]] = {
    "merges": (merges, {"a": SIGNAL, "b": OTHER}),
    "broadcast": (broadcast, {"a": SIGNAL, "b": VECTOR}),
    "products": (products, {"a": SIGNAL, "b": OTHER}),
    "translation": (translation, {"a": SIGNAL, "b": OTHER[:, :4]}),
    "both ways": (both_ways, {"a": SIGNAL, "b": OTHER[:, :4]}),
    "stacks": (stacks, {"a": SIGNAL, "b": OTHER[:, :4]}),
    "shared": (shared, {"a": SIGNAL, "b": OTHER[:, :4]}),
    "vectors": (vectors, {"zero": VECTOR, "half": VECTOR[::-1].copy()}),
    "masked": (masked, {"a": PADDED, "b": SHORT}),
    "masked, the other way": (masked, {"a": SHORT, "b": PADDED}),
    "by masks": (by_masks, {"a": SIGNAL, "real": PADDED > 0}),
}


@pytest.mark.parametrize("runtime", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_graphs(name: str, runtime: bool, tmp_path: Path) -> None:
    make, fed = CASES[name]
    utils.set_random_seed(0)
    model, path = make(), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, right_padding="mask" in name)
    want = model(fed)
    if isinstance(want, dict):
        want = [want[key] for key in model.output_names]
    if runtime:
        got = run_in_onnx_runtime(path, fed)
    else:
        again = fusedlstm.from_onnx(path)
        assert [one.name for one in again.inputs] == model.input_names
        got = list(again.run(fed).values())
    assert_equal(got, want if isinstance(want, list) else [want])


def names_in(path: Path) -> tuple[list[str], list[str], list[str]]:
    graph = onnx.load(path).graph
    return tuple([one.name for one in some] for some in (graph.input, graph.output, graph.initializer))  # type: ignore[return-value]


def test_names_and_what_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    fusedlstm.to_onnx(translation(), path)
    inputs, outputs, _ = names_in(path)
    assert inputs == ["a", "b"]
    assert outputs[0] == "chars"
    assert outputs[2] == f"{outputs[1]}_1"
    fusedlstm.to_onnx(shared(), path)
    initializers = names_in(path)[2]
    assert len([name for name in initializers if name.endswith(".W")]) == 2
    fusedlstm.to_onnx(vectors(), path)
    assert names_in(path)[:2] == (["zero", "half"], ["zero_1", "output", "half_1", "half_2"])


def test_states_of_the_graph_beside_states_of_the_file(tmp_path: Path) -> None:
    """LSTMs that start from zeros have inputs for other states; those that the graph starts have none."""
    a, b = signals()
    _, h, c = layers.LSTM(5, return_state=True, name="one")(a)
    model = Model([a, b], layers.LSTM(5, name="other")(b, initial_state=[h, c]))
    path = tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, initial_states=True, final_states=True)
    inputs, outputs, _ = names_in(path)
    assert inputs == ["a", "b", "one.initial_h", "one.initial_c"]
    assert outputs[1:] == ["one.final_h", "one.final_c", "other.final_h", "other.final_c"]
    fed = {"a": SIGNAL, "b": OTHER}
    assert_equal(run_in_onnx_runtime(path, fed)[:1], [model(fed)])


def of(make: Callable[[Any, Any], Any]) -> Model:
    a, b = signals()
    return Model([a, b], make(a, b))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda a, _: layers.Dropout(0.5, name="it")(a, training=True),
            "^it: training: expected calls as in",
        ),
        (
            lambda a, b: layers.Concatenate(axis=1, name="it")([layers.Masking()(a), b]),
            "^it: axis: ONNX has only masks at the end of sequences, got axis=1",
        ),
        (
            lambda a, b: layers.Dot(axes=3, name="it")(
                [layers.Reshape((2, 3, F))(layers.Dense(F)(x)) for x in (a, b)]
            ),
            "^it: axes: expected inputs of at most 3 axes",
        ),
        (
            lambda a, b: layers.LSTM(2, name="it", layer_norm=True)(layers.add([a, b])),
            "^it: gamma_input: ONNX's LSTM has no such weights",
        ),
    ],
)
def test_what_onnx_cannot_say(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fusedlstm.to_onnx(of(make), tmp_path / "model.onnx", right_padding=True)
    assert not list(tmp_path.iterdir())


def test_masks_have_to_come_last(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mask: ONNX has only masks .* right_padding=True"):
        fusedlstm.to_onnx(by_masks(), tmp_path / "model.onnx")
