"""Problems of a sequence for the device's kernels, their runs, and what the float64 reference says."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from fusedlstm import testing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ARRAYS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "tf32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
# Bits of the significand of what is multiplied and stored, where sums have more.
SHORT = {"tf32": 11, "float16": 11, "bfloat16": 8}
# The kernels, with the number types that each has.
KERNELS = [
    *(("small", number) for number in ARRAYS if number != "tf32"),
    *(("grid", number) for number in ARRAYS),
]


@dataclass(frozen=True)
class Case:
    """One problem. The reference has the identity as its kernel, so that its x is z_x, and its dx is dz."""

    shape: tuple[int, int, int]
    number: str
    z_x: Array
    recurrent: Array
    h0: Array | None
    c0: Array | None
    dy: Array | None
    dh: Array | None
    dc: Array | None
    lengths: Array | None = None
    zero_padding: bool = False
    bias: Array | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of arrays."""
        return ARRAYS[self.number]

    @property
    def state(self) -> np.dtype[Any]:
        """Of cell states and their gradients."""
        return ARRAYS["float32"] if self.dtype.itemsize == 2 else self.dtype

    def assert_close(self, got: Array, want: Array, name: str, scale: Array | None = None) -> None:
        """Compare a result with the reference's.

        A gradient comes through 4H products, and the identity's. Where numbers are stored in fewer bits than
        they are summed in, each stored one is off by half a unit u: a step forward stores h, and rounds
        nothing else that is as large; a step back multiplies rounded gates, at most five of them with
        rounded gradients. So 16 u for each step is ample for a single number; the mean over many is an eighth
        of that at most.
        """
        _, T, H = self.shape
        bits = SHORT.get(self.number)
        if bits is None:
            testing.assert_close(got, want, dtype=got.dtype, terms=5 * H + 1, steps=T, scale=scale, name=name)
            return
        values = np.asarray(got, np.float64)
        assert values.shape == np.shape(want), name
        if not values.size:
            return
        allowed = 16 * 2.0**-bits * max(T, 1) * (np.max(np.abs(want)) if scale is None else scale)
        error = np.abs(values - want)
        assert np.all(error <= allowed), f"{name}: {np.max(error / allowed):.3g} times the tolerance"
        if values.size < 64:
            return
        assert np.mean(error / allowed) <= 0.125, f"{name}: a mean error of {np.mean(error / allowed):.3g}"


def make(shape: tuple[int, int, int], number: str, seed: int = 0) -> Case:
    B, T, H = shape
    random = np.random.default_rng([seed, *shape])
    dtype = ARRAYS[number]
    state = ARRAYS["float32"] if dtype.itemsize == 2 else dtype

    def normal(*size: int, scale: float = 1.0, of: np.dtype[Any] = dtype) -> Array:
        return (scale * random.standard_normal(size)).astype(of)

    # The weights' spectral norm is about one, as tolerances presume.
    recurrent = normal(H, 4 * H, scale=0.33 / np.sqrt(H))
    h0, c0, dh, dc = normal(B, H), normal(B, H, of=state), normal(B, H), normal(B, H, of=state)
    return Case(shape, number, normal(B, T, 4 * H), recurrent, h0, c0, normal(B, T, H), dh, dc)


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
    dpeepholes: Array | None = None


def workspace(kernels: Any, case: Case, backward: bool, kernel: str, options: Any = None) -> Any:
    """Make what the plan says that the kernel wants."""
    plan = kernels.sequence_plan(case.number, *case.shape, backward, options is not None, kernel=kernel)
    return kernels.array(np.zeros(plan["workspace"], np.uint8), "workspace") if plan["workspace"] else None


def run(
    kernels: Any,
    case: Case,
    kernel: str,
    *,
    over_z: bool = False,
    tape: bool = True,
    recurrent_mask: Array | None = None,
    options: Any = None,
    zoneout_seed: int | None = None,
    peepholes: bool = False,
    offset: int = 0,
) -> Results:
    """Run a kernel forward, and back over the gates that it left.

    Arrays of numbers begin `offset` numbers behind their memory's beginning.
    """
    B, T, H = case.shape

    def empty(*shape: int, of: Any = case.dtype, name: str) -> Any:
        return kernels.empty(offset + prod(shape), of, name)[offset:].reshape(shape)

    def given(name: str) -> Any:
        value = getattr(case, name)
        if value is None or name == "lengths":
            return None if value is None else kernels.array(value, name)
        array = empty(*value.shape, of=value.dtype, name=name)
        array[...] = value
        return array

    common: dict[str, Any] = {
        "recurrent_mask": None if recurrent_mask is None else kernels.array(recurrent_mask, "recurrent_mask"),
        "options": options,
        "zoneout_seed": zoneout_seed,
        "zero_padding": case.zero_padding,
        "kernel": kernel,
        "number": case.number,
    }
    bias = given("bias")
    z_x, recurrent, lengths = given("z_x"), given("recurrent"), given("lengths")
    y, h, c = empty(B, T, H, name="y"), empty(B, H, name="h"), empty(B, H, of=case.state, name="c")
    gates: Any = (z_x if over_z else empty(B, T, 4 * H, name="gates")) if tape else None
    cells: Any = empty(T + 1, B, H, of=case.state, name="cells") if tape else None
    memory = workspace(kernels, case, False, kernel, options)
    states = given("h0"), given("c0")
    outputs = y, h, c, gates, cells
    kernels.sequence_forward(
        z_x, recurrent, *states, lengths, *outputs, bias=bias, workspace=memory, **common
    )
    nothing = np.zeros(0)
    if gates is None:
        return Results(y, h, c, nothing, nothing, nothing, nothing, nothing)
    activated = np.array(gates)
    dh0, dc0 = empty(B, H, name="dh0"), empty(B, H, of=case.state, name="dc0")
    dp = empty(B, 3, H, of=case.state, name="dpeepholes") if peepholes else None
    memory = workspace(kernels, case, True, kernel, options)
    upstream = given("dy"), given("dh"), given("dc")
    kernels.sequence_backward(
        recurrent, lengths, cells, *upstream, gates, dh0, dc0, dp, workspace=memory, **common
    )
    return Results(y, h, c, activated, cells, gates, dh0, dc0, dp)


def expected(case: Case) -> dict[str, Array]:
    """Give the results row by row, each over its own length; beyond it y repeats the last state or is 0."""
    B, T, H = case.shape
    lengths = np.full(B, T) if case.lengths is None else case.lengths
    parts: dict[str, list[Array]] = {name: [] for name in ("y", "h", "c", "dz", "dh0", "dc0")}

    def wide(array: Array | None, *shape: int) -> Array:
        return np.zeros(shape) if array is None else np.asarray(array, np.float64)

    h0, c0, dh, dc = (wide(a, B, H) for a in (case.h0, case.c0, case.dh, case.dc))
    z_x, recurrent, dy = wide(case.z_x), wide(case.recurrent), wide(case.dy, B, T, H)
    for b, length in enumerate(lengths):
        row = slice(b, b + 1)
        bias = None if case.bias is None else wide(case.bias)
        common = (z_x[row, :length], np.eye(4 * H), recurrent, bias, h0[row], c0[row])
        forward = testing.lstm_forward_reference(*common)
        repeated = 0 if case.zero_padding else dy[row, length:].sum(axis=1)
        d = testing.lstm_backward_reference(*common, dy[row, :length], dh[row] + repeated, dc[row])
        rest = T - length
        padding = np.repeat(forward.h[:, None], rest, axis=1)
        values = {
            "y": np.concatenate([forward.y, 0 * padding if case.zero_padding else padding], axis=1),
            "h": forward.h,
            "c": forward.c,
            "dz": np.concatenate([d.dx, np.zeros((1, rest, 4 * H))], axis=1),
            "dh0": d.dh0,
            "dc0": d.dc0,
        }
        for name, value in values.items():
            parts[name].append(value)
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def check(kernels: Any, case: Case, kernel: str, **options: Any) -> Results:
    """Run, and compare everything."""
    results = run(kernels, case, kernel, **options)
    for name, want in expected(case).items():
        case.assert_close(getattr(results, name), want, name)
    return results
