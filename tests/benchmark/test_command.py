"""What the command prints, writes and refuses."""

from __future__ import annotations

import copy
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from fusedlstm import ops
from fusedlstm.benchmark import command, kernels, pauses, runner, tables
from fusedlstm.benchmark.peers import OURS, PEERS, VARIANTS, offers
from fusedlstm.benchmark.plots import write_plots
from fusedlstm.benchmark.remarks import remarks
from fusedlstm.benchmark.verify import Expected, expectations
from fusedlstm.benchmark.workloads import CATALOGUE, Workload

from .common import NARROW, SMALL, content_of, run

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from fusedlstm.benchmark.workloads import Array


CHOSEN = (*SMALL, *NARROW)


@pytest.fixture(scope="module")
def benchmarked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return the folder with all the outputs of one run, and what it printed."""
    out = tmp_path_factory.mktemp("out")
    chosen = [word for name in CHOSEN for word in ("--workload", name)]
    options = ("--peers", "none", "--threads", "2", "--quick", "--seconds", "0.01")
    result = run(*chosen, *options, "--json", out / "bench.json", "--plot", out / "plots")
    assert result.exit_code == 0, result.output
    return out, result


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
    assert content["versions"].keys() == {OURS, *(n for n, v in VARIANTS.items() if "float32" in v.dtypes)}
    assert content["refused"] == {}
    assert [result["name"] for result in content["workloads"]] == list(CHOSEN)
    for result in content["workloads"]:
        workload = Workload.parse(result["name"])
        assert result["operations"] == workload.operations
        assert result["rounds"] >= 3
        assert result["failed"] == {}
        assert result["real_share"] == workload.real_steps / (workload.B * workload.T)
        taking_part = [OURS, *(name for name, v in VARIANTS.items() if v.offers(workload, "float32"))]
        assert list(result["contenders"]) == taking_part
        for entry in result["contenders"].values():
            assert entry["seconds"]["samples"] >= result["rounds"]
            for key in ("seconds", "fraction_of_peak", "time_relative_to_ours"):
                assert 0 < entry[key]["p10"] <= entry[key]["median"] <= entry[key]["p90"]
            assert entry["gflops"] == pytest.approx(workload.operations / entry["seconds"]["median"] * 1e-9)
            assert entry["first_seconds"] > 0
            assert 0 <= entry["agreement"] <= 1
            assert 0 <= entry["difference"] < 0.1
            trained = workload.kind in ("training", "lengths", "checkpoint")
            assert entry["tape_bytes"] > 0 if trained else entry["tape_bytes"] is None
        assert result["contenders"][OURS]["time_relative_to_ours"]["median"] == 1


def test_printed(benchmarked: tuple[Path, Result]) -> None:
    out, result = benchmarked
    words = " ".join(result.stdout.split())
    for text in ("processor", "instruction set", "peak, 1 thread", "peak, 2 threads", "bandwidth, 2 threads"):
        assert text in words
    for workload in map(Workload.parse, CHOSEN):
        assert f"{workload.name} {workload.description}" in words
        assert f"{workload.operations / 1e6:,.1f} MFLOP = {workload.operations_text}" in words
    assert words.count("all agree with the float64 reference") == len(CHOSEN)
    for entry in content_of(out / "bench.json")["workloads"]:
        for remark in remarks(entry):
            assert remark in words
    assert words.count(f"contenders {OURS}") == 1
    for heading, meaning in tables.COLUMNS.items():
        assert words.count(f"{heading} {meaning}") == 1
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if not line.startswith("written"))
    assert str(out / "plots" / "roofline.png") in result.stdout


def test_remarks() -> None:
    def entry(ratio: float, tape: int | None = None) -> dict[str, Any]:
        times = {"time_relative_to_ours": {"median": ratio}, "difference": 0.00123, "agreement": 0.25}
        return {**times, "tape_bytes": tape}

    def of(share: float = 1.0, **others: dict[str, Any]) -> list[str]:
        named = {name.replace("_", "-"): values for name, values in others.items()}
        return remarks({"real_share": share, "contenders": {OURS: entry(1.0, 50_000_000), **named}})

    # 0.48 of the padded time would be 1.92 of 4.
    assert of(0.48, fusedlstm_padded=entry(2.0), torch=entry(3.0)) == [
        "48.0 % of the steps are real; fusedlstm takes 1.04 times that share of its padded time"
    ]
    assert of(fusedlstm_bfloat16=entry(0.7), fusedlstm_int8=entry(0.5)) == [
        f"fusedlstm-{storage}: results differ by 0.0012 at most, 25 % of what rounding the weights explains"
        for storage in ("bfloat16", "int8")
    ]
    assert of(fusedlstm_checkpoints=entry(1.25, 400_000)) == [
        "tape: 50 MB whole, 0.4 MB with checkpoint_every=100, 125.0 times less, for 1.25 times the time"
    ]
    assert of(fusedlstm_float32=entry(2.5) | {"difference": 4e-6}) == [
        "results differ from the reference's by 0.0012 at most, by 4e-06 with products of float32, which "
        "take 2.50 times as long"
    ]
    assert of(torch=entry(3.0)) == []


def test_bfloat16(tmp_path: Path) -> None:
    """Products of bfloat16 are verified and timed, those of float32 beside them."""
    chosen = ("forward-3x4x20x33", "training-5x3x9x20", "step-2x8x16", "mnist-4")
    workloads = [word for name in chosen for word in ("--workload", name)]
    options = ("--dtype", "bfloat16", "--peers", "none", "--threads", "1", "--quick", "--seconds", "0.01")
    result = run(*workloads, *options, "--json", tmp_path / "bench.json")
    assert result.exit_code == 0, result.output
    content = content_of(tmp_path / "bench.json")
    assert content["versions"].keys() == {OURS, "fusedlstm-float32"}
    assert f"bfloat16 by {ops.get_product_set()}" in content["versions"][OURS]
    assert "bfloat16" not in content["versions"]["fusedlstm-float32"]
    for entry in content["workloads"]:
        if entry["kind"] == "step":  # from a state that is one of bfloat16
            continue
        short, full = (entry["contenders"][name]["difference"] for name in (OURS, "fusedlstm-float32"))
        assert short > full > 0, entry["name"]  # They are not products of the same numbers.


def test_int8(tmp_path: Path) -> None:
    """Products of bytes are verified and timed, for inference."""
    chosen = ("forward-3x4x20x33", "step-2x8x16", "forward-1x5x16x16")
    workloads = [word for name in chosen for word in ("--workload", name)]
    options = ("--dtype", "int8", "--peers", "none", "--threads", "1", "--quick", "--seconds", "0.01")
    result = run(*workloads, *options, "--json", tmp_path / "bench.json")
    assert result.exit_code == 0, result.output
    content = content_of(tmp_path / "bench.json")
    assert content["versions"].keys() == {OURS, "fusedlstm-float32", "fusedlstm-int8"}
    assert f"int8 by {ops.get_product_set('int8')}" in content["versions"][OURS]
    for entry in content["workloads"]:
        short, full = (entry["contenders"][name]["difference"] for name in (OURS, "fusedlstm-float32"))
        assert short > 100 * full > 0, entry["name"]
    result = run("--dtype", "int8", "--workload", "training-5x3x9x20")
    assert result.exit_code == 2
    assert "training-5x3x9x20 trains, and --dtype int8 is for inference" in " ".join(result.output.split())


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("option", [("--kernel", "lstm_forward"), ("--pauses",)], ids=" ".join)
def test_short_numbers_of_other_benchmarks(dtype: str, option: tuple[str, ...]) -> None:
    result = run("--dtype", dtype, *option)
    assert result.exit_code == 2
    assert f"{option[0]} cannot go with --dtype {dtype}" in result.output


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.stat().st_size > 5000


def test_pictures(benchmarked: tuple[Path, Result]) -> None:
    pictures = sorted((benchmarked[0] / "plots").iterdir())
    assert [path.stem for path in pictures] == [
        *("checkpoint", "forward", "lengths", "mnist", "roofline", "single-row", "training")
    ]
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
        names = [name for name in (OURS, *VARIANTS, *PEERS) if offers(name, workload, "float32")]
        entry["contenders"] = {
            name: copy.deepcopy(model["contenders"][OURS]) | {"gflops": 50.0 / (1 + k)}
            for k, name in enumerate(names)
        }
        content["workloads"].append(entry)
    pictures = write_plots(tmp_path, content)
    assert len(pictures) == 7
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
        (["--dtype", "int4"], "Invalid value for '--dtype'"),
        (["--instruction-set", "mmx"], "Invalid value for '--instruction-set'"),
        (["--json", "none/a.json"], "Invalid value for '--json': cannot write"),
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


def test_pauses_in_a_narrow_terminal() -> None:
    rows = [
        {"contender": name, "threads": 2, "busy": busy, "pause": pause}
        | {"calls": 9, "p50": 12e-6, "p90": 0.0123, "p99": 0.1234}
        for busy in (0, 4)
        for name in (OURS, "onnxruntime")
        for pause in pauses.PAUSES
    ]
    text = io.StringIO()
    out = Console(file=text, width=50)
    pauses.print_pauses(out, {"name": "a", "rows": rows, "failed": {}})
    lines = text.getvalue().splitlines()
    header = next(line for line in lines if "contender" in line)
    assert " ".join(header.split()) == "busy contender tight loop pause 2 ms pause 20 ms"
    assert text.getvalue().count("0.012/12.3/123.4") == len(rows)
    assert out.width == 50
