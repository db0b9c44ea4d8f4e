"""Projection of the hidden state (LSTMP): values, exact derivatives, bits, steps, storage, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .problems import (
    REDUCED,
    Array,
    Number,
    Shape,
    assert_all_same_bits,
    assert_same_bits,
    shape_id,
    with_arrays,
)
from .test_options import Variant, check, make_variant

DEVICES = True

# With R: one, less than H, more than H, more than a panel of columns, and H itself.
SHAPES: list[tuple[Shape, int]] = [
    ((1, 1, 3, 1), 1),
    ((3, 4, 5, 7), 3),
    ((2, 3, 17, 33), 40),
    ((19, 3, 9, 16), 16),
    ((1, 6, 4, 65), 70),
    ((35, 3, 8, 40), 9),
]
if REDUCED:
    SHAPES = SHAPES[1:3]


def shape_and_outputs_id(value: tuple[Shape, int]) -> str:
    return f"{shape_id(value[0])}-R{value[1]}"


def projected(variant: Variant, outputs: int) -> Variant:
    """Give the problem a projection, and hidden states of its size."""
    p = variant.p
    B, T, _, H = p.shape
    random = np.random.default_rng([4, *p.shape])

    def normal(*size: int, scale: float = 1.0) -> Array:
        return (scale * random.standard_normal(size)).astype(p.dtype)

    # Spectral norms of about one; see make_problem.
    norm = np.sqrt(H) + np.sqrt(outputs)
    p = with_arrays(
        p,
        recurrent_kernel=normal(outputs, 4 * H, scale=1 / (2 * np.sqrt(H) + np.sqrt(outputs))),
        h0=normal(B, outputs, scale=0.5),
        dy=normal(B, T, outputs),
        dh=normal(B, outputs),
    )
    # Sums over I and R numbers, and over H.
    p = replace(p, shape=(B, T, p.shape[2] + outputs, H))
    return replace(variant, p=p, projection=normal(H, outputs, scale=1 / norm))


def make_projected(
    case: tuple[Shape, int], dtype: Number, cell: str | None = None, mask: str | None = None
) -> Variant:
    shape, outputs = case
    return projected(make_variant(shape, dtype, cell, mask), outputs)


@pytest.mark.parametrize("case", SHAPES, ids=shape_and_outputs_id)
@pytest.mark.parametrize("cell", [None, "peepholes", "coupled", "clip", "all", "softsign", "zoneout"])
def test_cells(cell: str | None, case: tuple[Shape, int], dtype: Number) -> None:
    variant = make_projected(case, dtype, cell)
    check(variant)
    assert "projection" in ops.last_kernel()


@pytest.mark.cpu
def test_the_plain_cell(dtype: Number) -> None:
    """Without options the plain cell runs, which takes tanh(c) from m."""
    variant = make_projected(SHAPES[1], dtype)
    p = variant.p
    result = ops.lstm_forward(p.x, (*p.weights, variant.projection), p.h0, p.c0, training=True)
    assert "cell with options" not in ops.last_kernel()
    assert result.tape is not None
    gradients = ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)._asdict()
    expected = variant.run()
    for name, value in {"y": result.y, "h": result.h, "c": result.c}.items():
        assert_same_bits(value, expected[name], name)
    for name, value in gradients.items():
        if value is not None:
            # m / o and tanh(c) differ by a rounding.
            scale = float(np.abs(expected[name]).max())
            testing.assert_close(
                value, expected[name], dtype=dtype, terms=p.backward_terms, steps=p.shape[1], scale=scale
            )


@pytest.mark.parametrize("case", SHAPES[1:], ids=shape_and_outputs_id)
@pytest.mark.parametrize("mask", ["right", "left", "holes", "empty rows"])
def test_masks(mask: str, case: tuple[Shape, int], dtype: Number) -> None:
    variant = make_projected(case, dtype, None, mask)
    check(variant)
    check(replace(variant, go_backwards=True, zero_output_for_mask=True))


@pytest.mark.parametrize("case", SHAPES, ids=shape_and_outputs_id)
def test_recurrent_mask(case: tuple[Shape, int], dtype: Number) -> None:
    variant = make_projected(case, dtype, "all", "holes")
    random = np.random.default_rng(1)
    check(replace(variant, recurrent_mask=((random.random(variant.p.h0.shape) < 0.7) / 0.7).astype(dtype)))


@pytest.mark.cpu
# Few rows, where threads split units and meet, and many; and R of less than one panel of columns.
@pytest.mark.parametrize("case", [((2, 30, 12, 130), 70), ((9, 30, 12, 65), 5), ((40, 20, 30, 33), 80)])
@pytest.mark.parametrize(("cell", "mask"), [(None, None), ("all", "holes"), ("zoneout", "right")])
def test_bits(cell: str | None, mask: str | None, case: tuple[Shape, int], dtype: Number) -> None:
    """The same for any number of threads, and with checkpoints."""
    variant = make_projected(case, dtype, cell, mask)
    variant = replace(variant, recurrent_mask=variant.p.h0 + 1)
    if cell == "zoneout":
        variant = replace(variant, zoneout_seed=3)
    ops.set_num_threads(1)
    expected = variant.run()
    for threads in (2, 3, 5):
        ops.set_num_threads(threads)
        assert_all_same_bits(variant.run(), expected, f"{threads} threads")
    assert_all_same_bits(variant.run(checkpoint_every=1), expected, "checkpoints")


@pytest.mark.not_gpu
@pytest.mark.parametrize("cell", [None, "all", "zoneout"])
def test_rows_do_not_depend_on_the_batch(cell: str | None, dtype: Number, device: str) -> None:
    """Any choice of rows, in any order, gives what they give among the others, for any number of threads."""
    variant = make_projected(((26, 3, 9, 40), 70), dtype, cell)
    whole = variant.run()
    random = np.random.default_rng(5)
    selections = [[b] for b in range(26)] + [list(range(size)) for size in range(2, 26, 3)]
    tried = selections if device == "cpu" else selections[::5]
    for number, chosen in enumerate([*tried, list(random.permutation(26))]):
        ops.set_num_threads(1 + number % 3)
        p = variant.p
        names = ("x", "h0", "c0", "dy", "dh", "dc")
        own = with_arrays(p, **{name: getattr(p, name)[chosen] for name in names})
        part = replace(variant, p=own).run()
        for name in ("y", "h", "c", "dx", "dh0", "dc0"):
            assert_same_bits(part[name], whole[name][chosen], f"{name} of rows {chosen}")


@pytest.mark.cpu
@pytest.mark.parametrize("storage", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("batch", [1, 9])
def test_steps(batch: int, storage: str | None, dtype: Number) -> None:
    """Steps have the bits of the sequence, also in place, and the sequence those without `y`."""
    if storage and dtype is np.float64:
        pytest.skip("float32 only")
    variant = make_projected(((batch, 5, 6, 40), 23), dtype)
    p = variant.p
    weights = ops.LSTMWeights(*p.weights, projection=variant.projection, storage=storage)
    expected = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    assert expected.y is not None
    last = ops.lstm_forward(p.x, weights, p.h0, p.c0, return_sequences=False)
    assert_same_bits(last.h, expected.h)
    assert_same_bits(last.c, expected.c)
    h, c = p.h0.copy(), p.c0.copy()
    for t in range(5):
        fresh = ops.lstm_step(p.x[:, t], h, c, weights)
        h, c = ops.lstm_step(p.x[:, t], h, c, weights, out=(h, c))
        assert_same_bits(fresh[0], h)
        assert_same_bits(h, expected.y[:, t], f"step {t}")
    assert_same_bits(c, expected.c)


@pytest.mark.cpu
@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
@pytest.mark.parametrize("case", SHAPES, ids=shape_and_outputs_id)
def test_storage(storage: str, case: tuple[Shape, int]) -> None:
    """Narrow weights give the results of the rounded ones; int8 also rounds the rows it multiplies."""
    variant = make_projected(case, np.float32)
    p = variant.p
    weights = ops.LSTMWeights(*p.weights, projection=variant.projection, storage=storage)
    kernel, recurrent_kernel, projection = weights.unpack()
    assert variant.projection is not None
    step = np.abs(variant.projection).max(axis=0) / (127 if storage == "int8" else 128)
    assert (np.abs(projection - variant.projection) <= 0.51 * step).all()
    actual = ops.lstm_forward(p.x, weights, p.h0, p.c0)
    expected = ops.lstm_forward(p.x, (kernel, recurrent_kernel, p.bias, projection), p.h0, p.c0)
    allowed = 2e-6 if storage == "bfloat16" else 1e-3
    for name in ("y", "h", "c"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=0, atol=allowed)
    with pytest.raises(
        ValueError, match=r"^weights: expected full storage, or compute='bfloat16', for training"
    ):
        ops.lstm_forward(p.x, weights, training=True)


def test_unpack_and_update(dtype: Number) -> None:
    (_, _, inputs, units), outputs = SHAPES[-1]
    variant = make_projected(SHAPES[-1], dtype)
    p, projection = variant.p, variant.projection
    assert projection is not None
    weights = ops.LSTMWeights(*p.weights, projection=projection)
    assert (weights.inputs, weights.units, weights.outputs) == (inputs, units, outputs)
    for kept, array in zip(weights.unpack(), (p.kernel, p.recurrent_kernel, projection), strict=True):
        assert_same_bits(kept, array)
    result = ops.lstm_forward(p.x, weights, p.h0, p.c0, training=True)
    weights.update(p.kernel, p.recurrent_kernel, p.bias, projection=2 * projection[::-1])
    assert_same_bits(weights.unpack()[2], 2 * projection[::-1])
    assert result.tape is not None
    # The tape keeps the weights that it was made with.
    assert_same_bits(ops.lstm_backward(result.tape, p.dy).dx, replace_gradients(variant)["dx"])


def replace_gradients(variant: Variant) -> dict[str, Any]:
    p = variant.p
    result = ops.lstm_forward(p.x, (*p.weights, variant.projection), p.h0, p.c0, training=True)
    assert result.tape is not None
    return ops.lstm_backward(result.tape, p.dy)._asdict()


def test_strided_projection(dtype: Number) -> None:
    variant = make_projected(SHAPES[1], dtype)
    assert variant.projection is not None
    expected = variant.run()
    for layout in (np.asfortranarray(variant.projection), np.repeat(variant.projection, 2, axis=0)[::2]):
        assert_all_same_bits(replace(variant, projection=layout).run(), expected, "another layout")


@pytest.mark.parametrize("shape", [(0, 3, 5, 9), (7, 0, 5, 9), (0, 0, 5, 9)])
def test_empty(shape: Shape, dtype: Number) -> None:
    variant = make_projected((shape, 4), dtype)
    results = variant.run()
    assert results["y"].shape == (*shape[:2], 4)
    assert results["dprojection"].shape == (9, 4)
    assert not results["dprojection"].any()
    assert_same_bits(results["dh0"], variant.p.dh)
    assert_all_same_bits(variant.run(checkpoint_every=2), results, "checkpoints")


@pytest.mark.cpu
def test_tape_bytes() -> None:
    variant = make_projected(((3, 4, 5, 16), 8), np.float32)
    p = variant.p
    plain = ops.lstm_forward(p.x, make_variant((3, 4, 5, 16), np.float32).p.weights, training=True)
    tape = ops.lstm_forward(p.x, (*p.weights, variant.projection), training=True).tape
    assert tape is not None
    assert plain.tape is not None
    assert tape.nbytes - plain.tape.nbytes == 4 * 3 * 4 * 16


@pytest.mark.cpu
def test_errors() -> None:
    variant = make_projected(((2, 3, 4, 5), 3), np.float32)
    p = variant.p
    projection = variant.projection
    assert projection is not None
    parts = (p.kernel, p.recurrent_kernel, p.bias)
    constructor: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"projection": projection[0]},
            ValueError,
            r"^projection: expected shape \(H, R\), got shape \(3,\)",
        ),
        ({"projection": projection.astype("d")}, TypeError, r"^projection: expected dtype float32"),
        ({"projection": projection[:, :2]}, ValueError, r"^recurrent_kernel: expected shape \(R=2, 4H=20\)"),
        ({"projection": projection[:4]}, ValueError, r"^recurrent_kernel: expected shape \(R=3, 4H=16\)"),
        ({"projection": projection.tolist()}, TypeError, r"^projection: expected a NumPy array"),
        (
            {"projection": np.full_like(projection, np.inf), "storage": "int8"},
            ValueError,
            "^projection: .*finite",
        ),
    ]
    for arguments, error, text in constructor:
        with pytest.raises(error, match=text):
            ops.LSTMWeights(*parts, **arguments)
    with pytest.raises(ValueError, match=r"^projection: expected 1 to 2\^28 columns, got 0"):
        ops.LSTMWeights(p.kernel, p.recurrent_kernel[:0], p.bias, projection=projection[:, :0])

    weights = ops.LSTMWeights(*parts, projection=projection)
    with pytest.raises(
        ValueError, match=r"^projection: expected an array, as there has been a projection, got"
    ):
        weights.update(*parts)
    plain = make_variant((2, 3, 4, 5), np.float32).p
    unprojected = ops.LSTMWeights(*plain.weights)
    with pytest.raises(ValueError, match=r"^projection: expected None, as there has been none, got ndarray"):
        unprojected.update(*plain.weights, projection=projection)
    with pytest.raises(TypeError, match=r"^weights: .*projection\]\]\), got 5 items"):
        ops.lstm_forward(p.x, (*parts, projection, None))

    wide = plain.h0
    calls: list[tuple[dict[str, Any], str]] = [
        ({"h0": wide}, r"^h0: expected shape \(B=2, R=3\), got shape \(2, 5\)"),
        ({"c0": p.h0}, r"^c0: expected shape \(B=2, H=5\), got shape \(2, 3\)"),
        ({"recurrent_mask": wide}, r"^recurrent_mask: expected shape \(B=2, R=3\)"),
    ]
    for arguments, text in calls:
        with pytest.raises(ValueError, match=text):
            ops.lstm_forward(p.x, weights, **arguments)
    with pytest.raises(ValueError, match=r"^h: expected shape \(B=2, R=3\)"):
        ops.lstm_step(p.x[:, 0], wide, p.c0, weights)
    with pytest.raises(ValueError, match=r"^out\[0\]: expected shape \(B=2, R=3\)"):
        ops.lstm_step(p.x[:, 0], p.h0, p.c0, weights, out=(wide.copy(), p.c0.copy()))
    tape = ops.lstm_forward(p.x, weights, training=True).tape
    assert tape is not None
    with pytest.raises(ValueError, match=r"^dy: expected shape \(B=2, T=3, R=3\)"):
        ops.lstm_backward(tape, plain.dy)
    with pytest.raises(ValueError, match=r"^dh: expected shape \(B=2, R=3\)"):
        ops.lstm_backward(tape, None, plain.dh)
    assert not tape.used
