"""The CUDA kernels of the cell alone, on the simulated GPU, against the float64 references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops, testing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

# Single numbers and packs of 16 bytes, rows beyond a block's and beyond the threads of one.
SHAPES = [(1, 1), (3, 7), (2, 16), (5, 31), (1, 33), (70, 4), (3, 128), (1, 1028)]
DTYPES = [np.float32, np.float64]

OPTIONS: dict[str, ops.CellOptions] = {
    "hard_sigmoid": ops.CellOptions(recurrent_activation="hard_sigmoid", activation="softsign"),
    "relu": ops.CellOptions(activation=("leaky_relu", 0.1), recurrent_activation="sigmoid"),
    "elu": ops.CellOptions(activation="elu", recurrent_activation="softplus", output_activation="tanh"),
    "exponential": ops.CellOptions(
        recurrent_activation=("scaled_tanh", 0.5, 0.7), activation="exponential", output_activation="linear"
    ),
    "thresholded": ops.CellOptions(activation=("thresholded_relu", 0.3), output_activation="relu"),
    "coupled": ops.CellOptions(coupled=True),
    "clips": ops.CellOptions(cell_clip=0.7, gate_clip=0.8),
}


def normal(*shape: int, dtype: Any, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def forward(simt: Any, z: Array, c_prev: Array, options: Any = None) -> tuple[Array, Array, Array]:
    h, c = (simt.empty(c_prev.shape, z.dtype, name) for name in ("h", "c"))
    gates = simt.empty(z.shape, z.dtype, "gates")
    simt.cell_forward(simt.array(z, "z"), simt.array(c_prev, "c_prev"), h, c, gates, options)
    return h, c, gates


def backward(simt: Any, given: list[Array], dc: Array | None, options: Any = None) -> tuple[Array, Array]:
    dz, dc_prev = (simt.empty(given[k].shape, given[k].dtype) for k in (0, 1))
    given = [simt.array(array) for array in given]
    simt.cell_backward(*given, None if dc is None else simt.array(dc), dz, dc_prev, options)
    return dz, dc_prev


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(kernels: Any, shape: tuple[int, int], dtype: Any) -> None:
    z, c_prev = normal(shape[0], 4 * shape[1], dtype=dtype), normal(*shape, dtype=dtype)
    expected = testing.cell_forward_reference(z, c_prev)
    for name, got, want in zip(("h", "c", "gates"), forward(kernels, z, c_prev), expected, strict=True):
        testing.assert_close(got, want, dtype=dtype, terms=0, name=name)


@pytest.mark.parametrize("with_dc", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_backward(kernels: Any, shape: tuple[int, int], dtype: Any, with_dc: bool) -> None:
    z, c_prev = normal(shape[0], 4 * shape[1], dtype=dtype), normal(*shape, dtype=dtype)
    _, c, gates = (array.astype(dtype) for array in testing.cell_forward_reference(z, c_prev))
    dh, dc = (normal(*shape, dtype=dtype, seed=seed) for seed in (1, 2))
    given = dc if with_dc else None
    expected = testing.cell_backward_reference(gates, c_prev, c, dh, given)
    got = backward(kernels, [gates, c_prev, c, dh], given)
    for name, value, want in zip(("dz", "dc_prev"), got, expected, strict=True):
        testing.assert_close(value, want, dtype=dtype, terms=0, name=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes(kernels: Any, dtype: Any) -> None:
    row = np.array([0.0, -0.0, 1e-30, 20, -20, 95, -95, 800, -800, np.inf, -np.inf, np.nan], dtype)
    z = np.tile(row, (4, 1)).reshape(1, -1)
    c_prev = np.zeros((1, len(row)), dtype)
    h, c, gates = forward(kernels, z, c_prev)
    expected = testing.cell_forward_reference(z, c_prev)
    # Saturated gates stay off zero, by less than twice the smallest normal number.
    floor = 2 * float(np.finfo(dtype).tiny)
    for name, got, want in zip(("h", "c", "gates"), (h, c, gates), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=8 * np.finfo(dtype).eps, atol=floor, err_msg=name)
    i = gates[0, : len(row)]
    assert np.all(i[:-1] > 0)
    assert np.isnan(i[-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_over_inputs(kernels: Any, dtype: Any) -> None:
    z, c_prev, dh, dc = (normal(3, n, dtype=dtype, seed=n) for n in (64, 16, 16, 16))
    h, c, gates = forward(kernels, z, c_prev)
    over_z, over_c, other_h = kernels.array(z), kernels.array(c_prev), kernels.empty(h.shape, dtype)
    kernels.cell_forward(over_z, over_c, other_h, over_c, over_z)
    dz, dc_prev = backward(kernels, [gates, c_prev, c, dh], dc)
    over_dc = kernels.array(dc)
    arrays = [kernels.array(array) for array in (c_prev, c, dh)]
    for got, want in ((over_z, gates), (over_c, c), (other_h, h)):
        np.testing.assert_array_equal(got, want)
    kernels.cell_backward(over_z, *arrays, over_dc, over_z, over_dc)
    np.testing.assert_array_equal(over_z, dz)
    np.testing.assert_array_equal(over_dc, dc_prev)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_in_packs_and_alone(kernels: Any, dtype: Any) -> None:
    z, c_prev = normal(3, 64, dtype=dtype), normal(3, 16, dtype=dtype)
    whole = forward(kernels, z, c_prev)
    # 15 of the units, which do not fill packs.
    part = np.arange(64).reshape(4, 16)[:, :15].ravel()
    h, c, gates = forward(kernels, z[:, part], c_prev[:, :15])
    np.testing.assert_array_equal(h, whole[0][:, :15])
    np.testing.assert_array_equal(c, whole[1][:, :15])
    np.testing.assert_array_equal(gates, whole[2][:, part])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing_to_do(kernels: Any, shape: tuple[int, int]) -> None:
    z = np.zeros((shape[0], 4 * shape[1]), np.float32)
    c_prev = np.zeros(shape, np.float32)
    h, c, gates = forward(kernels, z, c_prev)
    dz, dc_prev = backward(kernels, [gates, c_prev, c, h], None)
    assert (h.shape, dz.shape, dc_prev.shape) == (shape, z.shape, shape)


def variant(options: ops.CellOptions, peepholes: Array | None) -> Callable[[Array, Array], Any]:
    """Return h and c of a cell with options, from z and c_prev, real or complex."""

    def run(z: Array, c_prev: Array) -> Any:
        B, H = c_prev.shape
        return testing.lstm_variant_reference(
            z[:, None],
            np.eye(4 * H),
            np.zeros((H, 4 * H)),
            np.zeros(4 * H),
            np.zeros((B, H)),
            c_prev,
            options=options,
            peepholes=peepholes,
        )

    return run


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_peepholes", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_options(kernels: Any, name: str, with_peepholes: bool, dtype: Any) -> None:
    B, H = 3, 9
    options = OPTIONS[name]
    p = normal(3, H, dtype=dtype, seed=5) if with_peepholes else None
    reference = variant(options, p)
    # The kernel reads peepholes from device memory.
    on_device = None if p is None else kernels.array(p, "peepholes")
    settings = ops.CellOptions(**{**vars_of(options), "peepholes": on_device}).settings
    z, c_prev, dh, dc = (normal(B, n, dtype=dtype, seed=n) for n in (4 * H, H, H, H))
    h, c, gates = forward(kernels, z, c_prev, settings)
    want = reference(z.astype(np.float64), c_prev.astype(np.float64))
    testing.assert_close(h, want.h, dtype=dtype, terms=0, name="h")
    testing.assert_close(c, want.c, dtype=dtype, terms=0, name="c")

    # The derivative along a direction, exact by a step into the complex plane, against the gradients' product
    # with it.
    dz, dc_prev = backward(kernels, [gates, c_prev, c, dh], dc, settings)
    step = 1e-30
    for seed in range(4):
        v_z, v_c = (normal(B, n, dtype=np.float64, seed=10 + seed) for n in (4 * H, H))
        moved = reference(z + 1j * step * v_z, c_prev + 1j * step * v_c)
        slope = (np.sum(dh * moved.h.imag, axis=1) + np.sum(dc * moved.c.imag, axis=1)) / step
        parts = np.concatenate([dz * v_z, dc_prev * v_c], axis=1)
        testing.assert_close(
            parts.sum(axis=1).astype(dtype), slope, dtype=dtype, terms=5 * H, scale=np.abs(parts).sum(axis=1)
        )


def vars_of(options: ops.CellOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def test_arrays_of_the_host_are_refused(kernels: Any) -> None:
    z, c_prev = normal(2, 12, dtype=np.float32), normal(2, 3, dtype=np.float32)
    h, c = (kernels.empty(c_prev.shape, np.float32) for _ in range(2))
    with pytest.raises(kernels.Fault, match="belong to no device array"):
        kernels.cell_forward(z, kernels.array(c_prev), h, c, kernels.empty(z.shape, np.float32))


def test_a_short_array_is_found(kernels: Any) -> None:
    z, c_prev = (kernels.array(normal(2, n, dtype=np.float32), "given") for n in (12, 3))
    h, gates = kernels.empty((2, 3), np.float32), kernels.empty((2, 12), np.float32)
    with pytest.raises(kernels.Fault, match=r"out of bounds: writes .* of device array 'c', which has 20"):
        kernels.cell_forward(z, c_prev, h, kernels.empty(5, np.float32, "c"), gates)
