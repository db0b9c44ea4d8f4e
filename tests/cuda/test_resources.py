"""Registers and memory that nvcc gave each kernel, on every architecture, within what kernels plan with."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from .compiled import compiled_kernels, report_script


class Budget(NamedTuple):
    """What a thread of a kernel may have, for names that match a pattern."""

    name: str
    registers: int
    stack: int  # bytes
    shared: int = 0  # bytes of static shared memory


# A multiprocessor has 65536 registers, which threads get in steps of 8: threads of a block, and blocks at
# once, say how many a thread may have (the kernels' __launch_bounds__). Shared memory is dynamic: its size
# depends on the problem, and is the plan's. The cell with options keeps the ends of gate_clip in local memory
# on its way back: eight numbers and some bytes. No other kernel has a stack.
ENDS = {"float": 64, "double": 112}
BUDGETS = [
    # 256 threads, three blocks in float32 and two in float64, which hide what memory takes to answer.
    *(
        Budget(rf"cell_{direction}_kernel<{number}, \d+, {maker}>", registers, stack)
        for number, registers in (("float", 80), ("double", 128))
        for direction in ("forward", "backward")
        for maker, stack in (
            ("Plain", 0),
            (f"WithOptions<{number}>", ENDS[number] if direction == "backward" else 0),
        )
    ),
    # 512 threads, one block.
    *(
        Budget(rf"small_{direction}_kernel<{number}, \d+, {maker}>", 128, stack)
        for number in ("float", "double")
        for direction in ("forward", "backward")
        for maker, stack in (
            ("Plain", 0),
            (f"WithOptions<{number}>", ENDS[number] if direction == "backward" else 0),
        )
    ),
    # The same, up to 256 threads, and the shared memory of 128 units.
    Budget(r"small_half_forward_kernel<Mma<\w+>, .*>", 255, 0, 6 * 1024),
    Budget(r"small_half_backward_kernel<Mma<\w+>, .*, Plain>", 255, 0, 18 * 1024),
    Budget(r"small_half_backward_kernel<Mma<\w+>, .*, WithOptions<float>>", 255, ENDS["float"], 46 * 1024),
    # 256 threads, one block: all that a thread can have.
    Budget(r"grid_\w+_kernel<.*, Plain>", 255, 0),
    Budget(r"grid_forward_kernel<.*, WithOptions<\w+>>", 255, 0),
    Budget(r"grid_backward_kernel<.*, WithOptions<float>>", 255, ENDS["float"]),
    Budget(r"grid_backward_kernel<.*, WithOptions<double>>", 255, ENDS["double"]),
    Budget(r"staged_forward_kernel<.*>", 255, 0),
    Budget(r"staged_backward_kernel<(Mma<\w+>|Fma<float>)>", 255, ENDS["float"]),
    Budget(r"staged_backward_kernel<Fma<double>>", 255, ENDS["double"]),
    # 256 threads that wait for memory: four blocks, 1024 threads, are what every multiprocessor can hold.
    Budget(r"(find|gather|spread)_\w+_kernel(<.*>)?", 64, 0),
    Budget(r"(sum_repeats|sum_rows|previous_states|dropout|update)_kernel<.*>", 64, 0),
    # Up to 512 threads, which wait for each other at every step of a row: one block at least.
    Budget(r"ctc_kernel<float>", 64, 0, 384),
    Budget(r"ctc_kernel<double>", 128, 0, 512),
    # Every thread's own sums, of packs of eight 16-bit numbers, four of 32 bits or two of 64.
    Budget(r"column_sums_kernel<(__half|__nv_bfloat16), .*>", 64, 0, 8192),
    Budget(r"column_sums_kernel<(float|double), .*>", 64, 0, 4096),
]

Kernel = dict[str, Any]


def title(kernel: Kernel) -> str:
    return f"{kernel['name']} on sm_{kernel['architecture']}"


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    return compiled_kernels()


def test_all_are_there(kernels: list[Kernel]) -> None:
    own = {k["architecture"] for k in kernels if k["source"].startswith("csrc/")}
    assert {80, 90} <= own
    for source in {k["source"] for k in kernels}:
        architectures = {k["architecture"] for k in kernels if k["source"] == source}
        assert architectures in (own, own - {75}), source  # Tensor cores' products begin with 80.


def test_nothing_is_spilled(kernels: list[Kernel]) -> None:
    spilled = [
        f"{title(k)}: {k['spill_stores']} bytes stored, {k['spill_loads']} loaded"
        for k in kernels
        if k["spill_stores"] or k["spill_loads"]
    ]
    assert not spilled, "\n".join(spilled)


def test_budgets(kernels: list[Kernel]) -> None:
    wrong = []
    for k in kernels:
        if not k["source"].startswith("csrc/"):
            continue
        budgets = [b for b in BUDGETS if re.fullmatch(b.name, k["name"])]
        if len(budgets) != 1:
            wrong.append(f"{title(k)}: expected one budget in BUDGETS, got {len(budgets)}")
            continue
        for what in ("registers", "stack", "shared"):
            most = getattr(budgets[0], what)
            if k[what] > most:
                wrong.append(f"{title(k)}: expected at most {most} of {what}, got {k[what]}")
    assert not wrong, "\n".join(wrong)


def test_every_budget_is_used(kernels: list[Kernel]) -> None:
    names = {k["name"] for k in kernels}
    idle = [b.name for b in BUDGETS if not any(re.fullmatch(b.name, name) for name in names)]
    assert not idle


LOG = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3oneIfEvv' for 'sm_80'
ptxas info    : Function properties for _Z3oneIfEvv
    40 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 40 bytes cumulative stack size, 2048 bytes smem
ptxas info    : Compiling entry function '_Z3twov' for 'sm_90'
ptxas info    : Function properties for _Z3twov
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers
"""


def test_the_log_is_read() -> None:
    one, two = report_script().read_log(LOG)
    assert one == {
        "symbol": "_Z3oneIfEvv",
        "architecture": 80,
        "registers": 32,
        "spill_stores": 8,
        "spill_loads": 12,
        "stack": 40,
        "shared": 2048,
    }
    assert (two["symbol"], two["architecture"], two["registers"]) == ("_Z3twov", 90, 255)
    assert (two["shared"], two["stack"], two["spill_stores"]) == (0, 0, 0)


def test_a_file_without_kernels() -> None:
    assert report_script().read_log("ptxas info    : 0 bytes gmem\n") == []


def test_an_incomplete_log_is_an_error() -> None:
    with pytest.raises(ValueError, match="_Z3twov: expected its registers and memory"):
        report_script().read_log(LOG[: LOG.rindex("ptxas info")])
