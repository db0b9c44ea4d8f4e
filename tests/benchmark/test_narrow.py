"""Weights in fewer bits: what their rounding may do to results, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import testing
from fusedlstm.benchmark.narrow import Rounding, allow_rounding
from fusedlstm.benchmark.peers import PEERS, installed, make_contender, offers, rounding_of
from fusedlstm.benchmark.verify import DisagreementError, Expected, compare, expectations
from fusedlstm.benchmark.workloads import CATALOGUE, Workload, make_arrays, make_host_arrays

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
    return results, allow_rounding(expected, workload, arrays, Rounding(storage))


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
    allowed = allow_rounding({"y": Expected(exact, np.zeros(()))}, workload, arrays, Rounding(storage))
    random = np.random.default_rng(0)
    squares = np.zeros_like(exact)
    for _ in range(64):
        kernel, recurrent_kernel = (
            array + steps(array, storage) * random.uniform(-0.5, 0.5, array.shape) for array in weights
        )
        squares += (testing.lstm_forward_reference(x, kernel, recurrent_kernel, bias).y - exact) ** 2 / 64
    ratio = float(np.sqrt(np.mean(squares) / np.mean((allowed["y"].allowed / 8) ** 2)))
    assert 0.4 < ratio < 1.2


@pytest.mark.parametrize("rounding", [Rounding("int8", 127, each_row=True), Rounding("int8", 255)], ids=str)
def test_deviations_of_rounded_rows(rounding: Rounding) -> None:
    """The part of x and h alone, with errors drawn at random and weights that have none.

    Errors of other steps are others, so that they add up as squares; with weights' all at once, in the bound
    above, they would not be seen.
    """
    workload = Workload.parse("forward-5x20x16x16")
    arrays = {key: array.astype(np.float64) for key, array in make_arrays(workload, "float32").items()}
    x, kernel, recurrent_kernel, bias = arrays.values()
    exact = testing.lstm_forward_reference(x, kernel, recurrent_kernel, bias).y
    zero = {"y": Expected(exact, np.zeros(()))}
    both = allow_rounding(zero, workload, arrays, rounding)["y"].allowed
    weights_alone = allow_rounding(zero, workload, arrays, Rounding("int8"))["y"].allowed
    deviation = np.sqrt(both**2 - weights_alone**2) / 8
    assert (both > weights_alone).all()
    random = np.random.default_rng(0)

    def moved(rows: Array) -> Array:
        if rounding.each_row:
            step = np.abs(rows).max(axis=-1, keepdims=True) / 127
        else:
            step = (max(rows.max(), 0) - min(rows.min(), 0)) / 255
        found: Array = rows + step * random.uniform(-0.5, 0.5, rows.shape)
        return found

    squares = np.zeros_like(exact)
    for _ in range(64):
        h = c = np.zeros((5, 16))
        inputs = moved(x) if not rounding.each_row else np.stack([moved(row) for row in x])
        for t in range(20):
            state = testing.lstm_forward_reference(
                inputs[:, t : t + 1], kernel, recurrent_kernel, bias, moved(h), c
            )
            h, c = state.h, state.c
            squares[:, t] += (h - exact[:, t]) ** 2 / 64
    ratio = float(np.sqrt(np.mean(squares) / np.mean(deviation**2)))
    assert 0.4 < ratio < 1.2


@pytest.mark.parametrize("name", ["fusedlstm", "onnxruntime", "torch"])
def test_bytes_are_rounded_as_is_said(name: str) -> None:
    """Each contender with --dtype int8 keeps to what its rounding explains, and needs it."""
    if name in PEERS and not installed(name):
        pytest.skip(f"{name} is not installed")
    workload = Workload.parse("forward-9x12x40x33")
    arrays = make_host_arrays(workload, "int8")
    expected = expectations(workload, arrays, "int8")
    results = make_contender(name, 1, "int8").prepare(workload, arrays).check()
    rounding = rounding_of(name, "int8")
    assert rounding is not None
    assert 0.02 < compare(results, allow_rounding(expected, workload, arrays, rounding)) <= 1
    with pytest.raises(DisagreementError):
        compare(results, expected)
