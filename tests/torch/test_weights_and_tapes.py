"""`fusedlstm.torch.LSTM`: when weights are packed again, and how long tapes live."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm import ops

torch: Any = pytest.importorskip("torch")


from .common import FEATURES, compare, normal, pair  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
