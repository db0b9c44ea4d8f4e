"""What contenders compute, and that mistakes are found."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from fusedlstm.benchmark.peers import OURS, make_contender, offers
from fusedlstm.benchmark.verify import DisagreementError, compare, expectations
from fusedlstm.benchmark.workloads import Workload, make_arrays

from .common import SMALL, results_of


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_results_pass(name: str, dtype: str) -> None:
    results, expected = results_of(name, dtype)
    assert 0 <= compare(results, expected) <= 1


@pytest.mark.parametrize("name", SMALL)
def test_each_wrong_element_is_found(name: str) -> None:
    results, expected = results_of(name, "float32")
    for key, want in expected.items():
        wrong = copy.deepcopy(results)
        position = tuple(size // 2 for size in want.array.shape)
        allowed = float(np.broadcast_to(want.allowed, want.array.shape)[position])
        wrong[key][position] = want.array[position] + 1.5 * allowed
        index = ", ".join(map(str, position))
        with pytest.raises(
            DisagreementError, match=rf"^{key}\[{index}\]: expected .*1\.5 times what rounding"
        ):
            compare(wrong, expected)
        wrong[key][position] = np.nan
        with pytest.raises(DisagreementError, match=rf"^{key}\[{index}\]: .*got nan, inf times"):
            compare(wrong, expected)
        del wrong[key]
        with pytest.raises(DisagreementError, match=f"^{key}: missing"):
            compare(wrong, expected)
        wrong[key] = results[key][None]
        with pytest.raises(DisagreementError, match=f"^{key}: expected shape"):
            compare(wrong, expected)


@pytest.mark.parametrize("name", ["forward-64x28x28x128", "step-1x128x128", "training-3x4x5x6", "mnist-4"])
def test_what_peers_do_differently_is_found(name: str) -> None:
    """Gates in ONNX's order, i o f c~, and a forgotten bias, at sizes with the loosest tolerances."""
    workload = Workload.parse(name)
    arrays = make_arrays(workload, "float32")
    expected = expectations(workload, arrays, "float32")
    kernel, bias = ("w0", "w2") if workload.kind == "mnist" else ("kernel", "bias")
    i, f, c, o = np.split(arrays[kernel], 4, axis=1)
    reordered = np.concatenate([i, o, f, c], axis=1)
    for wrong in ({kernel: reordered}, {bias: np.zeros_like(arrays[bias])}):
        results = make_contender(OURS, 1, "float32").prepare(workload, {**arrays, **wrong}).check()
        with pytest.raises(DisagreementError):
            compare(results, expected)


@pytest.mark.parametrize("name", ["fusedlstm-padded", "fusedlstm-checkpoints"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variants_pass(name: str, dtype: str) -> None:
    for workload in SMALL:
        if offers(name, Workload.parse(workload), dtype):
            results, expected = results_of(workload, dtype, name)
            assert 0 <= compare(results, expected) <= 1


@pytest.mark.parametrize("name", ["lengths-64x100x128x128", "lengths-5x4x5x6"])
def test_a_forgotten_step_is_found(name: str) -> None:
    workload = Workload.parse(name)
    arrays = make_arrays(workload, "float32")
    expected = expectations(workload, arrays, "float32")
    row = int(np.argmax(arrays["lengths"]))
    arrays["lengths"][row] -= 1
    results = make_contender(OURS, 1, "float32").prepare(workload, arrays).check()
    with pytest.raises(DisagreementError, match=rf"^dx\[{row}, "):
        compare(results, expected)


def test_a_long_sequence_is_judged_closely() -> None:
    """What is allowed grows with the steps whose errors a state can hold, not with all of them."""
    arrays = make_arrays(Workload("checkpoint", 1, 4000, 5, 6), "float32")
    allowed = []
    for T in (1000, 4000):
        part = {**arrays, "x": arrays["x"][:, :T], "dy": arrays["dy"][:, :T]}
        dx = expectations(Workload("checkpoint", 1, T, 5, 6), part, "float32")["dx"]
        allowed.append(float(dx.allowed) / float(np.abs(dx.array).max()))
    # Sums over all steps are longer, by whose root rounding grows.
    assert allowed[0] < allowed[1] <= 2 * allowed[0] < 1e-3


def test_a_missed_update_is_found() -> None:
    """Each weight of the MNIST model must have been updated, and in the right direction."""
    results, expected = results_of("mnist-4", "float32")
    start = make_arrays(Workload.parse("mnist-4"), "float32")
    for index in range(10):
        name = f"w{index}"
        for wrong in (start[name], 2 * start[name] - results[name]):
            with pytest.raises(DisagreementError, match=f"^{name}"):
                compare({**results, name: wrong}, expected)
