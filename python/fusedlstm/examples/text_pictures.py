"""The pictures of the example `text`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots
from fusedlstm.examples.drawing import plain_logarithms
from fusedlstm.examples.said_before import BANDS, NO_END

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MODELS = {"lstm": ("LSTM", plots.COLOURS["blue"]), "ngrams": ("5-gram", plots.COLOURS["vermilion"])}


def perplexities(results: dict[str, Any], note: str) -> Figure:
    """Return the picture of perplexities by how many tokens a model sees."""
    ours, by_order = results["perplexity"], results["perplexities of 1- to 5-grams"]
    better = "below" if ours < by_order[-1] else "not below"
    title = (
        f"The LSTM's perplexity on held-out text is {ours:.1f}, {better} the {by_order[-1]:.1f} of 5-grams"
    )
    figure = plots.figure(title, note, (9, 5))
    axes, colours = figure.subplots(), plots.COLOURS
    axes.plot(range(5), by_order, "o-", color=colours["vermilion"])
    plots.label_line(axes, 4.2, by_order[-1], f"Kneser-Ney 5-grams: {by_order[-1]:.1f}", colours["vermilion"])
    mixture = results["perplexity of both mixed"]
    for name, value, colour in (
        ("LSTM, which sees all", ours, "blue"),
        (f"{results['share of the LSTM']:.0%} LSTM, the rest 5-grams", mixture, "green"),
    ):
        axes.axhline(value, color=colours[colour])
        plots.label_line(axes, 4.2, value, f"{name}: {value:.1f}", colours[colour])
    axes.set(xlabel="tokens before the next one that an n-gram sees", ylabel="perplexity of a token")
    axes.set(xlim=(-0.2, 4.2), xticks=range(5), yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    plain_logarithms(axes, "y")
    return figure


def said_before(recalled: list[dict[str, Any]], effects: list[dict[str, Any]], note: str) -> Figure:
    """Return the picture of pronouns: in text as it is, and with those before in their other form."""
    sure = [row for row in effects if row["from"] >= BANDS[1] and row["lstm"] > 2 * row["lstm error"]]
    title = "The LSTM does not remember pronouns for longer than a 5-gram sees"
    if sure:
        last = [row for row in sure if np.exp(row["lstm"]) > 1.05] or sure
        near, far = (f"{row['from']} to {row['to']} tokens before" for row in (sure[0], last[-1]))
        times = [times_as(float(np.exp(row["lstm"]))) for row in (sure[0], last[-1])]
        farther = f"one said {far} {times[1]}; a 5-gram sees neither"
        title = (
            f"A pronoun said {near} makes the one that agrees with it {times[0]} as probable to the LSTM, "
            f"{farther if far != near else 'and a 5-gram does not see it'}"
        )
    figure = plots.figure(title, note, (11, 5))
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    for key, (name, colour) in _MODELS.items():
        percent = [100 * np.exp(row[key]) for row in recalled]
        left.plot([_band(row) for row in recalled], percent, "o-", color=colour)
        if recalled:
            plots.label_line(left, len(recalled) - 1, percent[-1], name, colour)
        x = [row["distance"] for row in effects]
        low, mean, high = (
            [np.exp(row[key] + sign * row[f"{key} error"]) for row in effects] for sign in (-2, 0, 2)
        )
        right.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        right.plot(x, mean, "o-", color=colour)
        plots.label_line(right, x[-1], mean[-1], name, colour)
    left.set_title("Held-out text as it is", fontsize=10)
    left.set(xlabel="tokens since a pronoun that it agrees with", yscale="log")
    left.set(ylabel="a pronoun's probability, geometric mean (%)")
    plain_logarithms(left, "y")
    right.set_title("Those before as they are, and in their other form", fontsize=10)
    right.axvspan(0.9, BANDS[1] - 0.5, color="0.93", zorder=0)
    right.set(xlabel="tokens since then (grey: in a 5-gram's sight)", xscale="log", yscale="log")
    right.set(ylabel="times as probable (\u00b1 2 standard errors)", xlim=(0.9, 150))
    plain_logarithms(right, "x")
    plain_logarithms(right, "y")
    return figure


def times_as(factor: float) -> str:
    """Return ``2.4 times``, or ``1.05 times`` where fewer digits would round the effect away."""
    effect = abs(factor - 1)
    return f"{factor:.{1 if effect >= 0.1 else 2 if effect >= 0.01 else 3}f} times"


def _band(row: dict[str, Any]) -> str:
    if not row["from"]:
        return "none"
    return f"{row['from']}-{row['to']}" if row["to"] < NO_END - 1 else f"{row['from']}+"
