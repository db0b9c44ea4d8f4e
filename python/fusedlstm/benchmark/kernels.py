"""``fusedlstm bench --kernel``: one kernel by itself, for people who tune kernels."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from fusedlstm import _core, ops
from fusedlstm.benchmark import counting
from fusedlstm.benchmark.kernel_jobs import KERNELS, KernelJob
from fusedlstm.benchmark.statistics import Spread, spread
from fusedlstm.benchmark.tables import seconds_text
from fusedlstm.io.atomic import write_text

if TYPE_CHECKING:
    from rich.console import Console

_SAMPLE_SECONDS = 1e-3
_PEAK_SECONDS = 0.02
_TURN_SECONDS = 0.05
_LANE_BYTES = {"avx512": 64, "avx2": 32, "neon": 16}


@dataclass(frozen=True)
class _Timing:
    seconds: Spread
    fraction: Spread
    peak: Spread
    kernel: str


def bench_kernel(out: Console, options: dict[str, Any]) -> bool:
    """Verify and time one kernel, print the result; tell whether it agreed with its reference.

    Parameters
    ----------
    out
        Where to print.
    options
        The command's options; ``instruction_set`` and ``threads`` are already in force.
    """
    kernel, shape, dtype = KERNELS[options["kernel"]], options["shape"], options["dtype"]
    sizes = ", ".join(f"{letter} {size}" for letter, size in zip(kernel.letters, shape, strict=True))
    title = f"{kernel.name}  {sizes}  {dtype}"
    job = kernel.make(shape, dtype)
    try:
        agreement = job.check()
    except AssertionError as error:
        out.print(f"{title}: NOT TIMED, it differs from its reference", style="red")
        out.print(str(error), style="red")
        return False
    timing = _time(job, dtype, options["threads"], options["seconds"])
    out.print(title, style="bold")
    out.print(
        f"{timing.kernel}; agrees with its float64 reference (worst difference {agreement:.2g} of what "
        "rounding explains)"
    )
    seconds = timing.seconds
    out.print(
        f"time  {seconds_text(seconds.median)} ({seconds_text(seconds.p10)} to {seconds_text(seconds.p90)}, "
        f"{seconds.samples} samples)"
    )
    rate = job.work / seconds.median * 1e-9
    if job.unit == "operations":
        out.print(
            f"{job.work / 1e6:,.1f} million operations = {job.formula}: {rate:.1f} GFLOP/s, "
            f"{100 * timing.fraction.median:.0f} % of the peak of {timing.peak.median:.1f} measured in turns "
            "with it"
        )
    else:
        out.print(f"{job.work:,} {job.unit}: {1 / rate:.3g} ns for each")
    counted = None
    if options["count"]:
        counted = counting.count_instructions(kernel.name, shape, dtype, options["instruction_set"])
        out.print(_count_text(counted, job, dtype, options["instruction_set"]))
    if options["json"]:
        content = {
            "kernel": kernel.name,
            "shape": dict(zip(kernel.letters, shape, strict=True)),
            "dtype": dtype,
            "ran": timing.kernel,
            "agreement": agreement,
            "seconds": seconds._asdict(),
            "work": job.work,
            "unit": job.unit,
            "fraction_of_peak": timing.fraction._asdict() if job.unit == "operations" else None,
            "peak_gflops": timing.peak._asdict(),
            "instructions": None if counted is None else counted._asdict(),
        }
        try:
            write_text(options["json"], json.dumps(content, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise click.ClickException(f"the results could not be written: {error}") from error
        out.print(f"written  {options['json']}", soft_wrap=True)
    return True


def _time(job: KernelJob, dtype: str, threads: int, seconds: float) -> _Timing:
    """Take turns with the measurement of the peak."""
    job.run(job.setup())
    name = ops.last_kernel()
    start = time.perf_counter()
    job.run(job.setup())
    usual = max(time.perf_counter() - start, 1e-7)
    # What is set up serves one call only where a call uses it up; then each call is a sample.
    calls = 1 if job.setup_each else max(1, round(_SAMPLE_SECONDS / usual))
    samples: list[float] = []
    fractions: list[float] = []
    peaks: list[float] = []
    end = time.perf_counter() + seconds
    while not peaks or time.perf_counter() < end:
        peak = _core.measure_peak(dtype, threads, _PEAK_SECONDS)
        turn = []
        for _ in range(max(1, round(_TURN_SECONDS / (usual * calls)))):
            arguments = job.setup()
            start = time.perf_counter()
            for _ in range(calls):
                job.run(arguments)
            turn.append((time.perf_counter() - start) / calls)
        samples += turn
        peaks.append(peak)
        fractions.append(job.work / float(np.median(turn)) * 1e-9 / peak)
    return _Timing(spread(samples), spread(fractions), spread(peaks), name)


def _count_text(counted: counting.Count, job: KernelJob, dtype: str, instruction_set: str) -> str:
    if counted.instructions is None:
        return f"instructions  not counted: {counted.method}"
    text = (
        f"instructions  {counted.instructions / 1e6:,.2f} million a call on one thread ({counted.method}): "
        f"{counted.instructions / job.work:.4f} for each of the {job.unit}"
    )
    lanes = _LANE_BYTES.get(instruction_set, 0) // np.dtype(dtype).itemsize
    if job.unit == "operations" and lanes:
        least = 1 / (2 * lanes)
        share = 100 * least * job.work / counted.instructions
        text += f"; multiply-adds alone would be {least:.4f}, they are {share:.0f} %"
    return text
