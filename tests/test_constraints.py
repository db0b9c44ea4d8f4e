"""Constraints: values, and that training keeps to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import constraints, layers
from fusedlstm.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm

if TYPE_CHECKING:
    from pathlib import Path

ANY: Any = constraints  # for arguments that type checkers refuse
W = np.array([[3.0, 0.0, -0.3], [-4.0, 0.0, 0.4]])  # columns of norm 5, 0 and 0.5


@pytest.mark.parametrize(
    ("constraint", "want"),
    [
        (NonNeg(), [[3, 0, 0], [0, 0, 0.4]]),
        (MaxNorm(2), [[1.2, 0, -0.3], [-1.6, 0, 0.4]]),
        (MaxNorm(2, axis=1), [[3 * 2 / np.sqrt(9.09), 0, -0.6 / np.sqrt(9.09)], W[1] * 2 / np.sqrt(16.16)]),
        (MaxNorm(1, axis=[0, 1]), W / np.sqrt(25.25)),
        (MaxNorm(1, axis=-1), W / np.sqrt([[9.09], [16.16]])),
        (UnitNorm(), [[0.6, 0, -0.6], [-0.8, 0, 0.8]]),
        (MinMaxNorm(1, 2), [[1.2, 0, -0.6], [-1.6, 0, 0.8]]),
        (MinMaxNorm(1, 2, rate=0.5), [[2.1, 0, -0.45], [-2.8, 0, 0.6]]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(constraint: Any, want: Any, dtype: str) -> None:
    got = constraint(W.astype(dtype))
    assert got.dtype == dtype
    rows = np.array([np.asarray(row, float) for row in want])
    # Norms are a share of 1e-7 / norm too small, as Keras's are.
    np.testing.assert_allclose(got, rows, rtol=1e-6)


def test_training_keeps_to_them() -> None:
    fusedlstm.utils.set_random_seed(0)
    model = fusedlstm.Sequential(
        [
            layers.Input((5,)),
            layers.Embedding(9, 4, embeddings_constraint=MaxNorm(0.1, axis=1)),
            layers.LSTM(
                3, kernel_constraint="max_norm", recurrent_constraint=UnitNorm(), bias_constraint="non_neg"
            ),
            layers.Dense(2, kernel_constraint=MinMaxNorm(0.4, 0.5)),
        ]
    )
    before = model.get_weights()
    assert (np.linalg.norm(before[0], axis=1) > 0.05).any()
    model.compile(fusedlstm.optimizers.SGD(5.0), "mse")
    random = np.random.default_rng(0)
    model.fit(random.integers(0, 9, (32, 5)), random.normal(size=(32, 2)), batch_size=8, verbose=0)
    table, kernel, recurrent, bias, dense, _ = model.get_weights()
    assert np.linalg.norm(table, axis=1).max() == pytest.approx(0.1, rel=1e-5)
    assert np.linalg.norm(kernel, axis=0).max() <= 2
    np.testing.assert_allclose(np.linalg.norm(recurrent, axis=0), 1, rtol=1e-5)
    assert bias.min() == 0
    norms = np.linalg.norm(dense, axis=0)
    assert ((norms > 0.399) & (norms < 0.501)).all()
    # The packed weights of the kernels follow.
    again = fusedlstm.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    x = random.integers(0, 9, (4, 5))
    np.testing.assert_array_equal(again(x), model(x))


def test_configs_and_files(tmp_path: Path) -> None:
    model = fusedlstm.Sequential(
        [layers.Input((2, 3)), layers.LSTM(2, kernel_constraint=MinMaxNorm(0.5, 1, 0.2, axis=[0, 1]))]
    )
    model.save(tmp_path / "model.safetensors")
    assert fusedlstm.load_model(tmp_path / "model.safetensors").get_config() == model.get_config()


@pytest.mark.parametrize("name", ["max_norm", "MaxNorm", "non_neg", "NonNeg", "unit_norm", "min_max_norm"])
def test_names(name: str) -> None:
    found = constraints.get(name)
    assert found is not None
    again = constraints.get(constraints.serialize(found))
    assert type(again) is type(found)
    assert again.get_config() == found.get_config()
    assert constraints.get(found) is found
    assert type(constraints.get(type(found))) is type(found)
    assert constraints.get(None) is None
    assert constraints.serialize(None) is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MaxNorm(-1), ValueError, "max_value: expected a number >= 0, got -1"),
        (lambda: MinMaxNorm(2, 1), ValueError, r"max_value: expected at least min_value \(2\), got 1"),
        (lambda: MinMaxNorm(rate=2), ValueError, r"rate: expected a number in \[0, 1\], got 2"),
        (lambda: ANY.UnitNorm("0"), TypeError, "axis: expected an integer or a list of integers, got '0'"),
        (lambda: constraints.get("l2"), ValueError, "identifier: expected one of .*'l2'"),
        (lambda: layers.LSTM(2, bias_constraint="max"), ValueError, "bias_constraint: expected one of"),
        (
            lambda: layers.Dense(2, bias_constraint=MaxNorm(axis=1))(W),
            ValueError,
            r"bias_constraint: expected one that fits shape \(2,\): axis 1 is out of bounds",
        ),
    ],
)
def test_errors(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
