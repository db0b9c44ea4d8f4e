"""ctc_loss against torch.nn.functional.ctc_loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

import fusedlstm.torch  # noqa: E402
from fusedlstm.testing import assert_close  # noqa: E402

T, N, S, C = 20, 5, 6, 8
STEPS, COUNTS = (20, 17, 20, 12, 9), (6, 3, 0, 5, 2)


def arguments(dtype: Any = torch.float64) -> tuple[Any, Any, Any]:
    """Make logits that need a gradient, rows of targets with repetitions, and targets one after the other."""
    torch.manual_seed(0)
    logits = (2 * torch.randn(T, N, C, dtype=torch.float64)).to(dtype).requires_grad_()
    rows = torch.randint(0, C - 1, (N, S))
    rows += rows >= 3
    rows[0, 1] = rows[0, 2]
    joined = torch.cat([row[:count] for row, count in zip(rows, COUNTS, strict=True)])
    return logits, rows, joined


def run(function: Any, logits: Any, *rest: Any, normalized: bool = True, **options: Any) -> tuple[Any, Any]:
    leaf = logits.detach().clone().requires_grad_()
    value = function(leaf.log_softmax(-1) if normalized else leaf, *rest, **options)
    (value * torch.arange(1, 1 + value.numel(), dtype=value.dtype).reshape(value.shape)).sum().backward()
    return value.detach().numpy(), leaf.grad.numpy()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("number", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients(reduction: str, joined: bool, number: Any) -> None:
    logits, rows, in_one = arguments(number)
    options: dict[str, Any] = {"blank": 3, "reduction": reduction}
    targets = in_one if joined else rows
    want = run(functional.ctc_loss, logits.double(), targets, STEPS, COUNTS, **options)
    dtype = np.float32 if number == torch.float32 else np.float64
    for normalized in (True, False):
        for lengths in ((STEPS, COUNTS), (torch.tensor(STEPS), torch.tensor(COUNTS))):
            got = run(fusedlstm.torch.ctc_loss, logits, targets, *lengths, normalized=normalized, **options)
            for name, ours, theirs in zip(("loss", "gradient"), got, want, strict=True):
                assert_close(ours, theirs, dtype=dtype, terms=C, steps=T, name=name)


def test_one_sequence() -> None:
    logits, rows, _ = arguments()
    for reduction in ("mean", "sum", "none"):
        rest = (rows[0], torch.tensor(T), torch.tensor(S))
        options: dict[str, Any] = {"blank": 3, "reduction": reduction}
        want = run(functional.ctc_loss, logits[:, 0], *rest, **options)
        got = run(fusedlstm.torch.ctc_loss, logits[:, 0], *rest, **options)
        for ours, theirs in zip(got, want, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_sequences_that_do_not_fit(zero_infinity: bool) -> None:
    logits, rows, _ = arguments()
    steps = (20, 2, 0, 12, 0)
    options: dict[str, Any] = {"blank": 3, "reduction": "none", "zero_infinity": zero_infinity}
    value, gradient = run(fusedlstm.torch.ctc_loss, logits, rows, steps, COUNTS, **options)
    want, theirs = run(functional.ctc_loss, logits, rows, steps, COUNTS, **options)
    np.testing.assert_allclose(value, want)
    np.testing.assert_allclose(gradient[:, [0, 3]], theirs[:, [0, 3]], atol=1e-12)
    assert not gradient[:, [1, 2, 4]].any()


def test_gradcheck_and_retained_graphs() -> None:
    logits, rows, _ = arguments()

    def loss(x: Any) -> Any:
        return fusedlstm.torch.ctc_loss(x, rows, STEPS, COUNTS, 3, "none")

    assert torch.autograd.gradcheck(loss, logits)
    assert not loss(logits.detach()).requires_grad
    total = 2.0 * loss(logits).sum()
    first = torch.autograd.grad(total, logits, retain_graph=True)[0].clone()
    first_again = torch.autograd.grad(total, logits)[0]
    assert torch.equal(first, first_again)
    with pytest.raises(RuntimeError, match="expected first derivatives only"):
        torch.autograd.grad(
            torch.autograd.grad(loss(logits).sum(), logits, create_graph=True)[0].sum(), logits
        )


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"log_probs": [1.0]}, TypeError, "^log_probs: expected a tensor, got list"),
        ({"log_probs": torch.zeros(T, N, C).half()}, TypeError, "^log_probs: expected "),
        ({"log_probs": torch.zeros(T)}, ValueError, r"^log_probs: expected 2 or 3 axes, got shape \(20,\)"),
        (
            {"log_probs": torch.zeros(T, N, C).to("meta")},
            ValueError,
            "^log_probs: .* on a CPU, got .* on meta",
        ),
        (
            {"targets": torch.zeros(N, S).long()},
            ValueError,
            "^targets: expected classes .* the blank, 0, got 0",
        ),
        ({"targets": torch.ones(3)}, ValueError, "^targets: expected the sum .*, 16, .* got 3"),
        (
            {"targets": torch.ones(2, S)},
            ValueError,
            r"^targets: expected shape \(B=5, L\), got shape \(2, 6\)",
        ),
        ({"input_lengths": [21] * N}, ValueError, "^input_lengths: expected numbers from 0 to T=20, got 21"),
        ({"target_lengths": [7] * N}, ValueError, "^target_lengths: expected numbers from 0 to L=6, got 7"),
        ({"blank": C}, ValueError, r"^blank: expected a class in \[0, C=8\), got 8"),
        ({"reduction": "max"}, ValueError, "^reduction: expected one of "),
    ],
)
def test_what_is_refused(change: dict[str, Any], error: type[Exception], text: str) -> None:
    given = {
        "log_probs": torch.zeros(T, N, C),
        "targets": torch.ones(N, S),
        "input_lengths": STEPS,
        "target_lengths": COUNTS,
    }
    with pytest.raises(error, match=text):
        fusedlstm.torch.ctc_loss(**{**given, **change})
