"""ONNX's LSTM operator with every input and attribute, against its specification and ONNX Runtime."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import fusedlstm
from fusedlstm.testing import tolerance

from .graphs import CELLS, DIRECTIONS, INPUTS, Array, by_direction, lstm_arrays, lstm_model, save
from .reference import lstm

if TYPE_CHECKING:
    from pathlib import Path


def check(actual: Any, arrays: dict[str, Array], attributes: dict[str, Any]) -> None:
    names = {name.lower(): name for name in ("Sigmoid", "Tanh", "Softsign")}
    # What a file keeps of an attribute's numbers.
    given: dict[str, Any] = {
        key: np.float32(value).tolist() if key == "clip" or key.startswith("activation_") else value
        for key, value in attributes.items()
    }
    if "activations" in given:
        given["activations"] = [names.get(name.lower(), name) for name in given["activations"]]
    expected = lstm(**arrays, **given)
    dtype = arrays["X"].dtype
    for name, want, got in zip(("Y", "Y_h", "Y_c"), expected, actual, strict=True):
        assert got.dtype == dtype, name
        assert got.shape == want.shape, name
        # Unbounded activations make numbers of any size.
        limit = tolerance(dtype, 20, steps=8) * max(1.0, float(np.abs(want).max(initial=0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=limit, err_msg=name)


def run(arrays: dict[str, Array], attributes: dict[str, Any], folder: Path) -> list[Array]:
    model = fusedlstm.from_onnx(save(lstm_model(arrays, **attributes), folder))
    fed = {name: array for name, array in arrays.items() if name not in ("W", "R", "B", "P")}
    assert [one.name for one in model.inputs] == list(fed)
    return list(model.run(fed).values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_inputs(direction: str, inputs: str, layout: int, dtype: Any, tmp_path: Path) -> None:
    arrays = lstm_arrays(directions=DIRECTIONS[direction], layout=layout, dtype=dtype, given=INPUTS[inputs])
    attributes = {"direction": direction, "layout": layout}
    check(run(arrays, attributes, tmp_path), arrays, attributes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_cells(direction: str, cell: str, dtype: Any, tmp_path: Path) -> None:
    arrays = lstm_arrays(directions=DIRECTIONS[direction], dtype=dtype, given=INPUTS["all"])
    attributes = {"direction": direction, **by_direction(CELLS[cell], DIRECTIONS[direction])}
    check(run(arrays, attributes, tmp_path), arrays, attributes)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_float16(direction: str, inputs: str, tmp_path: Path) -> None:
    """The node computes in float32 and rounds what it returns."""
    arrays = lstm_arrays(directions=DIRECTIONS[direction], dtype=np.float16, given=INPUTS[inputs])
    expected = lstm(**arrays, direction=direction)
    for want, got in zip(expected, run(arrays, {"direction": direction}, tmp_path), strict=True):
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, want, rtol=2**-11, atol=1e-6)
    mixed = {**arrays, "X": arrays["X"].astype(np.float32)}
    with pytest.raises(ValueError, match=r"valid ONNX graph|X: expected float16 with 3 axes, got float32"):
        run(mixed, {"direction": direction}, tmp_path)


def test_options_change_the_result(tmp_path: Path) -> None:
    """So that the tests above compare something."""
    arrays = lstm_arrays(given=INPUTS["all"])
    plain = run(arrays, {}, tmp_path)
    for name, cell in CELLS.items():
        assert not np.allclose(run(arrays, cell, tmp_path)[1], plain[1], atol=1e-3), name
    for name in INPUTS["all"]:
        others = {key: array for key, array in arrays.items() if key != name}
        assert not np.allclose(run(others, {}, tmp_path)[2], plain[2], atol=1e-3), name


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (1, 1), (4, 0)])
def test_small_sizes(steps: int, batch: int, tmp_path: Path) -> None:
    arrays = lstm_arrays(directions=2, steps=steps, batch=batch, given=("initial_h", "initial_c"))
    attributes = {"direction": "bidirectional"}
    check(run(arrays, attributes, tmp_path), arrays, attributes)


def test_the_reference_of_onnx_agrees() -> None:
    """The specification in `reference` is this package's reading; onnx's evaluator is another's."""
    for direction, layout in itertools.product(DIRECTIONS, (0, 1)):
        arrays = lstm_arrays(
            directions=DIRECTIONS[direction], layout=layout, given=("B", "initial_h", "initial_c", "P")
        )
        attributes: dict[str, Any] = {"direction": direction, "layout": layout}
        fed = {name: array for name, array in arrays.items() if name not in ("W", "R", "B", "P")}
        evaluator = ReferenceEvaluator(lstm_model(arrays, **attributes))
        check(evaluator.run(None, fed), arrays, attributes)


@pytest.mark.parametrize("opset", [7, 14])
def test_older_versions_of_the_operator(opset: int, tmp_path: Path) -> None:
    arrays = lstm_arrays(given=INPUTS["all"])
    model = fusedlstm.from_onnx(save(lstm_model(arrays, opset=opset), tmp_path))
    fed = {name: array for name, array in arrays.items() if name not in ("W", "R", "B", "P")}
    check(model.run(fed).values(), arrays, {})


def test_parameters_for_every_activation(tmp_path: Path) -> None:
    """Lists that some exporters fill up are taken where both readings of them agree."""
    arrays = lstm_arrays(given=("B",))
    usual = {"activations": ["HardSigmoid", "Tanh", "Tanh"]}
    short = {**usual, "activation_alpha": [0.3], "activation_beta": [0.4]}
    full = {**usual, "activation_alpha": [0.3, 1.0, 1.0], "activation_beta": [0.4, 0.0, 0.0]}
    for one, two in zip(run(arrays, short, tmp_path), run(arrays, full, tmp_path), strict=True):
        np.testing.assert_array_equal(one, two)
    bad = {"activations": ["Sigmoid", "Elu", "Tanh"], "activation_alpha": [0.3, 0.5, 0.1]}
    with pytest.raises(
        ValueError, match=r"node 0 'recurrent' \(LSTM\): activation_alpha: expected 1 numbers"
    ):
        run(arrays, bad, tmp_path)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"direction": "both"}, "direction: expected one of"),
        ({"layout": 2}, "layout: expected 0 or 1, got 2"),
        ({"clip": -1.0}, "clip: expected a positive number, got -1.0"),
        ({"input_forget": 2}, "input_forget: expected 0 or 1, got 2"),
        ({"activations": ["Sigmoid", "Tanh"]}, "activations: expected 3 names"),
        ({"activations": ["Sigmoid", "Tanh", "Gelu"]}, "activations: expected names among .* got 'Gelu'"),
        ({"activations": ["Sigmoid", "Affine", "Tanh"]}, "activation_alpha: expected a number for Affine"),
        ({"activations": ["Sigmoid", "Tanh", "Elu"], "activation_alpha": [-1.0]}, "positive alpha for elu"),
        ({"direction": "bidirectional"}, r"R: expected shape \(2, 4H, H\)"),
    ],
)
def test_bad_attributes(attributes: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = save(lstm_model(lstm_arrays(), **attributes), tmp_path)
    with pytest.raises(ValueError, match=rf"^{path}: node 0 'recurrent' \(LSTM\): .*{text}"):
        fusedlstm.from_onnx(path)


def test_bad_inputs(tmp_path: Path) -> None:
    arrays = lstm_arrays(given=INPUTS["all"])
    model = fusedlstm.from_onnx(save(lstm_model(arrays), tmp_path))
    fed = {name: array for name, array in arrays.items() if name not in ("W", "R", "B", "P")}
    bad: list[tuple[str, Any, type[Exception], str]] = [
        ("X", fed["X"].astype(np.float64), TypeError, "^X: expected an array of float32, got float64"),
        ("X", fed["X"][0], ValueError, r"^X: expected shape \(None, None, None\), got"),
        ("X", fed["X"][..., :2].copy(), ValueError, r"node 0 'recurrent' \(LSTM\): x: expected shape"),
        (
            "sequence_lens",
            np.full(3, 6, np.int32),
            ValueError,
            "sequence_lens: expected 3 integers from 0 to 5",
        ),
        ("sequence_lens", np.full(2, 1, np.int32), ValueError, "sequence_lens: expected 3 integers"),
        (
            "initial_c",
            fed["initial_c"][:, :2],
            ValueError,
            r"initial_c: expected float32 of shape \(1, 3, 6\)",
        ),
    ]
    for name, value, error, text in bad:
        with pytest.raises(error, match=text):
            model.run({**fed, name: value})


@pytest.mark.parametrize("cell", [None, *CELLS])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_onnx_runtime(direction: str, cell: str | None, tmp_path: Path) -> None:
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    D = DIRECTIONS[direction]
    attributes = {"direction": direction, **by_direction(CELLS[cell] if cell else {}, D)}
    for given in INPUTS.values():
        arrays = lstm_arrays(directions=D, given=given)
        model = lstm_model(arrays, **attributes)
        fed = {name: array for name, array in arrays.items() if name not in ("W", "R", "B", "P")}
        theirs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, fed)
        check(theirs, arrays, attributes)
        for one, two in zip(run(arrays, attributes, tmp_path), theirs, strict=True):
            limit = 2 * tolerance(np.float32, 20, steps=8) * max(1.0, float(np.abs(two).max()))
            np.testing.assert_allclose(one, two, rtol=0, atol=limit)
