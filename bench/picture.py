"""Draw the README's picture from recorded figures: times of the peers over ours, as bars.

    python bench/picture.py bench/measured.json docs/peers.png

The file is as `fusedlstm bench --json FILE` writes it, or as much of it as bench/measured.json has. Prints
what the picture shows in words, for those who cannot see it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusedlstm import plots
from fusedlstm.benchmark.looks import LOOKS, RATIOS, label, machine_note
from fusedlstm.benchmark.peers import OURS, PEERS
from fusedlstm.benchmark.tables import digits, seconds_text
from fusedlstm.plots.drawing import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("torch", "keras-jax", "onnxruntime")
TITLES = {
    ("mnist", 128): "Training step of the MNIST model,\n2 LSTMs of 128, batch 128",
    ("training", 128): "Forward and backward,\n64 rows, 28 steps, 128 units",
    ("training", 512): "Forward and backward,\n64 rows, 50 steps, 512 units",
    ("forward", 128): "Inference,\n64 rows, 28 steps, 128 units",
    ("forward", 512): "Inference,\n64 rows, 50 steps, 512 units",
    ("single", 128): "Inference,\n1 row, 100 steps, 128 units",
}


def chosen(workloads: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return a title and the contenders of each workload that is drawn."""
    found = {}
    for workload in workloads:
        sizes = workload["sizes"]
        kind = "single" if sizes["B"] == 1 and workload["kind"] == "forward" else workload["kind"]
        if kind == "mnist":
            found[kind, sizes["B"]] = workload["contenders"]
        elif sizes["I"] == sizes["H"] and (kind == "single" or sizes["B"] == 64):
            found[kind, sizes["H"]] = workload["contenders"]
    return [(title, found[key]) for key, title in TITLES.items()]


def draw(content: dict[str, Any]) -> Figure:
    """Draw a group of bars for each workload; ours are one long."""
    drawn = chosen(content["workloads"])
    times = [
        contenders[name]["time_relative_to_ours"]["median"]
        for _, contenders in drawn
        for name in SHOWN
        if name in contenders
    ]
    title = f"A call takes {min(times):.2f} to {max(times):.2f} times as long with other libraries"
    figure = plots.figure(title, f"{machine_note(content)}\n{RATIOS}", (8.6, 6.4))
    axes = figure.subplots()
    ticks: list[tuple[float, str]] = []
    position, longest = 0.0, 1.0
    for work, contenders in drawn:
        start = position
        for name in (OURS, *(peer for peer in SHOWN if peer in contenders)):
            ours = name == OURS
            time = 1.0 if ours else contenders[name]["time_relative_to_ours"]["median"]
            axes.barh(position, time, height=0.88, color=LOOKS[name][0], alpha=1 if ours else 0.8)
            told = seconds_text(contenders[OURS]["seconds"]["median"]) if ours else f"{digits(time)} x"
            axes.annotate(
                f"{label(name)}  {told}",
                (time, position),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                fontweight="bold" if ours else "normal",
            )
            longest = max(longest, time)
            position += 1
        ticks.append(((start + position - 1) / 2, work))
        position += 0.9
    axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks], fontsize=9)
    axes.set(ylim=(position - 1.3, -0.9), xlim=(0, longest * 1.02))
    axes.set_xlabel("time of a call over ours; shorter is faster", fontsize=9)
    clean(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return figure


def in_words(content: dict[str, Any]) -> str:
    """Return the range of each peer's bars."""
    drawn = [contenders for _, contenders in chosen(content["workloads"])]
    ranges = []
    for name in SHOWN:
        times = [
            contenders[name]["time_relative_to_ours"]["median"] for contenders in drawn if name in contenders
        ]
        ranges.append(f"{PEERS[name].label} {min(times):.2f} to {max(times):.2f}")
    return f"Times over ours in {len(drawn)} workloads: {', '.join(ranges)}"


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("picture", type=click.Path(dir_okay=False, path_type=Path))
def main(results: Path, picture: Path) -> None:
    """Write the picture."""
    content = json.loads(results.read_text(encoding="utf-8"))
    plots.save(draw(content), picture, dpi=100)
    click.echo(in_words(content))


if __name__ == "__main__":
    main()
