"""What `fusedlstm.examples.sound` draws: alignments of letters and phonemes, and errors by words' lengths."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import plots
from fusedlstm.examples.pronunciations import errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fusedlstm.examples.pronunciations import Array, Dictionary, Phonemes

ENOUGH = 30  # words of a length, so that their share of errors is worth a point


def telling(said: dict[str, Phonemes], dictionary: Dictionary) -> list[str]:
    """Return words that are said right: four with the most silent letters, two with the most phonemes."""
    right = [word for word, spoken in said.items() if spoken in dictionary[word] and 4 < len(word) < 11]
    right.sort(key=lambda word: (len(said[word]) - len(word), word))
    return right if len(right) < 6 else [*right[:4], *right[-2:]]


def draw_alignments(
    guesses: dict[str, Array], said: dict[str, Phonemes], phonemes: list[str], note: str
) -> Figure:
    """Draw the guesses at words' letters: probabilities (T, C), C of the blank and ``phonemes``."""
    blank = phonemes.index("")
    silent = [_silent(word, chances, blank) for word, chances in guesses.items()]
    of_all = f"{sum(silent)} of these words' {sum(map(len, guesses))} letters"
    title = f"CTC finds out which letter says what: {of_all} say nothing"
    figure = plots.figure(title, note, (11, 6.5))
    panels = figure.subplots(2, 3).ravel()
    for axes in panels[len(guesses) :]:
        axes.set_axis_off()
    for axes, (word, chances) in zip(panels, guesses.items(), strict=False):
        rows = [*dict.fromkeys(said[word]), ""]
        frames = len(chances) // len(word)
        shown = chances[:, [phonemes.index(row) for row in rows]].T
        image = axes.imshow(shown, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(frames * np.arange(len(word)) + (frames - 1) / 2, word.upper())
        axes.set_yticks(range(len(rows)), [*rows[:-1], "blank"])
        for letter in range(1, len(word)):
            axes.axvline(frames * letter - 0.5, color="white", linewidth=0.8)
        axes.set_title(f"{word}: {' '.join(said[word])}", fontsize=10, loc="left")
    if guesses:
        figure.colorbar(image, ax=figure.axes, label="probability of a guess", shrink=0.7)
    return figure


def _silent(word: str, chances: Array, blank: int) -> int:
    """Return how many of a word's letters have the blank as the best guess all along."""
    return int((chances.argmax(1).reshape(len(word), -1) == blank).all(1).sum())


def draw_lengths(said: dict[str, dict[str, Phonemes]], dictionary: Dictionary, note: str) -> Figure:
    """Draw how many words of each length are said wrong in each way, with bands of one standard error."""
    rates = [f"{name} {100 * errors(spoken, dictionary)[0]:.1f} %" for name, spoken in said.items()]
    figure = plots.figure(f"Unseen words said wrong: {', '.join(rates)}", note, (10, 5.5))
    axes = figure.subplots()
    for (name, spoken), colour in zip(said.items(), ("blue", "sky", "vermilion"), strict=True):
        alike = defaultdict(list)
        for word, phonemes in spoken.items():
            alike[len(word)].append(phonemes not in dictionary[word])
        lengths = np.array(sorted(length for length, wrong in alike.items() if len(wrong) >= ENOUGH))
        if not len(lengths):
            continue
        wrong = np.array([np.mean(alike[length]) for length in lengths])
        error = np.sqrt(wrong * (1 - wrong) / [len(alike[length]) for length in lengths])
        ink = plots.COLOURS[colour]
        axes.plot(lengths, 100 * wrong, color=ink, marker="o")
        axes.fill_between(lengths, 100 * (wrong - error), 100 * (wrong + error), color=ink, alpha=0.2, lw=0)
        plots.label_line(axes, float(lengths[-1]), float(100 * wrong[-1]), name, ink)
    axes.set_xlabel(f"letters of a word (lengths of at least {ENOUGH} test words; bands: one standard error)")
    axes.set_ylabel("words said wrong, %")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    return figure
