"""The pictures of the example `forecast`: the backtest, its scores, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots
from fusedlstm.examples.drawing import shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.examples.job import Job
    from fusedlstm.examples.series import Series

    Array = NDArray[Any]

COLOURS = {"LSTM": "blue", "ETS": "vermilion", "seasonal naive": "green"}


def draw_backtest(
    job: Job, series: Series, origins: list[int], made: dict[str, Array], table: dict[str, Any], note: str
) -> None:
    """Draw the forecasts of four origins, each beside what followed."""
    best = min(made, key=lambda name: float(table[series.name][name]["MASE"]))
    name = shortened(series.name, 60)
    title = f"{name}: {best} is nearest to what followed (MASE " + ", ".join(
        f"{name} {table[series.name][name]['MASE']:.2f}" for name in made
    )
    figure = plots.figure(title + ")", note, (12, 7))
    picked = np.unique(np.linspace(0, len(origins) - 1, 4).astype(int))
    grid = figure.subplots(2, 2).ravel()
    measured = series.measured
    for axes, which in zip(grid, picked, strict=False):
        origin, horizon = origins[which], made["LSTM"].shape[1]
        times, before = series.times[origin : origin + horizon], slice(origin - series.season, origin)
        bands(axes, times, made["LSTM"][which])
        axes.plot(series.times[before], measured[before], color="0.6")
        followed = measured[origin : origin + horizon]
        axes.plot(times, followed, color="black", linewidth=1.2)
        for name, quantiles in made.items():
            colour = plots.COLOURS[COLOURS[name]]
            axes.plot(times, quantiles[which, :, 2], color=colour, linewidth=1.2)
            plots.label_line(axes, times[-1], quantiles[which, -1, 2], name, colour)
        if np.isfinite(followed).any():
            end = followed[np.isfinite(followed)][-1]
            plots.label_line(axes, times[-1], end, "what followed", "black")
        axes.set_title(f"from {series.moment(origin)}", fontsize=10, loc="left")
        axes.set_ylabel(shortened(series.unit, 40), fontsize=8)
        plain(axes)
    for axes in grid[len(picked) :]:
        axes.set_axis_off()
    job.picture("backtest.png", figure)


def bands(axes: Any, times: Array, quantiles: Array) -> None:
    """Draw the intervals of the LSTM, darker where they are narrower."""
    blue = plots.COLOURS["blue"]
    axes.fill_between(times, quantiles[:, 0], quantiles[:, 4], color=blue, alpha=0.15, linewidth=0)
    axes.fill_between(times, quantiles[:, 1], quantiles[:, 3], color=blue, alpha=0.25, linewidth=0)


def plain(axes: Any) -> None:
    """Write times in few words, and draw no frame through labels."""
    from matplotlib import dates

    locator: Any = dates.AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.spines[["top", "right"]].set_visible(False)


def draw_scores(job: Job, table: dict[str, Any], note: str) -> None:
    """Draw MASE and coverages of each model on each series."""
    won = sum(min(rows, key=lambda name: rows[name]["MASE"]) == "LSTM" for rows in table.values())
    low = min(rows["LSTM"]["coverage_80"] for rows in table.values())
    title = (
        f"The LSTM has the smallest error on {won} of {len(table)} series; "
        f"its 80 % intervals hold {100 * low:.0f} % of the values"
    )
    figure = plots.figure(title + (" or more" if len(table) > 1 else ""), note, (12, 5))
    panels = (
        ("MASE", 1, 1, "mean absolute scaled error, MASE; less is better"),
        ("coverage_80", 100, 80, "values within 80 % intervals, %"),
        ("coverage_95", 100, 95, "values within 95 % intervals, %"),
    )
    for axes, (key, factor, goal, label) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        right = axes.get_yaxis_transform()
        for place, rows in enumerate(table.values()):
            for number, (name, colour) in enumerate(COLOURS.items()):
                value, y = factor * rows[name][key], place + 0.25 * (number - 1)
                axes.plot([0, value], [y, y], color=plots.COLOURS[colour], linewidth=1, alpha=0.4)
                axes.plot(value, y, "o", color=plots.COLOURS[colour])
                text = f"{name} {value:.2f}" if factor == 1 else f"{value:.0f} %"
                axes.text(
                    1.02, y, text, transform=right, va="center", fontsize=9, color=plots.COLOURS[colour]
                )
        axes.axvline(goal, color="0.5", linestyle="--", linewidth=1)
        meaning = "as values of a season before " if factor == 1 else "as it should be "
        axes.text(goal, -0.62, meaning, fontsize=8, color="0.4", ha="right", va="center")
        highest = max(row[key] for rows in table.values() for row in rows.values())
        axes.set(xlabel=label, xlim=(0, 1.1 * max(1, highest) if factor == 1 else 102))
        axes.set_yticks(range(len(table)), [shortened(name, 30) for name in table])
        axes.set_ylim(len(table) - 0.5, -0.75)
        axes.spines[["top", "right"]].set_visible(False)
    job.picture("scores.png", figure)


def draw_next(job: Job, series: Series, times: Array, ahead: Array, note: str) -> None:
    """Draw what the LSTM forecasts after the end of the series."""
    middle = ahead[-1, 2]
    title = (
        f"{shortened(series.name, 60)}: {middle:#.4g} at the end of the next {len(times)} steps, "
        f"{ahead[-1, 1]:#.4g} to {ahead[-1, 3]:#.4g} with 80 %"
    )
    figure = plots.figure(title, note)
    axes = figure.subplots()
    past = slice(-3 * series.season, None)
    axes.plot(series.times[past], series.measured[past], color="black", linewidth=1.2)
    bands(axes, times, ahead)
    blue = plots.COLOURS["blue"]
    axes.plot(times, ahead[:, 2], color=blue)
    plots.label_line(axes, times[-1], ahead[-1, 4], "95 %", "0.5")
    plots.label_line(axes, times[-1], ahead[-1, 3], "80 %", "0.3")
    plots.label_line(axes, times[-1], middle, "median", blue)
    axes.set_ylabel(shortened(series.unit, 50))
    axes.set_xlim(series.times[past][0], times[-1])
    plain(axes)
    job.picture("next.png", figure)
