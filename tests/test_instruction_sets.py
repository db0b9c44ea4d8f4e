"""The kernel tests on every other instruction set this processor has, each in a process of its own.

An illegal instruction then ends a child process, which is a failed test and not a lost test run. The set that
the process itself has chosen is tested by tests/kernels directly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusedlstm import ops

KERNEL_TESTS = Path(__file__).parent / "kernels"
KNOWN = ("avx512", "avx2", "neon", "scalar")
OTHERS = [name for name in ops.instruction_sets() if name != ops.get_instruction_set()]


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **variables,
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


# The sets share one source: what could differ is where their vectors end in rows and arrays.
# tests/sanitize.sh has the same list.
WHERE_VECTORS_END = (
    "test_lstm_forward.py",
    "test_lstm_backward.py",
    "test_lengths.py",
    "test_step_and_cell.py",
    "test_dense.py",
    "test_layouts.py",
    "test_dropout.py",
    "test_updates.py",
)


# Those have all shapes; the other tests have fewer, which are among them.
@pytest.mark.parametrize("reduced", [True, False], ids=["the rest", "all shapes"])
@pytest.mark.parametrize("name", OTHERS)
def test_kernels_on_another_set(name: str, reduced: bool) -> None:
    files = [KERNEL_TESTS / file for file in WHERE_VECTORS_END]
    tests = [KERNEL_TESTS, *(f"--ignore={file}" for file in files)] if reduced else files
    done = python(
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        *map(str, tests),
        FUSEDLSTM_INSTRUCTION_SET=name,
        FUSEDLSTM_TEST_DEVICES="cpu",
        FUSEDLSTM_TEST_REDUCED="1" if reduced else "",
    )
    assert done.returncode == 0, f"on {name}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert " passed" in done.stdout


@pytest.mark.parametrize("name", ["sse9", "AVX2", " ", *KNOWN])
def test_a_set_that_is_unknown_or_not_here(name: str) -> None:
    if name in ops.instruction_sets():
        pytest.skip(f"{name} is usable here")
    done = python("-c", "import fusedlstm.ops", FUSEDLSTM_INSTRUCTION_SET=name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "FUSEDLSTM_INSTRUCTION_SET" in last
    assert repr(name) in last
    for usable in ops.instruction_sets():
        assert usable in last


@pytest.mark.parametrize("count", ["0", "-2", "two", "1.5", "3 4", "99999999999999999999"])
def test_a_bad_number_of_threads(count: str) -> None:
    done = python("-c", "import fusedlstm.ops", FUSEDLSTM_NUM_THREADS=count)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "FUSEDLSTM_NUM_THREADS" in last
    assert count in last


def test_defaults_from_the_environment() -> None:
    code = "from fusedlstm import ops; print(ops.get_num_threads(), ops.get_instruction_set())"
    done = python("-c", code, FUSEDLSTM_NUM_THREADS="3", FUSEDLSTM_INSTRUCTION_SET="scalar")
    assert done.stdout.split() == ["3", "scalar"], done.stderr
    done = python("-c", code, FUSEDLSTM_NUM_THREADS="", FUSEDLSTM_INSTRUCTION_SET="")
    assert done.stdout.split()[1] == ops.instruction_sets()[0], done.stderr
