"""Workloads: their names, what is counted, their arrays."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm.benchmark.workloads import CATALOGUE, QUICK, Workload, make_arrays, mnist_shapes, select

from .common import SMALL


def product(rows: int, inner: int, columns: int) -> int:
    return 2 * rows * inner * columns


def lstm_products(B: int, T: int, I: int, H: int) -> list[int]:  # noqa: E741
    """List the operations of every matrix product of forward without initial states, step by step."""
    inputs = [product(B, I, 4 * H) for _ in range(T)]
    return inputs + [product(B, H, 4 * H) for _ in range(1, T)]


def test_operations() -> None:
    forward = sum(lstm_products(2, 3, 4, 5))
    assert Workload("forward", 2, 3, 4, 5).operations == forward
    # Each product a b has two gradients, da = dy b^T and db = a^T dy, of the same cost.
    assert Workload("training", 2, 3, 4, 5).operations == forward + 2 * forward
    assert Workload("checkpoint", 2, 3, 4, 5).operations == forward + 2 * forward
    # Rows of different lengths, each as if it were alone.
    uneven = Workload("lengths", 9, 7, 4, 5)
    rows = [sum(lstm_products(1, int(length), 4, 5)) for length in uneven.lengths]
    assert uneven.operations == 3 * sum(rows) < Workload("training", 9, 7, 4, 5).operations
    # A step has states, so that its recurrent product is needed.
    assert Workload("step", 2, 1, 4, 5).operations == product(2, 4, 20) + product(2, 5, 20)
    first, second = lstm_products(64, 28, 28, 128), lstm_products(64, 28, 128, 128)
    dense = [product(64, 128, 32), product(64, 32, 10)]
    without_dx = sum(first[:28])  # nobody wants the gradient of the digits
    assert Workload.parse("mnist-64").operations == 3 * sum(first + second + dense) - without_dx


@pytest.mark.parametrize("workload", CATALOGUE, ids=lambda workload: workload.name)
def test_catalogue(workload: Workload) -> None:
    assert Workload.parse(workload.name) == workload
    assert workload.operations > 0
    assert workload.bytes_moved(8) == 2 * workload.bytes_moved(4) > 0
    assert workload.description
    assert workload.operations_text


@pytest.mark.parametrize(("B", "T"), [(64, 100), (3, 1000), (33, 7), (512, 28)])
def test_lengths(B: int, T: int) -> None:
    workload = Workload("lengths", B, T, 5, 6)
    lengths = workload.lengths
    np.testing.assert_array_equal(lengths, workload.lengths)
    assert lengths.dtype == np.int64
    assert lengths.shape == (B,)
    assert lengths.min() >= 1
    assert np.count_nonzero(lengths == T) >= 1
    # Rows that rounding would leave empty get one step each; 1/2 is for rounding the sum.
    assert 0 <= workload.real_steps - 0.48 * B * T + 0.5 <= 1 + np.count_nonzero(lengths == 1)


def test_without_padding() -> None:
    np.testing.assert_array_equal(Workload("training", 3, 4, 5, 6).lengths, [4, 4, 4])
    np.testing.assert_array_equal(Workload("lengths", 1, 4, 5, 6).lengths, [4])


def test_lengths_of_the_catalogue() -> None:
    lengths = Workload.parse("lengths-64x100x128x128").lengths
    assert lengths.sum() == 0.48 * 64 * 100
    assert not np.array_equal(lengths, np.sort(lengths))
    assert len(set(lengths.tolist())) > 48


def test_bytes_of_a_step() -> None:
    arrays = make_arrays(Workload.parse("step-2x5x6"), "float32")
    outputs = 2 * arrays["h0"].nbytes
    assert Workload.parse("step-2x5x6").bytes_moved(4) == sum(a.nbytes for a in arrays.values()) + outputs


def test_select() -> None:
    assert [w.name for w in select(["step-*", "mnist-64", "step-1x128x128"])] == [
        "step-1x128x128",
        "step-1x512x512",
        "mnist-64",
    ]
    assert select(["forward-1x2x3x4"]) == [Workload("forward", 1, 2, 3, 4)]
    assert set(QUICK) < set(CATALOGUE)


@pytest.mark.parametrize(
    "name",
    ["", "forward", "forward-1x2x3", "forward-1x2x3x0", "step-1x2x3x4", "mnist-x", "backward-1x2x3x4", "q*"],
)
def test_unknown_workloads(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected forward-BxTxIxH, .*got '"):
        select([name])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_repeat(name: str, dtype: str) -> None:
    workload = Workload.parse(name)
    first, again = make_arrays(workload, dtype), make_arrays(workload, dtype)
    other = make_arrays(workload, dtype, seed=1)
    assert first.keys() == again.keys()
    for key, array in first.items():
        np.testing.assert_array_equal(array, again[key])
        # Lengths are part of the workload, whose operations depend on them.
        assert np.array_equal(array, other[key]) == (key == "lengths")
        assert array.dtype == (np.int64 if key in ("labels", "lengths") else np.dtype(dtype))
    if workload.kind == "mnist":
        assert [first[f"w{index}"].shape for index in range(10)] == mnist_shapes()
