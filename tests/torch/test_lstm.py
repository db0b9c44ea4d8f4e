"""`fusedlstm.torch.LSTM` against `torch.nn.LSTM`."""

from __future__ import annotations

import copy
import gc
import itertools
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops
from fusedlstm.testing import assert_close

torch: Any = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence  # noqa: E402

import fusedlstm.torch  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FEATURES, UNITS = 3, 5


def pair(dtype: Any = torch.float64, **options: Any) -> tuple[Any, Any]:
    """Return PyTorch's module in float64 and ours in `dtype`, with the same parameters."""
    torch.manual_seed(0)
    ours = fusedlstm.torch.LSTM(FEATURES, UNITS, dtype=dtype, **options)
    theirs = torch.nn.LSTM(FEATURES, UNITS, dtype=torch.float64, **options)
    theirs.load_state_dict(ours.state_dict())
    return theirs, ours


def normal(*shape: int, seed: int = 1, dtype: Any = torch.float64) -> Any:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return torch.from_numpy(values).to(dtype)


def data_of(y: Any) -> Any:
    return y.data if isinstance(y, PackedSequence) else y


def compare(theirs: Any, ours: Any, x: Any, hx: Any = None, *, steps: int, seed: int = 3) -> None:
    """Compare outputs, states and the gradients of everything; x may be a PackedSequence."""
    dtype = next(ours.parameters()).dtype
    results = []
    for module, number in ((theirs, torch.float64), (ours, dtype)):
        leaf = data_of(x).detach().to(number).requires_grad_()
        states = None if hx is None else tuple(s.detach().to(number).requires_grad_() for s in hx)
        given = leaf
        if isinstance(x, PackedSequence):
            given = PackedSequence(leaf, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        module.zero_grad()
        torch.manual_seed(seed)
        y, (h, c) = module(given, states)
        values = {"y": data_of(y), "h": h, "c": c}
        loss = sum(
            (value * normal(*value.shape, seed=k, dtype=number)).sum()
            for k, value in enumerate(values.values())
        )
        loss.backward()
        values |= {f"d{name}": parameter.grad for name, parameter in module.named_parameters()}
        values |= {"dx": leaf.grad}
        if states is not None:
            values |= {"dh0": states[0].grad, "dc0": states[1].grad}
        results.append((y, {name: value.detach().numpy() for name, value in values.items()}))
    (y_theirs, expected), (y_ours, got) = results
    assert type(y_ours) is type(y_theirs)
    if isinstance(y_ours, PackedSequence):
        for part in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            left, right = getattr(y_ours, part), getattr(y_theirs, part)
            assert (left is None) == (right is None)
            assert left is None or torch.equal(left, right)
    number_type = np.float32 if dtype == torch.float32 else np.float64
    rows = max(data_of(x).shape[0] * data_of(x).shape[1], 1)
    for name, value in expected.items():
        assert_close(
            got[name], value, dtype=number_type, terms=FEATURES + 2 * UNITS + rows, steps=4 * steps, name=name
        )


DTYPES = [torch.float32, torch.float64]
STACKS = [
    {"num_layers": layers, "bidirectional": both, "bias": bias}
    for layers, both, bias in itertools.product((1, 2, 3), (False, True), (True, False))
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", STACKS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_options(options: dict[str, Any], batch_first: bool, dtype: Any) -> None:
    theirs, ours = pair(dtype, batch_first=batch_first, **options)
    directions = options["num_layers"] * (2 if options["bidirectional"] else 1)
    x = normal(4, 7, FEATURES)
    batch = 4 if batch_first else 7
    states = (normal(directions, batch, UNITS, seed=5), normal(directions, batch, UNITS, seed=6))
    compare(theirs, ours, x, steps=7 * options["num_layers"])
    compare(theirs, ours, x, states, steps=7 * options["num_layers"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", STACKS, ids=str)
@pytest.mark.parametrize("sort", [False, True])
def test_packed_sequences(options: dict[str, Any], sort: bool, dtype: Any) -> None:
    theirs, ours = pair(dtype, **options)
    directions = options["num_layers"] * (2 if options["bidirectional"] else 1)
    lengths = (7, 7, 3, 1) if sort else (3, 7, 1, 7)
    x = pack_sequence([normal(length, FEATURES, seed=length) for length in lengths], enforce_sorted=sort)
    states = (normal(directions, 4, UNITS, seed=5), normal(directions, 4, UNITS, seed=6))
    compare(theirs, ours, x, steps=7 * options["num_layers"])
    compare(theirs, ours, x, states, steps=7 * options["num_layers"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", STACKS, ids=str)
@pytest.mark.parametrize("proj_size", [1, 4])
def test_projections(proj_size: int, options: dict[str, Any], dtype: Any) -> None:
    theirs, ours = pair(dtype, proj_size=proj_size, batch_first=True, **options)
    directions = options["num_layers"] * (2 if options["bidirectional"] else 1)
    states = (normal(directions, 4, proj_size, seed=5), normal(directions, 4, UNITS, seed=6))
    steps = 7 * options["num_layers"]
    compare(theirs, ours, normal(4, 7, FEATURES), steps=steps)
    compare(theirs, ours, normal(4, 7, FEATURES), states, steps=steps)
    x = pack_sequence(
        [normal(length, FEATURES, seed=length) for length in (3, 7, 1, 7)], enforce_sorted=False
    )
    compare(theirs, ours, x, states, steps=steps)
    one = tuple(state[:, 0] for state in states)
    compare(theirs, ours, normal(6, FEATURES), one, steps=steps)
    with pytest.raises(ValueError, match=rf"hx: expected shape \({directions}, 4, {proj_size}\), got"):
        ours(normal(4, 7, FEATURES, dtype=dtype), (states[1].to(dtype), states[1].to(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", STACKS[:6], ids=str)
def test_one_sequence(options: dict[str, Any], batch_first: bool, dtype: Any) -> None:
    theirs, ours = pair(dtype, batch_first=batch_first, **options)
    directions = options["num_layers"] * (2 if options["bidirectional"] else 1)
    x = normal(6, FEATURES)
    compare(theirs, ours, x, steps=12)
    compare(theirs, ours, x, (normal(directions, UNITS, seed=5), normal(directions, UNITS)), steps=12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (17, 33)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_sizes(shape: tuple[int, int], bidirectional: bool) -> None:
    theirs, ours = pair(torch.float32, num_layers=2, bidirectional=bidirectional)
    compare(theirs, ours, normal(*shape, FEATURES), steps=2 * shape[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_dropout_draws_as_in_torch(bidirectional: bool, pack: bool, batch_first: bool) -> None:
    theirs, ours = pair(num_layers=3, dropout=0.4, bidirectional=bidirectional, batch_first=batch_first)
    x = normal(6, 4, FEATURES)
    if pack:
        x = pack_padded_sequence(x, [6, 2, 5, 5], enforce_sorted=False)
    compare(theirs, ours, x, steps=18)
    ours.eval()
    theirs.eval()
    compare(theirs, ours, x, steps=18)


def test_strided_input_and_frozen_parts() -> None:
    theirs, ours = pair()
    wide = normal(7, 4, 2 * FEATURES)
    for x in (wide[:, :, :FEATURES], wide[:, :, ::2], wide[::2, :, 1 : FEATURES + 1], wide[:, :1, :3]):
        compare(theirs, ours, x, steps=7)
    expanded = normal(7, 1, FEATURES).expand(7, 4, FEATURES)
    assert torch.allclose(ours(expanded)[0], theirs(expanded)[0])
    ours.zero_grad()
    ours.bias_hh_l0.requires_grad_(False)
    ours.weight_ih_l0.requires_grad_(False)
    ours(normal(7, 4, FEATURES))[0].sum().backward()
    assert ours.bias_hh_l0.grad is None
    assert ours.weight_ih_l0.grad is None
    assert ours.weight_hh_l0.grad is not None


def test_frozen_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is computed, and the input's gradient is the same."""
    _, ours = pair()
    asked: list[bool] = []
    real = ops.lstm_backward

    def noting(*arguments: Any, need_dweights: bool, **options: Any) -> ops.LSTMGradients:
        asked.append(need_dweights)
        return real(*arguments, need_dweights=need_dweights, **options)

    monkeypatch.setattr(ops, "lstm_backward", noting)
    x = normal(7, 4, FEATURES).requires_grad_()
    (expected,) = torch.autograd.grad(ours(x)[0].sum(), x)
    ours.requires_grad_(False)
    (actual,) = torch.autograd.grad(ours(x)[0].sum(), x)
    assert torch.equal(actual, expected)
    assert asked[-1] is False


@pytest.mark.parametrize("options", STACKS, ids=str)
def test_state_dict_goes_both_ways_and_seeds_give_the_same_parameters(options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    theirs = torch.nn.LSTM(FEATURES, UNITS, **options)
    torch.manual_seed(3)
    ours = fusedlstm.torch.LSTM(FEATURES, UNITS, **options)
    for left, right in zip(theirs.state_dict().items(), ours.state_dict().items(), strict=True):
        assert left[0] == right[0]
        assert torch.equal(left[1], right[1])
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("pack", [False, True])
def test_gradcheck(pack: bool) -> None:
    _, ours = pair(num_layers=2, bidirectional=True)
    x = normal(3, 2, FEATURES).requires_grad_()
    states = tuple(normal(4, 2, UNITS, seed=k).requires_grad_() for k in (5, 6))

    def run(x: Any, h0: Any, c0: Any, *_parameters: Any) -> Any:
        given = pack_padded_sequence(x, [2, 3], enforce_sorted=False) if pack else x
        y, (h, c) = ours(given, (h0, c0))
        return data_of(y), h, c

    assert torch.autograd.gradcheck(run, (x, *states, *ours.parameters()))


def test_training_makes_the_same_steps() -> None:
    theirs, ours = pair(num_layers=2)
    x, losses = normal(5, 4, FEATURES), []
    for module in (theirs, ours):
        optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
        for _ in range(8):
            optimizer.zero_grad()
            loss = (module(x)[0] ** 2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.01)
            optimizer.step()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)


def test_outputs_are_laid_out_as_scripts_expect() -> None:
    _, ours = pair()
    assert ours(normal(7, 4, FEATURES))[0].view(28, UNITS).shape == (28, UNITS)


# ---- packed weights ----


def test_weights_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packings: list[int] = []

    class Counted(ops.LSTMWeights):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            packings.append(1)
            super().__init__(*arguments, **named)

    monkeypatch.setattr(ops, "LSTMWeights", Counted)
    _, ours = pair(num_layers=2)
    x = normal(7, 4, FEATURES)
    for _ in range(3):
        ours(x)
        with torch.inference_mode():
            ours(x)
    assert len(packings) == 2
    ours.bias_hh_l1.data[0] += 1
    ours(x)
    assert len(packings) == 3


CHANGES: list[Callable[[Any], object]] = [
    lambda m: m.load_state_dict({name: value * 2 for name, value in m.state_dict().items()}),
    lambda m: m.weight_hh_l0.data.mul_(2),  # which PyTorch does not count
    lambda m: m.weight_hh_l0.data[1, 2:3].fill_(9),
    lambda m: m.bias_ih_l0.detach().numpy().fill(2),
    lambda m: setattr(m.bias_hh_l0, "data", torch.ones_like(m.bias_hh_l0)),
    lambda m: setattr(m, "weight_ih_l0", torch.nn.Parameter(torch.zeros_like(m.weight_ih_l0))),
    lambda m: torch.nn.utils.parametrizations.weight_norm(
        m, "weight_hh_l0"
    ).parametrizations.weight_hh_l0.original0.data.mul_(3),
    lambda m: m.share_memory().weight_ih_l0.data.zero_(),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_changed_weights_are_seen(number: int) -> None:
    theirs, ours = pair()
    x = normal(7, 4, FEATURES)
    before = ours(x)[0]
    for module in (theirs, ours):
        CHANGES[number](module)
    assert torch.allclose(ours(x)[0], theirs(x)[0])
    assert not torch.allclose(ours(x)[0], before)


def test_conversion_to_the_other_dtype() -> None:
    _, ours = pair(torch.float32)
    x = normal(7, 4, FEATURES)
    before = ours(x.float())[0]
    assert torch.allclose(ours.double()(x)[0], before.double(), atol=1e-6)


def test_copies_are_independent(tmp_path: Path) -> None:
    _, ours = pair(num_layers=2)
    x = normal(7, 4, FEATURES)
    before = ours(x)[0]
    twin = copy.deepcopy(ours)
    torch.save(ours.state_dict(), tmp_path / "state.pt")
    torch.save(ours, tmp_path / "module.pt")
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert torch.equal(twin(x)[0], before)
    assert not torch.equal(ours(x)[0], before)
    assert torch.equal(torch.load(tmp_path / "module.pt", weights_only=False)(x)[0], before)
    ours.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(ours(x)[0], before)


def test_threads() -> None:
    _, ours = pair(num_layers=2)
    inputs = [normal(9, 3, FEATURES, seed=k) for k in range(8)]
    expected = [ours(x)[0].detach() for x in inputs]
    ours = copy.deepcopy(ours)  # with no packed weights yet
    same = [False] * len(inputs)

    def work(k: int) -> None:
        same[k] = all(torch.equal(ours(inputs[k])[0], expected[k]) for _ in range(20))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same)


# ---- tapes ----


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each run of the kernels was asked for a tape."""
    asked: list[bool] = []
    real = ops.lstm_forward

    def noting(*arguments: Any, training: bool, **options: Any) -> ops.LSTMResult:
        asked.append(training)
        return real(*arguments, training=training, **options)

    monkeypatch.setattr(ops, "lstm_forward", noting)
    return asked


def test_no_tape_without_gradients(tapes: list[bool]) -> None:
    _, ours = pair()
    x = normal(7, 4, FEATURES)
    with torch.no_grad():
        assert not ours(x)[0].requires_grad
    with torch.inference_mode():
        ours(x)
    ours.requires_grad_(False)
    ours(x)
    assert tapes == [False, False, False]
    ours(x.requires_grad_())
    assert tapes[3:] == [True]


def test_eval_keeps_no_tape_and_still_has_gradients(tapes: list[bool]) -> None:
    theirs, ours = pair()
    compare(theirs.eval(), ours.eval(), normal(7, 4, FEATURES), steps=7)
    assert tapes == [False, True]


def test_tape_goes_with_the_graph() -> None:
    _, ours = pair(batch_first=True)
    y = ours(normal(7, 4, FEATURES))[0]
    job = weakref.ref(y.grad_fn.job)
    assert job() is not None
    del y
    gc.collect()
    assert job() is None


def test_second_backward_over_a_kept_graph() -> None:
    _, ours = pair(num_layers=2)
    x = normal(7, 4, FEATURES).requires_grad_()
    y = ours(x)[0]
    (first,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    with torch.no_grad():
        ours.weight_hh_l0.zero_()  # the graph goes on with the weights of its forward pass
    (second,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(first, second)


def test_changes_before_backward_are_refused() -> None:
    _, ours = pair(batch_first=True)
    x = normal(7, 4, FEATURES)
    y = ours(x)[0]
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = ours(x)[0]
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# ---- what must be refused ----

GOOD = torch.zeros(7, 4, FEATURES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([[1.0]], TypeError, "input: expected a tensor or a PackedSequence, got list"),
        ([GOOD.double()], TypeError, "input: expected dtype torch.float32 like the parameters, got torch.f"),
        ([GOOD.half()], TypeError, "input: expected dtype torch.float32 .* got torch.float16"),
        (
            [GOOD.to("meta")],
            ValueError,
            "input: expected a dense tensor on a CPU or a CUDA device, got .* on meta",
        ),
        (
            [GOOD.to_sparse()],
            ValueError,
            "input: expected a dense tensor on a CPU or a CUDA device, got a torch.sparse_coo",
        ),
        ([GOOD[:, :, :2]], ValueError, r"input: expected 3 features, got shape \(7, 4, 2\)"),
        ([GOOD[None]], ValueError, r"input: expected 2 or 3 axes, got shape \(1, 7, 4, 3\)"),
        ([GOOD, GOOD], TypeError, r"hx: expected a pair \(h0, c0\), got Tensor"),
        ([GOOD, (None, None)], TypeError, "hx: expected tensors, got NoneType"),
        (
            [GOOD, (torch.zeros(1, 3, UNITS), torch.zeros(1, 4, UNITS))],
            ValueError,
            r"hx: expected shape \(1, 4, 5\), got \(1, 3, 5\)",
        ),
        (
            [GOOD, (torch.zeros(1, 4, UNITS), torch.zeros(1, 4, UNITS).double())],
            TypeError,
            "hx: expected dtype torch.float32 like the parameters, got torch.float64",
        ),
    ],
)
def test_calls_that_do_not_fit(arguments: list[Any], error: type[Exception], message: str) -> None:
    module = fusedlstm.torch.LSTM(FEATURES, UNITS)
    with pytest.raises(error, match=message):
        module(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"proj_size": UNITS}, ValueError, "proj_size has to be smaller than hidden_size"),
        ({"device": "meta"}, ValueError, "device: expected a CPU or a CUDA device, got meta"),
        ({"dtype": torch.float16}, TypeError, "dtype: expected torch.float32 or torch.float64, got"),
    ],
)
def test_modules_that_cannot_be_made(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fusedlstm.torch.LSTM(FEATURES, UNITS, **options)


def test_parameters_moved_elsewhere() -> None:
    module = fusedlstm.torch.LSTM(FEATURES, UNITS).to("meta")
    with pytest.raises(ValueError, match="weight_ih_l0: expected a dense tensor on a CPU or a CUDA device"):
        module(GOOD)
    with pytest.raises(TypeError, match=r"weight_ih_l0: expected torch\.float32 or torch.float64"):
        fusedlstm.torch.LSTM(FEATURES, UNITS).half()(GOOD.half())


def test_the_package_alone_does_not_import_torch() -> None:
    code = "import sys, fusedlstm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
