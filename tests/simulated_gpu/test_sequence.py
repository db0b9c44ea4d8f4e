"""The CUDA kernels of a sequence, on the simulated GPU, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops, testing

from .sequences import KERNELS, Case, check, make, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

# (B, T, H): around packs, warps, groups of rows and slices of units; few and many registers of the small
# kernel, and with some of its weights in shared memory.
SHAPES = [
    (1, 1, 1),
    (3, 5, 3),
    (5, 4, 7),
    (2, 1, 16),
    (1, 4, 31),
    (3, 3, 33),
    (9, 2, 17),
    (1, 3, 64),
    (1, 2, 90),
]

every_kernel = pytest.mark.parametrize(("kernel", "number"), KERNELS)


@pytest.fixture
def kernels(kernels: Any) -> Iterator[Any]:
    yield kernels
    kernels.set_device()


@every_kernel
@pytest.mark.parametrize("shape", SHAPES)
def test_against_reference(kernels: Any, shape: tuple[int, int, int], kernel: str, number: str) -> None:
    check(kernels, make(shape, number), kernel)


def test_most_units_of_small(kernels: Any) -> None:
    check(kernels, make((1, 2, 128), "float32"), "small")


# Around blocks of eight rows, warps of 16 units and chunks of 32, of which 1, 2 and 4 have kernels of their
# own, and pairs of units, which an odd H has not.
HALF_SHAPES = [
    (1, 3, 1),
    (7, 2, 3),
    (8, 3, 16),
    (9, 1, 17),
    (17, 2, 32),
    (3, 4, 34),
    (9, 3, 64),
    (2, 2, 65),
    (9, 3, 100),
    (8, 2, 127),
    (17, 4, 128),
    (5, 0, 20),
]


@pytest.mark.parametrize("number", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", HALF_SHAPES)
def test_small_of_16_bits(kernels: Any, shape: tuple[int, int, int], number: str) -> None:
    check(kernels, make(shape, number), "small")


@pytest.mark.parametrize("number", ["float16", "bfloat16"])
@pytest.mark.parametrize("H", [18, 33, 100])
def test_small_of_16_bits_with_lengths(kernels: Any, H: int, number: str) -> None:
    # Of several blocks, the rows of one of which have no last step, and another's none at all.
    lengths = np.array([0, 4, 1, 2, 3, 4, 0, 1, 0, 3, 2, 1, 1, 3, 0, 0, 0, 0], np.int64)
    case = replace(make((len(lengths), 4, H), number), lengths=lengths)
    check(kernels, case, "small", over_z=True)
    check(kernels, replace(case, zero_padding=True), "small")


@pytest.mark.parametrize("number", ["float16", "bfloat16"])
def test_small_of_16_bits_at_odd_places(kernels: Any, number: str) -> None:
    # An even H whose arrays begin in the middle of a pair has the bits of one that does not.
    case = make((3, 4, 18), number)
    want = run(kernels, case, "small")
    got = run(kernels, case, "small", offset=1)
    for name in ("y", "h", "c", "gates", "cells", "dz", "dh0", "dc0"):
        np.testing.assert_array_equal(bits(getattr(got, name)), bits(getattr(want, name)), err_msg=name)


@every_kernel
def test_bias(kernels: Any, kernel: str, number: str) -> None:
    # Beyond a slice of units, and the registers of the small kernel's variant with few.
    case = make((3, 3, 33), number)
    bias = np.random.default_rng(5).standard_normal(4 * 33).astype(case.dtype)
    results = check(kernels, replace(case, bias=bias), kernel)
    if number in ("float32", "float64", "tf32"):
        # Sums as wide as arrays are the same numbers as z_x + bias, of whoever adds them.
        added = run(kernels, replace(case, z_x=case.z_x + bias), kernel)
        np.testing.assert_array_equal(bits(results.gates), bits(added.gates))


@every_kernel
@pytest.mark.parametrize("zero_padding", [False, True])
@pytest.mark.parametrize("over_z", [False, True])
def test_lengths(kernels: Any, kernel: str, number: str, over_z: bool, zero_padding: bool) -> None:
    case = replace(make((5, 4, 7), number), zero_padding=zero_padding)
    check(kernels, replace(case, lengths=np.array([3, 0, 1, 3, 2], np.int64)), kernel, over_z=over_z)


@every_kernel
@pytest.mark.parametrize("name", ["h0", "c0", "dy", "dh", "dc"])
def test_left_out(kernels: Any, kernel: str, number: str, name: str) -> None:
    nothing: dict[str, Any] = {name: None}
    check(kernels, replace(make((3, 3, 5), number), **nothing), kernel)


def bits(array: Any) -> Array:
    contiguous = np.ascontiguousarray(array)
    return contiguous.view(f"u{contiguous.dtype.itemsize}")


@every_kernel
def test_same_bits_in_any_place(kernels: Any, kernel: str, number: str) -> None:
    # Many multiprocessors: one row alone and all of them are then summed in the same form of the grid kernel.
    kernels.set_device(multiprocessors=16)
    case = make((11, 3, 33), number)
    whole = run(kernels, case, kernel)
    for b in (0, 3, 10):
        rows = ("z_x", "h0", "c0", "dy", "dh", "dc")
        one = replace(case, shape=(1, 3, 33), **{name: getattr(case, name)[b : b + 1] for name in rows})
        alone = run(kernels, one, kernel)
        for name in ("y", "h", "c", "gates", "dz", "dh0", "dc0"):
            got, want = (bits(getattr(results, name)) for results in (alone, whole))
            np.testing.assert_array_equal(got[0], want[b], err_msg=name)
        np.testing.assert_array_equal(bits(alone.cells)[:, 0], bits(whole.cells)[:, b])


@every_kernel
def test_nothing_to_do(kernels: Any, kernel: str, number: str) -> None:
    check(kernels, make((2, 0, 4), number), kernel)
    assert run(kernels, make((0, 3, 4), number), kernel).y.shape == (0, 3, 4)


@every_kernel
def test_inference_keeps_no_tape(kernels: Any, kernel: str, number: str) -> None:
    case = make((3, 4, 9), number)
    plain, taped = run(kernels, case, kernel, tape=False), run(kernels, case, kernel)
    for name in ("y", "h", "c"):
        np.testing.assert_array_equal(bits(getattr(plain, name)), bits(getattr(taped, name)))


@every_kernel
def test_nan_stays_in_its_row(kernels: Any, kernel: str, number: str) -> None:
    case = make((2, 3, 5), number)
    clean = run(kernels, case, kernel)
    case.z_x[0, 1, 0] = np.nan
    results = run(kernels, case, kernel)
    assert np.all(np.isnan(np.asarray(results.y[0, 2], np.float64)))
    for name in ("y", "dz", "dh0"):
        got, want = (bits(getattr(which, name)) for which in (results, clean))
        np.testing.assert_array_equal(got[1], want[1])


# Where a grid kernel keeps weights: how the plan's figures show it, and a shape and device where it does.
PLACES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("float64", {"multiprocessors": 9}, {"form": "wide"}),
    ("float64", {"multiprocessors": 9, "shared_per_block": 64 * 1024}, {"form": "wide"}),
    ("float64", {"multiprocessors": 2}, {"form": "anew"}),
    ("float32", {"multiprocessors": 2}, {"form": "anew"}),
    ("tf32", {"multiprocessors": 2}, {"form": "anew"}),
    ("float16", {"multiprocessors": 2}, {"form": "anew"}),
    ("bfloat16", {"multiprocessors": 2}, {"form": "anew"}),
    ("float16", {"multiprocessors": 9}, {"form": "wide"}),
    ("float16", {"multiprocessors": 18}, {"form": "narrow"}),
    ("bfloat16", {"multiprocessors": 18}, {"form": "narrow"}),
    ("tf32", {"multiprocessors": 18}, {"form": "narrow"}),
]


@pytest.mark.parametrize(("number", "device", "figures"), PLACES)
def test_weights_elsewhere(
    kernels: Any, number: str, device: dict[str, Any], figures: dict[str, Any]
) -> None:
    shape = (9, 2, 130)
    kernels.set_device(**device)
    plan = kernels.sequence_plan(number, *shape, True, False, kernel="grid")
    assert {name: plan[name] for name in figures} == figures
    if "shared_per_block" in device:
        # Weights of the rest are read from the workspace.
        assert plan["chunks_in_shared"] < plan["chunks"] - 24
    elif number == "float64" and plan["form"] == "wide":
        assert plan["chunks_in_shared"] > 0
    check(kernels, make(shape, number), "grid")


@pytest.mark.parametrize(("number", "at_once"), [("float64", 8), ("float16", 24)])
def test_fewer_rows_at_once(kernels: Any, number: str, at_once: int) -> None:
    # Where weights are read anew, products of 16 and of 32 rows do not fit the shared memory of a T4.
    shape = (27, 2, 33)
    kernels.set_device(multiprocessors=1, shared_per_block=64 * 1024)
    plan = kernels.sequence_plan(number, *shape, False, False, kernel="grid")
    assert plan["rows_at_once"] == at_once
    check(kernels, make(shape, number), "grid")


def test_same_bits_on_any_device(kernels: Any) -> None:
    case = make((17, 2, 70), "float32")
    results = []
    for multiprocessors in (1, 3, 5, 40):
        kernels.set_device(multiprocessors=multiprocessors)
        results.append(run(kernels, case, "grid"))
    for other in results[1:]:
        for name in ("y", "c", "gates", "dz", "dh0"):
            np.testing.assert_array_equal(getattr(other, name), getattr(results[0], name), err_msg=name)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "activations": {"activation": ("leaky_relu", 0.1), "recurrent_activation": "hard_sigmoid"},
    "coupled": {"coupled": True, "output_activation": "softsign"},
    "clips": {"cell_clip": 0.4, "gate_clip": 0.5},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.6},
    "zoneout of h": {"zoneout_h": 0.5, "activation": "relu"},
}


def wide(array: Array | None) -> Array:
    assert array is not None
    return np.asarray(array, np.float64)


# Options are the same code for all number types, whose own part the tests above cover; but the small kernels
# of 16 bits have their own, and variants by units. 35 are beyond the registers of the others' with few.
@pytest.mark.parametrize(
    ("kernel", "number", "H"),
    [
        *((*which, 35) for which in KERNELS if which[1] in ("float32", "float64")),
        *(("small", number, H) for number in ("float16", "bfloat16") for H in (18, 35, 50, 98)),
    ],
)
@pytest.mark.parametrize("with_more", [False, True], ids=["", "peepholes, recurrent dropout, lengths"])
@pytest.mark.parametrize(
    ("name", "drawn"),
    [(name, drawn) for name in OPTIONS for drawn in (False, True) if not drawn or "zone" in name],
)
def test_options(
    kernels: Any, kernel: str, number: str, H: int, name: str, drawn: bool, with_more: bool
) -> None:
    B, T = 3, 4
    case = make((B, T, H), number)
    random = np.random.default_rng(7)
    p = (0.3 * random.standard_normal((3, H))).astype(case.state) if with_more else None
    factors = ((random.random((B, H)) < 0.7) / 0.7).astype(case.dtype) if with_more else None
    lengths = np.array([4, 1, 3], np.int64) if with_more else None
    case = replace(case, lengths=lengths)
    seed = 11 if drawn else None
    on_device = None if p is None else kernels.array(p, "peepholes")
    settings = ops.CellOptions(**OPTIONS[name], peepholes=on_device).settings
    got = run(
        kernels,
        case,
        kernel,
        recurrent_mask=factors,
        options=settings,
        zoneout_seed=seed,
        peepholes=with_more,
    )

    def reference(z_x: Array, h0: Array, c0: Array, peepholes: Array | None) -> Any:
        return testing.lstm_variant_reference(
            z_x,
            np.eye(4 * H),
            wide(case.recurrent),
            np.zeros(4 * H),
            h0,
            c0,
            options=ops.CellOptions(**OPTIONS[name]),
            peepholes=peepholes,
            mask=None if lengths is None else np.arange(T) < lengths[:, None],
            recurrent_mask=factors,
            zoneout_seed=seed,
        )

    at = [wide(case.z_x), wide(case.h0), wide(case.c0)]
    want = reference(at[0], at[1], at[2], p)
    for result in ("y", "h", "c"):
        case.assert_close(getattr(got, result), getattr(want, result), result)

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
        gradients = (got.dz, got.dh0, got.dc0)
        parts = [(d * way).reshape(B, -1) for d, way in zip(gradients, v, strict=True)]
        if got.dpeepholes is not None:
            parts.append((got.dpeepholes * v_p).reshape(B, -1))
        joined = np.concatenate(parts, axis=1)
        total = joined.sum(axis=1).astype(case.dtype)
        case.assert_close(total, slope, "slope", scale=np.abs(joined).sum(axis=1))


def test_too_many_units_of_small(kernels: Any) -> None:
    with pytest.raises(ValueError, match="129 units are more than the 128"):
        run(kernels, make((1, 1, 129), "float32"), "small")


def test_too_little_shared_memory_for_small(kernels: Any) -> None:
    # float64's weights do not fit where float32's do, nor float32's beside options; nothing runs then.
    assert kernels.small_shared_bytes(128, False) <= 99 * 1024 < kernels.small_shared_bytes(90, True)
    assert 99 * 1024 < kernels.small_shared_bytes(128, False, options=True) <= 163 * 1024
    kernels.set_device(shared_per_block=99 * 1024)
    check(kernels, make((1, 1, 128), "float32"), "small")
    with pytest.raises(ValueError, match=r"a block needs .* KiB of shared memory and has 99 KiB"):
        run(kernels, make((1, 1, 90), "float64"), "small")


def test_workspace_is_needed(kernels: Any) -> None:
    case: Case = make((1, 1, 3), "float32")
    arrays = [kernels.array(array) for array in (case.z_x, case.recurrent)]
    out = [kernels.empty(shape, np.float32) for shape in ((1, 1, 3), (1, 3), (1, 3))]
    with pytest.raises(ValueError, match=r"workspace: expected \d+ bytes, got None"):
        kernels.sequence_forward(*arrays, None, None, None, *out, None, None, kernel="grid")
