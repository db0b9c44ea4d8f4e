"""The plan of a sequence over real devices' properties: it fits, covers the work once, and says why."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import pytest

from .build import load

KIB = 1024


class Device(NamedTuple):
    """What the plan is given of a device."""

    major: int
    minor: int
    multiprocessors: int
    shared_per_block: int


# Shared memory of a block by compute capability: CUDA C++ Programming Guide, "Technical Specifications per
# Compute Capability" (7.5: 64 KiB, 8.0: 163, 8.9 and 12.0: 99, 9.0 and 10.0: 227). Multiprocessors: NVIDIA's
# whitepapers on Turing (T4: 2560 cores of 64), A100 (108), Ada (L4: 7424 cores of 128), H100 (SXM5: 132) and
# RTX Blackwell (RTX 5090: 21760 cores of 128), and what CUDA's deviceQuery prints for a B200 (148).
DEVICES = {
    "T4": Device(7, 5, 40, 64 * KIB),
    "A100": Device(8, 0, 108, 163 * KIB),
    "L4": Device(8, 9, 58, 99 * KIB),
    "H100": Device(9, 0, 132, 227 * KIB),
    "B200": Device(10, 0, 148, 227 * KIB),
    "RTX 5090": Device(12, 0, 170, 99 * KIB),
}
NUMBER_BYTES = {"float32": 4, "tf32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
ON_TENSOR_CORES = ("tf32", "float16", "bfloat16")
IN_REGISTERS = ("float16", "bfloat16")  # All weights of the small kernel.
UNITS = (1, 3, 16, 17, 33, 90, 128, 129, 256, 500, 512, 768, 928, 1024, 1500, 2048, 2500, 4096, 8192)
BATCHES = (1, 7, 8, 9, 16, 33, 64, 100, 520, 4096)
WARPS = 8
GROUP = 8  # rows of one tile of a product


@pytest.fixture(scope="module")
def planner() -> Any:
    """Return the module that plans."""
    return load("_simt")


def plan(
    planner: Any,
    device: Device,
    number: str,
    *,
    units: int,
    batch: int = 16,
    steps: int = 10,
    backward: bool = False,
    options: bool = False,
    kernel: str | None = None,
) -> dict[str, Any]:
    """Plan a sequence."""
    found = planner.sequence_plan(
        number, batch, steps, units, backward, options, kernel=kernel, device=tuple(device)
    )
    assert isinstance(found, dict)
    return found


def up(a: int, b: int) -> int:
    """Divide, rounded up."""
    return -(-a // b)


def aligned(size: int) -> int:
    """Round up to whole 256 bytes."""
    return up(size, 256) * 256


def small_bytes(units: int, number: str, options: bool) -> int:
    """Count the small kernel's shared memory.

    For two rows, operands and sums of all gates; and the weights that registers do not hold.
    """
    few = {"float32": 32, "float64": 16}[number]
    many = {"float32": (84, 56), "float64": (38, 16)}[number][options]
    registers = few if units <= few else many
    size = NUMBER_BYTES[number]
    pack = 16 // size
    pitch = max(up(units, pack) * pack, registers)
    return (max(units - registers, 0) * 4 * units + 2 * (4 * pitch + 4 * units)) * size


def check_grid(
    found: dict[str, Any], device: Device, number: str, batch: int, units: int, backward: bool, options: bool
) -> None:
    """Check a grid against what a device holds and the work that there is."""
    size = NUMBER_BYTES[number]
    columns = found["slice_units"] * (1 if backward else 4)
    depth = 4 * units if backward else units
    blocks, row_slices = found["blocks"]
    slices, rows = found["slices"], found["rows"]

    # It fits: all blocks are there at once, one on each multiprocessor.
    assert blocks * row_slices <= device.multiprocessors
    assert found["shared_bytes"] <= device.shared_per_block

    # Every unit is in one slice, every slice in one block of a row of the grid, every batch row in one row.
    assert found["slice_units"] == (32 if backward and found["form"] != "narrow" else 16)
    assert (slices - 1) * found["slice_units"] < units <= slices * found["slice_units"]
    assert sorted(slice_ for x in range(blocks) for slice_ in range(x, slices, blocks)) == list(range(slices))
    assert rows % GROUP == 0
    assert (row_slices - 1) * rows < batch <= row_slices * rows

    # The narrow form where every slice of every group of rows has a multiprocessor of its own.
    groups = up(batch, GROUP)
    may_be_narrow = number in ON_TENSOR_CORES and not options
    narrow = may_be_narrow and up(units, 16) * groups <= device.multiprocessors
    assert found["form"] == ("narrow" if narrow else "wide" if slices <= device.multiprocessors else "anew")
    # Blocks wait for the one with most to do: slices and rows are dealt out evenly, to no more blocks than
    # that takes.
    turns = up(slices, device.multiprocessors)
    assert blocks == up(slices, turns)
    assert rows // GROUP == up(groups, device.multiprocessors // blocks)

    # The warps' runs of chunks hold all of K, and the last of them is needed.
    chunk = (64 if number in ON_TENSOR_CORES else 16) // size
    assert up(up(depth, chunk), WARPS) == found["chunks"]
    pitch = WARPS * found["chunks"] * chunk

    # Memory, counted from what it holds.
    counters = aligned(128 * row_slices)
    operands = 2 * aligned(row_slices * rows * pitch * size)
    states = aligned(batch * units * max(size, 4)) if backward and options else 0
    chunk_bytes = WARPS * columns * chunk * size
    weights = found["workspace"] - counters - operands - states
    chunks_of_all = row_slices * slices * chunk_bytes
    assert weights >= 0
    assert weights % chunks_of_all == 0
    in_workspace = weights // chunks_of_all
    assert in_workspace == found["chunks_in_workspace"]
    kept = found["chunks"] - found["chunks_in_shared"] - in_workspace
    sums = WARPS * found["rows_at_once"] * (columns + 4 * (number in ON_TENSOR_CORES)) * max(size, 4)
    # Off the tensor cores, two pieces of eight chunks of every row.
    pieces = 0 if number in ON_TENSOR_CORES else WARPS * 2 * found["rows_at_once"] * 8 * 16
    # Weights for registers pass through the same memory.
    fixed = max(sums + pieces, 0 if found["form"] == "anew" else chunk_bytes)
    assert found["shared_bytes"] == fixed + found["chunks_in_shared"] * chunk_bytes
    if found["form"] == "anew":
        assert found["chunks_in_shared"] == kept == 0
        assert found["rows_at_once"] in (8, 16, 24, 32)
        return
    # Of 65536 registers, half at most hold weights; shared memory comes next, and the rest is what is left.
    assert kept * chunk_bytes <= 128 * KIB
    if found["chunks_in_shared"]:
        assert kept * chunk_bytes >= 64 * KIB
    if in_workspace:
        assert found["shared_bytes"] + chunk_bytes > device.shared_per_block
        assert "read at every step" in found["reason"]
    else:
        assert "weights stay on the multiprocessor" in found["reason"]


@pytest.mark.parametrize("number", list(NUMBER_BYTES))
@pytest.mark.parametrize("name", list(DEVICES))
def test_every_shape(planner: Any, name: str, number: str) -> None:
    device = DEVICES[name]
    if device.major < 8 and number in ON_TENSOR_CORES:
        pytest.skip("refused: test_refused_before_ampere")
    for units, backward, options in product(UNITS, (False, True), (False, True)):
        small = (
            number != "tf32"
            and units <= 128
            and (number in IN_REGISTERS or small_bytes(units, number, options) <= device.shared_per_block)
        )
        for batch in BATCHES:
            given: dict[str, Any] = {
                "units": units,
                "batch": batch,
                "backward": backward,
                "options": options,
            }
            found = plan(planner, device, number, **given)
            assert found["kernel"] == ("small" if small else "grid"), given
            if small:
                assert found["workspace"] == 0
                where = " for its tensor cores" if number in IN_REGISTERS else ""
                assert f"all recurrent weights of {units} units{where}, so that" in found["reason"]
                found = plan(planner, device, number, **given, kernel="grid")
                assert "asked for" in found["reason"]
            elif number == "tf32":
                assert "it has no form for tf32" in found["reason"]
            elif units > 128:
                assert f"{units} units are more than the 128" in found["reason"]
            else:
                needed = up(small_bytes(units, number, options), KIB)
                assert f"a block needs {needed} KiB of shared memory" in found["reason"]
            check_grid(found, device, number, batch, units, backward, options)
            blocks, row_slices = found["blocks"]
            assert f"{blocks} x {row_slices} blocks" in found["reason"]


@pytest.mark.parametrize("number", ON_TENSOR_CORES)
def test_refused_before_ampere(planner: Any, number: str) -> None:
    expected = f"tensor cores multiply {number} .*from compute capability 8.0 on, and this one is 7.5"
    with pytest.raises(ValueError, match=expected):
        plan(planner, DEVICES["T4"], number, units=256)
    assert plan(planner, DEVICES["A100"], number, units=256)["kernel"] == "grid"


def test_small_that_is_not_there(planner: Any) -> None:
    with pytest.raises(ValueError, match=r"kernel small: .* it has no form for tf32"):
        plan(planner, DEVICES["H100"], "tf32", units=64, kernel="small")
    with pytest.raises(ValueError, match=r"kernel small: .* tensor cores multiply float16 .* from .* 8.0 on"):
        plan(planner, DEVICES["T4"], "float16", units=64, kernel="small")
    with pytest.raises(ValueError, match=r"kernel small: .* 129 units are more than the 128"):
        plan(planner, DEVICES["H100"], "float32", units=129, kernel="small")


def test_weights_stay_where_they_fit(planner: Any) -> None:
    # 16-bit weights of one layer, 8 H^2 bytes, on the chips that hold them in registers and shared memory.
    for name, units in (("A100", 1024), ("H100", 1024), ("H100", 2048), ("B200", 2048)):
        assert "weights stay" in plan(planner, DEVICES[name], "float16", units=units)["reason"]
    more = plan(planner, DEVICES["L4"], "float16", units=1024)
    assert more["form"] == "anew"
    assert "more units than multiprocessors keep" in more["reason"]


def test_rows_are_split_as_far_as_blocks_go_round(planner: Any) -> None:
    found = plan(planner, DEVICES["H100"], "float16", units=1024, batch=64)
    assert (found["blocks"], found["rows"]) == ((64, 2), 32)
    # 64 slices for 58 blocks would be two turns; three turns of 22 leave each block half of the rows.
    # 64 slices are two turns of 58 blocks, or of 32.
    found = plan(planner, DEVICES["L4"], "float16", units=1024, batch=64)
    assert (found["blocks"], found["rows"], found["rows_at_once"]) == ((32, 1), 64, 32)
    assert plan(planner, DEVICES["T4"], "float64", units=1024, batch=64)["rows_at_once"] == 8


def test_nothing_to_compute(planner: Any) -> None:
    for batch, units in ((0, 256), (16, 0)):
        found = plan(planner, DEVICES["H100"], "tf32", units=units, batch=batch)
        assert found["workspace"] == 0
        assert found["reason"].startswith("nothing to compute")


@pytest.mark.parametrize("name", ["units", "batch", "steps"])
@pytest.mark.parametrize("number", ["float16", "float64"])
def test_sizes_out_of_range(planner: Any, name: str, number: str) -> None:
    given: dict[str, Any] = {"units": 256, name: -1}
    with pytest.raises(ValueError, match=f"{name}: expected a size, got -1"):
        plan(planner, DEVICES["H100"], number, **given)
    for most in (2**31, 2**62):
        given[name] = most
        with pytest.raises(ValueError, match=rf"{name}: expected .*, got {most}"):
            plan(planner, DEVICES["H100"], number, **given)


def test_device_without_multiprocessors(planner: Any) -> None:
    with pytest.raises(ValueError, match="device: expected a multiprocessor at least, got 0"):
        plan(planner, Device(9, 0, 0, 227 * KIB), "float16", units=256)


def test_device_with_too_little_shared_memory(planner: Any) -> None:
    with pytest.raises(
        ValueError, match=r"kernel grid: .* a block needs 32 KiB of shared memory and has 16 KiB"
    ):
        plan(planner, Device(8, 0, 108, 16 * KIB), "float16", units=256)
