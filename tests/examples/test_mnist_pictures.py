"""The pictures of the example ``mnist``: that they are drawn, what they say, and their borderline cases."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import plots
from fusedlstm.examples import mnist_pictures as pictures

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"
HISTORY = {"loss": [0.9, 0.4], "accuracy": [0.7, 0.9], "val_loss": [0.5, 0.3], "val_accuracy": [0.85, 0.92]}


def check_png(path: Path, least_width: int, least_height: int) -> None:
    content = path.read_bytes()
    assert content.startswith(PNG)
    assert content[12:16] == b"IHDR"
    width, height = struct.unpack(">II", content[16:24])
    assert width >= least_width
    assert height >= least_height
    assert content.endswith(b"IEND\xaeB`\x82")
    from PIL import Image

    pixels = np.asarray(Image.open(path).convert("L"))
    assert (pixels < 128).mean() > 0.001  # something dark is drawn on the white ground
    # Nothing is cut off: the outermost pixels are background.
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def digits(count: int = 60, wrong: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, labels and outputs; the first ``wrong`` answers are one too high, ever less sure."""
    images = np.random.default_rng(3).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = np.arange(count) % 10
    probabilities = np.full((count, 10), 0.01)
    probabilities[np.arange(count), labels] = 0.91
    for index in range(wrong):
        probabilities[index, (labels[index] + 1) % 10] = 0.99 - index / 1000
    return images, labels, probabilities


def texts(figure: Any) -> list[str]:
    """Return what is written on a figure."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def drawn(tmp_path: Path, figure: Any, least_width: int, least_height: int) -> Any:
    """Save a figure, check the file, and return the figure."""
    check_png(plots.save(figure, tmp_path / "a.png"), least_width, least_height)
    return figure


def all_of_them(note: str = "") -> list[Any]:
    images, labels, probabilities = digits()
    return [
        pictures.learning_curves(HISTORY, note),
        pictures.confusion_matrix(labels, probabilities, note),
        pictures.misclassified(images, labels, probabilities, note),
    ]


def test_no_global_state(tmp_path: Path) -> None:
    before = "matplotlib.pyplot" in sys.modules  # Keras imports it, where tests of this process use Keras
    for figure in all_of_them():
        drawn(tmp_path, figure, 800, 300)
    assert before or "matplotlib.pyplot" not in sys.modules  # no global state, no display


def test_same_input_same_bytes(tmp_path: Path) -> None:
    first, second = (
        [plots.save(figure, tmp_path / "a.png").read_bytes() for figure in all_of_them()] for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    "history",
    [
        HISTORY,
        {name: values[:1] for name, values in HISTORY.items()},
        {name: np.linspace(0.9, 0.1, 100).tolist() for name in HISTORY},
        {"loss": [0.5, 0.4]},
        {"loss": [0.5, float("nan"), 0.3], "accuracy": [0.1, 0.1, 0.1]},
        {},
    ],
    ids=["two epochs", "one epoch", "many epochs", "loss only", "nan", "empty"],
)
def test_learning_curves(tmp_path: Path, history: dict[str, list[float]]) -> None:
    loss, accuracy = drawn(tmp_path, pictures.learning_curves(history), 1400, 600).axes
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy (%)")
    lines = {
        "loss": [line.get_ydata() for line in loss.lines],
        "accuracy": [line.get_ydata() for line in accuracy.lines],
    }
    for name, factor in (("loss", 1), ("accuracy", 100)):
        expected = [history[key] for key in (name, f"val_{name}") if key in history]
        assert len(lines[name]) == len(expected)
        for line, values in zip(lines[name], expected, strict=True):
            np.testing.assert_array_equal(line, factor * np.asarray(values))


def test_learning_curves_name_the_last_values() -> None:
    written = texts(pictures.learning_curves(HISTORY))
    assert {"training 0.4000", "validation 0.3000", "training 90.00 %", "validation 92.00 %"} <= set(written)
    assert "Validation accuracy is 92.00 % after 2 epochs" in written


def test_every_picture_names_model_seed_and_data() -> None:
    note = "LSTM(8), seed 0; 320 digits (bundled SUBSET of MNIST)"
    for figure in all_of_them(note):
        assert figure.get_supxlabel().replace("\n", " ").startswith(note)


def test_confusion_counts() -> None:
    counts = pictures.confusion_counts(np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 2, 0]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [1, 0, 2]])


def test_confusion_matrix(tmp_path: Path) -> None:
    _, labels, probabilities = digits(60, 7)
    figure = drawn(tmp_path, pictures.confusion_matrix(labels, probabilities), 800, 800)
    written = texts(figure)
    title = "53 of 60 right (88.33 %); 7 mistakes are the most common, once each"
    assert title in [text.replace("\n", " ") for text in written]
    # The first 7 items, one of each class 0 to 6, were taken for the next class.
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts].count("1") == 7
    assert written.count("83.3 %") == 7
    assert written.count("100.0 %") == 3
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "truth")


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        ([1, 1, 1, 1], "the most common mistake: 0 taken for 1, twice"),
        ([1, 0, 0, 1], "the most common mistakes: 0 taken for 1, 1 taken for 0, once each"),
        ([0, 0, 1, 1], "4 of 4 right (100.00 %)"),
    ],
)
def test_mistakes_that_are_the_most_common(predicted: list[int], said: str) -> None:
    """Where several are as common, none is singled out."""
    figure = pictures.confusion_matrix(np.array([0, 0, 1, 1]), np.eye(2)[predicted])
    assert figure.get_suptitle().replace("\n", " ").endswith(said)


@pytest.mark.parametrize("classes", [2, 10, 26])
def test_confusion_matrix_of_other_sizes(tmp_path: Path, classes: int) -> None:
    labels = np.arange(40) % classes
    outputs = np.eye(classes)[(labels + (np.arange(40) % 3 == 0)) % classes]
    drawn(tmp_path, pictures.confusion_matrix(labels, outputs), 300, 300)


def test_confusion_matrix_with_a_class_that_is_absent(tmp_path: Path) -> None:
    figure = drawn(tmp_path, pictures.confusion_matrix(np.array([0, 1]), np.eye(3)[:2]), 300, 300)
    assert "none" in texts(figure)


@pytest.mark.parametrize("wrong", [0, 1, 11, 60])
def test_misclassified(tmp_path: Path, wrong: int) -> None:
    images, labels, probabilities = digits(60, wrong)
    figure = drawn(tmp_path, pictures.misclassified(images, labels, probabilities), 800, 300)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == min(wrong, 50)
    # The most confident mistakes come first, which is the order in which `digits` makes them.
    for index, axes in enumerate(shown):
        np.testing.assert_array_equal(axes.images[0].get_array(), images[index])
        share = round(99 - index / 10)
        assert axes.get_title() == f"said {(labels[index] + 1) % 10} ({share} %)"
        assert [text.get_text() for text in axes.texts] == [f"truth {labels[index]}"]
    title = figure.get_suptitle().replace("\n", " ")
    assert title.startswith(f"{wrong} of 60 misclassified")
    assert title.endswith("the 50 most confident mistakes") == (wrong > 50)
    assert ("no mistake to show" in texts(figure)) == (wrong == 0)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fusedlstm\[report\]"'):
        pictures.learning_curves(HISTORY)
