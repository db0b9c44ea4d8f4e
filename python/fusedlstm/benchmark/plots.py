"""Pictures of a benchmark's results: bars of the share of the peak, and a roofline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm import plots
from fusedlstm.benchmark.looks import LOOKS, RATIOS, label, machine_note
from fusedlstm.benchmark.peers import OURS, PEERS
from fusedlstm.benchmark.roofline import roofline
from fusedlstm.benchmark.tables import digits, seconds_text
from fusedlstm.plots.drawing import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_BAR_INCHES = 0.23
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
    note = machine_note(content)
    paths = [
        _bars(folder / f"{group}.png", _GROUPS[group], note, groups[group])
        for group in _GROUPS
        if group in groups
    ]
    return [*paths, roofline(folder / _ROOFLINE, content)]


def _sizes(result: Mapping[str, Any]) -> str:
    sizes = result["sizes"]
    letters = {"mnist": "B", "step": "BIH"}.get(result["kind"], "BTIH")
    text = ", ".join(f"{letter} {sizes[letter]}" for letter in letters)
    return f"one step: {text}" if result["kind"] == "step" else text


def finding(results: Sequence[Mapping[str, Any]]) -> str:
    """Return in words how other libraries compare, or how near the peak this one comes without any."""
    ratios = [
        entry["time_relative_to_ours"]["median"]
        for result in results
        for name, entry in result["contenders"].items()
        if name in PEERS
    ]
    if ratios:
        return f"others take {digits(min(ratios))} to {digits(max(ratios))} times as long as {OURS}"
    shares = [100 * result["contenders"][OURS]["fraction_of_peak"]["median"] for result in results]
    low, high = f"{min(shares):.0f}", f"{max(shares):.0f}"
    return f"{OURS} reaches {low if low == high else f'{low} to {high}'} % of the multiply-add peak"


def _bars(path: Path, title: str, note: str, results: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the share of the peak as bars, one group for each workload, names and times at their ends."""
    count = sum(len(result["contenders"]) for result in results)
    height = 1.9 + _BAR_INCHES * (count + 1.2 * len(results))
    compared = any(name != OURS for result in results for name in result["contenders"])
    told = "at the bars: median time of a call"
    if compared:
        told += f", and how many times that of {OURS}: {RATIOS}"
    figure = plots.figure(f"{title}: {finding(results)}", f"{note}\n{told}", (9.5, height))
    axes = figure.subplots()
    position, longest = 0.0, 0.0
    ticks: list[tuple[float, str]] = []
    for result in results:
        start = position
        for name, entry in result["contenders"].items():
            share = 100 * entry["fraction_of_peak"]["median"]
            low, high = (100 * entry["fraction_of_peak"][key] for key in ("p10", "p90"))
            axes.barh(position, share, height=0.86, color=LOOKS[name][0], alpha=1 if name == OURS else 0.75)
            axes.plot([low, high], [position, position], color="0.15", linewidth=1)
            text = f"{label(name)}  {seconds_text(entry['seconds']['median'])}"
            if name != OURS:
                text += f"  {digits(entry['time_relative_to_ours']['median'])} x"
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
    axes.set_xlim(0, longest * 1.05)
    axes.set_xlabel("% of the multiply-add peak measured in the same rounds; line: 10 to 90 % of the rounds")
    clean(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return plots.save(figure, path)
