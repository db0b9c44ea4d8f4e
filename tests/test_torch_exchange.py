"""LSTM layers from ``torch.nn.LSTM`` and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers
from fusedlstm.testing import assert_close

torch: Any = pytest.importorskip("torch")

FEATURES, UNITS, STEPS = 3, 5, 7


def module(dtype: Any = torch.float64, **options: Any) -> Any:
    torch.manual_seed(0)
    return torch.nn.LSTM(FEATURES, UNITS, batch_first=True, dtype=dtype, **options)


def samples(dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, STEPS, FEATURES)).astype(dtype)


# PyTorch says that it leaves its fast kernel.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_there_and_back(proj_size: int, count: int, bias: bool, dtype: str) -> None:
    options: dict[str, Any] = {"num_layers": count, "bias": bias, "proj_size": proj_size}
    theirs = module(getattr(torch, dtype), **options)
    model = fusedlstm.from_torch(theirs)
    x = samples(dtype)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))[0].numpy()
    terms, steps = FEATURES + UNITS, 2 * count * STEPS
    assert_close(model.predict(x, verbose=0), expected, dtype=dtype, terms=terms, steps=steps)

    state = fusedlstm.to_torch(model)
    assert list(state) == list(theirs.state_dict())
    again = module(getattr(torch, dtype), **options)
    again.load_state_dict(state)
    with torch.no_grad():
        back = again(torch.from_numpy(x))[0].numpy()
    assert_close(back, expected, dtype=dtype, terms=terms, steps=steps)
    for left, right in zip(fusedlstm.from_torch(state).get_weights(), model.get_weights(), strict=True):
        assert left.tobytes() == right.tobytes()


def test_dropout_becomes_layers() -> None:
    model = fusedlstm.from_torch(module(num_layers=3, dropout=0.25))
    assert [type(layer).__name__ for layer in model.layers] == ["LSTM", "Dropout", "LSTM", "Dropout", "LSTM"]
    assert len(fusedlstm.to_torch(model)) == 12


def test_part_of_a_larger_module() -> None:
    theirs = torch.nn.ModuleDict({"lstm": module(num_layers=2), "head": torch.nn.Linear(5, 2)})
    model = fusedlstm.from_torch(theirs.state_dict(), prefix="lstm.", return_sequences=False)
    expected = theirs["lstm"](torch.from_numpy(samples()))[0][:, -1].detach().numpy()
    assert np.allclose(model(samples()), expected, atol=1e-12)
    arrays = {key: value.numpy() for key, value in theirs["lstm"].state_dict().items()}
    assert np.allclose(fusedlstm.from_torch(arrays)(samples())[:, -1], expected, atol=1e-12)


def test_nothing_is_shared() -> None:
    theirs = module()
    model = fusedlstm.from_torch(theirs)
    state = fusedlstm.to_torch(model)
    before = model.get_weights()
    with torch.no_grad():
        for tensor in (*theirs.parameters(), *state.values()):
            tensor.zero_()
    for left, right in zip(model.get_weights(), before, strict=True):
        assert left.tobytes() == right.tobytes()


def test_single_layers_and_lists() -> None:
    first, second = layers.LSTM(UNITS, return_sequences=True), layers.LSTM(UNITS)
    second(first(samples()))
    assert set(fusedlstm.to_torch(first)) == {
        f"{n}_l0" for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    assert len(fusedlstm.to_torch([first, layers.Dropout(0.5), second])) == 8


def changed(**changes: Any) -> dict[str, Any]:
    state = dict(module(num_layers=2).state_dict()) | changes
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: 3, TypeError, "source: expected a torch.nn.LSTM or its state_dict, got int"),
        (dict, ValueError, "source: expected the weights of an LSTM, got no key"),
        (lambda: module(bidirectional=True), ValueError, "weight_ih_l0_reverse: .* both directions are not"),
        (
            lambda: changed(weight_hr_l1=torch.zeros(2, 5).double()),
            ValueError,
            "weight_hr_l0: expected a ten",
        ),
        (
            lambda: {**module(proj_size=2).state_dict(), "weight_hr_l0": torch.zeros(3, 5).double()},
            ValueError,
            r"weight_hh_l0: expected shape \(20, 3\), got \(20, 2\)",
        ),
        (
            lambda: {**module(proj_size=2).state_dict(), "weight_hr_l0": torch.zeros(3).double()},
            ValueError,
            r"weight_hr_l0: expected shape \(R, H\), got \(3,\)",
        ),
        (lambda: torch.nn.Linear(2, 2), ValueError, "weight: expected weight_ih_l0, .*; prefix says where"),
        (lambda: torch.nn.GRU(2, 2), ValueError, r"weight_hh_l0: expected shape \(4H, H\), got \(6, 2\)"),
        (lambda: changed(bias_hh_l1=None), ValueError, "bias_hh_l1: expected a tensor, got none"),
        (lambda: changed(weight_ih_l0=None), ValueError, "weight_ih_l0: expected a tensor, got none"),
        (lambda: changed(weight_ih_l99=torch.zeros(1)), ValueError, "weight_ih_l2: expected a tensor, got n"),
        (
            lambda: changed(weight_ih_l1=torch.zeros(20, 4).double()),
            ValueError,
            r"weight_ih_l1: expected 5 inputs, got shape \(20, 4\)",
        ),
        (lambda: changed(bias_ih_l0=torch.zeros(5)), ValueError, r"bias_ih_l0: expected shape \(20,\), got"),
        (lambda: changed(weight_ih_l1=torch.zeros(20, 5)), TypeError, "weight_ih_l1: expected dtype float64"),
        (lambda: module().bfloat16(), TypeError, "weight_ih_l0: expected a tensor of dtype .*bfloat16"),
        (lambda: {"weight_ih_l0": [1]}, TypeError, "weight_ih_l0: expected a tensor of dtype .* got list"),
    ],
)
def test_what_cannot_come(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fusedlstm.from_torch(make())


def built(*items: layers.Layer) -> fusedlstm.Sequential:
    return fusedlstm.Sequential([layers.Input((STEPS, FEATURES)), *items])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: 3, TypeError, "source: expected a Sequential, an LSTM or a list of layers, got 3"),
        (list, ValueError, "source: expected at least one LSTM layer, got none"),
        (lambda: built(layers.LSTM(3), layers.Dense(2)), ValueError, "LSTM and Dropout layers only, got <D"),
        (lambda: layers.LSTM(3, name="a"), ValueError, "source: expected built layers, a has no weights"),
        (lambda: built(layers.LSTM(3, go_backwards=True)), ValueError, "read forwards, lstm.* has go_backw"),
        (
            lambda: built(layers.LSTM(3, activation="relu")),
            ValueError,
            "source: expected activation='tanh' like torch.nn.LSTM, lstm.* has 'relu'",
        ),
        (lambda: built(layers.LSTM(3, coupled=True)), ValueError, "expected coupled=False like .* has True"),
        (
            lambda: built(layers.LSTM(3, return_sequences=True), layers.LSTM(4)),
            ValueError,
            r"source: expected layers like lstm.* \(units=3\), got lstm.* \(units=4\)",
        ),
        (lambda: built(layers.LSTM(3, projection_units=3)), ValueError, "fewer projection units than units"),
        (lambda: built(layers.LSTM(3, zoneout_h=0.1)), ValueError, "expected zoneout_h=0.0 like .* has 0.1"),
        (
            lambda: built(layers.LSTM(3, return_sequences=True), layers.LSTM(3, projection_units=2)),
            ValueError,
            r"source: expected layers like lstm.* \(projection_units=None.*got lstm.* \(projection_units=2",
        ),
        (lambda: [*built(layers.LSTM(5)).layers, *built(layers.LSTM(5)).layers], ValueError, "5 inputs for"),
    ],
)
def test_what_cannot_go(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fusedlstm.to_torch(make())
