"""``fusedlstm bench``: what it counts, verifies, refuses, prints and writes. No test looks at a time."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fusedlstm import ops, testing
from fusedlstm.benchmark import command, counting, job, kernels, runner
from fusedlstm.benchmark.kernel_jobs import KERNELS
from fusedlstm.benchmark.peers import OURS, PEERS, installed, make_contender
from fusedlstm.benchmark.plots import write_plots
from fusedlstm.benchmark.process import WorkerError, WorkerProcess, pick_cores
from fusedlstm.benchmark.statistics import spread
from fusedlstm.benchmark.tables import seconds_text
from fusedlstm.benchmark.verify import DisagreementError, Expected, compare, expectations
from fusedlstm.benchmark.workloads import CATALOGUE, QUICK, Workload, make_arrays, mnist_shapes, select
from fusedlstm.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusedlstm.benchmark.workloads import Array

SMALL = ("forward-3x4x5x6", "training-3x4x5x6", "step-2x5x6", "mnist-4")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Leave threads and instruction set as they were."""
    before = ops.get_num_threads(), ops.get_instruction_set()
    yield
    ops.set_num_threads(before[0])
    ops.set_instruction_set(before[1])


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["bench", *(str(argument) for argument in arguments)])


# ---- workloads ----


def product(rows: int, inner: int, columns: int) -> int:
    return 2 * rows * inner * columns


def lstm_products(B: int, T: int, I: int, H: int) -> list[int]:  # noqa: E741
    """List the operations of every matrix product of forward without initial states, step by step."""
    inputs = [product(B, I, 4 * H) for _ in range(T)]
    return inputs + [product(B, H, 4 * H) for _ in range(1, T)]


def test_operations() -> None:
    forward = sum(lstm_products(2, 3, 4, 5))
    assert Workload("forward", 2, 3, 4, 5).operations == forward
    # Each product a b has two gradients, da = dy b^T and db = a^T dy, of the same cost.
    assert Workload("training", 2, 3, 4, 5).operations == forward + 2 * forward
    # A step has states, so that its recurrent product is needed.
    assert Workload("step", 2, 1, 4, 5).operations == product(2, 4, 20) + product(2, 5, 20)
    first, second = lstm_products(64, 28, 28, 128), lstm_products(64, 28, 128, 128)
    dense = [product(64, 128, 32), product(64, 32, 10)]
    without_dx = sum(first[:28])  # nobody wants the gradient of the digits
    assert Workload.parse("mnist-64").operations == 3 * sum(first + second + dense) - without_dx


@pytest.mark.parametrize("workload", CATALOGUE, ids=lambda workload: workload.name)
def test_catalogue(workload: Workload) -> None:
    assert Workload.parse(workload.name) == workload
    assert workload.operations > 0
    assert workload.bytes_moved(8) == 2 * workload.bytes_moved(4) > 0
    assert workload.description
    assert workload.operations_text


def test_bytes_of_a_step() -> None:
    arrays = make_arrays(Workload.parse("step-2x5x6"), "float32")
    outputs = 2 * arrays["h0"].nbytes
    assert Workload.parse("step-2x5x6").bytes_moved(4) == sum(a.nbytes for a in arrays.values()) + outputs


def test_select() -> None:
    assert [w.name for w in select(["step-*", "mnist-64", "step-1x128x128"])] == [
        "step-1x128x128",
        "step-1x512x512",
        "mnist-64",
    ]
    assert select(["forward-1x2x3x4"]) == [Workload("forward", 1, 2, 3, 4)]
    assert set(QUICK) < set(CATALOGUE)


@pytest.mark.parametrize(
    "name",
    ["", "forward", "forward-1x2x3", "forward-1x2x3x0", "step-1x2x3x4", "mnist-x", "backward-1x2x3x4", "q*"],
)
def test_unknown_workloads(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected forward-BxTxIxH, .*got '"):
        select([name])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_repeat(name: str, dtype: str) -> None:
    workload = Workload.parse(name)
    first, again = make_arrays(workload, dtype), make_arrays(workload, dtype)
    other = make_arrays(workload, dtype, seed=1)
    assert first.keys() == again.keys()
    for key, array in first.items():
        np.testing.assert_array_equal(array, again[key])
        assert not np.array_equal(array, other[key])
        assert array.dtype == (np.int64 if key == "labels" else np.dtype(dtype))
    if workload.kind == "mnist":
        assert [first[f"w{index}"].shape for index in range(10)] == mnist_shapes()


# ---- verification ----


def ours(name: str, dtype: str) -> tuple[dict[str, Array], dict[str, Expected]]:
    workload = Workload.parse(name)
    arrays = make_arrays(workload, dtype)
    results = make_contender(OURS, 1, dtype).prepare(workload, arrays).check()
    return results, expectations(workload, arrays, dtype)


@pytest.fixture(autouse=True)
def number_type() -> Iterator[None]:
    """Undo what a contender in float64 does to layers made later."""
    from fusedlstm import config

    yield
    config.set_floatx("float32")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_results_pass(name: str, dtype: str) -> None:
    results, expected = ours(name, dtype)
    assert 0 <= compare(results, expected) <= 1


@pytest.mark.parametrize("name", SMALL)
def test_each_wrong_element_is_found(name: str) -> None:
    results, expected = ours(name, "float32")
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


def test_a_missed_update_is_found() -> None:
    """Each weight of the MNIST model must have been updated, and in the right direction."""
    results, expected = ours("mnist-4", "float32")
    start = make_arrays(Workload.parse("mnist-4"), "float32")
    for index in range(10):
        name = f"w{index}"
        for wrong in (start[name], 2 * start[name] - results[name]):
            with pytest.raises(DisagreementError, match=f"^{name}"):
                compare({**results, name: wrong}, expected)


# ---- the clock ----


def test_turns_and_samples() -> None:
    calls: list[None] = []

    def count(usual: float, seconds: float) -> tuple[int, int]:
        calls.clear()
        turn = job.take_turn(lambda: calls.append(None), usual, seconds)
        assert all(sample > 0 for sample in turn.samples)
        return len(turn.samples), len(calls)

    assert count(usual=10e-3, seconds=30e-3) == (3, 3 + 1)  # a sample for each call, one call unmeasured
    assert count(usual=10e-6, seconds=30e-3) == (30, 30 * 100 + 300)  # samples of a millisecond
    assert count(usual=1.0, seconds=30e-3) == (1, 1)  # long calls need no preparation
    calls.clear()
    assert job.warm_up(lambda: calls.append(None)) > 0
    assert len(calls) >= job.WARM_UP_CALLS


def test_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.2, 2.8, 3)
    with pytest.raises(ValueError, match="expected at least one sample"):
        spread([])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.34, "12.3 s"),
        (1.0, "1.00 s"),
        (0.9999, "1000 ms"),
        (0.0105, "10.5 ms"),
        (1e-3, "1.00 ms"),
        (4.72e-5, "47.2 us"),
        (1e-8, "0.01 us"),
    ],
)
def test_seconds_text(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


# ---- processes ----


@linux
def test_cores() -> None:
    usable = os.sched_getaffinity(0)
    for threads in range(1, len(usable) + 1):
        cores = pick_cores(threads)
        assert len(set(cores)) == threads
        assert set(cores) <= usable
    assert pick_cores(len(usable) + 1) == []


def state(pid: int) -> str:
    """Return the letter of a process's state, an empty text when there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[0]


def wait_for(pid: int, states: set[str]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if state(pid) in states:
            return True
        time.sleep(0.01)
    return False


@linux
def test_worker_is_stopped_between_requests() -> None:
    with WorkerProcess(OURS, 1, "float32", pick_cores(1)) as worker:
        for _ in range(2):
            assert worker.request("peak", threads=1, seconds=0.001)["gflops"] > 0
            assert wait_for(worker.pid, {"T"})
        pid = worker.pid
    assert state(pid) == ""


def test_worker_errors() -> None:
    with WorkerProcess(OURS, 1, "float32", []) as worker:
        with pytest.raises(WorkerError, match=r"^fusedlstm: ValueError: threads: expected a number from 1"):
            worker.request("peak", threads=0, seconds=0.001)
        # It goes on after an error.
        assert worker.request("bandwidth", kind="read", bytes=1 << 16, threads=2, seconds=0.0)["gbytes"] > 0
        assert worker.request("bandwidth", kind="copy", bytes=1 << 20, threads=1, seconds=0.0)["gbytes"] > 0
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"^fusedlstm: its process ended with exit code -9"):
            worker.request("hello")
    with (
        WorkerProcess("nobody", 1, "float32", []) as worker,
        pytest.raises(WorkerError, match=r"nobody: ValueError: name: expected 'fusedlstm' or one of"),
    ):
        worker.request("hello")
    with (
        WorkerProcess(OURS, 1, "float32", [], {"FUSEDLSTM_INSTRUCTION_SET": "mmx"}) as worker,
        pytest.raises(WorkerError, match=r"mmx"),
    ):
        worker.request("hello")


@linux
def test_a_stopped_worker_does_not_survive_its_parent() -> None:
    code = (
        "import time\n"
        "from fusedlstm.benchmark.process import WorkerProcess\n"
        "worker = WorkerProcess('fusedlstm', 1, 'float32', [])\n"
        "worker.request('hello')\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert wait_for(pid, {"T"})
        parent.kill()
    assert wait_for(pid, {"", "Z"})


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_peers_agree(name: str, dtype: str, tmp_path: Path) -> None:
    """Layouts and gate orders are converted correctly for each peer that is installed."""
    info = PEERS[name]
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    if dtype not in info.dtypes:
        pytest.skip(f"{name} has no {dtype}")
    with WorkerProcess(name, 1, dtype, pick_cores(1), info.environment) as worker:
        assert worker.request("hello")["version"]
        for workload in map(Workload.parse, SMALL):
            if not info.offers(workload, dtype):
                continue
            arrays = make_arrays(workload, dtype)
            np.savez(tmp_path / "arrays.npz", **arrays)  # type: ignore[arg-type]
            worker.request("prepare", workload=workload.name, arrays=str(tmp_path / "arrays.npz"))
            worker.request("check", results=str(tmp_path / "results.npz"))
            with np.load(tmp_path / "results.npz") as results:
                assert compare(dict(results), expectations(workload, arrays, dtype)) <= 1


# ---- the command ----


@pytest.fixture(scope="module")
def benchmarked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return the folder with all the outputs of one run, and what it printed."""
    out = tmp_path_factory.mktemp("out")
    chosen = [word for name in SMALL for word in ("--workload", name)]
    options = ("--peers", "none", "--threads", "2", "--quick", "--seconds", "0.01")
    result = run(*chosen, *options, "--json", out / "bench.json", "--plot", out / "plots")
    assert result.exit_code == 0, result.output
    return out, result


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_json(benchmarked: tuple[Path, Result]) -> None:
    content = content_of(benchmarked[0] / "bench.json")
    assert content.keys() == {
        *("format", "machine", "options", "versions", "left_out", "load_warning", "workloads", "refused")
    }
    assert content["format"] == command.FORMAT
    assert content["options"] == {
        "threads": 2,
        "dtype": "float32",
        "quick": True,
        "seconds": 0.01,
        "peers": [],
    }
    assert content["machine"]["by_threads"].keys() == {"1", "2"}
    for values in content["machine"]["by_threads"].values():
        assert all(value > 0 for value in values.values())
        assert values.keys() == {
            *("peak_gflops", "cache_read_gbytes", "memory_read_gbytes", "memory_copy_gbytes")
        }
    assert content["machine"]["instruction_set"] == ops.get_instruction_set()
    assert content["versions"].keys() == {OURS}
    assert content["refused"] == {}
    assert [result["name"] for result in content["workloads"]] == list(SMALL)
    for result in content["workloads"]:
        workload = Workload.parse(result["name"])
        assert result["operations"] == workload.operations
        assert result["rounds"] >= 3
        assert result["failed"] == {}
        entry = result["contenders"][OURS]
        assert entry["seconds"]["samples"] >= result["rounds"]
        for key in ("seconds", "fraction_of_peak", "time_relative_to_ours"):
            assert 0 < entry[key]["p10"] <= entry[key]["median"] <= entry[key]["p90"]
        assert entry["time_relative_to_ours"]["median"] == 1
        assert entry["gflops"] == pytest.approx(workload.operations / entry["seconds"]["median"] * 1e-9)
        assert entry["first_seconds"] > 0
        assert 0 <= entry["agreement"] <= 1


def test_printed(benchmarked: tuple[Path, Result]) -> None:
    out, result = benchmarked
    words = " ".join(result.stdout.split())
    for text in ("processor", "instruction set", "peak, 1 thread", "peak, 2 threads", "bandwidth, 2 threads"):
        assert text in words
    for workload in map(Workload.parse, SMALL):
        assert f"{workload.name} {workload.description}" in words
        assert f"{workload.operations / 1e6:,.1f} MFLOP = {workload.operations_text}" in words
    assert words.count("all agree with the float64 reference") == len(SMALL)
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if not line.startswith("written"))
    assert str(out / "plots" / "roofline.png") in result.stdout


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.stat().st_size > 5000


def test_pictures(benchmarked: tuple[Path, Result]) -> None:
    pictures = sorted((benchmarked[0] / "plots").iterdir())
    assert [path.stem for path in pictures] == ["forward", "mnist", "roofline", "single-row", "training"]
    assert all(map(is_picture, pictures))


def test_pictures_of_everything(benchmarked: tuple[Path, Result], tmp_path: Path) -> None:
    """All workloads and peers fit; the numbers are made up."""
    content = content_of(benchmarked[0] / "bench.json")
    model = content["workloads"][0]
    content["workloads"] = []
    for workload in CATALOGUE:
        entry = copy.deepcopy(model)
        sizes = {"B": workload.B, "T": workload.T, "I": workload.I, "H": workload.H}
        entry |= {"name": workload.name, "kind": workload.kind, "sizes": sizes}
        entry |= {"operations": workload.operations, "bytes": workload.bytes_moved(4)}
        names = [OURS, *(name for name, info in PEERS.items() if info.offers(workload, "float32"))]
        entry["contenders"] = {
            name: copy.deepcopy(model["contenders"][OURS]) | {"gflops": 50.0 / (1 + k)}
            for k, name in enumerate(names)
        }
        content["workloads"].append(entry)
    pictures = write_plots(tmp_path, content)
    assert len(pictures) == 5
    assert all(map(is_picture, pictures))


def test_refuses_to_time_on_disagreement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(workload: Workload, arrays: dict[str, Array], dtype: str) -> dict[str, Expected]:
        expected = expectations(workload, arrays, dtype)
        if workload.kind == "forward":
            expected["c"].array[1, 2] += 0.01
        return expected

    monkeypatch.setattr(runner, "expectations", planted)
    chosen = ("--workload", "forward-3x4x5x6", "--workload", "step-2x5x6")
    options = ("--peers", "none", "--quick", "--seconds", "0.01", "--json", tmp_path / "a.json")
    result = run(*chosen, *options)
    assert result.exit_code == 1
    assert "forward-3x4x5x6: NOT TIMED" in result.stderr
    assert "fusedlstm: c[1, 2]: expected" in result.stderr
    content = content_of(tmp_path / "a.json")
    assert [entry["name"] for entry in content["workloads"]] == ["step-2x5x6"]
    assert content["refused"].keys() == {"forward-3x4x5x6"}
    assert content["refused"]["forward-3x4x5x6"].keys() == {OURS}


def test_a_peer_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "installed", lambda _: True)
    # The worker's process looks for modules here first.
    (tmp_path / "torch.py").write_text("raise ImportError('broken on purpose')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    options = ("--peers", "torch", "--quick", "--seconds", "0.01", "--json", tmp_path / "a.json")
    result = run("--workload", "step-2x5x6", *options)
    assert result.exit_code == 1
    assert "LEFT OUT torch: ImportError: broken on purpose" in result.stderr
    content = content_of(tmp_path / "a.json")
    assert content["left_out"] == {"torch": "torch: ImportError: broken on purpose"}
    assert content["workloads"][0]["contenders"].keys() == {OURS}


def test_list() -> None:
    result = run("--list")
    assert result.exit_code == 0
    for workload in CATALOGUE:
        assert workload.name in result.stdout
    for name in PEERS:
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "forward-1x2"], "Invalid value for '--workload': expected forward-BxTxIxH"),
        (["--peers", "numpy"], "Invalid value for '--peers': expected 'installed', 'none' or some of"),
        (["--threads", "0"], "Invalid value for '--threads'"),
        (["--seconds", "0"], "Invalid value for '--seconds'"),
        (["--seconds", "nan"], "Invalid value for '--seconds'"),
        (["--dtype", "float16"], "Invalid value for '--dtype'"),
        (["--instruction-set", "mmx"], "Invalid value for '--instruction-set'"),
        (["--json", "none/a.json"], "Invalid value for '--json': cannot write into"),
        (["--kernel", "gemm"], "Invalid value for '--kernel'"),
        (["--kernel", "lstm_step", "--shape", "1,2"], "'--shape': lstm_step takes B,I,H, got 2 sizes"),
        (["--kernel", "lstm_step", "--shape", "1,2,0"], "'--shape': expected positive integers"),
        (["--kernel", "lstm_step", "--shape", "a"], "'--shape': expected positive integers"),
        (["--shape", "1,2,3"], "--shape needs --kernel"),
        (["--count"], "--count needs --kernel"),
        (["--kernel", "lstm_step", "--quick"], "--quick cannot go with --kernel"),
        (["--kernel", "lstm_step", "--workload", "mnist-4"], "--workload cannot go with --kernel"),
        (["--kernel", "lstm_step", "--peers", "none"], "--peers cannot go with --kernel"),
    ],
)
def test_wrong_options(monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(command, "_run", fail)
    monkeypatch.setattr(kernels, "bench_kernel", fail)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_peer_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "installed", lambda name: name != "onnxruntime")
    result = run("--peers", "torch,onnxruntime")
    assert result.exit_code == 2
    assert 'onnxruntime is not installed: pip install "fusedlstm[bench]"' in " ".join(result.stderr.split())


# ---- one kernel ----

KERNEL_SHAPES = {
    "lstm_forward": "3,4,5,6",
    "lstm_forward_training": "3,4,5,6",
    "lstm_backward": "3,4,5,6",
    "lstm_step": "2,5,6",
    "cell_forward": "3,5",
    "cell_backward": "3,5",
    "dense_forward": "3,4,5",
    "dense_backward": "3,4,5",
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
