"""``fusedlstm bench --device cuda``: the kernels on a GPU, beside cuDNN's where PyTorch has them.

Contenders take turns on one stream, timed by its events after their results have been compared with the
float64 reference. Their arrays stay on the device.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.table import Table

from fusedlstm import cuda, ops
from fusedlstm.benchmark.job import Job
from fusedlstm.benchmark.prediction import known_device, predicted_seconds
from fusedlstm.benchmark.statistics import spread
from fusedlstm.benchmark.tables import digits, print_legend, seconds_text
from fusedlstm.benchmark.verify import DisagreementError, compare, expectations
from fusedlstm.benchmark.workloads import Workload, make_arrays, number_type, select
from fusedlstm.cuda import runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from fusedlstm.benchmark.workloads import Array
    from fusedlstm.cuda.runtime import Device

    Prepare = Callable[[Workload, dict[str, Array]], Job]
    Predict = Callable[[Workload], float | None]

KINDS = ("forward", "training")
# The shapes of the CPU's table, and those of the figures that cuDNN and others have been published with.
USUAL = (
    "forward-64x28x128x128",
    "forward-64x50x512x512",
    "forward-16x1024x768x768",
    "training-64x28x128x128",
    "training-64x50x512x512",
    "training-16x1024x768x768",
)
OURS = "fusedlstm"
# The columns of a workload's table, and what they mean.
COLUMNS = {
    "median": "time of a call by the device's events, half of all take longer",
    "10 %": "a tenth of the calls take less",
    "90 %": "a tenth of the calls take more",
    "predicted": "what this library's kernels should take, by a model of the GPU",
    "GFLOP/s": "the workload's operations in the median time",
    "x ours": "time as a multiple of fusedlstm's: above 1 is slower",
}


class Clock(ABC):
    """How long the device takes for a call."""

    @abstractmethod
    def seconds(self, call: Callable[[], object]) -> float:
        """Run the call and return the time until all that it queued was done."""


class EventClock(Clock):
    """Events on CuPy's current stream, which is PyTorch's too as long as both are the default one."""

    def __init__(self) -> None:
        self._cuda: Any = importlib.import_module("cupy").cuda

    def seconds(self, call: Callable[[], object]) -> float:
        """Return the time between events before and after; see `Clock`."""
        begin, end = self._cuda.Event(), self._cuda.Event()
        begin.record()
        call()
        end.record()
        end.synchronize()
        return float(self._cuda.get_elapsed_time(begin, end)) / 1e3


def prepare(device: Device, workload: Workload, arrays: dict[str, Array]) -> Job:
    """Make this library's job of a forward or training workload on a device."""
    there = {name: device.put(array) for name, array in arrays.items()}
    x = there["x"]
    weights = ops.LSTMWeights(there["kernel"], there["recurrent_kernel"], there["bias"])

    if workload.kind == "forward":

        def infer() -> ops.LSTMResult:
            return ops.lstm_forward(x, weights)

        def states() -> dict[str, Array]:
            y, h, c, _ = infer()
            found: dict[str, Any] = {"y": y, "h": h, "c": c}
            return {name: value.get() for name, value in found.items()}

        return Job(infer, states)

    def train() -> ops.LSTMGradients:
        tape = ops.lstm_forward(x, weights, training=True).tape
        assert tape is not None
        return ops.lstm_backward(tape, there["dy"])

    def gradients() -> dict[str, Array]:
        found = train()._asdict()
        return {name: found[name].get() for name in ("dx", "dkernel", "drecurrent_kernel", "dbias")}

    return Job(train, gradients)


def contenders(device: Device) -> tuple[dict[str, Prepare], str]:
    """Return who can take part on the present CUDA device, this library first, and who cannot and why."""
    found: dict[str, Prepare] = {OURS: lambda workload, arrays: prepare(device, workload, arrays)}
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return found, "PyTorch is not installed"
    if not torch.cuda.is_available():
        return found, f"torch {torch.__version__} has no CUDA device"
    cudnn: Any = importlib.import_module("fusedlstm.benchmark.peers.cudnn")
    found[cudnn.version()] = cudnn.prepare
    return found, ""


def bench(out: Console, options: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """Run what the command's options say, of which some are `given`, and return what goes into its file."""
    for name in ("kernel", "shape", "count", "threads", "instruction_set", "peers", "plot"):
        if name in given:
            raise click.UsageError(f"--{name.replace('_', '-')} cannot go with --device {options['device']}")
    for workload in options["workloads"]:
        if workload.kind not in KINDS:
            raise click.UsageError(
                f"--device {options['device']}: expected forward and training workloads, got {workload.name}"
            )
    try:
        device = runtime.named(options["device"])
    except (ImportError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    check_dtype(device, options["dtype"])
    properties = dict(cuda.device_properties())
    found, missing = contenders(device)
    out.print(f"device      {properties['name']}")
    out.print(f"contenders  {'; '.join(found)}{'; left out: ' + missing if missing else ''}")
    results, refused = run(
        out,
        options["workloads"] or select(USUAL[::3] if options["quick"] else USUAL),
        found,
        EventClock(),
        dtype=options["dtype"],
        seconds=options["seconds"] or (1.0 if options["quick"] else 10.0),
        least_rounds=3 if options["quick"] else 7,
        predict=lambda workload: predicted_seconds(
            device.extension, known_device(properties), options["dtype"], workload
        ),
    )
    return {
        "device": properties,
        "options": {"dtype": options["dtype"], "quick": options["quick"]},
        "left_out": missing,
        "workloads": results,
        "refused": refused,
    }


def check_dtype(device: Device, dtype: str) -> None:
    """Raise `ClickException` for numbers that arrays here cannot have: bfloat16 comes with ml_dtypes."""
    if dtype != "bfloat16":
        return
    try:
        device.put(np.zeros(1, number_type(dtype)))
    except ImportError as error:
        raise click.ClickException(
            f"--dtype bfloat16: expected the package ml_dtypes: pip install ml_dtypes ({error})"
        ) from error
    except (TypeError, ValueError) as error:
        raise click.ClickException(
            f"--dtype bfloat16: expected a CuPy that has such arrays, as 14 and later do ({error})"
        ) from error


def run(
    out: Console,
    workloads: Sequence[Workload],
    found: Mapping[str, Prepare],
    clock: Clock,
    *,
    dtype: str,
    seconds: float,
    least_rounds: int,
    predict: Predict | None = None,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str]]]:
    """Verify and time the contenders on each workload, and print a table of it.

    Parameters
    ----------
    predict : callable, optional
        Says how long this library should take, or None where that is not known.

    Returns
    -------
    list of dict, dict
        A result for each workload that was timed; and what was wrong, by workload and contender, where one
        disagreed with the reference, which is not timed then.
    """
    results: list[dict[str, Any]] = []
    refused: dict[str, dict[str, str]] = {}
    for workload in workloads:
        arrays = make_arrays(workload, dtype)
        expected = expectations(workload, arrays, dtype)
        jobs: dict[str, Job] = {}
        agreement: dict[str, float] = {}
        problems: dict[str, str] = {}
        for name, make in found.items():
            jobs[name] = make(workload, arrays)
            try:
                agreement[name] = compare(jobs[name].check(), expected)
            except DisagreementError as error:
                problems[name] = str(error)
        if problems:
            refused[workload.name] = problems
            out.print(f"{workload.name}: NOT TIMED, results differ from the float64 reference", style="red")
            for name, problem in problems.items():
                out.print(f"  {name}: {problem}", style="red")
            continue
        kernel = ops.last_kernel()
        samples: dict[str, list[float]] = {name: [] for name in jobs}
        for job in jobs.values():
            clock.seconds(job.run)  # memory of the pool, libraries' choices
        until = time.monotonic() + seconds
        while len(samples[OURS]) < least_rounds or time.monotonic() < until:
            for name, job in jobs.items():
                samples[name].append(clock.seconds(job.run))
        result = _summary(workload, samples, agreement, kernel)
        result["predicted_seconds"] = None if predict is None else predict(workload)
        results.append(result)
        _print(out, workload, result)
    if results:
        print_legend(out, COLUMNS)
    return results, refused


def _summary(
    workload: Workload, samples: dict[str, list[float]], agreement: dict[str, float], kernel: str
) -> dict[str, Any]:
    entries = {}
    for name, taken in samples.items():
        ratios = [value / ours for value, ours in zip(taken, samples[OURS], strict=True)]
        times = spread(taken)
        entries[name] = {
            "seconds": times._asdict(),
            "gflops": workload.operations / times.median / 1e9,
            "time_relative_to_ours": spread(ratios)._asdict(),
            "agreement": agreement[name],
        }
    return {
        "name": workload.name,
        "operations": workload.operations,
        "operations_formula": workload.operations_text,
        "rounds": len(samples[OURS]),
        "last_kernel": kernel,
        "contenders": entries,
    }


def _print(out: Console, workload: Workload, result: dict[str, Any]) -> None:
    worst = max(entry["agreement"] for entry in result["contenders"].values())
    out.print(f"\n{workload.name}  {workload.description}")
    out.print(
        f"{result['operations'] / 1e6:,.1f} MFLOP = {result['operations_formula']}; "
        f"{result['rounds']} rounds; all agree with the float64 reference "
        f"(worst difference {worst:.2g} of what rounding explains)\n"
        f"{result['last_kernel']}",
        style="dim",
    )
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    predicted = result["predicted_seconds"]
    for name, entry in result["contenders"].items():
        times = entry["seconds"]
        expected = "-" if predicted is None or name != OURS else seconds_text(predicted)
        table.add_row(
            name,
            *(seconds_text(times[key]) for key in ("median", "p10", "p90")),
            expected,
            f"{entry['gflops']:,.1f}",
            "" if name == OURS else digits(entry["time_relative_to_ours"]["median"]),
        )
    out.print(table)
