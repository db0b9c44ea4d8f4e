"""Second derivatives of `fusedlstm.torch.LSTM` against those of `torch.nn.LSTM` and finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm import ops
from fusedlstm.testing import assert_close

torch: Any = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402

import fusedlstm.torch  # noqa: E402

from .common import FEATURES, UNITS, normal, pair  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS, BATCH = 6, 4
LENGTHS = [4, 6, 1, 3]
MODULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "bidirectional": {"bidirectional": True},
    "two layers": {"num_layers": 2, "bidirectional": True},
}


def inputs_of(module: Any) -> tuple[Any, Any, Any]:
    """Return x, h0 and c0 for a module, in its number type and with gradients."""
    dtype = module.weight_ih_l0.dtype
    layers = module.num_layers * (2 if module.bidirectional else 1)
    shape = (BATCH, STEPS, FEATURES) if module.batch_first else (STEPS, BATCH, FEATURES)
    arrays = (
        normal(*shape, dtype=dtype),
        *(normal(layers, BATCH, UNITS, seed=k, dtype=dtype) for k in (5, 6)),
    )
    x, h0, c0 = (array.requires_grad_() for array in arrays)
    return x, h0, c0


def results(module: Any, x: Any, h0: Any, c0: Any, pack: bool) -> tuple[Any, Any, Any]:
    given = x
    if pack:
        given = pack_padded_sequence(x, LENGTHS, batch_first=module.batch_first, enforce_sorted=False)
    y, (h, c) = module(given, (h0, c0))
    return y.data if isinstance(y, PackedSequence) else y, h, c


def loss_of(outputs: tuple[Any, Any, Any]) -> Any:
    """Return a number that is not linear in the outputs."""
    return sum(
        ((value - 0.3) ** 2 * normal(*value.shape, seed=k, dtype=value.dtype)).sum()
        for k, value in enumerate(outputs)
    )


def same(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for name, expected in theirs.items():
        got = ours[name]
        assert (got is None) == (expected is None), name
        if got is not None:
            assert got.shape == expected.shape, name
            assert_close(
                got.detach().numpy(),
                expected.detach().numpy(),
                dtype=got.detach().numpy().dtype,
                terms=4 * UNITS + FEATURES + BATCH * STEPS,
                steps=2 * STEPS,
                name=name,
            )


def penalty(module: Any, pack: bool) -> dict[str, Any]:
    """Train by a gradient penalty as in WGAN-GP: the norm of x's gradient, row by row, is to be one."""
    module.zero_grad()
    x, h0, c0 = inputs_of(module)
    outputs = results(module, x, h0, c0, pack)
    (dx,) = torch.autograd.grad(outputs[0].sum(), x, create_graph=True)
    axes = (1, 2) if module.batch_first else (0, 2)
    loss = ((dx.square().sum(axes).sqrt() - 1) ** 2).mean() + outputs[0].mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    return {**gradients, "loss": loss, "dx": x.grad, "dh0": h0.grad, "dc0": c0.grad}


def hessian_times_vector(module: Any, pack: bool) -> dict[str, Any]:
    """Differentiate every gradient along one direction of everything."""
    names = ["x", "h0", "c0", *(name for name, _ in module.named_parameters())]
    x, h0, c0 = inputs_of(module)
    arguments = (x, h0, c0, *module.parameters())
    loss = loss_of(results(module, x, h0, c0, pack))
    first = torch.autograd.grad(loss, arguments, create_graph=True)
    directions = [normal(*g.shape, seed=k, dtype=g.dtype) for k, g in enumerate(first, start=20)]
    second = torch.autograd.grad(first, arguments, directions)
    return dict(zip(names, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("pack", [False, True], ids=["whole", "packed"])
@pytest.mark.parametrize("options", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize("task", [penalty, hessian_times_vector], ids=["penalty", "Hessian"])
def test_as_in_pytorch(
    task: Callable[[Any, bool], dict[str, Any]], options: dict[str, Any], pack: bool, dtype: Any
) -> None:
    theirs, ours = pair(dtype, **options)
    same(task(theirs, pack), task(ours, pack))


@pytest.mark.parametrize("pack", [False, True], ids=["whole", "packed"])
def test_gradgradcheck(pack: bool) -> None:
    _, ours = pair(num_layers=2, bidirectional=True)
    x, h0, c0 = inputs_of(ours)

    def run(x: Any, h0: Any, c0: Any, *_parameters: Any) -> Any:
        return results(ours, x, h0, c0, pack)

    # Along random directions: element by element it would take minutes.
    assert torch.autograd.gradgradcheck(run, (x, h0, c0, *ours.parameters()), fast_mode=True)


def test_gradgradcheck_of_every_element() -> None:
    _, ours = pair()
    x = normal(2, 2, FEATURES).requires_grad_()

    def run(x: Any, *_parameters: Any) -> Any:
        y, (h, c) = ours(x)
        return y, h, c

    assert torch.autograd.gradgradcheck(run, (x, ours.weight_hh_l0, ours.bias_ih_l0))


def test_eval_mode() -> None:
    """A pass that kept no tape runs again, and can be differentiated like one that did."""
    theirs, ours = pair()
    same(penalty(theirs.eval(), False), penalty(ours.eval(), False))


def test_a_graph_that_stays() -> None:
    """Backward passes over one graph do not disturb each other, whether they can be differentiated or not."""
    theirs, ours = pair()
    found = []
    for module in (theirs, ours):
        x, h0, c0 = inputs_of(module)
        y, h, _ = results(module, x, h0, c0, pack=False)
        one = torch.autograd.grad(y.square().sum(), (x, module.weight_hh_l0), create_graph=True)
        two = torch.autograd.grad(h.square().sum(), (x, module.weight_hh_l0), create_graph=True)
        three = torch.autograd.grad(y.square().sum(), x, retain_graph=True)
        third = torch.autograd.grad(one[0].square().sum(), module.weight_ih_l0, retain_graph=True)
        fourth = torch.autograd.grad(two[1].square().sum() + one[1].sum(), (x, h0), retain_graph=True)
        again = torch.autograd.grad(one[0].square().sum(), module.weight_ih_l0)
        values = (*one, *two, *three, *third, *fourth, *again)
        found.append({str(k): value for k, value in enumerate(values)})
    same(*found)


def test_some_gradients_only() -> None:
    """Parameters without gradients, no states, and directions of one gradient alone."""
    theirs, ours = pair(num_layers=2)
    found = []
    for module in (theirs, ours):
        module.weight_ih_l0.requires_grad_(False)
        module.bias_hh_l1.requires_grad_(False)
        y, _ = module(normal(STEPS, BATCH, FEATURES))
        wanted = (module.weight_hh_l0, module.bias_ih_l1)
        first = torch.autograd.grad(y.square().sum(), wanted, create_graph=True)
        second = torch.autograd.grad(first[1].square().sum(), wanted)
        found.append({str(k): value for k, value in enumerate((*first, *second))})
    same(*found)


def test_one_backward_pass_is_kept_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = ops.lstm_backward

    def noting(*arguments: Any, **options: Any) -> ops.LSTMGradients:
        asked.append(options.get("keep"))
        return real(*arguments, **options)

    monkeypatch.setattr(ops, "lstm_backward", noting)
    _, ours = pair()
    x, h0, c0 = inputs_of(ours)
    results(ours, x, h0, c0, pack=False)[0].sum().backward()
    assert asked == [False]
    torch.autograd.grad(results(ours, x, h0, c0, pack=False)[0].sum(), x, create_graph=True)
    assert asked == [False, True]


def test_changes_before_the_second_backward_are_refused() -> None:
    _, ours = pair()
    for change in ("x", "y"):
        x = normal(STEPS, BATCH, FEATURES)
        y, _ = ours(x)
        (dw,) = torch.autograd.grad(y.square().sum(), ours.weight_hh_l0, create_graph=True)
        with torch.no_grad():
            (x if change == "x" else y).mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            dw.sum().backward()


def test_third_derivatives_are_refused() -> None:
    """Not taken for zero, wherever they are wanted."""
    _, ours = pair()
    x = normal(STEPS, BATCH, FEATURES).requires_grad_()
    (dx,) = torch.autograd.grad(ours(x)[0].sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(dx.square().sum(), x, create_graph=True)
    message = "LSTM: expected first and second derivatives only"
    for source in (x, ours.weight_hh_l0):
        with pytest.raises(RuntimeError, match=message):
            torch.autograd.grad(second.square().sum(), source, retain_graph=True)
    with pytest.raises(RuntimeError, match=message):
        second.sum().backward()


def test_second_derivatives_of_a_frozen_module() -> None:
    """Along x alone, without any gradient of weights on the way."""
    theirs, ours = torch.nn.LSTM(5, 7, batch_first=True), fusedlstm.torch.LSTM(5, 7, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    found = []
    for module in (theirs, ours):
        module.requires_grad_(False)
        x = torch.linspace(-1, 1, 60).reshape(3, 4, 5).requires_grad_()
        (dx,) = torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)
        found += torch.autograd.grad(dx.square().sum(), x)
    assert torch.allclose(*found, atol=1e-6)
