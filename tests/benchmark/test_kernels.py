"""One kernel by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import ops, testing
from fusedlstm.benchmark import counting
from fusedlstm.benchmark.kernel_jobs import KERNELS

from .common import content_of, run

if TYPE_CHECKING:
    from pathlib import Path

KERNEL_SHAPES = {
    "lstm_forward": "3,4,5,6",
    "lstm_forward_training": "3,4,5,6",
    "lstm_backward": "3,4,5,6",
    "lstm_step": "2,5,6",
    "cell_forward": "3,5",
    "cell_backward": "3,5",
    "dense_forward": "3,4,5",
    "dense_backward": "3,4,5",
    "ctc_loss": "3,14,5,6",
    "adam_update": "1000",
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels(name: str, dtype: str, tmp_path: Path) -> None:
    for instruction_set in ops.instruction_sets():
        options = (
            "--dtype",
            dtype,
            "--instruction-set",
            instruction_set,
            "--threads",
            "1",
            "--seconds",
            "0.001",
        )
        result = run(
            "--kernel", name, "--shape", KERNEL_SHAPES[name], *options, "--json", tmp_path / "kernel.json"
        )
        assert result.exit_code == 0, result.output
        assert "agrees with its float64 reference" in result.stdout
        content = content_of(tmp_path / "kernel.json")
        assert content["kernel"] == name
        assert ",".join(str(size) for size in content["shape"].values()) == KERNEL_SHAPES[name]
        assert instruction_set in content["ran"]
        assert dtype in content["ran"]
        assert 0 <= content["agreement"] <= 1
        assert content["seconds"]["median"] > 0
        assert content["instructions"] is None


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("lstm_forward", "lstm_forward_reference"),
        ("lstm_backward", "lstm_backward_reference"),
        ("lstm_step", "lstm_forward_reference"),
        ("cell_forward", "cell_forward_reference"),
        ("cell_backward", "cell_backward_reference"),
        ("dense_forward", "dense_forward_reference"),
        ("dense_backward", "dense_backward_reference"),
    ],
)
def test_kernel_that_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str, reference: str) -> None:
    right = getattr(testing, reference)

    def planted(*arguments: Any, **options: Any) -> Any:
        result = right(*arguments, **options)
        (result if isinstance(result, np.ndarray) else result[1])[-1] += 0.01
        return result

    monkeypatch.setattr(testing, reference, planted)
    result = run("--kernel", name, "--shape", KERNEL_SHAPES[name], "--seconds", "0.001")
    assert result.exit_code == 1
    assert "NOT TIMED" in result.stdout
    assert "times the tolerance" in " ".join(result.stdout.split())


def fake_tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_count_with_perf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The last argument is the number of calls: 1000 instructions for the rest of the program, 10 for a call.
    script = 'for last; do :; done; echo "$((1000 + 10 * last)),,instructions:u,123,100.00,," >&2'
    fake_tool(tmp_path, "perf", script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    counted = counting.count_instructions("lstm_step", (1, 2, 3), "float32", "scalar")
    assert counted == (10, "perf stat")
    shape = ("--kernel", "lstm_step", "--shape", "1,2,3", "--seconds", "0.001")
    result = run(*shape, "--count", "--json", tmp_path / "a.json")
    assert result.exit_code == 0
    assert "0.00 million a call on one thread (perf stat)" in " ".join(result.stdout.split())
    assert content_of(tmp_path / "a.json")["instructions"] == {"instructions": 10, "method": "perf stat"}


def test_count_with_callgrind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tool(tmp_path, "perf", 'echo "<not supported>,,instructions:u,0,100.00,," >&2')
    script = (
        'for word; do case "$word" in --callgrind-out-file=*) out="${word#*=}";; esac; last="$word"; done\n'
        'echo "events: Ir\nsummary: $((5000 + 7 * last))" > "$out"'
    )
    fake_tool(tmp_path, "valgrind", script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    counted = counting.count_instructions("lstm_step", (1, 2, 3), "float32", "scalar")
    assert counted == (7, "callgrind")


def test_count_without_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tool(tmp_path, "valgrind", "echo 'unhandled instruction bytes' >&2; exit 9")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("--kernel", "lstm_step", "--shape", "1,2,3", "--seconds", "0.001", "--count")
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert "not counted: perf is not installed; valgrind: exit code 9: unhandled instruction bytes" in words


def test_counted_program_runs_the_kernel() -> None:
    for name, shape in KERNEL_SHAPES.items():
        done = subprocess.run(
            [sys.executable, "-m", "fusedlstm.benchmark.counting", name, shape, "float32", "2"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
