"""Layer-normalized cells: what the table of options in test_options.py does not say about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fusedlstm import testing

from .devices import ops
from .operations import layer_norm_options
from .problems import (
    LARGE_SHAPES,
    ONE_STEP_SHAPES,
    REDUCED,
    SHAPES,
    Array,
    Number,
    Problem,
    Shape,
    assert_all_same_bits,
    assert_same_bits,
    make_problem,
    shape_id,
    with_arrays,
)
from .test_options import CELLS, NORM, check, make_variant

DEVICES = True


def flat(result: ops.LSTMResult, gradients: ops.LSTMGradients) -> dict[str, Array]:
    """All arrays of a forward and a backward pass, by name."""
    assert gradients.dlayer_norm is not None
    named = {**result._asdict(), **gradients._asdict(), **gradients.dlayer_norm._asdict()}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def with_parameters(arrays: dict[str, Array]) -> ops.CellOptions:
    parameters: dict[str, Any] = {name: arrays[name] for name in NORM}
    return ops.CellOptions(layer_norm=ops.LayerNorm(**parameters, epsilon=1e-2))


def run(
    p: Problem,
    options: ops.CellOptions,
    *,
    states: bool = True,
    weights: ops.LSTMWeights | None = None,
    **more: Any,
) -> dict[str, Array]:
    h0, c0 = (p.h0, p.c0) if states else (None, None)
    result = ops.lstm_forward(p.x, weights or p.weights, h0, c0, options=options, training=True, **more)
    assert result.tape is not None
    dy = p.dy if result.y is not None else None
    return flat(result, ops.lstm_backward(result.tape, dy, p.dh, p.dc))


@pytest.mark.parametrize(
    "shape", SHAPES[:: 1 if REDUCED else 4] + ONE_STEP_SHAPES + LARGE_SHAPES, ids=shape_id
)
def test_shapes(shape: Shape, dtype: Number) -> None:
    check(make_variant(shape, dtype, "layer norm"))


@pytest.mark.parametrize("shape", [(0, 3, 5, 9), (7, 0, 5, 9)], ids=shape_id)
def test_empty(shape: Shape, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    arrays = run(p, layer_norm_options(p))
    for name in ("dkernel", "drecurrent_kernel", "dbias", *(f"d{name}" for name in NORM)):
        assert not arrays[name].any(), name
    assert_same_bits(arrays["dh0"], p.dh)
    assert_same_bits(arrays["dc0"], p.dc)


def test_without_input_features(dtype: Number) -> None:
    """The normalized product of nothing is 0."""
    p = make_problem((3, 4, 0, 9), dtype)
    arrays = run(p, layer_norm_options(p))
    assert not arrays["dgamma_input"].any()
    assert np.isfinite(arrays["dx"]).all()


def test_one_unit(dtype: Number) -> None:
    """A single c has no variance: h is o tanh(beta), and its gradient stops at the cell."""
    p = make_problem((4, 3, 5, 1), dtype)
    options = layer_norm_options(p)
    arrays = run(p, options)
    assert not arrays["dgamma_cell"].any()
    assert arrays["dbeta_cell"].any()
    check(make_variant((4, 3, 5, 1), dtype, "layer norm"))


def test_no_states_are_zeros(dtype: Number) -> None:
    p = make_problem((7, 3, 9, 17), dtype)
    zeros = replace(p, h0=np.zeros_like(p.h0), c0=np.zeros_like(p.c0))
    options = layer_norm_options(p)
    assert_all_same_bits(run(p, options, states=False), run(zeros, options), "no states")


@pytest.mark.cpu
def test_finite_differences() -> None:
    p = make_problem((3, 4, 5, 7), np.float64)
    names = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")
    options = layer_norm_options(p)
    assert options.layer_norm is not None
    inputs = {name: getattr(p, name) for name in names}
    inputs |= {name: getattr(options.layer_norm, name) for name in NORM}

    def forward(**given: Array) -> tuple[Array, ...]:
        result = ops.lstm_forward(
            given["x"],
            tuple(given[name] for name in names[1:4]),
            given["h0"],
            given["c0"],
            options=with_parameters(given),
        )
        assert result.y is not None
        return result.y, result.h, result.c

    def gradient(projections: tuple[Array, ...], **given: Array) -> dict[str, Array]:
        own = {name: given[name] for name in names}
        at = with_arrays(p, **own, dy=projections[0], dh=projections[1], dc=projections[2])
        arrays = run(at, with_parameters(given))
        return {name: arrays[f"d{name}"] for name in given}

    testing.check_gradients(forward, gradient, inputs, elements=20)


@pytest.mark.cpu
@pytest.mark.parametrize(
    "shape", [(1, 6, 40, 130), (7, 3, 33, 65), (67, 3, 28, 33), (3, 9, 260, 257)], ids=shape_id
)
@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
def test_threads(shape: Shape, lengths: bool, dtype: Number) -> None:
    """Threads split the rows, or the units of few rows; gradients of gamma and beta have one order."""
    p = make_problem(shape, dtype)
    options = layer_norm_options(p)
    B, T = shape[:2]
    given: dict[str, Any] = {"lengths": np.random.default_rng(B).integers(0, T + 1, B)} if lengths else {}
    ops.set_num_threads(1)
    expected = run(p, options, **given)
    for threads in (2, 3, 5):
        ops.set_num_threads(threads)
        assert_all_same_bits(run(p, options, **given), expected, f"{threads} threads")


@pytest.mark.cpu
@pytest.mark.parametrize("every", [1, 64, 10_000])
@pytest.mark.parametrize(
    "shape", [(3, 40, 5, 7)] if REDUCED else [(1, 1100, 3, 9), (40, 30, 9, 8), (1030, 5, 3, 7)], ids=shape_id
)
def test_checkpoints(shape: Shape, every: int, dtype: Number) -> None:
    p = make_problem(shape, dtype)
    options = layer_norm_options(p)
    B, T = shape[:2]
    lengths = np.random.default_rng(B).integers(0, T + 1, B)
    variants: list[dict[str, Any]] = [{}, {"lengths": lengths}, {"return_sequences": False}]
    for more in variants:
        expected = run(p, options, **more)
        got = run(p, options, checkpoint_every=every, **more)
        assert_all_same_bits(got, expected, str(more))


@pytest.mark.not_gpu
@pytest.mark.parametrize("every", [0, 1])
def test_lengths(every: int, dtype: Number) -> None:
    """Each row equals the same row run alone, and parameters' gradients are sums over the rows."""
    p = make_problem((6, 5, 9, 17), dtype)
    options = layer_norm_options(p)
    lengths = np.array([5, 0, 2, 5, 1, 3])
    whole = run(p, options, lengths=lengths, checkpoint_every=every)
    sums = {name: np.zeros_like(whole[name], np.float64) for name in (f"d{name}" for name in NORM)}
    for b, length in enumerate(lengths):
        rows = {name: getattr(p, name)[b : b + 1] for name in ("x", "h0", "c0", "dy", "dh", "dc")}
        rows["x"], rows["dy"] = rows["x"][:, :length], rows["dy"][:, :length]
        alone = run(replace(p, shape=(1, int(length), 9, 17), **rows), options)
        for name in ("h", "c", "dh0", "dc0"):
            assert_same_bits(whole[name][b], alone[name][0], f"{name} of row {b}")
        for name in ("y", "dx"):
            assert_same_bits(whole[name][b, :length], alone[name][0], f"{name} of row {b}")
            assert not whole[name][b, length:].any()
        for name in sums:
            sums[name] += alone[name]
    for name, total in sums.items():
        testing.assert_close(whole[name], total, dtype=dtype, terms=30, name=name)


@pytest.mark.cpu
@pytest.mark.parametrize("batch", [1, 9])
def test_chained_steps_equal_the_sequence_bit_for_bit(batch: int, dtype: Number) -> None:
    p = make_problem((batch, 5, 9, 37), dtype)
    options = layer_norm_options(p)
    weights = ops.LSTMWeights(*p.weights)
    sequence = ops.lstm_forward(p.x, weights, p.h0, p.c0, options=options)
    assert sequence.y is not None
    h, c = p.h0.copy(), p.c0.copy()
    for t in range(5):
        h, c = ops.lstm_step(p.x[:, t].copy(), h, c, weights, options=options, out=(h, c))
        assert_same_bits(h, sequence.y[:, t], f"h after step {t}")
    assert_same_bits(c, sequence.c, "c")
    last = ops.lstm_forward(p.x, weights, p.h0, p.c0, options=options, return_sequences=False)
    assert_same_bits(last.h, h, "last h")


@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.startswith("layer norm")])
def test_with_every_cell(cell: str) -> None:
    """No option of the cell is lost in a layer-normalized one."""
    variant = make_variant((3, 4, 5, 19), np.float64, cell)
    options = replace(variant.options, layer_norm=layer_norm_options(variant.p).layer_norm)
    check(replace(variant, options=options))
    assert "cell with options, layer-normalized" in ops.last_kernel()


# Zoneout rates (h, c), the seed that draws them, and the numbers of a projection.
TOGETHER: dict[str, tuple[tuple[float, float], int | None, int | None]] = {
    "zoneout": ((0.3, 0.6), 5, None),
    "expected zoneout": ((0.3, 0.6), None, None),
    "zoneout of c": ((0.0, 0.5), 5, None),
    "projection": ((0.0, 0.0), None, 7),
    "all": ((0.3, 0.6), 5, 7),
}


def with_projection(p: Problem, R: int | None) -> tuple[Problem, Array | None]:
    """Cut the problem's hidden states to R numbers, and make a projection to them."""
    if R is None:
        return p, None
    H = p.shape[3]
    projection = np.random.default_rng(R).standard_normal((H, R)) / np.sqrt(H)
    cut = {name: np.ascontiguousarray(getattr(p, name)[..., :R]) for name in ("h0", "dh", "dy")}
    arrays = {**cut, "recurrent_kernel": p.recurrent_kernel[:R]}
    return with_arrays(p, **arrays), projection.astype(p.dtype)


def options_together(p: Problem, rates: tuple[float, float]) -> ops.CellOptions:
    peepholes = np.ascontiguousarray(0.3 * p.recurrent_kernel[:3, : p.shape[3]])
    return ops.CellOptions(
        layer_norm=layer_norm_options(p).layer_norm,
        zoneout_h=rates[0],
        zoneout_c=rates[1],
        peepholes=peepholes,
        cell_clip=1.5,
    )


def run_together(p: Problem, case: str, **more: Any) -> dict[str, Array]:
    rates, seed, R = TOGETHER[case]
    p, projection = with_projection(p, R)
    return run(
        p,
        options_together(p, rates),
        weights=ops.LSTMWeights(*p.weights, projection=projection),
        zoneout_seed=seed,
        **more,
    )


@pytest.mark.parametrize("shape", [(5, 4, 6, 19), (3, 5, 9, 64)], ids=shape_id)
@pytest.mark.parametrize("case", TOGETHER)
def test_with_zoneout_and_projection(case: str, shape: Shape) -> None:
    """Values, and derivatives along random directions, equal those of the reference."""
    p = make_problem(shape, np.float64)
    rates, seed, R = TOGETHER[case]
    got = run_together(p, case)
    p, projection = with_projection(p, R)
    options = options_together(p, rates)
    inputs = {name: getattr(p, name) for name in ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")}
    inputs["peepholes"] = options.peepholes
    inputs |= {} if projection is None else {"projection": projection}
    inputs |= {name: getattr(options.layer_norm, name) for name in NORM}

    def reference(at: dict[str, Any]) -> testing.LSTMReference:
        plain = {name: array for name, array in at.items() if name not in NORM}
        return testing.lstm_variant_reference(
            **plain, options=options, zoneout_seed=seed, layer_norm=[at[name] for name in NORM]
        )

    expected = reference(inputs)
    for name in ("y", "h", "c"):
        np.testing.assert_allclose(got[name], getattr(expected, name), rtol=1e-11, atol=1e-12)
    random = np.random.default_rng(1)
    for name, array in inputs.items():
        direction = random.standard_normal(array.shape)
        moved = reference({**inputs, name: array + 1e-30j * direction})
        loss: Any = (moved.y * p.dy).sum() + (moved.h * p.dh).sum() + (moved.c * p.dc).sum()
        terms = got[f"d{name}"] * direction
        assert abs(terms.sum() - loss.imag / 1e-30) <= 1e-10 * (np.abs(terms).sum() + 1), name


@pytest.mark.cpu
@pytest.mark.parametrize("case", TOGETHER)
def test_bits_with_zoneout_and_projection(case: str, dtype: Number) -> None:
    p = make_problem((7, 12, 9, 65), dtype)
    lengths = np.array([12, 3, 0, 7, 12, 1, 9])
    ops.set_num_threads(1)
    expected = run_together(p, case, lengths=lengths)
    for threads in (2, 3):
        ops.set_num_threads(threads)
        assert_all_same_bits(run_together(p, case, lengths=lengths), expected, f"{threads} threads")
    assert_all_same_bits(run_together(p, case, lengths=lengths, checkpoint_every=1), expected, "checkpoints")


@pytest.mark.cpu
@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_narrow_weights(storage: str) -> None:
    """Exact for the rounded weights; of int8, as close as rounded activations allow."""
    p = make_problem((5, 4, 33, 40), np.float32)
    options = layer_norm_options(p)
    weights = ops.LSTMWeights(*p.weights, storage=storage)
    kernel, recurrent_kernel = weights.unpack()
    got = ops.lstm_forward(p.x, weights, p.h0, p.c0, options=options)
    want = ops.lstm_forward(p.x, (kernel, recurrent_kernel, p.bias), p.h0, p.c0, options=options)
    plain = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, options=options)
    assert got.y is not None
    assert want.y is not None
    assert plain.y is not None
    if storage == "bfloat16":
        assert_same_bits(got.y, want.y)
    else:
        # Activations are rounded to 1/32767 of their row's largest: a small part of what weights are.
        assert np.abs(got.y - want.y).max() < 0.1 * np.abs(plain.y - want.y).max()
    h, _ = ops.lstm_step(p.x[:, 0].copy(), p.h0, p.c0, weights, options=options)
    assert f"{storage} weights, layer-normalized" in ops.last_kernel()
    assert_same_bits(h, got.y[:, 0])


def test_parameters_may_change_before_backward(dtype: Number) -> None:
    p = make_problem((3, 4, 5, 9), dtype)
    expected = run(p, layer_norm_options(p))
    norm = layer_norm_options(p).layer_norm
    arrays = {name: getattr(norm, name).copy() for name in NORM}
    options = with_parameters(arrays)
    result = ops.lstm_forward(p.x, p.weights, p.h0, p.c0, options=options, training=True)
    assert result.tape is not None
    for array in arrays.values():
        array[:] = np.nan
    assert_all_same_bits(flat(result, ops.lstm_backward(result.tape, p.dy, p.dh, p.dc)), expected, "after")


def test_nan_stays_in_its_row(dtype: Number) -> None:
    p = make_problem((4, 3, 5, 19), dtype)
    p.x[1, 1, 2] = np.nan
    arrays = run(p, layer_norm_options(p))
    assert np.isnan(arrays["y"][1, 1:]).all()
    assert np.isfinite(arrays["y"][[0, 2, 3]]).all()
    assert np.isfinite(arrays["dx"][[0, 2, 3]]).all()


@pytest.mark.cpu
def test_tape_bytes(dtype: Number) -> None:
    """As documented: 4 P + 4 numbers more per row and step."""
    p = make_problem((3, 5, 4, 32), dtype)
    plain = ops.lstm_forward(p.x, p.weights, training=True).tape
    normal = ops.lstm_forward(p.x, p.weights, training=True, options=layer_norm_options(p)).tape
    assert plain is not None
    assert normal is not None
    assert normal.nbytes - plain.nbytes == 3 * 5 * (4 * 32 + 4) * np.dtype(dtype).itemsize


@pytest.mark.cpu
def test_errors(dtype: Number) -> None:
    p = make_problem((2, 3, 4, 5), dtype)
    norm = layer_norm_options(p).layer_norm
    other = np.float64 if dtype is np.float32 else np.float32
    assert norm is not None
    wrong: list[tuple[str, Any, type[Exception], str]] = [
        ("gamma_input", p.bias[:5], ValueError, r"^gamma_input: expected shape \(4H=20,\), got shape \(5,\)"),
        ("gamma_recurrent", p.bias[None], ValueError, r"^gamma_recurrent: expected shape \(4H=20,\)"),
        ("gamma_cell", p.bias, ValueError, r"^gamma_cell: expected shape \(H=5,\), got shape \(20,\)"),
        ("beta_cell", p.bias[:5].astype(other), TypeError, "^beta_cell: expected "),
    ]
    for name, value, error, text in wrong:
        options = ops.CellOptions(layer_norm=replace(norm, **{name: value}))
        with pytest.raises(error, match=text):
            ops.lstm_forward(p.x, p.weights, options=options)
        with pytest.raises(error, match=text):
            ops.lstm_step(p.x[:, 0].copy(), p.h0, p.c0, p.weights, options=options)
    with pytest.raises(TypeError, match=r"^gamma_cell: expected an array, got list"):
        replace(norm, gamma_cell=[1.0])
    with pytest.raises(ValueError, match=r"^epsilon: expected a positive number, got 0\.0"):
        replace(norm, epsilon=0.0)
