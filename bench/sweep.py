"""Sweep batch, steps and units: rate as a fraction of the measured peak, and a picture of it.

    python bench/sweep.py --json sweep.json --plot sweep.png

Each point is the forward and backward pass of one layer with I = H, through `fusedlstm.ops`; its rate is the
operations of `24 B H (T I + (T - 1) H)` over the median time, as a fraction of the multiply-add peak measured
between the repetitions. A point under half of its neighbours' mean is named as a cliff.
"""

from __future__ import annotations

import json
import statistics
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from fusedlstm import _core, ops
from fusedlstm.io.atomic import write_file, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
# What the other axes are held at: (B, T, H).
CENTRE = (32, 32, 128)


def shapes() -> Iterator[tuple[str, int, tuple[int, int, int]]]:
    """Yield the axis, the value on it and (B, T, H) of every point."""
    B, T, H = CENTRE
    yield from (("units H", units, (B, T, units)) for units in UNITS)
    yield from (("batch rows B", rows, (rows, T, H)) for rows in ROWS)
    yield from (("time steps T", steps, (B, steps, H)) for steps in STEPS)


def measure(shape: tuple[int, int, int], threads: int, seconds: float) -> dict[str, float]:
    """Time forward and backward of one shape, interleaved with the peak."""
    B, T, H = shape
    rng = np.random.default_rng(0)

    def normal(*size: int) -> Any:
        return rng.normal(size=size, scale=0.1).astype(np.float32)

    x, dy = normal(B, T, H), normal(B, T, H)
    weights = ops.LSTMWeights(normal(H, 4 * H), normal(H, 4 * H), normal(4 * H))
    times: list[float] = []
    peaks: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        peaks.append(_core.measure_peak("float32", threads, 0.002))
        start = time.perf_counter()
        result = ops.lstm_forward(x, weights, training=True)
        assert result.tape is not None
        ops.lstm_backward(result.tape, dy)
        times.append(time.perf_counter() - start)
    operations = 24 * B * H * (T * H + (T - 1) * H)
    rate = operations / statistics.median(times[1:]) * 1e-9
    return {"seconds": statistics.median(times[1:]), "gflops": rate, "peak": statistics.median(peaks)}


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


def draw(points: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw one panel per axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    axes_names = list(dict.fromkeys(point["axis"] for point in points))
    figure, panels = plt.subplots(1, len(axes_names), figsize=(13, 4.2), sharey=True, layout="constrained")
    B, T, H = CENTRE
    held = {
        "units H": f"B = {B}, T = {T}",
        "batch rows B": f"T = {T}, H = {H}",
        "time steps T": f"B = {B}, H = {H}",
    }
    for panel, axis in zip(panels, axes_names, strict=True):
        own = [point for point in points if point["axis"] == axis]
        panel.plot(
            [point["value"] for point in own], [100 * point["fraction"] for point in own], marker="o", ms=4
        )
        panel.set_xscale("log", base=2)
        panel.set_xlabel(axis)
        panel.set_title(held[axis], fontsize=10)
        panel.grid(alpha=0.3)
        panel.set_ylim(0, 105)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[0].set_ylabel("% of multiply-add peak, forward + backward")
    figure.suptitle(title, fontsize=11)
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix[1:] or "png", dpi=130)
    write_file(path, [picture.getbuffer()])


@click.command(help=__doc__)
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads; all by default.")
@click.option(
    "--seconds", type=click.FloatRange(0.01), default=0.5, show_default=True, help="Time per point."
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), default=None, help="Write the points here."
)
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path), default=None, help="Write the picture here."
)
def main(threads: int | None, seconds: float, json_path: Path | None, plot_path: Path | None) -> None:
    """Run the sweep."""
    if threads is not None:
        ops.set_num_threads(threads)
    threads = ops.get_num_threads()
    points = []
    for axis, value, shape in shapes():
        point: dict[str, Any] = {"axis": axis, "value": value, "shape": shape}
        point |= measure(shape, threads, seconds)
        point["fraction"] = point["gflops"] / point["peak"]
        point["kernel"] = ops.last_kernel()
        points.append(point)
        click.echo(
            f"{axis:>13} = {value:<5} {point['seconds'] * 1e3:9.3f} ms {point['gflops']:7.1f} GFLOP/s "
            f"{100 * point['fraction']:5.1f} % of peak   {point['kernel']}"
        )
    for cliff in cliffs(points):
        click.echo(f"cliff: {cliff}")
    if json_path is not None:
        write_text(json_path, json.dumps(points, indent=1) + "\n")
    if plot_path is not None:
        title = f"{ops.get_instruction_set()}, {threads} thread{'s' if threads > 1 else ''}, float32, I = H"
        draw(points, plot_path, title)


if __name__ == "__main__":
    main()
