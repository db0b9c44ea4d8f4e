"""What all pictures share: title and note, labels at lines that do not cover each other, complete files."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import plots

if TYPE_CHECKING:
    from pathlib import Path


def curves(ends: list[float]) -> tuple[Any, list[Any]]:
    figure = plots.figure("Two lines end beside each other", "seed 0, made for a test")
    axes = figure.subplots()
    for end in ends:
        axes.plot([0, 1], [0, end])
    return figure, [plots.label_line(axes, 1, end, f"line {end}", plots.COLOURS["blue"]) for end in ends]


def pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("L"))


def test_title_and_note() -> None:
    figure = plots.figure("The finding", "model, seed 0, data", (8, 4))
    assert figure.get_suptitle() == "The finding"
    assert figure.get_supxlabel() == "model, seed 0, data"
    np.testing.assert_array_equal(figure.get_size_inches(), [8, 4])


@pytest.mark.parametrize("width", [4, 6, 10])
def test_long_texts_stay_inside(tmp_path: Path, width: float) -> None:
    title = "A finding that needs many more words than there is room for in one line of a picture " * 2
    figure = plots.figure(title, "model, seed 0, data set " * 12, (width, 4))
    figure.subplots().plot([0, 1])
    drawn = pixels(plots.save(figure, tmp_path / "a.png"))
    for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):
        assert (edge == 255).all()
    assert figure.get_suptitle().split() == title.split()


def test_dollars_are_no_formulas(tmp_path: Path) -> None:
    figure = plots.figure("from $5 to $", "a $ and a $x_$")
    plots.label_line(figure.subplots(), 0, 0, "$\\nonsense$", "black")
    plots.save(figure, tmp_path / "a.png")


def test_colours_are_far_apart() -> None:
    """Also for the eye of a reader without red or green cones, after Vienot, Brettel and Mollon (1999)."""
    from matplotlib.colors import to_rgb

    red_green = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    colours = np.array([to_rgb(colour) for colour in plots.COLOURS.values()])
    for seen in (colours, (colours**2.2 @ red_green.T).clip(0, 1) ** (1 / 2.2)):
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert distances[np.triu_indices(len(seen), 1)].min() > 0.1


@pytest.mark.parametrize("ends", [[1.0], [1.0, 1.0], [1.0, 1.01, 0.3, 0.99, 0.31], [0.1, 0.9]])
def test_labels_are_moved_apart(tmp_path: Path, ends: list[float]) -> None:
    figure, labels = curves(ends)
    plots.save(figure, tmp_path / "a.png")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in labels]
    for index, box in enumerate(boxes):
        assert not any(min(box.y1, other.y1) - max(box.y0, other.y0) > 0.5 for other in boxes[:index])
    # Their order stays that of the lines' ends, and who had room stays where the line ends.
    assert [ends[i] for i in np.argsort([box.y0 for box in boxes], kind="stable")] == sorted(ends)
    if ends == [0.1, 0.9]:
        assert [label.xyann for label in labels] == [(6, 0), (6, 0)]


def test_labels_beside_each_other_stay(tmp_path: Path) -> None:
    figure = plots.figure("", "")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 0])
    labels = [plots.label_line(axes, x, 0, "here", "black") for x in (0.1, 0.7)]
    plots.save(figure, tmp_path / "a.png")
    assert [label.xyann for label in labels] == [(6, 0), (6, 0)]


def test_save_returns_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert plots.save(plots.figure("a", "b", (2, 2)), str(path)) == path
    assert pixels(path).shape == (300, 300)
    assert pixels(plots.save(plots.figure("a", "b", (2, 1)), path, dpi=50)).shape == (50, 100)


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="title: expected a text, got int"):
        plots.figure(1, "")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="note: expected a text, got NoneType"):
        plots.figure("", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size: expected a width and a height in inches, got 3"):
        plots.figure("", "", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size: expected a positive number"):
        plots.figure("", "", (0, 3))
    with pytest.raises(ValueError, match=r"ends in \.png"):
        plots.save(plots.figure("", ""), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fusedlstm\[report\]"'):
        plots.figure("", "")


def test_the_room_is_imported_without_matplotlib() -> None:
    code = "import sys, fusedlstm.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
