"""The CTC loss by blocks of different sizes, on the simulated GPU, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .calls import address

# T, L, C: fewer labels than threads and more, steps with and without a normalization at the end.
SIZES = [(5, 0, 3), (9, 4, 2), (16, 7, 40), (70, 33, 9), (30, 65, 28)]


def run(kernels: Any, size: tuple[int, int, int], number: str, threads: int) -> tuple[Any, ...]:
    """Return losses and gradients of rows with repeated labels, and what they are to be."""
    T, L, C = size
    B, random = 3, np.random.default_rng([*size, 1])
    logits = (2 * random.standard_normal((B, T, C))).astype(number)
    labels = 1 + random.integers(0, C - 1, (B, L))
    labels[:, 1::3] = labels[:, : max(L - 1, 0) : 3][:, : labels[:, 1::3].shape[1]]
    steps, counts = np.array([T, T - 1, 3]), np.array([L, L // 2, min(L, 2)])
    weights = np.array([1, -0.5, 2], number)
    x = kernels.array(logits, "logits")
    integers = {
        name: kernels.array(values.astype(np.int64), name)
        for name, values in (("labels", labels), ("label_lengths", counts), ("logit_lengths", steps))
    }
    out = {
        "losses": kernels.empty(B, np.dtype(number), "losses"),
        "dlogits": kernels.empty((B, T, C), np.dtype(number), "dlogits"),
        "scratch": kernels.empty((B, kernels.ctc_scratch(T, L, True)), np.dtype(number), "scratch"),
        "weights": kernels.array(weights, "weights"),
    }
    kernels.ctc_loss(
        number=number,
        batch=B,
        steps=T,
        classes=C,
        logits=kernels.StridedAddress(address(x), *x.strides[:2]),
        most_labels=L,
        blank=0,
        zero_infinity=False,
        threads=threads,
        **{name: address(array) for name, array in {**integers, **out}.items()},
    )
    expected = testing.ctc_loss_reference(logits, labels, steps, counts, 0)
    results = np.array(out["losses"]), np.array(out["dlogits"])
    return (*results, expected.losses, expected.dlogits * weights[:, None, None])


@pytest.mark.parametrize("number", ["float32", "float64"])
@pytest.mark.parametrize("threads", [0, 32, 96, 512])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_against_the_reference(kernels: Any, size: tuple[int, int, int], threads: int, number: str) -> None:
    losses, dlogits, want_losses, want_dlogits = run(kernels, size, number, threads)
    finite = np.where(np.isfinite(want_losses), want_losses, 0)
    options: dict[str, Any] = {"dtype": losses.dtype, "terms": size[2], "steps": 9}
    scale = 1 + finite / size[0]
    testing.assert_close(losses, want_losses, scale=scale, name="losses", **options)
    testing.assert_close(dlogits, want_dlogits, scale=2 * scale[:, None, None], name="dlogits", **options)
    if threads:
        return
    again = run(kernels, size, number, threads)
    assert losses.tobytes() == again[0].tobytes()
    assert dlogits.tobytes() == again[1].tobytes()


def test_more_labels_than_shared_memory_holds(kernels: Any) -> None:
    with pytest.raises(ValueError, match=r"labels: expected at most \d+ of a row, .*, got L=100000"):
        run(kernels, (1, 100_000, 3), "float32", 0)
