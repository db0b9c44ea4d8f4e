"""Kernels that are said to use tensor cores have their instructions, on every architecture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .compiled import compiled_kernels, machine_code, object_file

if TYPE_CHECKING:
    from collections.abc import Callable

TENSOR_CORES = re.compile(r"\bHMMA\.")  # mma.sync of float16, bfloat16 and tf32, from sm_80 to sm_121
# Names of kernels that say so: what the project names its formats, and what the tests' kernel has.
PROMISE = re.compile(r"\w+_kernel<Mma<.*>|multiply_tile_kernel<.*>")


def check(source: str, promised: Callable[[str], bool]) -> None:
    """Compare what kernels of a source are said to use with their machine code."""
    names = {k["symbol"]: k["name"] for k in compiled_kernels() if k["source"] == source}
    code = machine_code(object_file(source))
    assert {symbol for symbol, _ in code} >= names.keys()
    wrong = []
    for (symbol, architecture), instructions in code.items():
        assert instructions, symbol
        used = any(TENSOR_CORES.search(instruction) for instruction in instructions)
        if used != promised(names[symbol]):
            wrong.append(f"{names[symbol]} on sm_{architecture}: {'uses' if used else 'lacks'} tensor cores")
    assert not wrong, "\n".join(wrong)


def promise(name: str) -> bool:
    return PROMISE.fullmatch(name) is not None


def test_on_known_kernels() -> None:
    check("tests/simulated_gpu/kernels/correct.cu", promise)


def test_the_check_can_fail() -> None:
    with pytest.raises(AssertionError, match="reduce_rows_kernel on sm_80: lacks tensor cores"):
        check("tests/simulated_gpu/kernels/correct.cu", lambda _: True)
    with pytest.raises(AssertionError, match="multiply_tile_kernel<Half> on sm_80: uses tensor cores"):
        check("tests/simulated_gpu/kernels/correct.cu", lambda _: False)


# Disassembling takes five seconds a file, so only those with promises are.
SEQUENCES = [
    *(f"csrc/cuda/grid_{number}.cu" for number in ("bfloat16", "float16", "tf32")),
    *(f"csrc/cuda/small_{number}.cu" for number in ("bfloat16", "float16")),
]


@pytest.mark.parametrize("source", SEQUENCES)
def test_sequences(source: str) -> None:
    assert any(promise(k["name"]) for k in compiled_kernels() if k["source"] == source)
    check(source, promise)


def test_no_promise_elsewhere() -> None:
    sources = {k["source"] for k in compiled_kernels() if promise(k["name"])}
    own = {source for source in sources if source.startswith("csrc/")}
    assert own == set(SEQUENCES)
