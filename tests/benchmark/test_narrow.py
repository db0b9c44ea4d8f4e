"""Weights in fewer bits: what their rounding may do to results, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import testing
from fusedlstm.benchmark.narrow import allow_rounded_weights
from fusedlstm.benchmark.peers import make_contender, offers
from fusedlstm.benchmark.verify import DisagreementError, Expected, compare
from fusedlstm.benchmark.workloads import CATALOGUE, Workload, make_arrays

from .common import NARROW, results_of

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array

LISTED = ("forward-1x100x128x128", "step-1x128x128", "step-1x512x512")


@pytest.mark.parametrize("name", ["fusedlstm-bfloat16", "fusedlstm-int8"])
def test_single_rows_in_float32(name: str) -> None:
    taking_part = [w.name for w in CATALOGUE if offers(name, w, "float32")]
    assert taking_part == [
        *("forward-1x100x128x128", "forward-1x100x512x512", "step-1x128x128", "step-1x512x512")
    ]
    assert not any(offers(name, workload, "float64") for workload in CATALOGUE)


def narrow(name: str, storage: str) -> tuple[dict[str, Array], dict[str, Expected]]:
    """Return what a variant computes, and what it must when its weights are kept as `storage`."""
    workload = Workload.parse(name)
    arrays = make_arrays(workload, "float32")
    results, expected = results_of(name, "float32", f"fusedlstm-{storage}")
    return results, allow_rounded_weights(expected, workload, arrays, storage)


@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", [*NARROW, *LISTED])
def test_rounded_weights_pass(name: str, storage: str) -> None:
    results, expected = narrow(name, storage)
    assert 0 < compare(results, expected) <= 1
    # They are not what full weights give: the loss is there, and is counted as such.
    with pytest.raises(DisagreementError):
        compare(results, results_of(name, "float32")[1])


@pytest.mark.parametrize("name", LISTED)
def test_coarser_weights_are_found(name: str) -> None:
    """Three bits less than bfloat16 has, and int8 where bfloat16 was promised."""
    workload = Workload.parse(name)
    arrays = make_arrays(workload, "float32")
    expected = narrow(name, "bfloat16")[1]
    coarse = dict(arrays)
    for key in ("kernel", "recurrent_kernel"):
        mantissa, exponent = np.frexp(arrays[key])
        coarse[key] = np.ldexp(np.round(mantissa * 32) / 32, exponent)
    results = make_contender("fusedlstm-bfloat16", 1, "float32").prepare(workload, coarse).check()
    for wrong in (results, narrow(name, "int8")[0]):
        with pytest.raises(DisagreementError):
            compare(wrong, expected)


def steps(array: Array, storage: str) -> Array:
    """Return the distance between neighbouring numbers of the format, for each weight."""
    distance: Array = np.abs(array).max(axis=0) / 127
    if storage == "bfloat16":
        distance = 2.0 ** (np.floor(np.log2(np.abs(array))) - 7)
    return distance


@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_deviations_are_those_of_random_rounding(storage: str) -> None:
    """What is allowed is 8 standard deviations; errors drawn at random must be of one, on average.

    The formula lets one weight's errors at different steps add up in the worst way, so that it may be larger:
    by the square root of the steps that a state remembers, some 6. Smaller it must not be; 64 draws know a
    standard deviation to 9 %, and twice that is granted.
    """
    workload = Workload.parse("forward-1x20x16x16")
    arrays = {key: array.astype(np.float64) for key, array in make_arrays(workload, "float32").items()}
    x, *weights, bias = arrays.values()
    exact = testing.lstm_forward_reference(x, weights[0], weights[1], bias).y
    allowed = allow_rounded_weights({"y": Expected(exact, np.zeros(()))}, workload, arrays, storage)
    random = np.random.default_rng(0)
    squares = np.zeros_like(exact)
    for _ in range(64):
        kernel, recurrent_kernel = (
            array + steps(array, storage) * random.uniform(-0.5, 0.5, array.shape) for array in weights
        )
        squares += (testing.lstm_forward_reference(x, kernel, recurrent_kernel, bias).y - exact) ** 2 / 64
    ratio = float(np.sqrt(np.mean(squares) / np.mean((allowed["y"].allowed / 8) ** 2)))
    assert 0.4 < ratio < 1.2
