"""Pairs of modules and their comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm.testing import assert_close

torch: Any = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence  # noqa: E402

import fusedlstm.torch  # noqa: E402

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
