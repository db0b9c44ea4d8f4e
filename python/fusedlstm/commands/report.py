"""Pictures of a trained classifier, as PNG files: learning curves, confusion matrix, misclassified images.

All functions take plain arrays and write one file each; matplotlib (the extra ``report``) draws them without
a display and without touching pyplot's global state.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import plots
from fusedlstm.io.endings import PICTURES, check_ending

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# The names of the pictures that `write_report` writes.
REPORT = ("learning_curves.png", "confusion_matrix.png", "misclassified.png")

_TRAIN, _VALIDATION, _ERROR = plots.COLOURS["blue"], plots.COLOURS["vermilion"], "#B2182B"
_GRID_COLUMNS, _GRID_ROWS = 10, 5


def write_report(
    folder: str | os.PathLike[str],
    history: Mapping[str, Sequence[float]],
    images: NDArray[Any],
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
) -> list[Path]:
    """Write the three pictures into a folder and return their paths.

    Parameters
    ----------
    folder
        Where to; made when it does not exist. Pictures of the same names are overwritten.
    history
        As `learning_curves` takes it.
    images
        (N, height, width), any number type: what was classified.
    labels
        (N,) true classes, from 0 to C - 1.
    probabilities
        (N, C) the model's output for the images; the largest entry of a row is its prediction.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    ValueError
        When the arrays' shapes do not fit together.
    """
    if labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(f"labels: expected shape ({len(images)},), one for each image, got {labels.shape}")
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise ValueError(f"probabilities: expected shape ({len(labels)}, classes), got {probabilities.shape}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        learning_curves(folder / REPORT[0], history),
        confusion_matrix(folder / REPORT[1], labels, probabilities),
        misclassified(folder / REPORT[2], images, labels, probabilities),
    ]


def learning_curves(path: str | os.PathLike[str], history: Mapping[str, Sequence[float]]) -> Path:
    """Draw loss and accuracy against the epoch.

    Parameters
    ----------
    path
        The PNG file to write; ValueError if its name does not end in ``.png``.
    history
        ``History.history``: lists with one number for each epoch, under ``loss`` and ``accuracy`` for
        training and ``val_loss`` and ``val_accuracy`` for validation. A name that is absent is not drawn.
    """
    check_ending(path, PICTURES)
    figure = plots.figure("", "", (10, 4.6))
    for axes, name, unit, factor in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("", " (%)"), (1.0, 100.0), strict=True
    ):
        curves = (
            (name, "training", _TRAIN, "o"),
            (f"val_{name}", "validation", _VALIDATION, "s"),
        )
        epochs = 1
        for key, label, colour, marker in curves:
            values = factor * np.asarray(history.get(key, ()), dtype=np.float64)
            if not len(values):
                continue
            epochs = max(epochs, len(values))
            axes.plot(
                np.arange(1, len(values) + 1),
                values,
                color=colour,
                marker=marker if len(values) <= 40 else "",
                label=f"{label}: {values[-1]:.{4 if factor == 1 else 2}f}{' %' if unit else ''}",
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(name + unit)
        axes.set_title(name.capitalize(), pad=30)
        axes.set_xlim(0.5, epochs + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.margins(y=0.08)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            # Above the axes it cannot cover a curve, whatever its course.
            axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    note = "numbers: last epoch; training values are means over an epoch, validation is measured at its end"
    figure.supxlabel(note, fontsize=8, color="0.4")
    return plots.save(figure, path)


def confusion_counts(
    labels: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    """Return (classes, classes): how many items of each true class (row) got each prediction (column)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def confusion_matrix(
    path: str | os.PathLike[str],
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
) -> Path:
    """Draw how often each class was taken for each other, with the share of each class that was right.

    Correct answers are printed in blue on the diagonal; mistakes are shaded by their number, because on
    one common scale the diagonal would hide them.

    Parameters
    ----------
    path
        The PNG file to write; ValueError if its name does not end in ``.png``.
    labels
        (N,) true classes, from 0 to C - 1.
    probabilities
        (N, C) the model's output.
    """
    check_ending(path, PICTURES)
    classes = probabilities.shape[1]
    counts = confusion_counts(labels, probabilities.argmax(axis=1), classes)
    right, total = np.diag(counts), counts.sum(axis=1)
    errors = counts - np.diag(right)
    side = 1.5 + 0.52 * classes
    figure = plots.figure("", "", (side + 0.3, side))
    axes = figure.subplots()
    # The palette ends well before its darkest red, on which black numbers could not be read.
    axes.imshow(np.ma.masked_equal(errors, 0), cmap="Reds", vmin=0, vmax=max(int(errors.max()) * 1.6, 2))
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
                    color=_TRAIN if diagonal else "black",
                    fontweight="bold" if diagonal else "normal",
                )
        share = f"{100 * right[row] / total[row]:.1f} %" if total[row] else "none"
        axes.text(classes - 0.3, row, share, va="center", fontsize=9, color=_TRAIN)
    axes.text(classes - 0.3, -0.75, "right", va="center", fontsize=9, color=_TRAIN)
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.set_xticks(np.arange(0.5, classes - 1), minor=True)
    axes.set_yticks(np.arange(0.5, classes - 1), minor=True)
    axes.grid(which="minor", color="0.85")
    axes.spines[:].set_color("0.6")
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    correct, items = int(right.sum()), int(total.sum())
    axes.set_title(f"{correct:,} of {items:,} right ({100 * correct / max(items, 1):.2f} %)", pad=10)
    return plots.save(figure, path)


def _square(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#DCEAF5", edgecolor="none")


def misclassified(
    path: str | os.PathLike[str],
    images: NDArray[Any],
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
) -> Path:
    """Draw the images that were classified wrongly, at most 50, the most confident mistakes first.

    Parameters
    ----------
    path
        The PNG file to write; ValueError if its name does not end in ``.png``.
    images
        (N, height, width), any number type; each is drawn from black (lowest) on white to its own range.
    labels
        (N,) true classes, from 0 to C - 1.
    probabilities
        (N, C) the model's output.
    """
    check_ending(path, PICTURES)
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    shown = wrong[np.argsort(-confidence, kind="stable")][: _GRID_COLUMNS * _GRID_ROWS]
    columns = min(_GRID_COLUMNS, max(len(shown), 1))
    rows = max(1, -(-len(shown) // columns))
    figure = plots.figure("", "", (max(1.15 * columns, 5.5), 1.45 * rows + 0.7))
    title = f"{len(wrong):,} of {len(labels):,} misclassified"
    if len(shown) < len(wrong):
        title += f"; the {len(shown)} most confident mistakes"
    figure.suptitle(title, fontsize=12)
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
        axes.set_title(said, fontsize=9, color=_ERROR, pad=3)
        axes.text(
            0.5, -0.06, f"truth {labels[index]}", transform=axes.transAxes, ha="center", va="top", fontsize=9
        )
    return plots.save(figure, path)
