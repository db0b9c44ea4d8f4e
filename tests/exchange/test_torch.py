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
# PyTorch says of some of these that they are in the making, and of others that they are old.
OLD_OR_NEW = "ignore:.*(deprecated|prototype|beta state|subject to change|in the near future)"


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


def test_weights_that_a_module_computes() -> None:
    """They are what it computes now, not what it was made with."""
    theirs = torch.nn.ModuleDict({"lstm": module(num_layers=2, dropout=0.25)})
    theirs["lstm"] = torch.nn.utils.parametrizations.weight_norm(theirs["lstm"], "weight_hh_l0")
    with torch.no_grad():
        theirs["lstm"].parametrizations.weight_hh_l0.original0.mul_(3)
    expected = theirs["lstm"].eval()(torch.from_numpy(samples()))[0].detach().numpy()
    model = fusedlstm.from_torch(theirs, prefix="lstm.")
    assert np.allclose(model(samples()), expected, atol=1e-12)
    assert [layer.name.split("_")[0] for layer in model.layers] == ["lstm", "dropout", "lstm"]


def test_tensors_that_are_views() -> None:
    """Negated when they are read, of a part of another one, or in another order."""
    state = module().state_dict()
    imaginary = {key: torch.complex(value, -value).conj().imag for key, value in state.items()}
    assert all(value.is_neg() for value in imaginary.values())
    swapped = {key: value.T.contiguous().T if value.ndim == 2 else value for key, value in state.items()}
    parts = {key: torch.cat((value, value))[len(value) :] for key, value in state.items()}
    want = fusedlstm.from_torch(state).get_weights()
    for views in (imaginary, swapped, parts):
        for left, right in zip(fusedlstm.from_torch(views).get_weights(), want, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.filterwarnings(OLD_OR_NEW)
def test_dropout_is_that_of_the_lstm() -> None:
    theirs = torch.nn.Module()
    theirs.lstm, theirs.dropout = module(num_layers=2, dropout=0.25), torch.nn.Dropout(0.5)
    for source, prefix in ((theirs, "lstm."), (torch.jit.script(theirs.lstm), "")):
        (dropout,) = [
            layer
            for layer in fusedlstm.from_torch(source, prefix=prefix).layers
            if isinstance(layer, layers.Dropout)
        ]
        assert dropout.rate == 0.25


def changed(**changes: Any) -> dict[str, Any]:
    state = dict(module(num_layers=2).state_dict()) | changes
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: 3, TypeError, "source: expected a torch.nn.LSTM or its state_dict, got int"),
        (lambda: torch.nn.LSTM, TypeError, "source: expected a torch.nn.LSTM or its state_dict, got type"),
        (lambda: {3: 4}, TypeError, "source: expected names of tensors, got the key 3"),
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


def first(tensor: Any) -> dict[str, Any]:
    return changed(weight_ih_l0=tensor)


def fake() -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return module()


def freed(size: int) -> Any:
    tensor = torch.zeros(20, 3).double()
    tensor.untyped_storage().resize_(size)
    return tensor


def escaped() -> Any:
    kept: list[Any] = []

    def keep(x: Any) -> Any:
        kept.append(x)
        return x

    torch.func.vmap(keep)(torch.zeros(2, 20, 3).double())
    return kept[0]


PAIR = (torch.ones(20, 3).double(), torch.ones(20, 3).double())


@pytest.mark.filterwarnings(OLD_OR_NEW)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.nn.LSTM(3, 5, device="meta"), "expected a dense tensor of numbers, got a meta tensor"),
        (lambda: first(torch.nested.nested_tensor(list(PAIR))), "expected a dense .*, got a nested tensor"),
        (
            lambda: first(torch.nested.nested_tensor(list(PAIR), layout=torch.jagged)),
            "expected a dense .*, got a nested tensor",
        ),
        (lambda: first(PAIR[0].to_sparse()), r"got a torch.sparse_coo tensor; to_dense\(\) makes one"),
        (lambda: first(PAIR[0].to_sparse_csr()), r"got a torch.sparse_csr tensor; to_dense\(\) makes one"),
        (lambda: first(PAIR[0].float().to_mkldnn()), "got a torch._mkldnn tensor"),
        (lambda: first(torch.quantize_per_tensor(PAIR[0].float(), 0.1, 0, torch.qint8)), "got torch.qint8"),
        (lambda: first(torch.complex(*PAIR).conj()), "of dtype float32 or float64, got torch.complex128"),
        (fake, "expected a tensor of numbers in memory, got FakeTensor"),
        (lambda: first(escaped()), "expected a tensor of numbers in memory, got Tensor"),
        (lambda: first(freed(0)), "expected a tensor of numbers in memory, got Tensor"),
        (lambda: first(freed(40)), "expected a tensor of numbers in memory, got Tensor"),
        (lambda: first(torch._efficientzerotensor(20, 3)), "expected a tensor of numbers in memory, got T"),
        (lambda: first(torch._to_functional_tensor(PAIR[0])), "expected a tensor of numbers in memory, got"),
        (lambda: first(torch.nn.parameter.UninitializedParameter()), "got one of a lazy module that no call"),
        (lambda: first(np.ma.masked_array(PAIR[0].numpy())), "expected an array without NumPy's masks"),
        (lambda: first(PAIR[0].numpy().astype(object)), "float32 or float64, got object"),
    ],
)
def test_tensors_without_numbers(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^weight_ih_l0: .*{message}"):
        fusedlstm.from_torch(make())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("dropout", "error"),
    [("x", TypeError), (None, TypeError), (True, TypeError), (float("nan"), ValueError), (1.5, ValueError)],
)
def test_dropout_that_is_no_share(dropout: object, error: type[Exception], count: int) -> None:
    theirs = module(num_layers=count)
    theirs.dropout = dropout
    with pytest.raises(error, match=r"^source: dropout: expected a "):
        fusedlstm.from_torch(theirs)


@pytest.mark.filterwarnings(OLD_OR_NEW)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: torch.nn.utils.parametrizations.weight_norm(module(), "weight_hh_l0").state_dict(),
            r"^parametrizations.weight_hh_l0.original0: .*: give the module itself",
        ),
        (lambda: torch.nn.utils.weight_norm(module(), "weight_hh_l0"), "^weight_hh_l0_g: .*remove_weight_no"),
        (lambda: changed(weight_hh_l0=None, weight_hh_l0_orig=PAIR[0]), "^weight_hh_l0_orig: .*prune.remove"),
        (lambda: {f"weight_ih_l{'9' * 5000}": PAIR[0]}, "^weight_ih_l9{69}: expected weight_ih_l0"),
    ],
)
def test_keys_that_are_no_weights(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fusedlstm.from_torch(make())


@pytest.mark.parametrize("prefix", [None, 3, b"lstm."])
def test_prefixes_are_strings(prefix: Any) -> None:
    with pytest.raises(TypeError, match=r"^prefix: expected a string"):
        fusedlstm.from_torch(module(), prefix=prefix)


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
