"""What the benchmark prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fusedlstm.benchmark.peers import OURS, PEERS, installed
from fusedlstm.benchmark.remarks import remarks
from fusedlstm.benchmark.workloads import CATALOGUE, FORMS, QUICK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusedlstm.benchmark.workloads import Workload


# The columns of a workload's table, and what they mean.
COLUMNS = {
    "median": "time of a call, half of all take longer",
    "10-90 %": "10th to 90th percentile of it, in the same unit",
    "GFLOP/s": "the workload's operations in the median time",
    "% peak": "of the multiply-add peak that was measured in the same rounds",
    "x ours": "time as a multiple of fusedlstm's: above 1 is slower",
    "first": "time of the very first call, with all that it prepares",
    "cores": "processor time over time: how many cores were kept busy",
}


def console() -> Console:
    """Return a console that does not colour numbers by itself."""
    return Console(highlight=False, markup=False)


def digits(value: float) -> str:
    """Write a positive number with three digits, or all of those before the point."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def seconds_text(seconds: float) -> str:
    """Write a time with three digits and the unit that suits it."""
    factor, unit = _unit(seconds)
    return f"{digits(seconds * factor)} {unit}"


def _unit(seconds: float) -> tuple[float, str]:
    return (1.0, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} KB"


def print_machine(out: Console, machine: Mapping[str, Any], measured: Mapping[str, Any], dtype: str) -> None:
    """Print what the benchmark runs on and what it can do at most."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    caches = ", ".join(f"{name} {_size(size)}" for name, size in machine["caches"].items())
    table.add_row(
        "processor", f"{machine['processor']}, {machine['cores']} cores" + (f"; {caches}" if caches else "")
    )
    table.add_row("system", f"{machine['system']}, Python {machine['python']}, NumPy {machine['numpy']}")
    table.add_row(
        "instruction set", f"{machine['instruction_set']} (of {', '.join(machine['instruction_sets'])})"
    )
    for threads, values in measured["by_threads"].items():
        count = "1 thread" if threads == "1" else f"{threads} threads"
        table.add_row(f"peak, {count}", f"{values['peak_gflops']:.1f} GFLOP/s of {dtype} multiply-adds")
    cached, memory = _size(measured["cached_bytes"]), _size(measured["memory_bytes"])
    for threads, values in measured["by_threads"].items():
        table.add_row(
            f"bandwidth, {'1 thread' if threads == '1' else f'{threads} threads'}",
            f"{values['cache_read_gbytes']:.0f} GB/s reading {cached} in cache, "
            f"{values['memory_read_gbytes']:.1f} reading and {values['memory_copy_gbytes']:.1f} copying "
            f"{memory} (NumPy's loops)",
        )
    out.print(table)


def print_versions(out: Console, versions: Mapping[str, str]) -> None:
    """Print who takes part, each once although this library and PyTorch are used in several ways."""
    out.print(f"contenders  {'; '.join(dict.fromkeys(versions.values()))}")


def print_result(out: Console, workload: Workload, result: Mapping[str, Any]) -> None:
    """Print one workload's table, with the columns of `COLUMNS`."""
    out.print()
    out.print(Text(workload.name, style="bold"), Text(workload.description, style="dim"))
    worst = max(entry["agreement"] for entry in result["contenders"].values())
    peak = result["peak_gflops"]
    out.print(
        f"{result['operations'] / 1e6:,.1f} MFLOP = {result['operations_formula']}; peak in the same rounds "
        f"{peak['median']:.1f} GFLOP/s ({peak['p10']:.1f} to {peak['p90']:.1f}); {result['rounds']} rounds; "
        f"all agree with the float64 reference (worst difference {worst:.2g} of what rounding explains)",
        style="dim",
    )
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, entry in result["contenders"].items():
        seconds, ratio = entry["seconds"], entry["time_relative_to_ours"]
        factor, _ = _unit(seconds["median"])
        table.add_row(
            PEERS[name].label if name in PEERS else name,
            seconds_text(seconds["median"]),
            f"{digits(seconds['p10'] * factor)}-{digits(seconds['p90'] * factor)}",
            f"{entry['gflops']:.1f}",
            f"{100 * entry['fraction_of_peak']['median']:.0f}",
            "" if name == OURS else digits(ratio["median"]),
            seconds_text(entry["first_seconds"]),
            f"{entry['cores']:.1f}",
            style="bold" if name == OURS else "",
        )
    out.print(table)
    for remark in remarks(result):
        out.print(remark)
    for name, reason in result["failed"].items():
        out.print(f"{name} failed: {reason}", style="red")


def print_legend(out: Console, columns: Mapping[str, str]) -> None:
    """Print what the columns of tables mean, a line for each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for heading, meaning in columns.items():
        table.add_row(heading, meaning, style="dim")
    out.print()
    out.print(table)


def print_catalogue(out: Console) -> None:
    """Print the workloads and peers there are."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("workload", "what one call does", "--quick"):
        table.add_column(heading, overflow="fold")
    for workload in CATALOGUE:
        table.add_row(workload.name, workload.description, "yes" if workload in QUICK else "")
    out.print(table)
    out.print()
    out.print(f"Any other size: {FORMS}.", style="dim")
    out.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("peer", "", "here", "how to get it"):
        table.add_column(heading, overflow="fold")
    for name, info in PEERS.items():
        table.add_row(name, info.label, "yes" if installed(name) else "no", info.install)
    out.print(table)
