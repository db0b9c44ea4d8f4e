"""`to_onnx`: options of the cell, states, number types, and what cannot be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, ops

from .written import MODELS, assert_equal, batch, evaluate, make, run_in_onnx_runtime

if TYPE_CHECKING:
    from pathlib import Path


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
