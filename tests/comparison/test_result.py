"""What a comparison is to its users: words, JSON, a picture, an exit code, the same for the same seed."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import compare_data, plots
from fusedlstm.comparison import Comparison, Finding
from fusedlstm.comparison.findings import number_text, share_text

from .common import N, draw, pair

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def shifted() -> Comparison:
    train, test = pair()
    test[:, :, 2] += 3
    test[:3, 0, 0] = np.nan
    y = np.arange(N) % 3
    return compare_data((train, y), (test, y))


def test_words(shifted: Comparison) -> None:
    text = str(shifted)
    lines = text.splitlines()
    assert lines[0] == "Train and test disagree."
    assert text.index("Wrong:") < text.index("NaN in feature 0") < text.index("Different:")
    assert (
        "- x: feature 2 is 3.0" in text or "- x: feature 2 is 2.9" in text or "- x: feature 2 is 3 " in text
    )
    assert "300 samples in train, 300 in test" in text
    assert "AUC of the LSTM that tells train from test: " in text


def test_many_findings_of_one_kind_are_counted() -> None:
    train, test = pair()
    text = str(compare_data(train, test + 3, classifier=False))
    assert text.count("higher in test") == 3
    assert "- and 2 more of this kind (shift) in x" in text


def test_json(shifted: Comparison, tmp_path: Path) -> None:
    content = json.loads(shifted.to_json(tmp_path / "found.json"))
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8")) == content
    assert content["ok"] is False
    assert content["tested"] is True
    assert content["samples"] == {"train": N, "test": N}
    assert [one["kind"] for one in content["findings"]] == [one.kind for one in shifted.findings]
    assert set(content["findings"][0]) == {field.name for field in dataclasses.fields(Finding)}
    assert content["auc"] == shifted.auc
    assert sum(content["tests"].values()) > 100


def test_the_worst_comes_first(shifted: Comparison) -> None:
    order = [("error", "warning", "note").index(one.severity) for one in shifted.findings]
    assert order == sorted(order)


def test_seeds_repeat_everything() -> None:
    train, test = pair()
    test[:, 4:8, 1] += 0.2
    first, second = (compare_data(train, test, seed=3) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert compare_data(train, test, seed=4).auc != first.auc


def test_seeds_of_the_session_are_left_alone() -> None:
    train, test = pair()
    after = []
    for compared in (False, True):
        fusedlstm.utils.set_random_seed(1)
        if compared:
            compare_data(train, test)
        after.append((fusedlstm.utils.SeedGenerator().next(), float(np.random.random())))  # noqa: NPY002
    assert after[0] == after[1]


def test_arguments_are_left_alone() -> None:
    train, test = pair()
    test[0, 0, 0] = np.inf
    before = train.copy(), test.copy()
    compare_data(train, test)
    np.testing.assert_array_equal(train, before[0])
    np.testing.assert_array_equal(test, before[1])


def pictured() -> dict[str, tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    train, test = pair()
    ids = rng.integers(0, 30, (2, 100, 8))
    y = rng.integers(0, 20, (2, N))
    return {
        "series": (train, test * 255),
        "labels": ((train, y[0]), (test, y[1])),
        "rows": (train[:, 0], test[:, 0]),
        "ids": (ids[0], ids[1]),
        "several": ({"a": train[:100], "b": ids[0]}, {"a": test[:100], "b": ids[1]}),
        "shapes": (train, test[:, :, :2]),
        "many": (np.tile(train, 12), np.tile(test, 12)),
        "one step of NaN": (np.where(np.arange(24)[:, None] == 3, np.nan, train), test),
        "few": (draw(rng, 2), draw(rng, 2)),
    }


@pytest.mark.parametrize("name", pictured())
def test_picture(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    train, test = pictured()[name]
    found = compare_data(train, test, classifier=name in ("series", "ids"))
    figure = found.figure()
    path = plots.save(figure, tmp_path / "found.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    title = " ".join(figure.get_suptitle().split())
    agreeing = (
        "Train and test agree" if found.tested else "Train and test have too few samples to test whether"
    )
    assert title.startswith(agreeing if found.ok else "Train and test disagree: ")
    assert found.tested is (name != "few")


def test_pictures_are_png_files(shifted: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert shifted.plot(tmp_path / "found.png").is_file()
    with pytest.raises(ValueError, match=r"^path: expected a file name that ends in \.png"):
        shifted.plot(tmp_path / "found.pdf")


def test_numbers_in_words() -> None:
    assert [number_text(one) for one in (3.0, 0.12345, 254.6, 1234.5, 1e-7, 2e9, 0.0)] == [
        "3",
        "0.123",
        "255",
        "1,230",
        "1e-07",
        "2e+09",
        "0",
    ]
    assert share_text(12, 1500) == "12 of 1,500 (0.8 %)"
    assert share_text(5, 5) == "5 of 5 (100 %)"
