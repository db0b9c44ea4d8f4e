"""The example ``strips``: its strips, its quick run on the bundled digits, its errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import losses, metrics, ops
from fusedlstm.datasets import mnist
from fusedlstm.datasets.idx import write_idx
from fusedlstm.examples import strips
from fusedlstm.examples.job import Job
from tests.examples.common import PNG, results, run, words

if TYPE_CHECKING:
    from click.testing import Result


def subset() -> mnist.MNIST:
    return mnist.MNIST(*mnist.load_mnist(mnist.SUBSET_FOLDER), "subset", mnist.SUBSET_FOLDER)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return the folder with all the outputs of a quick run on the bundled digits, and what it printed."""
    out = tmp_path_factory.mktemp("out")
    targets = ("--json", out / "a.json", "--save", out / "a.keras", "--report", out / "report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSEDLSTM_DATA", str(out / "cache"))
        patch.setattr(mnist, "MIRRORS", ())
        # Threads that wait for each other would take long beside other processes.
        result = run("strips", "--quick", "--threads", 1, *targets)
    assert result.exit_code == 0, result.output
    return out, result


def test_a_quick_run_learns_to_read(quick: tuple[Path, Result]) -> None:
    out, result = quick
    content = results(out / "a.json")
    # A model that reads nothing has 1, and one that guesses three digits 0.9.
    assert content["label_error_rate"] < 0.25
    assert content["label_error_rate_beam_search"] < 0.25
    assert content["validation_label_error_rate"] < 0.3
    assert content["strips_read_right"] > 0.4
    assert content["strips_read_right_beam_search"] > 0.4
    assert content["by_length"] == {
        "3": {key: content[key] for key in ("label_error_rate", "strips_read_right")} | {"strips": 250}
    }
    for name in ("training_seconds", "training_processor_seconds", "strips_trained_per_second"):
        assert content[name] > 0
    assert content["strips_read_per_second"] > 0
    assert "float32 lstm_forward" in content["kernel"]
    assert content["digits"] == "SUBSET of MNIST, 3,600 digits to learn from"
    assert content["digits"] in words(result.stdout)
    assert "NOT comparable" in result.stderr


def test_numbers_are_those_of_the_saved_model(quick: tuple[Path, Result]) -> None:
    out, _ = quick
    model = fusedlstm.load_model(out / "a.keras", compile=False)
    x, classes = strips.draw_strips(subset().test, 250, 3, np.random.default_rng(2))
    read = ops.ctc_decode(
        model.predict(x, verbose=0), np.any(x != strips.PADDING, axis=2).sum(axis=1)
    ).labels[0]
    wanted = metrics.label_error_rate(list(classes), [row[row >= 0] for row in read])
    assert results(out / "a.json")["label_error_rate"] == wanted


def test_picture(quick: tuple[Path, Result]) -> None:
    out, _ = quick
    (picture,) = (out / "report").iterdir()
    assert picture.name == "strips.png"
    assert picture.read_bytes().startswith(PNG)
    assert picture.stat().st_size > 20_000


def test_strips_hold_their_digits() -> None:
    rng = np.random.default_rng(0)
    images, labels = subset().train
    x, classes = strips.draw_strips((images, labels), 64, 8, rng)
    assert x.dtype == np.float32
    assert x.shape[::2] == (64, 2 * strips.HEIGHT)
    lengths = np.count_nonzero(classes, axis=1)
    assert set(lengths) == {3, 4, 5, 6, 7, 8}
    for row, length in zip(classes, lengths, strict=True):
        assert np.all(row[:length] > 0)
        assert np.all(row[length:] == strips.BLANK)
    padded = np.all(x == strips.PADDING, axis=2)
    assert not padded[:, 0].any()
    assert np.all(padded[:, 1:] >= padded[:, :-1])  # on the right alone
    pixels = x[~padded]
    assert pixels.min() == 0
    assert 0.9 < pixels.max() < 1 + 1e-6  # rounding of weights that sum to 1
    steps = (~padded).sum(axis=1)
    assert np.corrcoef(steps, lengths)[0, 1] > 0.8


def test_the_narrowest_digits_can_be_read() -> None:
    """CTC needs a step for each digit and one between equal ones, however narrow and close they are."""
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 14] = 255
    images, labels = np.stack([image] * 4), np.ones(4, np.uint8)
    x, classes = strips.draw_strips((images, labels), 300, 8, np.random.default_rng(0))
    steps = np.any(x != strips.PADDING, axis=2).sum(axis=1)
    assert np.all(steps >= 2 * np.count_nonzero(classes, axis=1) - 1)
    logits = np.zeros((*x.shape[:2], 11), np.float32)
    mask = np.any(x != strips.PADDING, axis=2)
    assert np.isfinite(losses.CTC().value_and_gradient(classes, logits, mask=mask)[0])


def test_digits_without_ink_are_drawn() -> None:
    empty = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)
    x, _ = strips.draw_strips(empty, 2, 3, np.random.default_rng(0))
    assert set(np.unique(x)) <= {0, strips.PADDING}


def test_stretching_keeps_the_mean_of_even_columns() -> None:
    for old, new in ((1, 2), (5, 5), (10, 7), (20, 26)):
        weights = strips.stretching(old, new)
        assert weights.shape == (old, new)
        np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(strips.stretching(5, 5), np.eye(5, dtype=np.float32))


def test_epochs_differ_and_repeat() -> None:
    training = strips.Epochs(subset().train, 64, 8, seed=5)
    assert len(training) == 4
    first = training[1]
    for one, other in zip(first, training[1], strict=True):
        np.testing.assert_array_equal(one, other)
    training.turn_to(1, {})
    assert not np.array_equal(training[1][1], first[1])
    training.turn_to(0, {})
    np.testing.assert_array_equal(training[1][0], first[0])
    assert not np.array_equal(strips.Epochs(subset().train, 64, 8, seed=6)[1][1], first[1])


def test_parts_share_no_digit() -> None:
    learned, held_out, tested, name = strips.load(Job("strips", data=mnist.SUBSET_FOLDER))
    images, labels = subset().train
    for whole, place in ((images, 0), (labels, 1)):
        np.testing.assert_array_equal(np.concatenate([learned[place], held_out[place]]), whole)
    np.testing.assert_array_equal(tested[0], subset().test[0])
    assert (len(learned[0]), len(held_out[0])) == (3600, 400)
    assert name == "MNIST, 3,600 digits to learn from"  # a folder's digits are not known to be a subset


def test_scores_by_hand() -> None:
    classes = np.array([[1, 2, 3, 0], [4, 4, 5, 6]])
    labels = np.array([[[1, 2, 3, -1, -1], [4, 5, 6, -1, -1]]])
    decoded: Any = ops.ctc_decode(np.zeros((2, 5, 11), np.float32))._replace(labels=labels)
    rates, by_length = strips.scores(classes, decoded)
    assert rates == {"label_error_rate": 1 / 7, "strips_read_right": 0.5}
    assert by_length == {
        "3": {"strips": 1, "label_error_rate": 0.0, "strips_read_right": 1.0},
        "4": {"strips": 1, "label_error_rate": 0.25, "strips_read_right": 0.0},
    }


def test_a_run_goes_on_from_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (
        "--data",
        mnist.SUBSET_FOLDER,
        "--quick",
        "--strips",
        256,
        "--units",
        8,
        "--epochs",
        3,
        "--quiet",
    )
    kept = ("--state", tmp_path / "state")
    assert run("strips", *options, "--save", tmp_path / "whole.keras").exit_code == 0
    draw = strips.Epochs.__getitem__

    def interrupted(self: strips.Epochs, index: int) -> strips.Strips:
        if (self.epoch, index) == (2, 1):
            raise KeyboardInterrupt
        return draw(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(strips.Epochs, "__getitem__", interrupted)
        result = run("strips", *options, *kept, "--save", tmp_path / "a.keras")
    assert result.exit_code == 130
    assert "The same command goes on from" in words(result.stderr)
    assert not (tmp_path / "a.keras").exists()
    assert run("strips", *options, *kept, "--save", tmp_path / "a.keras").exit_code == 0
    models = [fusedlstm.load_model(tmp_path / name) for name in ("whole.keras", "a.keras")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list((tmp_path / "state").iterdir())


def write(folder: Path, training: int, tests: int) -> Path:
    for part, count in (("train", training), ("t10k", tests)):
        write_idx(folder / f"{part}-images-idx3-ubyte", np.ones((count, 28, 28), np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.zeros(count, np.uint8))
    return folder


def test_bad_data(tmp_path: Path) -> None:
    def told(target: Path) -> str:
        result = run("strips", "--data", target, "--json", tmp_path / "a.json")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert not (tmp_path / "a.json").exists()
        return words(result.stderr)

    assert "expected MNIST's IDX files, found none named train-images-idx3-ubyte" in told(tmp_path)
    assert "expected a folder with MNIST's IDX files" in told(Path(__file__))
    write(tmp_path, 1, 3)
    assert told(tmp_path) == f"Error: {tmp_path}: expected at least 2 training digits and a test digit"
    images = write(tmp_path, 12, 3) / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-7])
    assert f"{images}: expected" in told(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"no labels")
    assert "t10k-" in told(tmp_path)


def test_a_training_that_diverges_says_so() -> None:
    options = ("--quick", "--epochs", 1, "--units", 4, "--learning-rate", 1e30, "--threads", 1)
    result = run("strips", "--data", mnist.SUBSET_FOLDER, *options)
    assert result.exit_code == 0, result.output
    assert "WARNING: the training diverged: the validation loss is" in result.stderr
    assert "Try a smaller --learning-rate." in words(result.stderr)
    assert re.search(r"label error rate [0-9.]+ %", words(result.stdout))
