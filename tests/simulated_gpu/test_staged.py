"""The CUDA kernels of projected and layer-normalized sequences, on the simulated GPU.

Gradients are compared as derivatives along directions, which the reference has exactly by a step into the
complex plane (`fusedlstm.testing.lstm_variant_reference`): of everything that the kernels have gradients of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops, testing

from .calls import address
from .sequences import ARRAYS, SHORT, Case, make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

EPSILON = 1e-2
# (B, T, H, R): R of 0 is no projection; beside slices of units and of h's columns, and more of either.
SHAPES = [
    (1, 1, 1, 1),
    (3, 3, 5, 3),
    (9, 2, 17, 33),
    (2, 3, 33, 9),
    (2, 2, 40, 70),
    (5, 4, 7, 0),
    (2, 2, 65, 0),
]
KINDS = ["projection", "norm", "both"]
NUMBERS = ["float32", "float64", "tf32", "float16", "bfloat16"]


@pytest.fixture
def kernels(kernels: Any) -> Iterator[Any]:
    yield kernels
    kernels.set_device()


@dataclass
class Staged:
    """A problem, in the numbers of its arrays."""

    case: Case
    U: Array
    P: Array | None
    h0: Array
    dy: Array
    dh: Array
    norm: dict[str, Array] | None
    mask: Array | None = None
    bias: Array | None = None


def make_staged(shape: tuple[int, int, int, int], kind: str, number: str) -> Staged:
    B, T, H, outputs = shape
    R = outputs if kind != "norm" else H
    random = np.random.default_rng([3, *shape])
    dtype = ARRAYS[number]

    def normal(*size: int, scale: float = 1.0, center: float = 0.0) -> Array:
        return (center + scale * random.standard_normal(size)).astype(dtype)

    norm = None
    if kind != "projection":
        norm = {
            "gamma_recurrent": normal(4 * H, scale=0.2, center=0.5),
            "gamma_cell": normal(H, scale=0.2, center=0.8),
            "beta_cell": normal(H, scale=0.2),
        }
    return Staged(
        make((B, T, H), number),
        normal(R, 4 * H, scale=0.4 / np.sqrt(max(R, H))),
        None if kind == "norm" else normal(H, R, scale=0.5 / np.sqrt(max(R, H))),
        normal(B, R),
        normal(B, T, R),
        normal(B, R),
        norm,
    )


def run(
    kernels: Any, p: Staged, options: Any = None, seed: int | None = None, tape: bool = True
) -> dict[str, Any]:
    """Run forward and back; results by name, gradients as sums over rows where others make them so."""
    (B, T, H), case = p.case.shape, p.case
    R = p.U.shape[0]
    outputs = 0 if p.P is None else R
    made: dict[str, Any] = {}

    def given(name: str, array: Array | None) -> Any:
        if array is None:
            return None
        made[name] = kernels.array(array, name)
        return address(made[name])

    def empty(name: str, *shape: int, of: Any = case.dtype) -> int | None:
        made[name] = kernels.empty(shape, of, name)
        return address(made[name])

    norm = None
    if p.norm is not None:
        norm = (EPSILON, *(given(name, array) for name, array in p.norm.items()))
    common = {
        "number": case.number,
        "batch": B,
        "steps": T,
        "units": H,
        "outputs": outputs,
        "recurrent_kernel": given("U", p.U),
        "projection": given("P", p.P),
        "lengths": given("lengths", case.lengths),
        "recurrent_mask": given("mask", p.mask),
        "zero_padding": case.zero_padding,
        "norm": norm,
        "options": options,
        "zoneout_seed": seed,
    }

    def workspace(backward: bool) -> Any:
        sizes = (case.number, B, T, H, backward, options is not None, outputs, p.norm is not None)
        plan = kernels.sequence_plan(*sizes)
        assert plan["kernel"] == "staged"
        return given("workspace", np.zeros(plan["workspace"], np.uint8))

    with_norm, with_projection = p.norm is not None and tape, p.P is not None and tape
    kernels.module.sequence_forward(
        **common,
        z_x=given("z_x", case.z_x),
        bias=given("bias", p.bias),
        h0=given("h0", p.h0),
        c0=given("c0", case.c0),
        y=empty("y", B, T, R),
        h=empty("h", B, R),
        c=empty("c", B, H, of=case.state),
        gates=empty("gates", B, T, 4 * H) if tape else None,
        cells=empty("cells", T + 1, B, H, of=case.state) if tape else None,
        m=empty("m", B, T, H) if with_projection else None,
        normalized=empty("normalized", B, T, 4 * H) if with_norm else None,
        moments=empty("moments", B, T, 3, of=case.state) if with_norm else None,
        workspace=workspace(False),
    )
    if not tape:
        return made
    kernels.module.sequence_backward(
        **common,
        cells=address(made["cells"]),
        dy=given("dy", p.dy),
        dh=given("dh", p.dh),
        dc=given("dc", case.dc),
        gates=address(made["gates"]),
        dh0=empty("dh0", B, R),
        dc0=empty("dc0", B, H, of=case.state),
        dpeepholes=empty("dpeepholes", B, 3, H, of=case.state) if options is not None else None,
        dprojected=empty("dprojected", B, T, R) if with_projection else None,
        normalized=address(made.get("normalized")),
        moments=address(made.get("moments")),
        dnorm=empty("dnorm", B, 6, H, of=case.state) if with_norm else None,
        workspace=workspace(True),
    )
    return made


def wide(array: Any) -> Array:
    return np.asarray(array, np.float64)


def real_steps(case: Case) -> Array:
    B, T, _ = case.shape
    lengths = np.full(B, T) if case.lengths is None else case.lengths
    steps: Array = np.arange(T) < lengths[:, None]
    return steps


def changed(options: ops.CellOptions, **changes: Any) -> ops.CellOptions:
    values = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return ops.CellOptions(**{**values, **changes})


def reference(p: Staged, at: dict[str, Array], options: ops.CellOptions, seed: int | None) -> Any:
    """Run the reference row by row and step by step, so that z_x can be each one's bias: x is normalized.

    Draws of zoneout are taken here, as a row's number in the batch and the step's are part of them.
    """
    B, T, H = p.case.shape
    R = p.U.shape[0]
    real = real_steps(p.case)
    h, c, ys = at["h0"], at["c0"], []
    rates = {"h": options.zoneout_h, "c": options.zoneout_c}
    if seed is not None:
        options = changed(options, zoneout_h=0.0, zoneout_c=0.0)
    norm = None
    if p.norm is not None:
        norm = (np.ones(4 * H), at["gamma_recurrent"], at["gamma_cell"], at["beta_cell"])
        ones = np.ones(4 * H)
        settings = ops.LayerNorm(ones, ones, np.ones(H), np.zeros(H), EPSILON)
        options = changed(options, layer_norm=settings)
    factors = np.ones((B, R)) if p.mask is None else wide(p.mask)
    for t in range(T):
        rows = [
            testing.lstm_variant_reference(
                np.zeros((1, 1, 1)),
                np.zeros((1, 4 * H)),
                at["U"],
                at["z_x"][b, t] if p.bias is None else at["z_x"][b, t] + wide(p.bias),
                h[b : b + 1],
                c[b : b + 1],
                options=options,
                projection=at.get("P"),
                mask=real[b : b + 1, t : t + 1],
                recurrent_mask=factors[b : b + 1],
                layer_norm=norm,
            )
            for b in range(B)
        ]
        states = {
            "h": (h, np.concatenate([row.h for row in rows])),
            "c": (c, np.concatenate([row.c for row in rows])),
        }
        if seed is not None:
            for name, (old, new) in states.items():
                keep = testing.zoneout_reference(seed, rates[name], name, np.full(B, t), old.shape[1])
                states[name] = (old, np.where(keep & real[:, t : t + 1], old, new))
        h, c = states["h"][1], states["c"][1]
        ys.append(np.where(real[:, t, None], h, 0) if p.case.zero_padding else h)
    return testing.LSTMReference(np.stack(ys, axis=1), h, c)


def check(
    kernels: Any, p: Staged, settings: dict[str, Any] | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Compare states, and derivatives along directions."""
    case = p.case
    B, T, H = case.shape
    options = ops.CellOptions(**(settings or {}))
    got = run(kernels, p, None if settings is None else options.settings, seed)
    given_arrays: dict[str, Any] = {"z_x": case.z_x, "h0": p.h0, "c0": case.c0, "U": p.U}
    if p.P is not None:
        given_arrays["P"] = p.P
    given_arrays.update(p.norm or {})
    at = {name: wide(array) for name, array in given_arrays.items()}
    want = reference(p, at, options, seed)
    for name in ("y", "h", "c"):
        case.assert_close(got[name], getattr(want, name), name)

    # Gradients of what all rows share are products and sums that others make.
    dz = wide(got["gates"])
    to_u = wide(got["normalized"]) if p.norm is not None else dz
    before = np.concatenate([wide(p.h0)[:, None], wide(got["y"])], axis=1)[:, :T]
    before = before if p.mask is None else before * wide(p.mask)[:, None]
    gradients = {
        "z_x": dz,
        "h0": wide(got["dh0"]),
        "c0": wide(got["dc0"]),
        "U": np.einsum("btr,btg->brg", before, to_u),
    }
    if p.P is not None:
        m = np.where(real_steps(case)[..., None], wide(got["m"]), 0)
        gradients["P"] = np.einsum("bth,btr->bhr", m, wide(got["dprojected"]))
    if p.norm is not None:
        parts = wide(got["dnorm"])
        gradients["gamma_recurrent"] = parts[:, :4].reshape(B, 4 * H)
        gradients["gamma_cell"], gradients["beta_cell"] = parts[:, 4], parts[:, 5]
    step = 1e-30
    for k, name in enumerate(at):
        v = np.random.default_rng(40 + k).standard_normal(at[name].shape)
        values = reference(p, {**at, name: at[name] + 1j * step * v}, options, seed)
        found = ((p.dy, values.y), (p.dh, values.h), (case.dc, values.c))
        slope = sum((wide(d) * value.imag / step).reshape(B, -1).sum(axis=1) for d, value in found)
        along = (gradients[name] * v).reshape(B, -1)
        total, scale = along.sum(axis=1), np.abs(along).sum(axis=1)
        # Sums of many products of rounded numbers, as large as the gradients are before they cancel.
        if case.number in SHORT:
            allowed = 16 * 2.0 ** -SHORT[case.number] * max(T, 1) * (scale + np.max(np.abs(slope)))
        else:
            allowed = testing.tolerance(case.dtype, 8 * H + 1, steps=4 * T) * (scale + np.max(np.abs(slope)))
        assert np.all(np.abs(total - slope) <= allowed), (name, total, slope, allowed)
    return got


def cases(numbers: list[str]) -> list[tuple[str, tuple[int, int, int, int], str]]:
    """Combine kinds with the shapes that they have, and number types.

    A row of one unit is left to wide types: the norm of a single number is 0, and its gradients cancel.
    """
    return [
        (kind, shape, number)
        for kind in KINDS
        for shape in SHAPES
        for number in numbers
        if (kind == "norm") == (shape[3] == 0) and not (shape == (1, 1, 1, 1) and number in SHORT)
    ]


@pytest.mark.parametrize(("kind", "shape", "number"), cases(NUMBERS))
def test_against_reference(kernels: Any, kind: str, shape: tuple[int, int, int, int], number: str) -> None:
    check(kernels, make_staged(shape, kind, number))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", KINDS)
def test_bias(kernels: Any, kind: str, number: str) -> None:
    p = make_staged((3, 3, 17, 5), kind, number)
    p.bias = np.random.default_rng(5).standard_normal(4 * 17).astype(p.case.dtype)
    check(kernels, p)


OPTIONS: dict[str, tuple[dict[str, Any], int | None]] = {
    "activations": ({"activation": ("leaky_relu", 0.1), "recurrent_activation": "hard_sigmoid"}, None),
    "coupled and clips": ({"coupled": True, "cell_clip": 0.4, "gate_clip": 0.5}, None),
    "zoneout": ({"zoneout_h": 0.3, "zoneout_c": 0.6}, None),
    "zoneout, drawn": ({"zoneout_h": 0.3, "zoneout_c": 0.6}, 11),
}


@pytest.mark.parametrize("number", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_options(kernels: Any, name: str, kind: str, number: str) -> None:
    p = make_staged((3, 4, 9, 5), kind, number)
    random = np.random.default_rng(7)
    p.mask = ((random.random(p.h0.shape) < 0.7) / 0.7).astype(p.case.dtype)
    p.case = replace(p.case, lengths=np.array([4, 1, 3], np.int64))
    settings, seed = OPTIONS[name]
    check(kernels, p, settings, seed)


@pytest.mark.parametrize("zero_padding", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lengths(kernels: Any, kind: str, zero_padding: bool) -> None:
    p = make_staged((5, 3, 7, 4), kind, "float64")
    p.case = replace(p.case, lengths=np.array([3, 0, 1, 3, 2], np.int64), zero_padding=zero_padding)
    got = check(kernels, p)
    for name in ("gates", "normalized", "dprojected"):
        if name in got:
            assert not np.any(got[name][~real_steps(p.case)]), name


@pytest.mark.parametrize("kind", KINDS)
def test_inference_keeps_no_tape(kernels: Any, kind: str) -> None:
    p = make_staged((3, 4, 9, 5), kind, "float32")
    plain, taped = run(kernels, p, tape=False), run(kernels, p)
    for name in ("y", "h", "c"):
        np.testing.assert_array_equal(plain[name], taped[name])


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_on_any_device_and_in_any_place(kernels: Any, kind: str) -> None:
    p = make_staged((11, 2, 40, 70), kind, "float32")
    results = []
    for multiprocessors in (1, 2, 40):
        kernels.set_device(multiprocessors=multiprocessors)
        results.append(run(kernels, p))
    names = [name for name in ("y", "c", "gates", "dh0", "dc0", "normalized", "dnorm") if name in results[0]]
    for other in results[1:]:
        for name in names:
            np.testing.assert_array_equal(other[name], results[0][name], err_msg=name)
    rows = {name: getattr(p.case, name)[9:10] for name in ("z_x", "c0", "dc")}
    one = replace(
        p, case=replace(p.case, shape=(1, 2, 40), **rows), h0=p.h0[9:10], dy=p.dy[9:10], dh=p.dh[9:10]
    )
    alone = run(kernels, one)
    for name in names:
        np.testing.assert_array_equal(alone[name][0], results[0][name][9], err_msg=name)


def test_plan_says_why(kernels: Any) -> None:
    plan = kernels.sequence_plan("float32", 2, 3, 4, False, False, 2, True)
    assert plan["kernel"] == "staged"
    assert "layer normalization and a projection" in plan["reason"]
    with pytest.raises(ValueError, match=r"kernel grid: .* it has no stages for a projection"):
        kernels.sequence_plan("float32", 2, 3, 4, False, False, 2, kernel="grid")
    with pytest.raises(ValueError, match=r"kernel staged: .* for layer normalization and projections"):
        kernels.sequence_plan("float32", 2, 3, 4, False, False, kernel="staged")
