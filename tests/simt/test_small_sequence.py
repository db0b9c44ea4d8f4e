"""The CUDA kernels of a sequence with small H, on the simulated GPU, against the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops, testing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# (B, T, H): around packs and warps, few and many registers, and with some of the weights in shared memory.
SHAPES = [(1, 1, 1), (3, 5, 3), (5, 4, 7), (2, 1, 16), (1, 4, 31), (3, 3, 33), (1, 3, 64), (1, 2, 90)]
DTYPES = [np.float32, np.float64]


@dataclass(frozen=True)
class Case:
    """One problem. The reference has the identity as its kernel, so that its x is z_x, and its dx is dz."""

    shape: tuple[int, int, int]
    dtype: Any
    z_x: Array
    recurrent: Array
    h0: Array | None
    c0: Array | None
    dy: Array | None
    dh: Array | None
    dc: Array | None
    lengths: Array | None = None

    @property
    def precision(self) -> dict[str, Any]:
        """What tolerances depend on; a gradient comes through 4H products, and the identity's."""
        return {"dtype": self.dtype, "terms": 5 * self.shape[2] + 1, "steps": self.shape[1]}


def make(shape: tuple[int, int, int], dtype: Any, seed: int = 0) -> Case:
    B, T, H = shape
    random = np.random.default_rng([seed, *shape])

    def normal(*size: int, scale: float = 1.0) -> Array:
        return (scale * random.standard_normal(size)).astype(dtype)

    # The weights' spectral norm is about one, as tolerances presume.
    recurrent = normal(H, 4 * H, scale=0.33 / np.sqrt(H))
    h0, c0, dh, dc = (normal(B, H) for _ in range(4))
    return Case(shape, dtype, normal(B, T, 4 * H), recurrent, h0, c0, normal(B, T, H), dh, dc)


@dataclass(frozen=True)
class Results:
    """What a pass forward and one back leave."""

    y: Array
    h: Array
    c: Array
    gates: Array
    cells: Array
    dz: Array
    dh0: Array
    dc0: Array


def run(kernels: Any, case: Case, *, over_z: bool = False) -> Results:
    B, T, H = case.shape

    def empty(*shape: int, name: str) -> Any:
        return kernels.empty(shape, case.dtype, name)

    def given(name: str) -> Any:
        value = getattr(case, name)
        return None if value is None else kernels.array(value, name)

    z_x, recurrent, lengths = given("z_x"), given("recurrent"), given("lengths")
    y, h, c = empty(B, T, H, name="y"), empty(B, H, name="h"), empty(B, H, name="c")
    gates = z_x if over_z else empty(B, T, 4 * H, name="gates")
    cells = empty(T + 1, B, H, name="cells")
    kernels.sequence_forward(z_x, recurrent, given("h0"), given("c0"), lengths, y, h, c, gates, cells)
    dz = kernels.array(gates, "dz") if case.lengths is None else gates
    activated = gates.copy()
    dh0, dc0 = empty(B, H, name="dh0"), empty(B, H, name="dc0")
    kernels.sequence_backward(recurrent, lengths, cells, given("dy"), given("dh"), given("dc"), dz, dh0, dc0)
    return Results(y, h, c, activated, cells, dz, dh0, dc0)


def expected(case: Case) -> dict[str, Array]:
    """Give the results row by row, each over its own length; beyond it y repeats the last state."""
    B, T, H = case.shape
    lengths = np.full(B, T) if case.lengths is None else case.lengths
    parts: dict[str, list[Array]] = {name: [] for name in ("y", "h", "c", "dz", "dh0", "dc0")}
    zeros = np.zeros((B, H))
    h0, c0, dh, dc = (zeros if a is None else a for a in (case.h0, case.c0, case.dh, case.dc))
    dy = np.zeros((B, T, H)) if case.dy is None else case.dy
    for b, length in enumerate(lengths):
        row = slice(b, b + 1)
        common = (case.z_x[row, :length], np.eye(4 * H), case.recurrent, None, h0[row], c0[row])
        forward = testing.lstm_forward_reference(*common)
        repeated = dy[row, length:].astype(np.float64).sum(axis=1)
        d = testing.lstm_backward_reference(*common, dy[row, :length], dh[row] + repeated, dc[row])
        rest = T - length
        values = {
            "y": np.concatenate([forward.y, np.repeat(forward.h[:, None], rest, axis=1)], axis=1),
            "h": forward.h,
            "c": forward.c,
            "dz": np.concatenate([d.dx, np.zeros((1, rest, 4 * H))], axis=1),
            "dh0": d.dh0,
            "dc0": d.dc0,
        }
        for name, value in values.items():
            parts[name].append(value)
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def check(kernels: Any, case: Case, **options: bool) -> Results:
    results = run(kernels, case, **options)
    for name, want in expected(case).items():
        testing.assert_close(getattr(results, name), want, name=name, **case.precision)
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_against_reference(kernels: Any, shape: tuple[int, int, int], dtype: Any) -> None:
    check(kernels, make(shape, dtype))


def test_most_units(kernels: Any) -> None:
    check(kernels, make((1, 2, 128), np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("over_z", [False, True])
def test_lengths(kernels: Any, dtype: Any, over_z: bool) -> None:
    case = make((5, 4, 7), dtype)
    check(kernels, replace(case, lengths=np.array([4, 0, 1, 3, 2], np.int64)), over_z=over_z)


@pytest.mark.parametrize("name", ["h0", "c0", "dy", "dh", "dc"])
def test_left_out(kernels: Any, name: str) -> None:
    nothing: dict[str, Any] = {name: None}
    check(kernels, replace(make((3, 3, 5), np.float64), **nothing))


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_any_place(kernels: Any, dtype: Any) -> None:
    case = make((5, 3, 33), dtype)
    whole = run(kernels, case)
    for b in (0, 3):
        rows = ("z_x", "h0", "c0", "dy", "dh", "dc")
        one = replace(case, shape=(1, 3, 33), **{name: getattr(case, name)[b : b + 1] for name in rows})
        alone = run(kernels, one)
        for name in ("y", "h", "c", "gates", "dz", "dh0", "dc0"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(whole, name)[b], err_msg=name)
        np.testing.assert_array_equal(alone.cells[:, 0], whole.cells[:, b])


def test_nothing_to_do(kernels: Any) -> None:
    check(kernels, make((2, 0, 4), np.float64))
    assert run(kernels, make((0, 3, 4), np.float64)).y.shape == (0, 3, 4)


def test_inference_keeps_no_tape(kernels: Any) -> None:
    case = make((3, 4, 9), np.float32)
    y, h, c = (kernels.empty(shape, np.float32) for shape in ((3, 4, 9), (3, 9), (3, 9)))
    arrays = [kernels.array(array) for array in (case.z_x, case.recurrent)]
    kernels.sequence_forward(*arrays, kernels.array(case.h0), kernels.array(case.c0), None, y, h, c, None, None)
    taped = run(kernels, case)
    for got, want in ((y, taped.y), (h, taped.h), (c, taped.c)):
        np.testing.assert_array_equal(got, want)


def test_nan_stays_in_its_row(kernels: Any) -> None:
    case = make((2, 3, 5), np.float32)
    clean = run(kernels, case)
    case.z_x[0, 1, 0] = np.nan
    results = run(kernels, case)
    assert np.all(np.isnan(results.y[0, 2]))
    for name in ("y", "dz", "dh0"):
        np.testing.assert_array_equal(getattr(results, name)[1], getattr(clean, name)[1])


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "activations": {"activation": ("leaky_relu", 0.1), "recurrent_activation": "hard_sigmoid"},
    "coupled": {"coupled": True, "output_activation": "softsign"},
    "clips": {"cell_clip": 0.4, "gate_clip": 0.5},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.6},
    "zoneout of h": {"zoneout_h": 0.5, "activation": "relu"},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_more", [False, True], ids=["", "peepholes, recurrent dropout, lengths"])
@pytest.mark.parametrize(
    ("name", "drawn"),
    [(name, drawn) for name in OPTIONS for drawn in (False, True) if not drawn or "zone" in name],
)
def test_options(kernels: Any, name: str, drawn: bool, with_more: bool, dtype: Any) -> None:
    # Beyond the registers of the variant with few.
    B, T, H = 3, 4, 35
    case = make((B, T, H), dtype)
    random = np.random.default_rng(7)
    p = (0.3 * random.standard_normal((3, H))).astype(dtype) if with_more else None
    factors = ((random.random((B, H)) < 0.7) / 0.7).astype(dtype) if with_more else None
    lengths = np.array([4, 1, 3], np.int64) if with_more else None
    options = ops.CellOptions(**OPTIONS[name])
    seed = 11 if drawn else None

    def reference(z_x: Array, h0: Array, c0: Array, peepholes: Array | None) -> Any:
        return testing.lstm_variant_reference(
            z_x,
            np.eye(4 * H),
            case.recurrent.astype(np.float64),
            np.zeros(4 * H),
            h0,
            c0,
            options=options,
            peepholes=peepholes,
            mask=None if lengths is None else np.arange(T) < lengths[:, None],
            recurrent_mask=factors,
            zoneout_seed=seed,
        )

    def device(array: Array | None, name: str) -> Any:
        return None if array is None else kernels.array(array, name)

    on_device = device(p, "peepholes")
    given = ops.CellOptions(**OPTIONS[name], peepholes=on_device).given
    recurrent, mask, ends = device(case.recurrent, "U"), device(factors, "mask"), device(lengths, "lengths")
    y, h, c = (kernels.empty(shape, dtype, "out") for shape in ((B, T, H), (B, H), (B, H)))
    gates, cells = kernels.empty((B, T, 4 * H), dtype, "gates"), kernels.empty((T + 1, B, H), dtype, "cells")
    starts = device(case.h0, "h0"), device(case.c0, "c0")
    z_x = device(case.z_x, "z_x")
    kernels.sequence_forward(z_x, recurrent, *starts, ends, y, h, c, gates, cells, mask, given, seed)
    assert case.h0 is not None
    assert case.c0 is not None
    at = [case.z_x.astype(np.float64), case.h0.astype(np.float64), case.c0.astype(np.float64)]
    want = reference(at[0], at[1], at[2], p)
    for result, value in (("y", y), ("h", h), ("c", c)):
        testing.assert_close(value, getattr(want, result), name=result, **case.precision)

    dh0, dc0 = (kernels.empty((B, H), dtype, "out") for _ in range(2))
    dp = None if p is None else kernels.empty((B, 3, H), dtype, "dpeepholes")
    upstream = [device(array, "d") for array in (case.dy, case.dh, case.dc)]
    # Over the gates, as always.
    kernels.sequence_backward(recurrent, ends, cells, *upstream, gates, dh0, dc0, dp, mask, given, seed)
    # Row by row the derivative along a direction, exact by a step into the complex plane, against the
    # gradients' product with it.
    step = 1e-30
    for k in range(3):
        v = [np.random.default_rng(20 + k).standard_normal(array.shape) for array in at]
        v_p = np.random.default_rng(30 + k).standard_normal((3, H))
        moved = [array + 1j * step * way for array, way in zip(at, v, strict=True)]
        values = reference(moved[0], moved[1], moved[2], None if p is None else p + 1j * step * v_p)
        found = ((case.dy, values.y), (case.dh, values.h), (case.dc, values.c))
        slope = sum((d * value.imag / step).reshape(B, -1).sum(axis=1) for d, value in found)
        parts = [(d * way).reshape(B, -1) for d, way in zip((gates, dh0, dc0), v, strict=True)]
        if dp is not None:
            parts.append((dp * v_p).reshape(B, -1))
        joined = np.concatenate(parts, axis=1)
        scale = np.abs(joined).sum(axis=1)
        testing.assert_close(joined.sum(axis=1).astype(dtype), slope, scale=scale, **case.precision)


def test_too_many_units(kernels: Any) -> None:
    with pytest.raises(ValueError, match="sequence: there is no kernel for more than 128 units, got 129"):
        run(kernels, make((1, 1, 129), np.float32))


def test_too_little_shared_memory(kernels: Any) -> None:
    # float64's weights do not fit where float32's do, nor float32's beside options; nothing runs then.
    assert kernels.small_shared_bytes(128, False) <= 99 * 1024 < kernels.small_shared_bytes(90, True)
    assert 99 * 1024 < kernels.small_shared_bytes(128, False, options=True) <= 163 * 1024
    kernels.set_device(shared_per_block=99 * 1024)
    check(kernels, make((1, 1, 128), np.float32))
    with pytest.raises(kernels.Fault, match="kernel 'small_forward': too much shared memory"):
        run(kernels, make((1, 1, 90), np.float64))
