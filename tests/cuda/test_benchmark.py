"""The benchmark on a device: it verifies, takes turns and reports; on the simulated GPU by a host clock."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from fusedlstm import cuda
from fusedlstm.benchmark import on_device
from fusedlstm.benchmark.command import bench_command
from fusedlstm.benchmark.job import Job
from fusedlstm.benchmark.verify import compare, expectations
from fusedlstm.benchmark.workloads import Workload, make_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simt.device import SimDevice

    from fusedlstm.benchmark.workloads import Array

SMALL = [Workload.parse("forward-3x4x5x7"), Workload.parse("training-2x3x4x5")]


class HostClock(on_device.Clock):
    """The simulated GPU is done when a call returns."""

    def seconds(self, call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin


def run(found: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]], str]:
    text = io.StringIO()
    out = Console(file=text, width=200)
    results, refused = on_device.run(
        out, SMALL, found, HostClock(), dtype="float32", seconds=0.001, least_rounds=2
    )
    return results, refused, text.getvalue()


def test_contenders_are_verified_and_timed(device: SimDevice) -> None:
    def ours(workload: Workload, arrays: dict[str, Array]) -> Job:
        return on_device.prepare(device, workload, arrays)

    def idle(workload: Workload, arrays: dict[str, Array]) -> Job:
        job = ours(workload, arrays)
        return Job(lambda: time.sleep(0.05), job.check)

    results, refused, text = run({"fusedlstm": ours, "idle": idle})
    assert not refused
    assert [result["name"] for result in results] == [workload.name for workload in SMALL]
    for result, workload in zip(results, SMALL, strict=True):
        entry = result["contenders"]["fusedlstm"]
        assert result["rounds"] >= 2
        assert 0 < entry["agreement"] <= 1
        assert entry["gflops"] == pytest.approx(workload.operations / entry["seconds"]["median"] / 1e9)
        assert result["contenders"]["idle"]["seconds"]["median"] >= 0.05
        assert "simt:0 float32" in result["last_kernel"]
        assert workload.name in text
    assert "idle" in text


def test_a_wrong_result_is_not_timed(device: SimDevice) -> None:
    def wrong(workload: Workload, arrays: dict[str, Array]) -> Job:
        return on_device.prepare(device, workload, {**arrays, "bias": arrays["bias"] + 1})

    def untimed() -> None:
        raise AssertionError("timed")

    def ours(workload: Workload, arrays: dict[str, Array]) -> Job:
        return Job(untimed, on_device.prepare(device, workload, arrays).check)

    results, refused, text = run({"fusedlstm": ours, "wrong": wrong})
    assert not results
    assert {name: list(problems) for name, problems in refused.items()} == {
        workload.name: ["wrong"] for workload in SMALL
    }
    assert "NOT TIMED" in text


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_cudnn_contender(workload: Workload) -> None:
    """On the CPU, where PyTorch's LSTM has the same face."""
    pytest.importorskip("torch")
    from fusedlstm.benchmark.peers import cudnn

    arrays = make_arrays(workload, "float32")
    job = cudnn.prepare(workload, arrays, "cpu")
    job.run()
    assert compare(job.check(), expectations(workload, arrays, "float32")) <= 1


def test_usual_workloads() -> None:
    assert {Workload.parse(name).kind for name in on_device.USUAL} == set(on_device.KINDS)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--threads", "2"], "--threads cannot go with --device cuda"),
        (["--peers", "none"], "--peers cannot go with --device cuda"),
        (["--workload", "step-1x8x8"], "expected forward and training workloads, got step-1x8x8"),
    ],
)
def test_what_cannot_go_together(arguments: list[str], error: str) -> None:
    result = CliRunner().invoke(bench_command, ["--device", "cuda", *arguments])
    assert result.exit_code == 2
    assert error in " ".join(result.output.split())


def test_no_device() -> None:
    if cuda.is_available():
        pytest.skip("there is a GPU")
    result = CliRunner().invoke(bench_command, ["--device", "cuda", "--quick"])
    assert result.exit_code == 1
    assert "expected a CUDA device" in " ".join(result.output.split())


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    pytest.importorskip("cupy")
    if not cuda.is_available():
        pytest.skip(str(cuda.why_unavailable()))
    result = CliRunner().invoke(bench_command, ["--device", "cuda", "--quick"])
    assert result.exit_code == 0, result.output
