"""The command ``fusedlstm bench``."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusedlstm.benchmark import kernels, tables
from fusedlstm.benchmark.kernel_jobs import KERNELS
from fusedlstm.benchmark.machine import describe_machine, load_warning, measure_machine, usable_cores
from fusedlstm.benchmark.peers import FACES, OURS, PEERS, VARIANTS, installed, offers
from fusedlstm.benchmark.plots import PLOTS
from fusedlstm.benchmark.process import WorkerError, WorkerProcess, pick_cores
from fusedlstm.benchmark.runner import RefusedError, run_workload
from fusedlstm.benchmark.workloads import CATALOGUE, INFERENCE, QUICK, Workload, select
from fusedlstm.commands import options as cli_options
from fusedlstm.io.atomic import write_text

if TYPE_CHECKING:
    from rich.console import Console

FORMAT = 1  # of the JSON file
_UNSTEADY = 1.15


def _workloads(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> list[Workload]:
    try:
        return select(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _peers(_ctx: click.Context, _param: click.Parameter, value: str) -> list[str]:
    if value == "none":
        return []
    if value == "installed":
        return [name for name in PEERS if installed(name)]
    names = list(dict.fromkeys(name.strip() for name in value.split(",")))
    for name in names:
        if name not in PEERS:
            raise click.BadParameter(
                f"expected 'installed', 'none' or some of {', '.join(PEERS)}, with commas, got {name!r}"
            )
        if not installed(name):
            raise click.BadParameter(f"{name} is not installed: {PEERS[name].install}")
    return names


def _shape(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"expected positive integers separated by commas, got {value!r}")
    return numbers


@click.command(context_settings={"show_default": True})
@click.option(
    "--workload",
    "workloads",
    metavar="NAME",
    multiple=True,
    callback=_workloads,
    help="What to run: a name, a pattern such as 'forward-*', or any size such as forward-8x50x64x96. "
    "May be given several times; all of --list by default.",
)
@click.option("--list", "list_only", is_flag=True, help="Show workloads and peers, and run nothing.")
@click.option(
    "--peers",
    metavar="NAMES",
    default="installed",
    callback=_peers,
    help="Whom to compare with: 'installed', 'none', or names separated by commas.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    help="What to run on; on a GPU the peer is PyTorch with cuDNN, and workloads are forward and training.",
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), show_default="all cores", help="For every contender."
)
@click.option("--quick", is_flag=True, help="Five workloads, a second each: for a first look.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    callback=lambda ctx, param, value: None if value is None else cli_options.finite(ctx, param, value),
    show_default="10; 1 with --quick",
    help="How long to take turns on each workload.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "float16", "bfloat16", "int8"]),
    default="float32",
    help="Number type; float16 on a GPU. On a CPU bfloat16 and int8 are what products take; int8 is for "
    "inference.",
)
@cli_options.instruction_set_option("This library's kernels")
@cli_options.file_option("--json", "Write all numbers here.")
@cli_options.pictures_option("--plot", lambda: PLOTS)
@click.option(
    "--kernel",
    type=click.Choice(sorted(KERNELS)),
    metavar="NAME",
    help=f"Time one kernel by itself instead: {', '.join(sorted(KERNELS))}.",
)
@click.option(
    "--shape",
    metavar="SIZES",
    callback=_shape,
    help="Sizes for --kernel, separated by commas: B,T,I,H or so.",
)
@click.option(
    "--pauses",
    is_flag=True,
    help="Time calls with pauses between them, alone and beside busy processes, instead of tight loops.",
)
@click.option("--count", is_flag=True, help="With --kernel: count instructions, by perf or callgrind.")
def bench_command(**options: Any) -> None:
    """Verify, then time this library and its peers on this machine.

    All contenders take turns, in processes of their own, with the same number of threads. Each one's results
    are first compared with a float64 reference; if they differ by more than rounding explains, the workload
    is not timed and the exit code is 1.
    """
    out = tables.console()
    if options["list_only"]:
        tables.print_catalogue(out)
        return
    if options["device"] != "cpu":
        from fusedlstm.benchmark import on_device

        content = on_device.bench(out, options, _given(options))
        _write(out, {"format": FORMAT, **content}, options)
        if content["refused"]:
            raise click.exceptions.Exit(1)
        return
    _check_combination(options)
    options["threads"] = options["threads"] or usable_cores()
    options["seconds"] = options["seconds"] or (1.0 if options["quick"] else 10.0)
    try:
        with cli_options.kernels_as(options):
            if options["kernel"] is not None:
                complete = kernels.bench_kernel(out, options)
            elif options["pauses"]:
                complete = _run_pauses(out, options)
            else:
                listed = list(QUICK if options["quick"] else CATALOGUE)
                if options["dtype"] == "int8":
                    listed = [workload for workload in listed if workload.kind in INFERENCE]
                options["workloads"] = options["workloads"] or listed
                complete = _run(out, options)
    except (WorkerError, MemoryError) as error:
        raise click.ClickException(str(error) or "not enough memory") from error
    if not complete:
        raise click.exceptions.Exit(1)


def _given(options: dict[str, Any]) -> set[str]:
    """Return the options that stand on the command line."""
    source = click.get_current_context().get_parameter_source
    return {name for name in options if getattr(source(name), "name", "") == "COMMANDLINE"}


def _check_combination(options: dict[str, Any]) -> None:
    given = _given(options)
    if options["dtype"] == "float16":
        raise click.UsageError("--dtype float16 needs --device cuda")
    if options["dtype"] in ("bfloat16", "int8"):
        for name in ("kernel", "pauses"):
            if name in given:
                raise click.UsageError(f"--{name} cannot go with --dtype {options['dtype']}")
    if options["dtype"] == "int8":
        for workload in options["workloads"]:
            if workload.kind not in INFERENCE:
                raise click.UsageError(
                    f"--workload {workload.name} trains, and --dtype int8 is for inference"
                )
    if options["pauses"]:
        for name in ("seconds", "plot", "kernel"):
            if name in given:
                raise click.UsageError(f"--{name} cannot go with --pauses")
    if options["kernel"] is None:
        for name in ("shape", "count"):
            if name in given:
                raise click.UsageError(f"--{name} needs --kernel")
        return
    for name in ("workloads", "peers", "quick", "plot", "pauses"):
        if name in given:
            raise click.UsageError(
                f"--{name.rstrip('s') if name == 'workloads' else name} cannot go with --kernel"
            )
    letters = KERNELS[options["kernel"]].letters
    if options["shape"] is None:
        options["shape"] = KERNELS[options["kernel"]].usual
    elif len(options["shape"]) != len(letters):
        raise click.BadParameter(
            f"{options['kernel']} takes {','.join(letters)}, got {len(options['shape'])} sizes",
            param_hint="'--shape'",
        )


def _run(out: Console, options: dict[str, Any]) -> bool:
    """Run all workloads; tell whether every one was timed with every contender."""
    dtype, threads = options["dtype"], options["threads"]
    machine = describe_machine()
    warning = load_warning()
    if warning is not None:
        click.secho(f"WARNING: {warning}", fg="yellow", err=True)
    results: list[dict[str, Any]] = []
    refused: dict[str, dict[str, str]] = {}
    with ExitStack() as stack, out.status("starting", spinner="line") as status:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fusedlstm-bench-")))
        cores = pick_cores(threads)
        ours = {"FUSEDLSTM_INSTRUCTION_SET": options["instruction_set"]}

        def start(name: str, environment: dict[str, str]) -> WorkerProcess:
            return stack.enter_context(WorkerProcess(name, threads, dtype, cores, environment))

        peak = start(OURS, ours)
        measured = measure_machine(
            peak, threads, machine["caches"].get("L2"), 0.1 if options["quick"] else 0.5
        )
        tables.print_machine(out, machine, measured, dtype)
        workers = {
            name: start(name, PEERS[name].environment if name in PEERS else ours)
            for name in (OURS, *VARIANTS, *options["peers"])
            if any(offers(name, workload, dtype) for workload in options["workloads"])
        }
        versions: dict[str, str] = {}
        missing: dict[str, str] = {}
        for name, worker in list(workers.items()):
            status.update(f"importing {name}")
            try:
                versions[name] = worker.request("hello")["version"]
            except WorkerError as error:
                if name not in PEERS:
                    raise
                missing[name] = str(error)
                click.secho(f"LEFT OUT {error}", fg="red", err=True)
                del workers[name]
        tables.print_versions(out, versions)
        for workload in options["workloads"]:
            present = {name: worker for name, worker in workers.items() if offers(name, workload, dtype)}
            try:
                result = run_workload(
                    workload,
                    present,
                    peak,
                    folder,
                    dtype=dtype,
                    threads=threads,
                    seconds=options["seconds"],
                    least_rounds=3 if options["quick"] else 7,
                    progress=status.update,
                )
            except RefusedError as error:
                refused[workload.name] = error.problems
                _print_refusal(workload, error)
                continue
            results.append(result)
            tables.print_result(out, workload, result)
    if results:
        tables.print_legend(out, tables.COLUMNS)
    _print_steadiness(out, results)
    content = {
        "format": FORMAT,
        "machine": {**machine, **measured},
        "options": {name: options[name] for name in ("threads", "dtype", "quick", "seconds", "peers")},
        "versions": versions,
        "left_out": missing,
        "load_warning": warning,
        "workloads": results,
        "refused": refused,
    }
    _write(out, content, options)
    return not missing and not refused and not any(result["failed"] for result in results)


def _run_pauses(out: Console, options: dict[str, Any]) -> bool:
    """Run workloads with pauses; tell whether every contender took part."""
    from fusedlstm.benchmark.pauses import CALLS, COLUMNS, PAUSED, QUICK_CALLS, pause_workload, print_pauses

    dtype, threads = options["dtype"], options["threads"]
    workloads = options["workloads"]
    if not workloads:
        workloads = [Workload.parse(name) for name in (PAUSED[:1] if options["quick"] else PAUSED)]
    # Those of single steps beside whole calls of PyTorch would time the same thing twice.
    peers = [name for name in options["peers"] if name not in ("torch-cell", "torch-padded")]
    faces = [name for name in FACES if name != "fusedlstm-torch" or installed("torch")]
    cores = pick_cores(threads)
    ours = {"FUSEDLSTM_INSTRUCTION_SET": options["instruction_set"]}

    def start(name: str, count: int) -> WorkerProcess:
        return WorkerProcess(name, count, dtype, cores, PEERS[name].environment if name in PEERS else ours)

    results: list[dict[str, Any]] = []
    refused: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="fusedlstm-bench-") as folder:
        for workload in workloads:
            try:
                with out.status("starting", spinner="line") as status:
                    result = pause_workload(
                        workload,
                        [*faces, *peers],
                        start,
                        Path(folder),
                        cores=cores,
                        dtype=dtype,
                        threads=threads,
                        calls=QUICK_CALLS if options["quick"] else CALLS,
                        progress=status.update,
                    )
            except RefusedError as error:
                refused[workload.name] = error.problems
                _print_refusal(workload, error)
                continue
            results.append(result)
            print_pauses(out, result)
    if results:
        tables.print_legend(out, COLUMNS)
    content = {
        "format": FORMAT,
        "machine": describe_machine(),
        "options": {"threads": threads, "dtype": dtype, "quick": options["quick"], "peers": peers},
        "pauses": results,
        "refused": refused,
        "workloads": [],
    }
    _write(out, content, options)
    return not refused and not any(result["failed"] for result in results)


def _print_refusal(workload: Workload, error: RefusedError) -> None:
    click.secho(
        f"\n{workload.name}: NOT TIMED, results differ from the float64 reference", fg="red", err=True
    )
    for name, problem in error.problems.items():
        click.secho(f"  {name}: {problem}", fg="red", err=True)


def _print_steadiness(out: Console, results: list[dict[str, Any]]) -> None:
    if not results:
        return
    worst = max(result["peak_gflops"]["p90"] / result["peak_gflops"]["p10"] for result in results)
    if worst > _UNSTEADY:
        out.print()
        out.print(
            f"The multiply-add peak itself moved by {100 * (worst - 1):.0f} % within a workload: the machine "
            "was not quiet, or changes its clock. Ratios, taken within each round, suffer less than times.",
            style="yellow",
        )


def _write(out: Console, content: dict[str, Any], options: dict[str, Any]) -> None:
    def numbers() -> list[Path]:
        write_text(options["json"], json.dumps(content, indent=2, allow_nan=False) + "\n")
        return [options["json"]]

    def plots() -> list[Path]:
        from fusedlstm.benchmark.plots import write_plots

        return write_plots(options["plot"], content)

    outputs = cli_options.Outputs()
    if options["json"]:
        outputs.attempt(numbers)
    if options["plot"] and content["workloads"]:
        outputs.attempt(plots)
    if outputs.written:
        out.print()
    for path in outputs.written:
        out.print(f"written  {path}", soft_wrap=True)
    outputs.finish()
