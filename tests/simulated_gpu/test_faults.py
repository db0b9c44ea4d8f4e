"""Every planted fault is found in every order of threads, and named with its kernel, block and thread."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FAULTS = {
    # Whoever comes first reads what is not yet written; in other orders, it is a race.
    "read_write_race": "race|uninitialised read",
    "write_write_race": "race",
    "missing_second_barrier": "race",
    "missing_warp_barrier": "race|uninitialised read",
    "missing_second_warp_barrier": "race",
    "race_on_part_of_a_word": "race",
    "half_word_race": "race|uninitialised read",
    "race_with_atomic": "race",
    "read_after_own_atomic": "race",
    "total_of_blocks": "race: .* of device array 'x'",
    "race_between_blocks": "race",
    "missing_grid_barrier": "race",
    "global_overrun": r"out of bounds: writes bytes 256 to 259 of device array 'x', which has 256",
    "global_underrun": r"out of bounds: reads bytes -4 to -1 of device array 'x'",
    "null_pointer": "out of bounds: reads 4 bytes that belong to no device array",
    "atomic_overrun": "out of bounds: updates bytes 256 to 259",
    "shared_overrun": "out of bounds: reads bytes 256 to 259 of dynamic shared memory, which has 256",
    "static_overrun": r"out of bounds: index \d+ of 'float *\[32\]' at faulty.cu",
    "misaligned_load": "misaligned",
    "misaligned_store": "misaligned",
    "misaligned_shared": "misaligned",
    "barrier_in_branch": r"stuck: waits at __syncthreads, faulty.cu:\d+, while thread \(32, 0, 0\) has ended",
    "barriers_in_both_branches": "divergent barrier",
    "early_return": "stuck: waits at __syncthreads",
    "shuffle_in_branch": r"stuck: waits at __shfl_down_sync, .*, while thread \(16, 0, 0\) has ended",
    "shuffle_from_outside": "divergent shuffle: reads lane 16",
    "shuffle_without_own_lane": "divergent __shfl_sync",
    "shuffle_against_vote": "divergent",
    "barrier_against_shuffle": r"stuck: waits at __shfl_xor_sync.*thread \(7, 0, 0\) waits at __syncthreads",
    "grid_barrier_in_branch": r"stuck: waits at sync_grid.*of block \(1, 0, 0\) has ended",
    "grid_barrier_without_cooperation": "a barrier of blocks in a launch that is not cooperative",
    "barrier_of_other_blocks": "race: (reads|writes) .* of block",
    "barrier_for_too_few": "divergent barrier: reached by 2 blocks and meant for 1",
    "barrier_for_too_many": "stuck: waits at BlockBarrier",
    "wait_for_blocks_without_arrival": "divergent barrier: a wait for other blocks without an arrival",
    "write_after_arrival": "race: (reads|writes) .* of block",
    "one_buffer_for_two_steps": "race: (reads|writes) .* of block",
    "missing_copy_wait": "asynchronous copy",
    "wait_for_too_few": "asynchronous copy",
    "missing_copy_commit": "asynchronous copy",
    "wait_without_barrier": "asynchronous copy|race|uninitialised read",
    "misaligned_copy": "misaligned",
    "uninitialised_read": "uninitialised read",
    "read_of_last_block": "uninitialised read",
    "uninitialised_sum": "uninitialised read",
    "write_to_constant": "writes to constant memory",
    "stack_overflow": "stack overflow",
    "endless_spin": "stuck: spins",
}
REFUSED = {
    "too_many_static": "too much shared memory: 49408 static bytes",
    "too_much_dynamic": "too much shared memory: 232449 dynamic bytes",
    "too_many_threads": r"blocks of \(1025, 1, 1\) threads",
    "too_many_blocks_to_cooperate": "a cooperative grid of 1000 blocks; this device holds 8 at once",
}
WHERE = r"kernel '{name}', block \(\d, 0, 0\), thread \(\d+, 0, 0\): "


def run(simt: Any, name: str) -> str:
    x = simt.array(np.zeros(64, np.float32), "x")
    with pytest.raises(simt.Fault) as caught:
        simt.run_faulty(name, x)
    return str(caught.value)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(simt: Any, name: str) -> None:
    assert re.match(WHERE.format(name=name) + f"(?:{FAULTS[name]})", run(simt, name))


@pytest.mark.parametrize("name", REFUSED)
def test_launch_is_refused(simt: Any, name: str) -> None:
    assert re.match(f"kernel '{name}': {REFUSED[name]}", run(simt, name))


def test_every_planted_fault_is_listed() -> None:
    source = (Path(__file__).parent / "kernels" / "faulty.cu").read_text()
    planted = re.findall(r'CASE\((\w+), \d|Case\{"(\w+)"', source)
    assert {a or b for a, b in planted} == {*FAULTS, *REFUSED}


def test_smaller_device(simt: Any) -> None:
    simt.set_device(multiprocessors=1, shared_per_block=200)
    assert "256 dynamic bytes; a block of this device may have 200" in run(simt, "shared_overrun")


def test_freed_array(simt: Any) -> None:
    x = simt.array(np.zeros(64, np.float32), "x")
    stale = np.ctypeslib.as_array((ctypes.c_float * 64).from_address(x.ctypes.data))
    del x
    gc.collect()
    with pytest.raises(simt.Fault, match=r"use after free: .* of device array 'x', which has 256"):
        simt.run_faulty("race_between_blocks", stale)


def test_array_of_the_host(simt: Any) -> None:
    with pytest.raises(simt.Fault, match="belong to no device array"):
        simt.run_faulty("race_between_blocks", np.zeros(64, np.float32))


def test_a_fault_does_not_spoil_the_next_launch(simt: Any) -> None:
    x = simt.array(np.ones((3, 128), np.float32))
    sums = simt.empty(3, np.float32)
    for name in ("missing_grid_barrier", "barrier_in_branch", "shuffle_in_branch", "missing_copy_wait"):
        run(simt, name)
        simt.reduce_rows(x, sums)
        np.testing.assert_array_equal(sums, 128)
