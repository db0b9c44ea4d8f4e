"""With checkpoints, gradients have the same bits as with a whole tape, and the tape is smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import REDUCED, Number, Problem, Shape, assert_same_bits, make_problem, shape_id

DEVICES = True

# One row, where a block of weight gradients holds the most steps; several; more rows than a block has.
SHAPES: list[Shape] = [(1, 1100, 3, 9), (3, 300, 5, 17), (40, 30, 9, 8), (1030, 5, 3, 7)]
if REDUCED:
    SHAPES = [(40, 30, 3, 5)]


def run(p: Problem, states: bool, **options: Any) -> tuple[ops.LSTMResult, ops.LSTMGradients, int]:
    h0, c0 = (p.h0, p.c0) if states else (None, None)
    result = ops.lstm_forward(p.x, p.weights, h0, c0, training=True, **options)
    assert result.tape is not None
    size = result.tape.nbytes
    dy = p.dy if options.get("return_sequences", True) else None
    return result, ops.lstm_backward(result.tape, dy, p.dh, p.dc), size


def variants(B: int, T: int) -> dict[str, dict[str, Any]]:
    return {
        "plain": {},
        "lengths": {"lengths": np.random.default_rng(B).integers(0, T + 1, B)},
        "go_backwards": {"go_backwards": True},
        "last": {"return_sequences": False},
    }


@pytest.mark.not_gpu
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("every", [1, 7, 64, 10_000])
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("variant", variants(1, 1))
def test_same_bits(variant: str, shape: Shape, every: int, states: bool, dtype: Number, device: str) -> None:
    """On other devices the gradients of weights are sums of the windows', which are rounded otherwise."""
    p = make_problem(shape, dtype)
    B, T = shape[:2]
    options = variants(B, T)[variant]
    result, gradients, size = run(p, states, checkpoint_every=every, **options)
    expected, expected_gradients, whole = run(p, states, **options)
    for got, want in (
        (result._asdict(), expected._asdict()),
        (gradients._asdict(), expected_gradients._asdict()),
    ):
        for name, value in want.items():
            if name == "tape" or value is None:
                continue
            if device != "cpu" and name in ("dkernel", "drecurrent_kernel", "dbias"):
                scale = max(float(np.abs(value).max()), np.sqrt(B * T))
                testing.assert_close(got[name], value, dtype=dtype, terms=B * T, scale=scale, name=name)
            else:
                assert_same_bits(got[name], value, name)
    assert size < whole


@pytest.mark.cpu
def test_threads(dtype: Number) -> None:
    p = make_problem((9, 40, 70, 130), dtype)
    ops.set_num_threads(1)
    _, expected, _ = run(p, True, checkpoint_every=16)
    for threads in (2, 3, 5):
        ops.set_num_threads(threads)
        _, gradients, _ = run(p, True, checkpoint_every=16)
        for name, value in expected._asdict().items():
            assert_same_bits(getattr(gradients, name), value, name)


def test_tape_of_a_long_sequence_is_a_tenth_at_most() -> None:
    p = make_problem((2, 2000, 4, 8), np.float32)
    _, _, whole = run(p, True)
    _, _, size = run(p, True, checkpoint_every=64)
    assert size * 10 <= whole


def test_empty(dtype: Number) -> None:
    p = make_problem((3, 0, 4, 8), dtype)
    _, gradients, _ = run(p, True, checkpoint_every=5)
    assert_same_bits(gradients.dh0, p.dh, "dh0")
    assert_same_bits(gradients.dc0, p.dc, "dc0")
    assert gradients.dkernel is not None
    assert not gradients.dkernel.any()


def test_negative() -> None:
    p = make_problem((3, 4, 4, 8), np.float32)
    with pytest.raises(ValueError, match=r"^checkpoint_every: expected an integer >= 0, got -1"):
        ops.lstm_forward(p.x, p.weights, training=True, checkpoint_every=-1)
