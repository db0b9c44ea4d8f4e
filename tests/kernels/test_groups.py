"""Gradients of groups of rows have the bits of those of batches of their own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fusedlstm import ops

from .problems import REDUCED, Number, Problem, Shape, assert_same_bits, make_problem, shape_id

# Rows that fill blocks of weight gradients for several steps, for one, and more than one.
SHAPES: list[tuple[Shape, tuple[int, ...]]] = [
    ((7, 30, 3, 17), (0, 1, 4, 7)),
    ((64, 12, 33, 65), (0, 16, 32, 48, 64)),
    ((450, 3, 5, 8), (0, 200, 450)),
    ((24, 5, 40, 130), (0, 24)),
]
if REDUCED:
    SHAPES = [((7, 30, 3, 5), (0, 1, 4, 7))]


def backward(p: Problem, ends: tuple[int, ...], rows: slice, **options: Any) -> ops.LSTMGradients:
    lengths = options.pop("lengths", None)
    if lengths is not None:
        options["lengths"] = lengths[rows]
    result = ops.lstm_forward(p.x[rows], p.weights, p.h0[rows], p.c0[rows], training=True, **options)
    assert result.tape is not None
    return ops.lstm_backward(result.tape, p.dy[rows], p.dh[rows], p.dc[rows], groups=ends)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("variant", ["plain", "lengths", "go_backwards"])
@pytest.mark.parametrize(("shape", "ends"), SHAPES, ids=[shape_id(shape) for shape, _ in SHAPES])
def test_groups(shape: Shape, ends: tuple[int, ...], variant: str, threads: int, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    ops.set_num_threads(threads)
    options: dict[str, Any] = {}
    if variant == "lengths":
        options["lengths"] = np.random.default_rng(0).integers(0, shape[1] + 1, shape[0])
    elif variant == "go_backwards":
        options["go_backwards"] = True
    found = backward(p, ends, slice(None), **options)
    for number, (start, end) in enumerate(pairwise(ends)):
        own = backward(p, (), slice(start, end), **options)
        for name in ("dkernel", "drecurrent_kernel", "dbias"):
            assert_same_bits(getattr(found, name)[number], getattr(own, name), f"{name} of {start}:{end}")
        for name in ("dx", "dh0", "dc0"):
            assert_same_bits(getattr(found, name)[start:end], getattr(own, name), name)


@pytest.mark.parametrize("groups", [(0,), (0, 3), (1, 7), (0, 4, 4, 7), (0, 5, 4, 7)])
def test_groups_that_are_none(groups: tuple[int, ...]) -> None:
    p = make_problem((7, 3, 3, 5), np.float32)
    with pytest.raises(ValueError, match="groups: expected rows that increase from 0 to B=7"):
        backward(p, groups, slice(None))


def test_tapes_without_groups() -> None:
    p = make_problem((7, 9, 3, 5), np.float32)
    with pytest.raises(ValueError, match="groups: expected a tape without checkpoints"):
        backward(p, (0, 4, 7), slice(None), checkpoint_every=3)
    options = ops.CellOptions(peepholes=np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match="layer normalization and peepholes"):
        backward(p, (0, 4, 7), slice(None), options=options)


def test_no_gradients_of_weights() -> None:
    p = make_problem((7, 9, 3, 5), np.float32)
    result = ops.lstm_forward(p.x, p.weights, training=True)
    assert result.tape is not None
    found = ops.lstm_backward(result.tape, p.dy, need_dweights=False, groups=(0, 7))
    assert found.dkernel is None
