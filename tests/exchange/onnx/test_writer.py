"""Models written as ONNX graphs: what other evaluators and `from_onnx` compute of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import fusedlstm
from fusedlstm import layers, ops
from fusedlstm.testing import tolerance

from .reference import LSTM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Array = np.ndarray[Any, Any]
POINTWISE = (
    "relu",
    "elu",
    "leaky_relu",
    "exponential",
    "softsign",
    "hard_sigmoid",
    "sigmoid",
    "softplus",
    "tanh",
    "softmax",
    "log_softmax",
)


def bidirectional(merge_mode: str | None, **options: Any) -> list[layers.Layer]:
    layer = layers.LSTM(4, **options)
    return [layers.Bidirectional(layer, merge_mode), *([layers.Dense(2)] if merge_mode else [])]


def two_kinds() -> list[layers.Layer]:
    one = layers.LSTM(4, return_sequences=True, use_bias=False)
    other = layers.LSTM(4, activation="softsign", go_backwards=True, return_sequences=True)
    return [layers.Bidirectional(one, "mul", backward_layer=other)]


MODELS: dict[str, Callable[[], list[layers.Layer]]] = {
    "one": lambda: [layers.LSTM(5)],
    "sequences": lambda: [layers.LSTM(5, return_sequences=True, use_bias=False)],
    "backwards": lambda: [layers.LSTM(5, go_backwards=True)],
    "backwards, sequences": lambda: [layers.LSTM(5, return_sequences=True, go_backwards=True)],
    "stack": lambda: [
        layers.LSTM(5, return_sequences=True, dropout=0.2),
        layers.Dropout(0.3),
        layers.Dense(4, activation="tanh"),
        layers.LSTM(6, return_sequences=True, go_backwards=True),
        layers.Activation("relu"),
        layers.LSTM(3),
        layers.Dense(2, activation="softmax", use_bias=False),
    ],
    "options": lambda: [
        layers.LSTM(5, return_sequences=True, use_peepholes=True, activation="softsign"),
        layers.Bidirectional(layers.LSTM(4, use_peepholes=True, use_bias=False, coupled=True)),
    ],
    "stacked": lambda: [
        layers.StackedLSTM([4, 3], bidirectional=True, between_dropout=0.2, return_sequences=True),
        layers.StackedLSTM(3),
    ],
    "dense alone": lambda: [layers.Dense(3), layers.Activation("linear")],
    "flatten": lambda: [layers.LSTM(3, return_sequences=True), layers.Flatten(), layers.Dense(2)],
    **{
        f"bidirectional {mode}": partial(bidirectional, mode, return_sequences=True)
        for mode in ("concat", "sum", "mul", "ave", None)
    },
    "bidirectional, last": lambda: bidirectional("concat"),
    "bidirectional, last, two": lambda: bidirectional(None),
    "bidirectional, turned": lambda: bidirectional("concat", return_sequences=True, go_backwards=True),
    "bidirectional, two kinds": two_kinds,
    "bidirectional, stack": lambda: [
        *bidirectional("ave", return_sequences=True)[:1],
        *bidirectional("concat", return_sequences=True)[:1],
        layers.LSTM(3),
    ],
}
CELLS: dict[str, Any] = {
    **{
        name: {"activation": name}
        for name in POINTWISE
        if name not in ("exponential", "log_softmax", "sigmoid", "softmax")
    },
    "linear": {"activation": "linear", "recurrent_activation": "hard_sigmoid"},
    "relu and softsign": {"activation": "relu", "recurrent_activation": "softsign"},
}
MASKED: dict[str, Callable[[], list[layers.Layer]]] = {
    "one": lambda: [layers.LSTM(5)],
    "sequences": lambda: [layers.LSTM(5, return_sequences=True)],
    "zeros": lambda: [layers.LSTM(5, return_sequences=True, zero_output_for_mask=True)],
    "backwards": lambda: [layers.LSTM(5, return_sequences=True, go_backwards=True), layers.LSTM(4)],
    "stack": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.Dense(3),
        layers.LSTM(4, return_sequences=True),
        layers.Flatten(),
    ],
    **{
        f"bidirectional {mode}": partial(bidirectional, mode, return_sequences=True)
        for mode in ("concat", None)
    },
    "bidirectional, last": lambda: bidirectional("sum"),
}


# Of layers that `from_onnx` does not read.
AROUND: dict[str, Callable[[], list[layers.Layer]]] = {
    "average": lambda: [layers.LSTM(5, return_sequences=True), layers.GlobalAveragePooling1D()],
    "average of the input": lambda: [layers.GlobalAveragePooling1D(), layers.Dense(2)],
    "average, axis kept": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.GlobalAveragePooling1D(keepdims=True),
        layers.LSTM(4),
    ],
    "maximum": lambda: [layers.LSTM(5, return_sequences=True), layers.GlobalMaxPooling1D()],
    "maximum of the input": lambda: [layers.GlobalMaxPooling1D(keepdims=True), layers.Dense(2)],
    "maximum, axis kept": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.GlobalMaxPooling1D(keepdims=True),
        layers.LSTM(4, return_sequences=True),
    ],
    "normalized": lambda: [
        layers.LayerNormalization(epsilon=0.25),
        layers.LSTM(5, return_sequences=True),
        layers.LayerNormalization(scale=False),
        layers.LSTM(4),
        layers.LayerNormalization(center=False),
        layers.LayerNormalization(scale=False, center=False),
    ],
    "each step": lambda: [
        layers.TimeDistributed(layers.Dense(4, activation="softmax", name="one")),
        layers.LSTM(5, return_sequences=True),
        layers.TimeDistributed(layers.Dense(4, name="one")),
        layers.TimeDistributed(layers.LayerNormalization()),
        layers.TimeDistributed(layers.Activation("tanh")),
        layers.TimeDistributed(layers.Dropout(0.5)),
    ],
    "noise": lambda: [
        layers.GaussianNoise(0.5),
        layers.LSTM(5, return_sequences=True),
        layers.SpatialDropout1D(0.5),
    ],
    "repeated": lambda: [layers.LSTM(5), layers.RepeatVector(3), layers.LSTM(4, return_sequences=True)],
    "repeated, shown": lambda: [layers.LSTM(5), layers.RepeatVector(3)],
    "reshaped": lambda: [
        layers.LSTM(6, return_sequences=True),
        layers.Reshape((-1, 2, 3)),
        layers.Reshape((4, 9)),
        layers.LSTM(3),
    ],
    "permuted": lambda: [
        layers.LSTM(5, return_sequences=True),
        layers.Permute((2, 1)),
        layers.LSTM(4, return_sequences=True),
        layers.Permute((2, 1)),
    ],
}
OF_IDS: dict[str, Callable[[], list[layers.Layer]]] = {
    "alone": lambda: [layers.Embedding(9, 3)],
    "LSTM": lambda: [layers.Embedding(9, 3), layers.LSTM(5, return_sequences=True)],
    "masked": lambda: [layers.Embedding(9, 3, mask_zero=True), layers.LSTM(5)],
    "masked, sequences": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.SpatialDropout1D(0.25),
        layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        layers.LayerNormalization(),
        layers.TimeDistributed(layers.Dense(3)),
        layers.LSTM(4, return_sequences=True),
    ],
    "masked, average": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.LSTM(5, return_sequences=True),
        layers.GlobalAveragePooling1D(),
    ],
    "masked, average, axis kept": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.GlobalAveragePooling1D(keepdims=True),
        layers.LSTM(4),
    ],
    "masked, maximum": lambda: [
        layers.Embedding(9, 3, mask_zero=True),
        layers.LSTM(5, return_sequences=True),
        layers.GlobalMaxPooling1D(),
    ],
}


def make(parts: list[layers.Layer], steps: int | None = None, features: int = 3) -> fusedlstm.Sequential:
    """Return a built model with weights that are nowhere zero."""
    model = fusedlstm.Sequential([layers.Input((steps, features)), *parts])
    random = np.random.default_rng(7)
    model.set_weights([0.5 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    return model


def batch(batch_rows: int = 4, steps: int = 6, dtype: str = "float32") -> Array:
    return np.random.default_rng(8).standard_normal((batch_rows, steps, 3)).astype(dtype)


def padded(batch_rows: int = 5, steps: int = 6) -> Array:
    x = batch(batch_rows, steps)
    for row, length in enumerate((6, 3, 1, 0, 4)):
        x[row, length:] = -2.0
    return x


def listed(result: Any) -> list[Array]:
    return list(result) if isinstance(result, list | tuple) else [result]


def assert_equal(got: list[Array], want: list[Array]) -> None:
    for one, two in zip(got, want, strict=True):
        assert one.dtype == two.dtype
        assert one.shape == two.shape
        limit = tolerance(two.dtype, 30, steps=18) * max(1.0, float(np.abs(two).max(initial=0)))
        np.testing.assert_allclose(one, two, rtol=0, atol=limit)


def evaluate(path: Path, fed: dict[str, Array], *, plain: bool = False) -> list[Array]:
    """Evaluate by onnx's reference; unless `plain`, with the LSTM operator of this folder."""
    return list(ReferenceEvaluator(str(path), new_ops=[] if plain else [LSTM]).run(None, fed))


def run_in_onnx_runtime(path: Path, fed: dict[str, Array]) -> list[Array]:
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    return list(onnxruntime.InferenceSession(path).run(None, fed))


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, tmp_path: Path) -> None:
    model, path = make(MODELS[name](), steps=6 if name == "flatten" else None), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    onnx.checker.check_model(path, full_check=True)
    again = fusedlstm.from_onnx(path)
    for x in (batch(), batch(1, 6), batch(2, 1), batch(3, 17)):
        if name == "flatten" and x.shape[1] != 6:
            continue
        want = listed(model(x))
        assert_equal(
            evaluate(path, {"input": x}, plain=name not in ("bidirectional, two kinds", "options")), want
        )
        assert_equal(listed(again(x)), want)


@pytest.mark.parametrize("name", MODELS)
def test_models_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    model, path = make(MODELS[name](), steps=6 if name == "flatten" else None), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    for x in (batch(), batch(1, 6)):
        assert_equal(run_in_onnx_runtime(path, {"input": x}), listed(model(x)))


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", AROUND)
def test_layers_around(name: str, runtime: bool, tmp_path: Path) -> None:
    fixed = name in ("reshaped", "permuted")
    model, path = make(AROUND[name](), steps=6 if fixed else None), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    run = run_in_onnx_runtime if runtime else evaluate
    for x in (batch(), batch(1, 6), *([] if fixed else [batch(3, 17)])):
        assert_equal(run(path, {"input": x}), [model(x)])


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", OF_IDS)
def test_embedding(name: str, runtime: bool, tmp_path: Path) -> None:
    model, path = fusedlstm.Sequential([layers.Input((None,)), *OF_IDS[name]()]), tmp_path / "model.onnx"
    random = np.random.default_rng(7)
    model.set_weights([random.standard_normal(weight.shape) for weight in model.get_weights()])
    fusedlstm.to_onnx(model, path, right_padding="masked" in name)
    ids = random.integers(1, 9, (5, 6))
    for row, length in enumerate((6, 3, 1, 0, 4)):
        ids[row, length:] = 0
    run = run_in_onnx_runtime if runtime else evaluate
    for x in (ids, ids[:1, :2]):
        assert_equal(run(path, {"input": x}), [model(x)])


def test_float64_around(tmp_path: Path) -> None:
    parts = [
        layers.LSTM(5, return_sequences=True, dtype="float64"),
        layers.LayerNormalization(epsilon=2.0**-10, dtype="float64"),
        layers.GlobalAveragePooling1D(dtype="float64"),
    ]
    model, path = make(list(parts)), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    x = batch(dtype="float64")
    assert_equal(evaluate(path, {"input": x}, plain=True), [model(x)])


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", [*CELLS, *(f"dense {name}" for name in POINTWISE)])
def test_activations(name: str, runtime: bool, tmp_path: Path) -> None:
    layer: layers.Layer
    if name in CELLS:
        layer = layers.LSTM(5, return_sequences=True, **CELLS[name])
    else:
        layer = layers.Dense(4, activation=name.removeprefix("dense "))
    model, path = make([layer]), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    x, run = batch(), run_in_onnx_runtime if runtime else evaluate
    assert_equal(run(path, {"input": x}), [model(x)])
    assert_equal(listed(fusedlstm.from_onnx(path)(x)), [model(x)])


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("name", MASKED)
def test_masking(name: str, runtime: bool, tmp_path: Path) -> None:
    model, path = make([layers.Masking(-2.0), *MASKED[name]()], steps=6), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, right_padding=True)
    x, run = padded(), run_in_onnx_runtime if runtime else evaluate
    # `Sequential` hands masks on.
    want = listed(model(x))
    assert not np.allclose(want[0], listed(make(MASKED[name](), steps=6)(x))[0], atol=1e-3)
    assert_equal(run(path, {"input": x}), want)
    assert_equal(listed(fusedlstm.from_onnx(path)(x)), want)


@pytest.mark.parametrize("runtime", [False, True])
def test_masking_of_nan(runtime: bool, tmp_path: Path) -> None:
    """Steps of NaN are masked in the file too, though NaN equals nothing."""
    model, path = make([layers.Masking(np.nan), layers.LSTM(3)], steps=6), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, right_padding=True)
    x, run = padded(), run_in_onnx_runtime if runtime else evaluate
    x[x == -2.0] = np.nan
    want = listed(model(x))
    assert np.isfinite(want[0]).all()
    assert_equal(run(path, {"input": x}), want)


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize("kind", ["forward", "backward", "both"])
def test_states(kind: str, runtime: bool, tmp_path: Path) -> None:
    options = {
        "return_sequences": True,
        "return_state": True,
        "name": "it",
        "go_backwards": kind == "backward",
    }
    layer = layers.LSTM(5, **options)  # type: ignore[arg-type]  # by name
    both = layers.Bidirectional(layer, name="two")
    one: Any = both if kind == "both" else layer
    x = batch()
    random = np.random.default_rng(3)
    states = [random.standard_normal((4, 5)).astype(np.float32) for _ in range(4 if kind == "both" else 2)]
    want = one(x, initial_state=states)
    # A model has one output, so states come and go by the names of its layers.
    config = one.get_config()
    for item in (config, config.get("layer", {})):
        item.update({"return_state": False} if "return_state" in item else {})
    model = fusedlstm.Sequential([layers.Input((None, 3)), type(one).from_config(config)])
    model.set_weights(one.get_weights())
    path = tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path, initial_states=True, final_states=True)
    prefixes = ["it"] if kind != "both" else ["forward_it", "backward_it"]
    names = [f"{prefix}.{{}}_{which}" for prefix in prefixes for which in "hc"]
    fed = {"input": x, **{n.format("initial"): s for n, s in zip(names, states, strict=True)}}
    again = fusedlstm.from_onnx(path)
    assert again.outputs == ("output", *(name.format("final") for name in names))
    run = run_in_onnx_runtime if runtime else evaluate
    assert_equal(run(path, fed), want)
    assert_equal(list(again.run(fed).values()), want)
    # Without them they are zeros.
    assert_equal(run(path, {"input": x})[:1], [model(x)])
    assert_equal(list(again.run({"input": x}).values())[:1], [model(x)])


def test_stateful(tmp_path: Path) -> None:
    model, path = make([layers.LSTM(5, stateful=True, name="it")]), tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"^it: stateful=True: expected initial_states=True"):
        fusedlstm.to_onnx(model, path)
    fusedlstm.to_onnx(model, path, initial_states=True, final_states=True)
    graph, x = fusedlstm.from_onnx(path), batch(steps=9)
    first = graph.run({"input": x[:, :4]})
    last = graph.run(
        {"input": x[:, 4:], "it.initial_h": first["it.final_h"], "it.initial_c": first["it.final_c"]}
    )
    model(x[:, :4])
    assert_equal([last["output"]], [model(x[:, 4:])])


@pytest.mark.parametrize("runtime", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        ops.CellOptions(peepholes=np.linspace(-1, 1, 15, dtype=np.float32).reshape(3, 5)),
        ops.CellOptions(coupled=True),
        ops.CellOptions(gate_clip=0.25),
        ops.CellOptions(("hard_sigmoid", 0.25, 0.5), ("scaled_tanh", 1.5, 0.75), ("elu", 0.5)),
        ops.CellOptions("sigmoid", ("relu", 0.25), ("thresholded_relu", 0.25), coupled=True, gate_clip=0.5),
    ],
    ids=lambda options: repr(options)[:40],
)
def test_every_option_of_the_cell(options: ops.CellOptions, runtime: bool, tmp_path: Path) -> None:
    layer = layers.LSTM(5, return_sequences=True)
    model, path = make([layer]), tmp_path / "model.onnx"
    layer.options = options
    fusedlstm.to_onnx(model, path)
    x, run = batch(), run_in_onnx_runtime if runtime else evaluate
    assert_equal(run(path, {"input": x}), [model(x)])
    assert_equal([fusedlstm.from_onnx(path)(x)], [model(x)])


def test_float64(tmp_path: Path) -> None:
    parts = [layers.LSTM(5, return_sequences=True, dtype="float64"), layers.Dense(2, dtype="float64")]
    model, path = make(parts), tmp_path / "model.onnx"
    fusedlstm.to_onnx(model, path)
    x = batch(dtype="float64")
    assert_equal(evaluate(path, {"input": x}, plain=True), [model(x)])
    assert_equal([fusedlstm.from_onnx(path)(x)], [model(x)])


def test_equal_models_make_equal_files(tmp_path: Path) -> None:
    model = make(MODELS["stack"]())
    fusedlstm.to_onnx(model, tmp_path / "one.onnx")
    fusedlstm.to_onnx(model, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


class Own(layers.Dropout):
    """A class that only its author knows."""


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (
            [layers.LSTM(5, activation="exponential", name="it")],
            "it: activation: ONNX's LSTM has no 'exponential'",
        ),
        ([layers.LSTM(5, cell_clip=1.0, name="it")], "it: cell_clip: ONNX's LSTM cannot say 1.0"),
        ([layers.Masking(name="it"), layers.LSTM(3)], "it: ONNX has only masks whose masked steps come last"),
        ([Own(0.5, name="it")], "it: expected layers of the classes"),
        (
            [layers.TimeDistributed(layers.Reshape((3, 1)), name="it")],
            "it: layer: expected one of the classes .*'Dense'.*, got <.*Reshape",
        ),
        (
            [layers.LayerNormalization(dtype="float64", name="it")],
            "it: epsilon: ONNX keeps 0.001 in float32 only",
        ),
        (
            [layers.Bidirectional(layers.LSTM(2), None, name="it"), layers.Dropout(0.1, name="next")],
            "next: expected one input, got two",
        ),
        (
            [layers.Dense(2, activation="hard_sigmoid", dtype="float64", name="it")],
            "it: activation='hard_sigmoid': ONNX keeps 0.16.* in float32 only",
        ),
        (
            [layers.LSTM(2, recurrent_activation="hard_sigmoid", dtype="float64", name="it")],
            "it: recurrent_activation: ONNX keeps 0.16.* in float32 only",
        ),
    ],
)
def test_what_onnx_cannot_say(parts: list[layers.Layer], text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        fusedlstm.to_onnx(make(parts), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_contradictions(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"^model: expected a built model"):
        fusedlstm.to_onnx(fusedlstm.Sequential([layers.LSTM(2)]), path)
    layer = layers.LSTM(2, name="it")
    model = make([layer])
    layer.options = ops.CellOptions(zoneout_c=0.25)
    with pytest.raises(ValueError, match=r"^it: zoneout_c: ONNX's LSTM cannot say 0.25"):
        fusedlstm.to_onnx(model, path)
    layer.add_weight((2, 3), name="gamma")
    with pytest.raises(ValueError, match=r"^it: gamma: ONNX's LSTM has no such weights"):
        fusedlstm.to_onnx(model, path)
    model = make([layers.Masking(name="mask"), layers.LSTM(2, zero_output_for_mask=True, name="it")])
    with pytest.raises(ValueError, match=r"^it: zero_output_for_mask=True: expected return_sequences=True"):
        fusedlstm.to_onnx(model, path, right_padding=True)
    with pytest.raises(ValueError, match=r"^mask: initial_states: expected False together with masks"):
        fusedlstm.to_onnx(model, path, right_padding=True, initial_states=True)
    of_ids = fusedlstm.Sequential([layers.Input((6,)), layers.Embedding(9, 3, mask_zero=True, name="it")])
    with pytest.raises(ValueError, match=r"^it: mask_zero=True: ONNX has only masks .* right_padding=True"):
        fusedlstm.to_onnx(of_ids, path)
    more = fusedlstm.Sequential([layers.Input((6, 2)), layers.Embedding(9, 3, mask_zero=True, name="it")])
    with pytest.raises(ValueError, match=r"^it: mask_zero=True: expected ids \(B, T\), got 3 axes"):
        fusedlstm.to_onnx(more, path, right_padding=True)
    same = [
        layers.Bidirectional(layers.LSTM(2, name="it", return_sequences=True), name=name) for name in "ab"
    ]
    with pytest.raises(
        ValueError, match=r"^b: expected LSTM layers of different names .* got 'forward_it' twice"
    ):
        fusedlstm.to_onnx(make([*same]), path, final_states=True)
    assert not path.exists()
