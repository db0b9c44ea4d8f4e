"""`fusedlstm.torch.LSTM` computes and trains as `torch.nn.LSTM` does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fusedlstm import ops

torch: Any = pytest.importorskip("torch")

from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence  # noqa: E402

import fusedlstm.torch  # noqa: E402

from .common import FEATURES, UNITS, compare, data_of, normal, pair  # noqa: E402

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
