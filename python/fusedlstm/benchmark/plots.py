"""Pictures of a benchmark's results: bars of the share of the peak, and a roofline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots
from fusedlstm.benchmark.peers import OURS, PEERS
from fusedlstm.benchmark.tables import digits, seconds_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Okabe and Ito's palette, distinguishable for colour-blind readers; markers for those who print in grey.
LOOKS = {
    OURS: ("#D55E00", "o"),
    "fusedlstm-padded": ("#F2B38A", "h"),
    "fusedlstm-bfloat16": ("#F2B38A", "p"),
    "fusedlstm-int8": ("#8C3D00", "X"),
    "fusedlstm-checkpoints": ("#F2B38A", "d"),
    "torch": ("#0072B2", "s"),
    "torch-cell": ("#56B4E9", "D"),
    "torch-padded": ("#56B4E9", "<"),
    "onnxruntime": ("#009E73", "^"),
    "keras-jax": ("#CC79A7", "v"),
    "keras-tensorflow": ("#E69F00", "P"),
}
_BAR_INCHES = 0.23
_LEGEND_COLUMNS = 4
# The roofline's axes are about this high; a row of numbers on it, or of a legend beside it, takes so much.
_ROOFLINE_POINTS, _ROW_POINTS, _LEGEND_POINTS = 420, 11, 13.5
_GROUPS = {
    "forward": "Forward, inference",
    "training": "Forward and backward",
    "single-row": "One row at a time",
    "mnist": "Training step of the MNIST model",
    "lengths": "Sequences of different lengths, forward and backward",
    "checkpoint": "Long sequences, forward and backward",
}
_ROOFLINE = "roofline.png"
# The names of all pictures that `write_plots` may write.
PLOTS = (*(f"{group}.png" for group in _GROUPS), _ROOFLINE)


def write_plots(folder: Path, content: Mapping[str, Any]) -> list[Path]:
    """Write a picture of bars for each group of workloads, and one roofline.

    Parameters
    ----------
    folder
        Where to; it exists. Pictures of the same names are overwritten.
    content
        What the JSON file holds; at least one workload.

    Returns
    -------
    list of Path
        The files, for example ``forward.png`` and ``roofline.png``.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in content["workloads"]:
        single = result["sizes"]["B"] == 1 and result["kind"] in ("forward", "step")
        kind = "single-row" if single or result["kind"] == "step" else result["kind"]
        groups.setdefault(kind, []).append(result)
    subtitle = _subtitle(content)
    paths = [
        _bars(folder / f"{group}.png", _GROUPS[group], subtitle, groups[group])
        for group in _GROUPS
        if group in groups
    ]
    return [*paths, _roofline(folder / _ROOFLINE, subtitle, content)]


def _label(name: str) -> str:
    return PEERS[name].label if name in PEERS else name


def _subtitle(content: Mapping[str, Any]) -> str:
    machine, options = content["machine"], content["options"]
    threads = "1 thread" if options["threads"] == 1 else f"{options['threads']} threads"
    return f"{machine['processor']}, {threads}, {options['dtype']}, {machine['instruction_set']}"


def _sizes(result: Mapping[str, Any]) -> str:
    sizes = result["sizes"]
    letters = {"mnist": "B", "step": "BIH"}.get(result["kind"], "BTIH")
    text = ", ".join(f"{letter} {sizes[letter]}" for letter in letters)
    return f"one step: {text}" if result["kind"] == "step" else text


def _bars(path: Path, title: str, subtitle: str, results: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the share of the peak as bars, one group for each workload, times written at their ends."""
    count = sum(len(result["contenders"]) for result in results)
    figure = plots.figure("", "", (9.5, 1.5 + _BAR_INCHES * (count + 1.2 * len(results))))
    axes = figure.subplots()
    position, longest = 0.0, 0.0
    ticks: list[tuple[float, str]] = []
    seen: dict[str, Any] = {}
    for result in results:
        start = position
        for name, entry in result["contenders"].items():
            share = 100 * entry["fraction_of_peak"]["median"]
            low, high = (100 * entry["fraction_of_peak"][key] for key in ("p10", "p90"))
            colour = LOOKS[name][0]
            bar = axes.barh(position, share, height=0.86, color=colour, alpha=1 if name == OURS else 0.75)
            seen.setdefault(name, bar)
            axes.plot([low, high], [position, position], color="0.15", linewidth=1)
            text = seconds_text(entry["seconds"]["median"])
            if name != OURS:
                text += f"   {digits(entry['time_relative_to_ours']['median'])} x"
            axes.annotate(
                text,
                (max(share, high), position),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                fontweight="bold" if name == OURS else "normal",
            )
            longest = max(longest, share, high)
            position += 1
        ticks.append(((start + position - 1) / 2, _sizes(result)))
        position += 1.2
    axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
    axes.set_ylim(position - 1.2 - 0.3, -0.7)
    axes.set_xlim(0, longest * 1.22)
    axes.set_xlabel(
        "% of the multiply-add peak measured in the same rounds; line: 10 to 90 % of the rounds\n"
        f"at the bars: median time of a call, and how many times that of {OURS}"
    )
    _clean(axes, "x")
    axes.set_title(subtitle, fontsize=9, color="0.35")
    figure.suptitle(title, fontsize=13)
    figure.legend(
        list(seen.values()),
        [_label(name) for name in seen],
        frameon=False,
        ncols=min(len(seen), _LEGEND_COLUMNS),
        fontsize=9,
        columnspacing=1.4,
        loc="outside lower center",
    )
    return plots.save(figure, path)


def _clean(axes: Any, grid: str) -> None:
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _roofline(path: Path, subtitle: str, content: Mapping[str, Any]) -> Path:
    """Draw GFLOP/s over operations per byte, under the roofs that were measured."""
    results = content["workloads"]
    threads = str(content["options"]["threads"])
    roofs = content["machine"]["by_threads"][threads]
    figure = plots.figure("", "", (11, 7.4))
    axes = figure.subplots()
    intensity = np.array([result["operations"] / result["bytes"] for result in results])
    left, right = intensity.min() / 2, intensity.max() * 2
    rates = [entry["gflops"] for result in results for entry in result["contenders"].values()]
    peak = roofs["peak_gflops"]
    x = np.geomspace(left, right, 200)
    lowest = min(rates) / 2
    lines = (
        (np.full_like(x, peak), f"multiply-adds: {peak:.0f} GFLOP/s", "-"),
        (
            np.minimum(x * roofs["cache_read_gbytes"], peak),
            f"cache: {roofs['cache_read_gbytes']:.0f} GB/s",
            "--",
        ),
        (
            np.minimum(x * roofs["memory_read_gbytes"], peak),
            f"memory: {roofs['memory_read_gbytes']:.0f} GB/s",
            ":",
        ),
    )
    for y, label, style in lines:
        axes.plot(x, y, color="0.35", linestyle=style, linewidth=1.3, label=label)
    roof_handles = list(axes.lines)
    seen: dict[str, Any] = {}
    points = _number_workloads(axes, intensity, peak)
    for result, place in zip(results, intensity, strict=True):
        # This library's points are on top of the others.
        for name, entry in reversed(result["contenders"].items()):
            colour, marker = LOOKS[name]
            point = axes.scatter(
                place, entry["gflops"], color=colour, marker=marker, s=46, alpha=0.85, linewidths=0, zorder=3
            )
            seen.setdefault(name, point)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(left, right),
        ylim=(lowest, peak * (peak / lowest) ** (points / (_ROOFLINE_POINTS - points))),
    )
    axes.set_xlabel("operations per byte, weights read once a step, other arrays once")
    axes.set_ylabel("GFLOP/s")
    _clean(axes, "both")
    figure.suptitle("Roofline", fontsize=13)
    axes.set_title(subtitle, fontsize=9, color="0.35")
    order = [name for name in LOOKS if name in seen]
    first = axes.legend(
        [seen[name] for name in order],
        [_label(name) for name in order],
        frameon=False,
        fontsize=9,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
    )
    axes.add_artist(first)
    # Below it the roofs, and below these the workloads' names.
    top = 1 - _LEGEND_POINTS * (len(order) + 0.7) / _ROOFLINE_POINTS
    axes.legend(handles=roof_handles, frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, top))
    top -= _LEGEND_POINTS * (len(roof_handles) + 1.2) / _ROOFLINE_POINTS
    key = "\n".join(f"{number:2d}  {result['name']}" for number, result in enumerate(results, 1))
    axes.text(1.03, top, key, transform=axes.transAxes, va="top", fontsize=8, color="0.2", linespacing=1.3)
    return plots.save(figure, path)


def _number_workloads(axes: Any, intensity: NDArray[np.float64], peak: float) -> int:
    """Write each workload's number above the roof where its points are; return the height in points."""
    apart = 0.02 * np.log(4 * intensity.max() / intensity.min())
    ends: list[float] = []
    for index in np.argsort(intensity, kind="stable"):
        place = float(np.log(intensity[index]))
        free = (row for row, end in enumerate(ends) if place - end > apart)
        row = next(free, len(ends))
        ends[row : row + 1] = [place]
        axes.axvline(intensity[index], color="0.9", linewidth=0.8, zorder=0)
        axes.annotate(
            str(index + 1),
            (intensity[index], peak),
            xytext=(0, 5 + _ROW_POINTS * row),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    return 10 + _ROW_POINTS * len(ends)
