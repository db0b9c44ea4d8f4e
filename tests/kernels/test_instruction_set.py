"""What the process says about its instruction sets, and the choice between them."""

from __future__ import annotations

import os

import pytest

from fusedlstm import ops

from .operations import OPERATIONS
from .problems import Number, make_problem

KNOWN = {"avx512", "avx2", "neon", "scalar"}


def test_the_sets_of_this_process() -> None:
    sets = ops.instruction_sets()
    assert set(sets) <= KNOWN
    assert len(set(sets)) == len(sets)
    assert sets[-1] == "scalar"
    wanted = os.environ.get("FUSEDLSTM_INSTRUCTION_SET")
    assert ops.get_instruction_set() == (wanted or sets[0])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_kernels_run_on_the_active_set(operation: str, dtype: Number) -> None:
    OPERATIONS[operation](make_problem((5, 3, 9, 17), dtype))
    said = ops.last_kernel()
    assert f"cpu {ops.get_instruction_set()} {dtype.__name__} " in said


def test_choosing_a_set() -> None:
    active = ops.get_instruction_set()
    try:
        for name in ops.instruction_sets():
            ops.set_instruction_set(name)
            assert ops.get_instruction_set() == name
    finally:
        ops.set_instruction_set(active)


@pytest.mark.parametrize("name", ["", "AVX2", "sse", "avx2 ", *sorted(KNOWN)])
def test_a_set_that_cannot_be_chosen(name: str) -> None:
    if name in ops.instruction_sets():
        pytest.skip(f"{name} is usable here")
    active = ops.get_instruction_set()
    with pytest.raises(ValueError, match="scalar") as error:
        ops.set_instruction_set(name)
    assert repr(name) in str(error.value)
    for usable in ops.instruction_sets():
        assert usable in str(error.value)
    assert ops.get_instruction_set() == active


@pytest.mark.parametrize("count", [0, -1, 2**40])
def test_wrong_numbers_of_threads(count: int) -> None:
    before = ops.get_num_threads()
    with pytest.raises(ValueError, match=r"expected .*, got "):
        ops.set_num_threads(count)
    assert ops.get_num_threads() == before


@pytest.mark.parametrize("count", [1.5, "2"])
def test_numbers_of_threads_of_wrong_types(count: object) -> None:
    with pytest.raises(TypeError):
        ops.set_num_threads(count)  # type: ignore[arg-type]


def test_numbers_of_threads() -> None:
    assert ops.get_num_threads() >= 1
    for count in (1, 2, 7):
        ops.set_num_threads(count)
        assert ops.get_num_threads() == count
