"""The benchmark on a device: it verifies, takes turns and reports; on the simulated GPU by a host clock."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from click import ClickException
from click.testing import CliRunner
from rich.console import Console

from fusedlstm import cuda
from fusedlstm.benchmark import on_device
from fusedlstm.benchmark.command import bench_command
from fusedlstm.benchmark.job import Job
from fusedlstm.benchmark.prediction import known_device, predicted_seconds
from fusedlstm.benchmark.verify import compare, expectations
from fusedlstm.benchmark.workloads import Workload, make_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusedlstm.benchmark.workloads import Array
    from tests.simulated_gpu.device import SimDevice

SMALL = [Workload.parse("forward-3x4x5x7"), Workload.parse("training-2x3x4x5")]


class HostClock(on_device.Clock):
    """The simulated GPU is done when a call returns."""

    def seconds(self, call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin


def run(
    found: dict[str, Any],
    dtype: str = "float32",
    predict: on_device.Predict | None = None,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]], str]:
    text = io.StringIO()
    out = Console(file=text, width=200)
    results, refused = on_device.run(
        out, SMALL, found, HostClock(), dtype=dtype, seconds=0.001, least_rounds=2, predict=predict
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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_numbers(device: SimDevice, dtype: str) -> None:
    """They are what rounding of stored numbers explains, and a small mistake is more than that."""

    def ours(workload: Workload, arrays: dict[str, Array]) -> Job:
        return on_device.prepare(device, workload, arrays)

    def wrong(workload: Workload, arrays: dict[str, Array]) -> Job:
        return ours(workload, {**arrays, "bias": 0 * arrays["bias"]})

    on_device.check_dtype(device, dtype)
    results, refused, text = run({"fusedlstm": ours}, dtype)
    assert not refused, text
    assert [result["name"] for result in results] == [workload.name for workload in SMALL]
    for result in results:
        assert f"simt:0 {dtype}" in result["last_kernel"]
        assert 0.001 < result["contenders"]["fusedlstm"]["agreement"] <= 0.5
    _, refused, _ = run({"fusedlstm": ours, "wrong": wrong}, dtype)
    assert [list(problems) for problems in refused.values()] == [["wrong"]] * len(SMALL)


def test_bfloat16_that_a_device_has_not(device: SimDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(values: Any) -> None:
        raise ValueError(f"Unsupported dtype {values.dtype}")

    monkeypatch.setattr(device, "put", refuse)
    on_device.check_dtype(device, "float16")
    with pytest.raises(ClickException, match=r"^--dtype bfloat16: .*\(Unsupported dtype bfloat16\)$"):
        on_device.check_dtype(device, "bfloat16")


def test_predictions_stand_beside_times(device: SimDevice) -> None:
    def ours(workload: Workload, arrays: dict[str, Array]) -> Job:
        return on_device.prepare(device, workload, arrays)

    found = {"fusedlstm": ours, "other": ours}
    results, _, text = run(found, predict=lambda workload: 0.0125 if workload.kind == "forward" else None)
    assert [result["predicted_seconds"] for result in results] == [0.0125, None]
    assert "predicted" in text
    assert text.count("12.5") == 1
    assert [result["predicted_seconds"] for result in run(found)[0]] == [None, None]


@pytest.mark.parametrize(
    ("name", "multiprocessors", "known"),
    [
        ("NVIDIA H100 80GB HBM3", 132, "H100"),
        ("NVIDIA H200", 132, "H200"),
        ("NVIDIA A100-SXM4-80GB", 108, "A100"),
        ("NVIDIA H100 PCIe", 114, None),
        ("NVIDIA A10", 72, None),
        ("NVIDIA GeForce RTX 4090", 128, None),
    ],
)
def test_devices_that_predictions_are_for(name: str, multiprocessors: int, known: str | None) -> None:
    major = 8 if "A10" in name else 9
    properties = {"name": name, "major": major, "minor": 0, "multiprocessors": multiprocessors}
    assert known_device(properties) == known


def test_what_can_be_predicted(device: SimDevice) -> None:
    def predicted(name: str, number: str = "float16", on: str | None = "H100") -> float | None:
        return predicted_seconds(device.extension, on, number, Workload.parse(name))

    forward, training = predicted("forward-16x1024x768x768"), predicted("training-16x1024x768x768")
    assert forward is not None
    assert training is not None
    assert 1e-3 < forward < training < 1e-2
    slower = predicted("forward-16x1024x768x768", "float32")
    assert slower is not None
    assert slower > forward
    # Of an unknown device, of the small kernel, and of more inputs than units.
    assert predicted("forward-16x1024x768x768", on=None) is None
    assert predicted("forward-64x28x128x128", "float32") is None
    assert predicted("forward-16x1024x96x768") is None


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_cudnn_contender(workload: Workload, dtype: str) -> None:
    """On the CPU, where PyTorch's LSTM has the same face."""
    pytest.importorskip("torch")
    from fusedlstm.benchmark.peers import cudnn

    arrays = make_arrays(workload, dtype)
    job = cudnn.prepare(workload, arrays, "cpu")
    job.run()
    assert compare(job.check(), expectations(workload, arrays, dtype)) <= 1


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


def test_short_numbers_need_a_device() -> None:
    result = CliRunner().invoke(bench_command, ["--dtype", "float16", "--quick"])
    assert result.exit_code == 2
    assert "--dtype float16 needs --device cuda" in " ".join(result.output.split())


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
