"""The pictures: that they are drawn, what they say, and their borderline cases."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import plots
from fusedlstm.commands import report

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


class Recorder:
    """Keeps the figures that would have been saved, so that a test can read what is written on them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.figures: list[Any] = []
        save = plots.save

        def keep(figure: Any, path: Path) -> Path:
            self.figures.append(figure)
            return save(figure, path)

        monkeypatch.setattr(plots, "save", keep)

    def texts(self) -> list[str]:
        from matplotlib.text import Text

        return [text.get_text() for text in self.figures[-1].findobj(Text) if text.get_text()]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def test_whole_report(tmp_path: Path) -> None:
    images, labels, probabilities = digits()
    before = "matplotlib.pyplot" in sys.modules  # Keras imports it, where tests of this process use Keras
    paths = report.write_report(tmp_path / "new" / "folder", HISTORY, images, labels, probabilities)
    assert [path.name for path in paths] == [
        "learning_curves.png",
        "confusion_matrix.png",
        "misclassified.png",
    ]
    for path in paths:
        check_png(path, 800, 300)
    assert sorted(paths) == sorted((tmp_path / "new" / "folder").iterdir())
    assert before or "matplotlib.pyplot" not in sys.modules  # no global state, no display


def test_same_input_same_bytes(tmp_path: Path) -> None:
    first = report.write_report(tmp_path / "a", HISTORY, *digits())
    second = report.write_report(tmp_path / "b", HISTORY, *digits())
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


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
def test_learning_curves(tmp_path: Path, recorder: Recorder, history: dict[str, list[float]]) -> None:
    check_png(report.learning_curves(tmp_path / "a.png", history), 1400, 600)
    loss, accuracy = recorder.figures[0].axes
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy (%)")
    drawn = {
        "loss": [line.get_ydata() for line in loss.lines],
        "accuracy": [line.get_ydata() for line in accuracy.lines],
    }
    for name, factor in (("loss", 1), ("accuracy", 100)):
        expected = [history[key] for key in (name, f"val_{name}") if key in history]
        assert len(drawn[name]) == len(expected)
        for line, values in zip(drawn[name], expected, strict=True):
            np.testing.assert_array_equal(line, factor * np.asarray(values))


def test_learning_curves_name_the_last_values(tmp_path: Path, recorder: Recorder) -> None:
    report.learning_curves(tmp_path / "a.png", HISTORY)
    wanted = {"training 0.4000", "validation 0.3000", "training 90.00 %", "validation 92.00 %"}
    assert wanted <= set(recorder.texts())
    assert "Validation accuracy is 92.00 % after 2 epochs" in recorder.texts()


def test_every_picture_names_model_seed_and_data(tmp_path: Path, recorder: Recorder) -> None:
    note = "LSTM(8), seed 0; 320 digits (bundled SUBSET of MNIST)"
    report.write_report(tmp_path, HISTORY, *digits(), note)
    assert len(recorder.figures) == 3
    for figure in recorder.figures:
        assert figure.get_supxlabel().replace("\n", " ").startswith(note)


def test_confusion_counts() -> None:
    counts = report.confusion_counts(np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 2, 0]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [1, 0, 2]])


def test_confusion_matrix(tmp_path: Path, recorder: Recorder) -> None:
    _, labels, probabilities = digits(60, 7)
    check_png(report.confusion_matrix(tmp_path / "a.png", labels, probabilities), 800, 800)
    texts = recorder.texts()
    title = "53 of 60 right (88.33 %); the most common mistake: 0 taken for 1, once"
    assert title in [text.replace("\n", " ") for text in texts]
    # The first 7 items, one of each class 0 to 6, were taken for the next class.
    axes = recorder.figures[0].axes[0]
    assert [text.get_text() for text in axes.texts].count("1") == 7
    assert texts.count("83.3 %") == 7
    assert texts.count("100.0 %") == 3
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "truth")


@pytest.mark.parametrize("classes", [2, 10, 26])
def test_confusion_matrix_of_other_sizes(tmp_path: Path, classes: int) -> None:
    labels = np.arange(40) % classes
    outputs = np.eye(classes)[(labels + (np.arange(40) % 3 == 0)) % classes]
    check_png(report.confusion_matrix(tmp_path / "a.png", labels, outputs), 300, 300)


def test_confusion_matrix_with_a_class_that_is_absent(tmp_path: Path, recorder: Recorder) -> None:
    check_png(report.confusion_matrix(tmp_path / "a.png", np.array([0, 1]), np.eye(3)[:2]), 300, 300)
    assert "none" in recorder.texts()


@pytest.mark.parametrize("wrong", [0, 1, 11, 60])
def test_misclassified(tmp_path: Path, recorder: Recorder, wrong: int) -> None:
    images, labels, probabilities = digits(60, wrong)
    check_png(report.misclassified(tmp_path / "a.png", images, labels, probabilities), 800, 300)
    figure = recorder.figures[0]
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == min(wrong, 50)
    # The most confident mistakes come first, which is the order in which `digits` makes them.
    for index, axes in enumerate(drawn):
        np.testing.assert_array_equal(axes.images[0].get_array(), images[index])
        share = round(99 - index / 10)
        assert axes.get_title() == f"said {(labels[index] + 1) % 10} ({share} %)"
        assert [text.get_text() for text in axes.texts] == [f"truth {labels[index]}"]
    title = figure.get_suptitle().replace("\n", " ")
    assert title.startswith(f"{wrong} of 60 misclassified")
    assert title.endswith("the 50 most confident mistakes") == (wrong > 50)
    assert ("no mistake to show" in recorder.texts()) == (wrong == 0)


def test_wrong_shapes(tmp_path: Path) -> None:
    images, labels, probabilities = digits()
    with pytest.raises(ValueError, match=r"labels: expected shape \(60,\), one for each image, got \(59,\)"):
        report.write_report(tmp_path, HISTORY, images, labels[1:], probabilities)
    with pytest.raises(ValueError, match=r"probabilities: expected shape \(60, classes\), got \(59, 10\)"):
        report.write_report(tmp_path, HISTORY, images, labels, probabilities[1:])
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fusedlstm\[report\]"'):
        report.learning_curves(tmp_path / "a.png", HISTORY)
