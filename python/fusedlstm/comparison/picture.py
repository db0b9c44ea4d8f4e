"""The picture of a comparison: where the sets differ, the worst feature in both, and what the LSTM saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots

if TYPE_CHECKING:
    from fusedlstm.comparison.result import Comparison, Distances, Shares

_TRAIN, _TEST, _DIFFERS = plots.COLOURS["blue"], plots.COLOURS["vermilion"], plots.COLOURS["vermilion"]
_MOST_BARS, _SMALL = 16, 9


def draw(comparison: Comparison) -> Any:
    """Return the figure; a panel that has nothing to show is left out."""
    views = comparison.distances
    worst = max(views, key=lambda one: (one.differs.any(), one.values.max()), default=None)
    panels: list[tuple[Any, Any]] = []
    if worst is not None:
        panels.append((_bars, worst))
        if len(worst.edges) > 2:
            panels += [(_map, worst), (_courses, worst)]
        else:
            panels.append((_histograms, worst))
    panels += [(_shares, one) for one in comparison.shares[: 1 if panels else 3]]
    if comparison.scores is not None:
        panels.append((_scores, comparison))
    columns = min(2, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure = plots.figure(comparison.headline, _note(comparison), (5.2 * columns, 1.2 + 3.3 * lines))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, (function, what) in zip(axes, panels, strict=False):
        function(panel, what)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    if not panels:
        axes[0].text(0.5, 0.5, "no numbers to draw", ha="center", va="center", color="0.4")
    return figure


def _note(comparison: Comparison) -> str:
    n, m = comparison.samples
    count = sum(comparison.tests.values())
    text = f"{n:,} training samples, {m:,} test samples; {count:,} tests with {100 * comparison.alpha:g} %"
    return f"compare_data: {text} false alarms together; seed {comparison.seed}"


def _bars(axes: Any, view: Distances) -> None:
    """Draw each feature's largest distance, those that differ in a colour of their own."""
    size = view.values.max(axis=1)
    order = np.lexsort((-size, ~view.differs))[:_MOST_BARS]
    places = np.arange(len(order))
    colours = [_DIFFERS if view.differs[number] else "0.65" for number in order]
    axes.barh(places, size[order], color=colours, height=0.7)
    for place, number in zip(places, order, strict=True):
        text = f"{size[number]:.2f}{'  differs' if view.differs[number] else ''}"
        axes.text(size[number] + 0.015, place, text, va="center", fontsize=_SMALL - 1)
    axes.set_yticks(places, [_short(view.features[number]) for number in order], fontsize=_SMALL)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("Kolmogorov-Smirnov distance: 0 alike, 1 apart")
    left = len(view.features) - len(order)
    count = int(view.differs.sum())
    title = (
        f"{view.field}: {count} of {len(view.features)} features differ"
        if count
        else f"{view.field}: no feature differs"
    )
    axes.set_title(title + (f", {left} not shown" if left else ""), fontsize=_SMALL + 1, loc="left")


def _map(axes: Any, view: Distances) -> None:
    """Draw the distance of each feature at each step."""
    image = axes.pcolormesh(
        view.edges, np.arange(len(view.features) + 1) - 0.5, view.values, cmap="cividis", vmin=0, vmax=1
    )
    axes.figure.colorbar(image, ax=axes, label="distance", shrink=0.9)
    if len(view.features) <= 2 * _MOST_BARS:
        axes.set_yticks(
            range(len(view.features)), [_short(one) for one in view.features], fontsize=_SMALL - 1
        )
    else:
        axes.set_ylabel("feature")
    axes.invert_yaxis()
    axes.set_xlabel("step")
    axes.set_title("Distance by feature and step", fontsize=_SMALL + 1, loc="left")


def _courses(axes: Any, view: Distances) -> None:
    """Draw median and middle 80 % of one feature over the steps of both sets."""
    middles = (np.array(view.edges[1:]) + np.array(view.edges[:-1]) - 1) / 2
    for name, colour, style, quantiles in (
        ("train", _TRAIN, "-", view.train),
        ("test", _TEST, "--", view.test),
    ):
        axes.fill_between(middles, quantiles[0], quantiles[2], color=colour, alpha=0.18, linewidth=0)
        axes.plot(middles, quantiles[1], style, color=colour)
        plots.label_line(axes, float(middles[-1]), float(quantiles[1][-1]), name, colour)
    axes.set_xlabel("step")
    axes.set_ylabel("value")
    axes.grid(color="0.92")
    axes.set_title(
        f"{_short(view.features[view.shown])}: median and middle 80 %", fontsize=_SMALL + 1, loc="left"
    )


def _histograms(axes: Any, view: Distances) -> None:
    """Draw one feature's values in both sets."""
    _two_histograms(axes, *view.samples)
    axes.set_xlabel(f"value of {_short(view.features[view.shown])}")
    axes.set_title(f"{_short(view.features[view.shown])} in both sets", fontsize=_SMALL + 1, loc="left")


def _shares(axes: Any, view: Shares) -> None:
    """Draw how often classes or ids come in both sets."""
    places = np.arange(len(view.names))
    axes.bar(places - 0.2, 100 * view.train, 0.4, color=_TRAIN, label="train")
    axes.bar(
        places + 0.2,
        100 * view.test,
        0.4,
        color=_TEST,
        label="test",
        hatch="//",
        edgecolor="white",
        linewidth=0,
    )
    axes.set_xticks(places, view.names, fontsize=_SMALL)
    axes.set_xlabel(view.what)
    axes.set_ylabel("share (%)")
    axes.set_title(f"{view.field}: {view.title}", fontsize=_SMALL + 1, loc="left")
    _legend_above(axes)


def _scores(axes: Any, comparison: Comparison) -> None:
    """Draw what the LSTM said of rows that it had not seen."""
    assert comparison.scores is not None
    _two_histograms(axes, *comparison.scores)
    axes.set_xlabel("the LSTM's logit: higher looks like test")
    told = any(one.kind == "classifier" for one in comparison.findings)
    title = "An LSTM tells the sets apart" if told else "An LSTM does not tell the sets apart"
    axes.set_title(f"{title}: AUC {comparison.auc:.3f}", fontsize=_SMALL + 1, loc="left")


def _two_histograms(axes: Any, ours: Any, theirs: Any) -> None:
    both = np.concatenate([ours, theirs])
    if not both.size:
        return
    low, high = np.quantile(both, (0.002, 0.998))
    edges = np.linspace(low, high if high > low else low + 1, 41)
    for name, colour, style, values in (("train", _TRAIN, "-", ours), ("test", _TEST, "--", theirs)):
        shares = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values))
        axes.stairs(100 * shares, edges, color=colour, linestyle=style, linewidth=1.6, label=name)
        axes.stairs(100 * shares, edges, color=colour, fill=True, alpha=0.12)
    axes.set_ylabel("share of rows (%)")
    _legend_above(axes)


def _legend_above(axes: Any) -> None:
    """Make room for a legend that covers nothing."""
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=_SMALL, loc="upper center", ncols=2)


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
