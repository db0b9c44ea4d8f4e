"""LSTM layers from modules that ``torch.ao.quantization.quantize_dynamic`` has quantized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers
from tests.exchange.rounding import OURS, Rounding, assert_within, of_tensors, reach

if TYPE_CHECKING:
    from collections.abc import Callable

torch: Any = pytest.importorskip("torch")
quantization: Any = pytest.importorskip("torch.ao.quantization")

# PyTorch says that its quantization will move to another package.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(torch.ao.quantization|torch.quantization|quantized|reduce_range|deprecated)"
)
Array = np.ndarray[Any, Any]
FEATURES, UNITS, STEPS = 3, 5, 5
THEIRS = of_tensors(127)


def module(dtype: Any = None, *, kind: str = "LSTM", **options: Any) -> Any:
    """Return a module whose part ``lstm`` is quantized."""
    torch.manual_seed(0)
    recurrent = getattr(torch.nn, kind)(FEATURES, UNITS, batch_first=True, **options)
    whole = torch.nn.ModuleDict({"lstm": recurrent, "head": torch.nn.Linear(UNITS, 2)})
    return quantization.quantize_dynamic(whole, {type(recurrent)}, dtype=dtype or torch.qint8)


def by_column() -> Any:
    torch.manual_seed(0)
    whole = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(FEATURES, UNITS, batch_first=True)})
    config = {torch.nn.LSTM: quantization.per_channel_dynamic_qconfig}
    return quantization.quantize_dynamic(whole, config)


def samples() -> Array:
    return np.random.default_rng(1).normal(size=(4, STEPS, FEATURES)).astype(np.float32)


def outputs(theirs: Any) -> Array:
    with torch.no_grad():
        y: Array = theirs["lstm"](torch.from_numpy(samples()))[0].numpy()
    return y


def expected(model: fusedlstm.Sequential, rounding: Rounding, *, rounded: bool) -> tuple[Array, Array]:
    """Return what exact products give with a model's weights, and how far one may be off who rounds so."""
    y: Array = samples().astype(np.float64)
    limit: Array = np.zeros_like(y)
    for layer in model.layers:
        weights = layer.get_weights()
        off = [np.broadcast_to(np.abs(one).max(axis=0) / 254, one.shape) for one in weights[:2]]
        y, limit = reach(y, weights, rounding, dx=limit, moved=off if rounded else None)
    return y, limit


MODULES: dict[str, Callable[[], Any]] = {
    "one": module,
    "two": lambda: module(num_layers=2),
    "by column": by_column,
}


@pytest.mark.parametrize("name", MODULES)
def test_integers(name: str) -> None:
    """Both are as near to exact products of the dequantized weights as what they round allows."""
    theirs = MODULES[name]()
    model = fusedlstm.from_torch(theirs, prefix="lstm.")
    assert {layer.dtype_policy.name for layer in model.layers} == {"int8_from_float32"}
    weights, biases = theirs["lstm"].get_weight(), theirs["lstm"].get_bias()
    for number, layer in enumerate(model.layers):
        kernel, recurrent, bias = layer.get_weights()
        for got, key in ((kernel, "weight_ih"), (recurrent, "weight_hh")):
            want = weights[f"{key}_l{number}"].dequantize().numpy().T
            np.testing.assert_allclose(got, want, rtol=2.0**-22)
        pair = [biases[f"{key}_l{number}"].detach().numpy() for key in ("bias_ih", "bias_hh")]
        np.testing.assert_array_equal(bias, pair[0] + pair[1])
    got = model.predict(samples(), verbose=0)
    want, ours_may = expected(model, OURS, rounded=True)
    _, theirs_may = expected(model, THEIRS, rounded=False)
    assert_within(got, want, ours_may)
    assert_within(outputs(theirs), want, theirs_may)
    assert (np.abs(got - outputs(theirs)) <= ours_may + theirs_may).all()
    assert fusedlstm.from_torch(theirs["lstm"], return_sequences=False)(samples()).shape == (4, UNITS)


def test_float16() -> None:
    """The products are of float32 numbers, some of which were rounded."""
    theirs = module(torch.float16, num_layers=2)
    model = fusedlstm.from_torch(theirs, prefix="lstm.")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    np.testing.assert_allclose(model.predict(samples(), verbose=0), outputs(theirs), rtol=0, atol=1e-6)
    torch.manual_seed(0)
    plain = torch.nn.LSTM(FEATURES, UNITS, num_layers=2, batch_first=True)
    halves = plain.weight_ih_l0.detach().half().float().numpy().T
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], halves)


def test_dropout_and_nothing_shared() -> None:
    theirs = module(num_layers=2, dropout=0.25)
    model = fusedlstm.from_torch(theirs, prefix="lstm.")
    assert [type(layer) for layer in model.layers] == [layers.LSTM, layers.Dropout, layers.LSTM]
    before = model.get_weights()
    theirs["lstm"].get_bias()["bias_ih_l0"].detach().zero_()
    for one, two in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


def damaged(change: Callable[[Any], object]) -> Callable[[], Any]:
    def made() -> Any:
        theirs = module()
        change(theirs["lstm"])
        return theirs

    return made


def with_weight(weight: Any) -> Callable[[], Any]:
    """Make what reads the weights return another one."""

    def change(lstm: Any) -> None:
        weights = {**lstm.get_weight(), "weight_ih_l0": weight()}
        lstm.get_weight = lambda: weights

    return damaged(change)


def columns_of_inputs() -> Any:
    return torch.quantize_per_channel(
        torch.ones(4 * UNITS, FEATURES), torch.ones(FEATURES), torch.zeros(FEATURES), 1, torch.qint8
    )


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: module().state_dict(),
            ValueError,
            "lstm._all_weight_values.0.param: .*, which holds packed weights: give the module itself",
        ),
        (
            lambda: module(kind="GRU"),
            ValueError,
            "lstm._all_weight_values.0.param: .* a quantized LSTM at pre",
        ),
        (
            lambda: module(bidirectional=True),
            ValueError,
            "lstm.weight_ih_l0_reverse: .* layers of both directions are not supported",
        ),
        (
            damaged(lambda lstm: setattr(lstm, "_all_weight_values", torch.nn.ModuleList())),
            ValueError,
            "lstm.get_weight: expected the weights of a quantized LSTM: ",
        ),
        (
            damaged(lambda lstm: setattr(lstm, "get_bias", lambda: {"bias_ih_l0": None})),
            ValueError,
            "lstm.bias_ih_l0: expected a tensor, got none",
        ),
        (
            damaged(lambda lstm: setattr(lstm, "get_bias", lambda: {"bias_ih_l0": torch.zeros(20)})),
            ValueError,
            "lstm.bias_hh_l0: expected a tensor, got none of this name",
        ),
        (
            with_weight(lambda: torch.zeros(4 * UNITS, FEATURES)),
            TypeError,
            r"lstm.get_weight: expected weights of qint8 or float16, got \['torch.float32', 'torch.qint8'\]",
        ),
        (
            with_weight(columns_of_inputs),
            TypeError,
            "lstm.weight_ih_l0: expected a scale for the tensor or for each of its rows, got torch.per_",
        ),
        (
            with_weight(lambda: torch.quantize_per_tensor(torch.ones(20, 3), 1e37, 0, torch.qint8)),
            ValueError,
            r"lstm.weight_ih_l0: scale: expected numbers from 0 to 1e\+36, got ",
        ),
        (
            with_weight(lambda: torch.quantize_per_tensor(torch.ones(20, 3, 1), 1.0, 0, torch.qint8)),
            ValueError,
            r"lstm.weight_ih_l0: expected a matrix, got shape \(20, 3, 1\)",
        ),
        (
            with_weight(lambda: torch.quantize_per_tensor(torch.ones(16, 3), 1.0, 0, torch.qint8)),
            ValueError,
            r"weight_ih_l0: expected shape \(20, I\), got \(16, 3\)",
        ),
    ],
)
def test_what_cannot_come(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{text}|^{text.removeprefix('lstm.')}") as caught:
        fusedlstm.from_torch(make(), prefix="lstm.")
    assert "\n" not in str(caught.value)
