"""The pictures of the example `mnist`: learning curves, confusion matrix, misclassified digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_RIGHT, _WRONG = plots.COLOURS["blue"], plots.COLOURS["vermilion"]
_GRID_COLUMNS, _GRID_ROWS = 10, 5
_MOST_TIED = 3  # mistakes that are named where several are the most common


def learning_curves(history: Mapping[str, Sequence[float]], note: str = "") -> Figure:
    """Draw loss and accuracy against the epoch.

    Parameters
    ----------
    history
        ``History.history``: lists with one number for each epoch, under ``loss`` and ``accuracy`` for
        training and ``val_loss`` and ``val_accuracy`` for validation. A curve that is absent is not drawn.
    note
        Model, seed and data set.
    """
    shown = ("loss", "accuracy", "val_loss", "val_accuracy")
    curves = {name: history.get(name, ()) for name in shown}
    more = "numbers: last epoch; training values are means over an epoch, validation is measured at its end"
    return plots.training_curves(curves, _ending(curves), f"{note}\n{more}".lstrip())


def _ending(curves: Mapping[str, Sequence[float]]) -> str:
    """Return in words how a training ended."""
    for name, text in (("val_accuracy", "Validation accuracy"), ("accuracy", "Training accuracy")):
        if len(curves[name]):
            epochs = len(curves[name])
            after = "1 epoch" if epochs == 1 else f"{epochs} epochs"
            return f"{text} is {100 * curves[name][-1]:.2f} % after {after}"
    return "Training"


def confusion_counts(
    labels: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    """Return (classes, classes): how many items of each true class (row) got each prediction (column)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def confusion_matrix(
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    note: str = "",
) -> Figure:
    """Draw how often each class was taken for each other, with the share of each class that was right.

    Correct answers are printed in blue on the diagonal; mistakes are shaded by their number, because on
    one common scale the diagonal would hide them.

    Parameters
    ----------
    labels
        (N,) true classes, from 0 to C - 1.
    probabilities
        (N, C) the model's output.
    note
        Model, seed and data set.
    """
    classes = probabilities.shape[1]
    counts = confusion_counts(labels, probabilities.argmax(axis=1), classes)
    right, total = np.diag(counts), counts.sum(axis=1)
    errors = counts - np.diag(right)
    side = 1.7 + 0.52 * classes
    figure = plots.figure(_most_common(counts), note, (max(side, 4.5), side + 0.4))
    axes = figure.subplots()
    # The palette ends well before its darkest orange, on which black numbers could not be read.
    axes.imshow(np.ma.masked_equal(errors, 0), cmap="Oranges", vmin=0, vmax=max(int(errors.max()) * 1.6, 2))
    for row in range(classes):
        for column in range(classes):
            count, diagonal = counts[row, column], row == column
            if diagonal:
                axes.add_patch(_square(column, row))
            if count:
                axes.text(
                    column,
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    fontsize=9,
                    color=_RIGHT if diagonal else "black",
                    fontweight="bold" if diagonal else "normal",
                )
        share = f"{100 * right[row] / total[row]:.1f} %" if total[row] else "none"
        axes.text(classes - 0.3, row, share, va="center", fontsize=9, color=_RIGHT)
    axes.text(classes - 0.3, -0.75, "right", va="center", fontsize=9, color=_RIGHT)
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.set_xticks(np.arange(0.5, classes - 1), minor=True)
    axes.set_yticks(np.arange(0.5, classes - 1), minor=True)
    axes.grid(which="minor", color="0.85")
    axes.spines[:].set_color("0.6")
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    return figure


def _most_common(counts: NDArray[np.int64]) -> str:
    """Return in words how many were right, and which mistake was made most often."""
    correct, items = int(np.trace(counts)), int(counts.sum())
    text = f"{correct:,} of {items:,} right ({100 * correct / max(items, 1):.2f} %)"
    errors = counts - np.diag(np.diag(counts))
    most = int(errors.max(initial=0))
    if not most:
        return text
    times = {1: "once", 2: "twice"}.get(most, f"{most} times")
    tied = [f"{truth} taken for {guess}" for truth, guess in np.argwhere(errors == most)]
    if len(tied) == 1:
        return f"{text}; the most common mistake: {tied[0]}, {times}"
    if len(tied) <= _MOST_TIED:
        return f"{text}; the most common mistakes: {', '.join(tied)}, {times} each"
    return f"{text}; {len(tied)} mistakes are the most common, {times} each"


def _square(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#DCEAF5", edgecolor="none")


def misclassified(
    images: NDArray[Any],
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    note: str = "",
) -> Figure:
    """Draw the images that were classified wrongly, at most 50, the most confident mistakes first.

    Parameters
    ----------
    images
        (N, height, width), any number type; each is drawn from black (lowest) on white to its own range.
    labels
        (N,) true classes, from 0 to C - 1.
    probabilities
        (N, C) the model's output.
    note
        Model, seed and data set.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    shown = wrong[np.argsort(-confidence, kind="stable")][: _GRID_COLUMNS * _GRID_ROWS]
    columns = min(_GRID_COLUMNS, max(len(shown), 1))
    rows = max(1, -(-len(shown) // columns))
    title = f"{len(wrong):,} of {len(labels):,} misclassified"
    if len(shown) < len(wrong):
        title += f"; the {len(shown)} most confident mistakes"
    figure = plots.figure(title, note, (max(1.15 * columns, 5.5), 1.45 * rows + 1.0))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    if not len(shown):
        grid[0].text(0.5, 0.5, "no mistake to show", ha="center", va="center", fontsize=12, color="0.4")
    for axes, index in zip(grid, shown, strict=False):
        axes.imshow(images[index], cmap="gray_r", interpolation="nearest")
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
        guess = predicted[index]
        said = f"said {guess} ({100 * probabilities[index, guess]:.0f} %)"
        axes.set_title(said, fontsize=9, color=_WRONG, pad=3)
        axes.text(
            0.5, -0.06, f"truth {labels[index]}", transform=axes.transAxes, ha="center", va="top", fontsize=9
        )
    return figure
