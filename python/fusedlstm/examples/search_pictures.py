"""The pictures of the example `search`: how it went on, which hyper-parameters matter, and the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import TrialState

from fusedlstm import plots
from fusedlstm.examples.job import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

    from fusedlstm.examples.tuning import Tuning

AREAS = ("average_precision", "roc_auc")  # at most 1
BLUE, ORANGE, GREY = plots.COLOURS["blue"], plots.COLOURS["vermilion"], "0.55"


def in_words(trial: FrozenTrial, watched: str) -> str:
    """Return what a trial was, and how good."""
    chosen = ", ".join(f"{name} {value:.3g}" for name, value in trial.params.items())
    epochs = len(trial.intermediate_values)
    ended = f", given up after {epochs} epoch{'s' * (epochs > 1)}" if given_up(trial) else ""
    return f"trial {trial.number}: {watched} {last(trial):.4g}{ended}; {chosen}"


def is_share(measure: str) -> bool:
    """Tell whether a measure of a test is a share, which is told in per cent."""
    return measure.startswith(("share of", "coverage_")) or measure.endswith("error rate")


def measured(measure: str, value: float) -> str:
    """Return a measure's value as it is told."""
    return percent(value) if is_share(measure) else f"{value:.4g}"


def given_up(trial: FrozenTrial) -> bool:
    """Tell whether a trial did not come to its end."""
    return trial.state is TrialState.PRUNED


def last(trial: FrozenTrial) -> float:
    """Return a trial's value, NaN if it diverged."""
    return float("nan") if trial.value is None else trial.value


def history(
    trials: Sequence[FrozenTrial], best: FrozenTrial, usual: FrozenTrial, tuning: Tuning, note: str
) -> Figure:
    """Draw trials in their order, and the epochs of each; ``usual`` is the one of the defaults."""
    watched, count = words(tuning.watched), sum(map(given_up, trials))
    title = f"No trial of {len(trials)} has a smaller {watched} than the defaults, {last(usual):.4g}"
    ended_early = f"{count} {'were' if count > 1 else 'was'} given up" if count else "none was given up"
    if best.number != usual.number:
        ends = f"{last(best):.4g}, the defaults have {last(usual):.4g}"
        title = f"The best of {len(trials)} trials has a {watched} of {ends}"
    figure = plots.figure(f"{title}; {ended_early}", note, (12, 5))
    left, right = figure.subplots(1, 2, sharey=True)
    points(left, [trial.number for trial in trials], trials)
    ended = [trial for trial in trials if not given_up(trial)]
    so_far = np.minimum.accumulate([last(trial) for trial in ended])
    newest = max(trial.number for trial in trials)  # It may have been given up, and the best be older.
    left.step(
        [*(trial.number for trial in ended), newest],
        [*so_far, so_far[-1]],
        where="post",
        color=BLUE,
        linewidth=1,
    )
    plots.label_line(left, newest, so_far[-1], "best so far", BLUE)
    left.set(xlabel="number of the trial (ring: given up)", ylabel=watched)
    for trial in (*trials, usual, best):
        colour, width = (BLUE, 2.0) if trial is best else ("black", 1.5) if trial is usual else (GREY, 0.7)
        epochs, values = np.array([*trial.intermediate_values.items()]).reshape(-1, 2).T
        right.plot(epochs + 1, values, color=colour, linewidth=width)
        if given_up(trial):
            right.plot(epochs[-1:] + 1, values[-1:], "x", color=GREY, markersize=4)
    right.set(xlabel="epoch (cross: given up)", ylabel=watched)
    for axes in (left, right):
        limits(axes, trials, usual)
        axes.locator_params("x", integer=True, min_n_ticks=1)
        axes.spines[["top", "right"]].set_visible(False)
    low, high = left.get_ylim()
    for name, trial, colour in (("defaults", usual, "black"), ("best", best, BLUE)):
        end = [*trial.intermediate_values.values()][-1]
        if np.isfinite(end):
            plots.label_line(right, len(trial.intermediate_values), np.clip(end, low, high), name, colour)
    if above := sum(not last(trial) <= high for trial in trials):
        text = f"{above} higher, or diverged"
        left.text(1, 1.01, text, transform=left.transAxes, ha="right", fontsize=8, color="0.4")
    return figure


def importance(
    trials: Sequence[FrozenTrial], best: FrozenTrial, usual: FrozenTrial, shares: Mapping[str, float],
    tuning: Tuning, note: str,
) -> Figure:  # fmt: skip
    """Draw the share of each hyper-parameter in the differences between trials, and the trials by each."""
    watched = words(tuning.watched)
    title = f"Which hyper-parameters matter for the {watched} is not known from so few trials"
    if shares:
        name, share = next(iter(shares.items()))
        title = f"The {words(name)} matters most: {100 * share:.0f} % of the differences go back to it"
    figure = plots.figure(title, f"Shares by fANOVA, of trials that came to their end. {note}", (12, 6.5))
    columns = 3
    rows = -(-(len(tuning.ranges) + 1) // columns)
    bars, *panels = figure.subplots(rows, columns, squeeze=False).ravel()
    names = list(shares) or [one.name for one in tuning.ranges]
    lengths = [100 * shares.get(name, 0.0) for name in names]
    bars.barh(range(len(names)), lengths, color=BLUE, height=0.6)
    for place, length in enumerate(lengths):
        bars.text(length + 1, place, f"{length:.0f} %" if shares else "not known", va="center", fontsize=9)
    bars.set_yticks(range(len(names)), list(map(words, names)))
    bars.set(xlabel="share of the differences, %", xlim=(0, 115), ylim=(len(names) - 0.5, -0.5))
    for axes, one in zip(panels, tuning.ranges, strict=False):
        points(axes, [trial.params[one.name] for trial in trials], trials)
        axes.plot(best.params[one.name], last(best), "*", color=ORANGE, markersize=14)
        axes.axvline(usual.params[one.name], color="black", linewidth=1, linestyle="--")
        axes.set(xlabel=words(one.name), ylabel=watched)
        limits(axes, trials, usual)
        if one.log:
            axes.set_xscale("log", subs=(2, 5))
            for of in ("major", "minor"):
                axes.tick_params("x", which=of, labelsize=8)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("{x:g}")
    for axes in panels[len(tuning.ranges) :]:
        axes.set_axis_off()
    panels[0].set_title("star: best; dashed: default; ring: given up", fontsize=8, loc="left", color="0.4")
    for axes in (bars, *panels):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def test(tests: Mapping[str, Mapping[int, Mapping[str, float]]], verdict: str, note: str) -> Figure:
    """Draw what the test measured of each seed, and the means."""
    measures = list(next(iter(next(iter(tests.values())).values())))
    title = f"On test data {verdict}"
    figure = plots.figure(title, f"Points: seeds; lines: their means. {note}", (4 * len(measures) + 1, 3.5))
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False).ravel(), measures, strict=True):
        for place, (rows, colour) in enumerate(zip(tests.values(), ("black", BLUE), strict=False)):
            factor = 100 if is_share(measure) else 1
            values = [factor * one[measure] for one in rows.values()]
            axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.6)
            axes.plot([np.mean(values)] * 2, [place - 0.25, place + 0.25], color=colour, linewidth=2)
            told = measured(measure, float(np.mean(values)) / factor)
            axes.text(np.mean(values), place - 0.3, told, color=colour, ha="center")
        axes.set_yticks(range(len(tests)), list(tests) if measure == measures[0] else [""] * len(tests))
        label = words(measure)
        if measure.startswith("coverage_"):
            label = f"values within {label.removeprefix('coverage ')} % intervals"
        unit = (", %" if is_share(measure) else "") + (" (less is better)" if measure == measures[0] else "")
        axes.set(xlabel=label + unit, ylim=(len(tests) - 0.5, -0.7))
        axes.margins(x=0.25)
        few_ticks(axes, 100 if is_share(measure) else 1 if measure in AREAS else np.inf)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def few_ticks(axes: Axes, highest: float) -> None:
    """Put few numbers on the x-axis, which do not run together, and none that no value can have."""
    axes.locator_params("x", nbins=4)
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= min(high, highest)])


def points(axes: Axes, places: Sequence[Any], trials: Sequence[FrozenTrial]) -> None:
    """Draw the value of each trial; rings are those that were given up."""
    for place, trial in zip(places, trials, strict=True):
        fill = "none" if given_up(trial) else BLUE
        axes.plot(
            place, last(trial), "o", color=GREY if given_up(trial) else BLUE, fillstyle="full", mfc=fill
        )


def limits(axes: Axes, trials: Sequence[FrozenTrial], usual: FrozenTrial) -> None:
    """Let a few very bad trials not take all of the room."""
    values = np.array([last(trial) for trial in trials])
    values = values[np.isfinite(values)]
    low = min(
        values.min(), *(min(trial.intermediate_values.values()) for trial in trials if not given_up(trial))
    )
    high = max(np.quantile(values, 0.75), last(usual) if np.isfinite(last(usual)) else low)
    if high - low <= 1e-3 * abs(high):  # Of few trials, or equal ones, it is the epochs that make the room.
        epochs = [value for trial in trials for value in trial.intermediate_values.values()]
        high = max(value for value in epochs if np.isfinite(value))
    room = max(high - low, 1e-6 + 1e-3 * abs(high))
    axes.set_ylim(low - 0.1 * room, high + 0.5 * room)


def words(name: str) -> str:
    """Return a name of a log, a measure or a hyper-parameter as it stands in a sentence."""
    return name.replace("val_", "validation ").replace("_", " ")
