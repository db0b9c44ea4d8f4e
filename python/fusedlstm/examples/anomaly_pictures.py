"""The pictures of the example `anomaly`: curves of the test, the flows in time, and why some were flagged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots
from fusedlstm.examples.anomaly_events import flows_in_words
from fusedlstm.examples.drawing import shortened
from fusedlstm.examples.job import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.examples.flows import Flows
    from fusedlstm.examples.job import Job

    Array = NDArray[Any]

COLOURS = {"LSTM": "blue", "no memory": "orange", "moving average": "green", "isolation forest": "purple"}

TITLES = {
    "LSTM": "The LSTM tells attacks",
    "no memory": "The score without a memory tells attacks",
    "moving average": "The moving average tells attacks",
    "isolation forest": "The isolation forest tells attacks",
}


def draw_curves(job: Job, table: dict[str, dict[str, Any]], note: str) -> None:
    """Draw the ROC and precision-recall curves of all scores, or say that there are no labels."""
    if not table:
        figure = plots.figure(
            "No curves: the test flows are not labelled as attacks and normal ones", note, (8, 2)
        )
        figure.subplots().set_axis_off()
        job.picture("curves.png", figure)
        return
    best = max(table, key=lambda name: float(table[name]["average_precision"]))
    precision = f"{table[best]['average_precision']:.3f}"
    told = [name for name in table if f"{table[name]['average_precision']:.3f}" == precision]
    title = f"{TITLES[best]} best: average precision {precision}"
    if len(told) > 1:
        title = f"{' and '.join(told)} tell attacks equally well: average precision {precision}"
    figure = plots.figure(title, note, (13, 5))
    panels = (
        ("roc", "roc_auc", "normal flows flagged, %", "attacks' flows flagged, %", "ROC, area"),
        ("precision_recall", "average_precision", "attacks' flows flagged (recall), %",
         "flagged flows that are attacks (precision), %", "average precision"),
    )  # fmt: skip
    for axes, (key, area, across, up, words) in zip(figure.subplots(1, 2), panels, strict=True):
        order = sorted(table, key=lambda name: -float(table[name][area]))
        for place, name in enumerate(order):
            first, second = table[name][key]
            x, y = (first, second) if key == "roc" else (second, first)
            colour = plots.COLOURS[COLOURS[name]]
            axes.plot(100 * x, 100 * y, color=colour, linewidth=1.5)
            text = f"{name} {table[name][area]:.3f}"
            axes.text(1.02, 0.6 - 0.07 * place, text, transform=axes.transAxes, color=colour, fontsize=10)
        axes.text(1.02, 0.68, words, transform=axes.transAxes, color="0.4", fontsize=9)
        axes.set(xlabel=across, ylabel=up, xlim=(-1, 101), ylim=(-1, 101))
        axes.spines[["top", "right"]].set_visible(False)
    job.picture("curves.png", figure)


def draw_timeline(
    job: Job, traffic: Flows, scores: Array, threshold: float, test: Array, results: dict[str, Any], note: str
) -> None:
    """Draw the surprise of each test flow, attacks in another colour, and the threshold."""
    title = f"{results['flagged']:,} of {test.sum():,} flows are above the threshold"
    if "attacks_found" in results:
        title = (
            f"The threshold catches {100 * results['attacks_found']:.0f} % of attacks by one flow or more, "
            f"and {100 * results['false_alarm_rate']:.1f} % of the normal flows"
        )
    figure = plots.figure(title, note, (12, 5))
    axes = figure.subplots()
    place = np.flatnonzero(test)
    attack = np.zeros(len(place), bool) if traffic.labels is None else traffic.labels[test] != ""
    for chosen, name, colour in ((~attack, "normal", "sky"), (attack, "attack", "vermilion")):
        if chosen.any():
            colour = plots.COLOURS[colour]
            axes.plot(place[chosen], scores[test][chosen], ".", markersize=2.5, color=colour, alpha=0.6)
            shown = name if traffic.labels is not None else "flow"
            plots.label_line(axes, place[-1], float(np.median(scores[test][chosen])), shown, colour)
    axes.axhline(threshold, color="black", linewidth=1)
    plots.label_line(axes, place[-1], threshold, "threshold", "black")
    axes.set(xlabel="flow, in the order of time", ylabel="surprise of a flow: mean of log(1 + z²)")
    axes.set(xlim=(place[0], place[-1]), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    job.picture("timeline.png", figure)


def draw_events(job: Job, found: list[dict[str, Any]], note: str) -> None:
    """Draw which features surprised: in the first event of each attack, or in all where none is labelled."""
    picked: dict[str, dict[str, Any]] = {}
    for number, event in enumerate(found):
        label = event["label"] if event["label"] != "not labelled" else f"event {number + 1}"
        picked.setdefault(label, event)
    shown = list(picked.items())[:8]
    reasons = [
        f"{shortened(event['surprises'][0]['feature'], 40)} in {shortened(label, 40)}"
        for label, event in shown[:3]
    ]
    figure = plots.figure(
        f"Why they were flagged: {', '.join(reasons)}" if shown else "No flow was flagged",
        note,
        (13, 0.6 * len(shown) + 1.8),
    )
    axes = figure.subplots()
    most = max((one["share"] for _, event in shown for one in event["surprises"]), default=1.0)
    for row, (_, event) in enumerate(shown):
        for column, one in enumerate(event["surprises"]):
            length = 0.96 * one["share"] / most
            axes.barh(row, length, left=column, color=plots.COLOURS["sky"], alpha=0.45, height=0.85)
            name = f"{shortened(one['feature'], 26)}, {percent(one['share'])}"
            text = f"{name}\n{one['was']:.3g}, not {one['expected']:.2g}"
            axes.text(column + 0.02, row, text, fontsize=7.5, va="center", parse_math=False)
    names = [
        f"{shortened(label, 24)}: {shortened(event['kind'], 30)}\n{shortened(flows_in_words(event), 50)}"
        for label, event in shown
    ]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    axes.set_xlim(0, 4)
    axes.set_xticks([])
    axes.set_xlabel(
        "the four numbers that surprised most at each event's peak: their share of its surprise (bars, the "
        f"longest {percent(most)}), what was seen and what was expected",
        fontsize=8,
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    job.picture("events.png", figure)
