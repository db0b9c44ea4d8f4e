"""Sweep batch, steps and units: rate as a fraction of the measured peak, and a picture of it.

    python bench/sweep.py --json sweep.json --plot sweep.png

Each point is the forward and backward pass of one layer with I = H, through `fusedlstm.ops`; its rate is
the operations of `24 B H (T I + (T - 1) H)` over the time, as a fraction of the multiply-add peak
measured before each repetition. All points have a turn in each of several rounds, and the median over
the rounds is drawn: a spell in which the machine is slower is then part of every point, and not of one
axis. The shape that the axes have in common is measured as one point. A point under half of its
neighbours' mean is named as a cliff.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
import numpy as np

from fusedlstm import _core, ops, plots
from fusedlstm.commands.cli import cpu_model
from fusedlstm.io.atomic import write_text
from fusedlstm.plots.drawing import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

Shape: TypeAlias = tuple[int, int, int]  # B, T, H

UNITS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
# What the other axes are held at: (B, T, H).
CENTRE = (32, 32, 128)


def shapes() -> Iterator[tuple[str, int, Shape]]:
    """Yield the axis, the value on it and (B, T, H) of every point."""
    B, T, H = CENTRE
    yield from (("units H", units, (B, T, units)) for units in UNITS)
    yield from (("batch rows B", rows, (rows, T, H)) for rows in ROWS)
    yield from (("time steps T", steps, (B, steps, H)) for steps in STEPS)


class Problem:
    """Arrays of one shape (B, T, H), and what each turn measured."""

    def __init__(self, shape: Shape) -> None:
        B, T, H = shape
        rng = np.random.default_rng(0)

        def normal(*size: int) -> Any:
            return rng.normal(size=size, scale=0.1).astype(np.float32)

        self.shape = shape
        self.x, self.dy = normal(B, T, H), normal(B, T, H)
        self.weights = ops.LSTMWeights(normal(H, 4 * H), normal(H, 4 * H), normal(4 * H))
        self.operations = 24 * B * H * (T * H + (T - 1) * H)
        self.kernel = ""
        self.turns: list[dict[str, float]] = []

    def take_turn(self, threads: int, seconds: float) -> None:
        """Time forward and backward, each time after the peak; the first one warms up."""
        times: list[float] = []
        peaks: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            peaks.append(_core.measure_peak("float32", threads, 0.002))
            start = time.perf_counter()
            result = ops.lstm_forward(self.x, self.weights, training=True)
            assert result.tape is not None
            ops.lstm_backward(result.tape, self.dy)
            times.append(time.perf_counter() - start)
        self.kernel = ops.last_kernel()
        taken, peak = statistics.median(times[1:]), statistics.median(peaks[1:])
        rate = self.operations / taken * 1e-9
        self.turns.append({"seconds": taken, "gflops": rate, "peak": peak, "fraction": rate / peak})

    def summary(self) -> dict[str, Any]:
        """Return the median of each number over the turns, and how far the fraction of the peak ranged."""
        medians = {name: statistics.median(turn[name] for turn in self.turns) for name in self.turns[0]}
        fractions = [turn["fraction"] for turn in self.turns]
        return {
            "shape": self.shape,
            **medians,
            "lowest": min(fractions),
            "highest": max(fractions),
            "kernel": self.kernel,
        }


def measure(points: list[tuple[str, int, Shape]], threads: int, rounds: int, seconds: float) -> list[Any]:
    """Measure all shapes, each one once, in rounds that start with another one each; return the points."""
    problems = [Problem(shape) for shape in dict.fromkeys(shape for _, _, shape in points)]
    for number in range(rounds):
        first = number * len(problems) // rounds
        for problem in problems[first:] + problems[:first]:
            problem.take_turn(threads, seconds / rounds)
        click.echo(f"round {number + 1} of {rounds}", err=True)
    found = {problem.shape: problem.summary() for problem in problems}
    return [{"axis": axis, "value": value, **found[shape]} for axis, value, shape in points]


def cliffs(points: list[dict[str, Any]]) -> list[str]:
    """Name the points whose fraction of peak is under half of their neighbours' mean."""
    found = []
    for before, point, after in zip(points, points[1:], points[2:], strict=False):
        if before["axis"] == point["axis"] == after["axis"]:
            mean = (before["fraction"] + after["fraction"]) / 2
            if point["fraction"] < mean / 2:
                found.append(
                    f"{point['axis']} = {point['value']}: {point['fraction']:.2f}, neighbours {mean:.2f}"
                )
    return found


def draw(points: list[dict[str, Any]], note: str) -> Figure:
    """Draw one panel per axis; bars are the range of the rounds."""
    best = max(points, key=lambda point: point["fraction"])
    B, T, H = best["shape"]
    title = f"Up to {100 * best['fraction']:.0f} % of the multiply-add peak, with B = {B}, T = {T}, H = {H}"
    figure = plots.figure(title, note, (13, 4.6))
    axes_names = list(dict.fromkeys(point["axis"] for point in points))
    panels = figure.subplots(1, len(axes_names), sharey=True)
    B, T, H = CENTRE
    held = {
        "units H": f"B = {B}, T = {T}",
        "batch rows B": f"T = {T}, H = {H}",
        "time steps T": f"B = {B}, H = {H}",
    }
    top = max(105.0, *(103 * point["highest"] for point in points))
    for panel, axis in zip(panels, axes_names, strict=True):
        own = [point for point in points if point["axis"] == axis]
        values = [point["value"] for point in own]
        panel.vlines(
            values,
            [100 * point["lowest"] for point in own],
            [100 * point["highest"] for point in own],
            color="0.6",
            linewidth=1,
        )
        panel.plot(
            values, [100 * point["fraction"] for point in own], color=plots.COLOURS["blue"], marker="o", ms=4
        )
        panel.set_xscale("log", base=2)
        panel.set_xlabel(axis)
        panel.set_title(held[axis], fontsize=10)
        panel.set_ylim(0, top)
        panel.xaxis.set_major_formatter("{x:g}")
        clean(panel)
    panels[0].set_ylabel("% of multiply-add peak")
    return figure


@click.command(help=__doc__)
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads; all by default.")
@click.option(
    "--seconds", type=click.FloatRange(0.01), default=0.5, show_default=True, help="Time per point, in all."
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of each point.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), default=None, help="Write the points here."
)
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path), default=None, help="Write the picture here."
)
def main(
    threads: int | None, seconds: float, rounds: int, json_path: Path | None, plot_path: Path | None
) -> None:
    """Run the sweep."""
    if threads is not None:
        ops.set_num_threads(threads)
    threads = ops.get_num_threads()
    points = measure(list(shapes()), threads, rounds, seconds)
    for point in points:
        click.echo(
            f"{point['axis']:>13} = {point['value']:<5} {point['seconds'] * 1e3:9.3f} ms "
            f"{point['gflops']:7.1f} GFLOP/s {100 * point['fraction']:5.1f} % of peak "
            f"({100 * point['lowest']:.1f} to {100 * point['highest']:.1f})   {point['kernel']}"
        )
    for cliff in cliffs(points):
        click.echo(f"cliff: {cliff}")
    if json_path is not None:
        write_text(json_path, json.dumps(points, indent=1) + "\n")
    if plot_path is not None:
        threads_text = f"{threads} thread{'s' if threads > 1 else ''}"
        note = (
            f"{cpu_model()}, {threads_text}, {ops.get_instruction_set()}, float32; "
            "forward and backward of one LSTM, I = H, random numbers, seed 0\n"
            f"medians of {rounds} rounds, in each of which each point has a turn; grey: range of the rounds"
        )
        plots.save(draw(points, note), plot_path)


if __name__ == "__main__":
    main()
