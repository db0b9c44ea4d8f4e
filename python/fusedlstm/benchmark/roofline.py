"""The roofline: rates over operations per byte, under the roofs that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots
from fusedlstm.benchmark.looks import LOOKS, label, machine_note
from fusedlstm.benchmark.peers import OURS
from fusedlstm.plots.drawing import clean
from fusedlstm.plots.placing import apart

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

# The axes are about this high; a row of a legend beside them takes so much.
_AXES_POINTS, _LEGEND_POINTS = 420, 13.5
# Columns of workloads are at least this share of the axes' width apart.
_APART = 0.024


def roofline(path: Path, content: Mapping[str, Any]) -> Path:
    """Draw GFLOP/s over operations per byte; every workload has its column, with its number on top."""
    from matplotlib.ticker import LogLocator

    results = content["workloads"]
    threads = str(content["options"]["threads"])
    roofs = content["machine"]["by_threads"][threads]
    peak = roofs["peak_gflops"]
    note = (
        f"{machine_note(content)}\n"
        "peak and bandwidths: measured once before; a rate above the peak met a faster moment of the machine"
    )
    figure = plots.figure(_finding(results, peak), note, (11, 7.6))
    axes = figure.subplots()
    intensity = np.array([result["operations"] / result["bytes"] for result in results])
    places = _columns(intensity)
    left, right = min(places.min(), intensity.min()) / 2, max(places.max(), intensity.max()) * 2
    rates = [entry["gflops"] for result in results for entry in result["contenders"].values()]
    lowest, highest = min(rates) / 2, max(*rates, peak)
    _roofs(axes, np.geomspace(left, right, 200), roofs)
    seen: dict[str, Any] = {}
    for number, (result, place) in enumerate(zip(results, places, strict=True), 1):
        axes.axvline(place, color="0.92", linewidth=0.8, zorder=0)
        axes.annotate(
            str(number),
            (place, highest),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
        # This library's points are on top of the others.
        for name, entry in reversed(result["contenders"].items()):
            colour, marker = LOOKS[name]
            point = axes.scatter(
                place, entry["gflops"], color=colour, marker=marker, s=46, alpha=0.85, linewidths=0, zorder=3
            )
            seen.setdefault(name, point)
    # Above the highest point, or roof, there is room for the numbers.
    top = highest * (highest / lowest) ** (24 / (_AXES_POINTS - 24))
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(lowest, top))
    moved = "" if np.allclose(places, intensity) else "; columns too close to each other are moved apart"
    axes.set_xlabel(f"operations per byte, weights read once a step, other arrays once{moved}")
    axes.set_ylabel("GFLOP/s")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter("{x:g}")
    clean(axes)
    _keys(axes, [name for name in LOOKS if name in seen], seen, results)
    return plots.save(figure, path)


def _finding(results: list[Mapping[str, Any]], peak: float) -> str:
    shares = [result["contenders"][OURS]["gflops"] / peak for result in results]
    best = int(np.argmax(shares))
    return (
        f"Roofline: {results[best]['name']} comes nearest to the peak, with {100 * shares[best]:.0f} % of it"
    )


def _columns(intensity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where each workload's column is: at its intensity, or as little beside it as needed."""
    logs = np.log(intensity)
    # The axes reach a factor of two beyond the columns on each side.
    width = float(np.ptp(logs)) + np.log(4)
    width = max(width, len(logs) * _APART * width)
    order = np.argsort(logs, kind="stable")
    places = np.empty_like(logs)
    places[order] = apart(logs[order], np.full(len(logs), _APART * width))
    return np.exp(places)


def _roofs(axes: Any, x: NDArray[np.float64], roofs: Mapping[str, Any]) -> None:
    peak = roofs["peak_gflops"]
    cache, memory = roofs["cache_read_gbytes"], roofs["memory_read_gbytes"]
    for y, text, style in (
        (np.full_like(x, peak), f"multiply-adds: {peak:.0f} GFLOP/s", "-"),
        (np.minimum(x * cache, peak), f"cache: {cache:.0f} GB/s", "--"),
        (np.minimum(x * memory, peak), f"memory: {memory:.0f} GB/s", ":"),
    ):
        axes.plot(x, y, color="0.35", linestyle=style, linewidth=1.3, label=text)


def _keys(axes: Any, order: list[str], seen: Mapping[str, Any], results: list[Mapping[str, Any]]) -> None:
    """Write who is who beside the axes: contenders, below them roofs, below these the workloads' numbers."""
    style = {"frameon": False, "fontsize": 9, "loc": "upper left"}
    roof_handles = list(axes.lines)[:3]
    contenders = axes.legend(
        [seen[name] for name in order],
        [label(name) for name in order],
        bbox_to_anchor=(1.01, 1.0),
        **style,
    )
    axes.add_artist(contenders)
    top = 1 - _LEGEND_POINTS * (len(order) + 0.7) / _AXES_POINTS
    axes.legend(handles=roof_handles, bbox_to_anchor=(1.01, top), **style)
    top -= _LEGEND_POINTS * (len(roof_handles) + 1.2) / _AXES_POINTS
    key = "\n".join(f"{number:2d}  {result['name']}" for number, result in enumerate(results, 1))
    axes.text(1.03, top, key, transform=axes.transAxes, va="top", fontsize=8, color="0.2", linespacing=1.3)
