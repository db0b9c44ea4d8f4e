"""Edit distances against the recursion that defines them, and error rates made of them."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers, metrics, ops

ANY: Any = metrics  # for arguments that type checkers refuse


def levenshtein(reference: Any, hypothesis: Any) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        above, row = row, [i]
        for j, got in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (expected != got)))
    return row[-1]


@pytest.mark.parametrize("symbols", [1, 2, 5, 1000])
def test_edit_distance(symbols: int) -> None:
    """Around lengths of 64, whose rows are the bits of one word."""
    random = np.random.default_rng(symbols)
    sizes = [0, 1, 2, 7, 62, 63, 64, 65, 127, 128, 129, 200]
    references = [random.integers(0, symbols, size) for size in sizes for _ in sizes]
    hypotheses = [random.integers(0, symbols, size) for _ in sizes for size in sizes]
    # Some that are close to each other.
    hypotheses[::3] = [np.delete(row, slice(1, None, 9)) for row in references[::3]]
    expected = [levenshtein(*pair) for pair in zip(references, hypotheses, strict=True)]
    assert metrics.edit_distance(references, hypotheses).tolist() == expected
    assert metrics.edit_distance(hypotheses, references).tolist() == expected


def test_threads() -> None:
    random = np.random.default_rng(1)
    lists = [[random.integers(0, 9, random.integers(0, 300)) for _ in range(500)] for _ in range(2)]
    before = ops.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        ops.set_num_threads(threads)
        results.append(metrics.edit_distance(*lists).tolist())
    ops.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_kinds_of_sequences() -> None:
    assert metrics.edit_distance("kitten", "sitting").tolist() == [3]
    assert metrics.edit_distance(["", "ab", "\ud800é😀"], ["abc", "", "é"]).tolist() == [3, 2, 2]
    assert metrics.edit_distance([["the", "cat"], []], [["a", "cat"], ["the"]]).tolist() == [1, 1]
    # Arrays, and lists, are filled up by negative numbers.
    padded = np.array([[1, 2, 3, -1], [4, -1, -1, -1]])
    assert metrics.edit_distance(padded, [[1, 3], [4, 4.0]]).tolist() == [1, 1]
    assert metrics.edit_distance([], []).tolist() == []
    assert metrics.edit_distance(np.zeros((2, 0), int), [[], [5]]).tolist() == [0, 1]


def test_rates() -> None:
    assert metrics.label_error_rate([[1, 2, 3], [4]], [[1, 3], [5, 6]]) == 3 / 4
    assert metrics.character_error_rate("abcd", "abxd") == 0.25
    assert metrics.word_error_rate(["the cat sat", "on  the\nmat"], ["the cat", "on a mat now"]) == 0.5
    assert metrics.word_error_rate([["the", "cat"]], ["the hat"]) == 0.5
    assert metrics.label_error_rate([[1]], [[2, 2, 2]]) == 3.0
    for rate in (metrics.label_error_rate, metrics.word_error_rate, metrics.character_error_rate):
        assert rate([], []) == rate([""], [""]) == 0.0
        assert rate([""], ["a"]) == inf


@pytest.mark.parametrize(
    ("error", "message", "references", "hypotheses"),
    [
        (ValueError, "hypotheses: expected 2 sequences like references, got 1", ["a", "b"], ["a"]),
        (TypeError, "hypotheses: expected sequences of characters like others, got integers", ["a"], [[1]]),
        (
            TypeError,
            "references: expected sequences of strings like others",
            [["a"], "a"],
            [],
        ),
        (ValueError, r"references: expected sequences of integers, got an array \(1, 2\)", [[[1, 2]]], [[1]]),
        (ValueError, r"hypotheses: expected whole numbers, got 1\.5 at index \(0,\)", [[1]], [[1.5]]),
        (TypeError, "references: expected an array of real numbers, got list of dtype", [[1, "a"]], [[1]]),
        (TypeError, "references: expected a list of sequences, or a text, got NoneType", None, ["a"]),
        (TypeError, "hypotheses: expected a list of sequences, or a text, got int", ["a"], 3),
    ],
)
def test_errors(error: type[Exception], message: str, references: Any, hypotheses: Any) -> None:
    with pytest.raises(error, match=f"^{message}"):
        ANY.edit_distance(references, hypotheses)


def test_characters_come_in_strings() -> None:
    with pytest.raises(TypeError, match=r"^hypotheses: expected strings, got list at index 1"):
        metrics.character_error_rate(["a", "b"], ["a", ["b"]])


def outputs(path: list[int], classes: int = 4) -> Any:
    return 5 * np.eye(classes, dtype=np.float32)[path]


def test_label_error_rate_of_a_model() -> None:
    metric = metrics.LabelErrorRate()
    y_pred = np.stack([outputs([1, 1, 0, 2, 2]), outputs([3, 0, 3, 0, 1]), outputs([0] * 5)])
    y_true = [[1, 2, 0], [3, 3, 3], [2, 0, -1]]
    assert metric(y_true, y_pred) == 2 / 6
    metric.update_state([[1, 1]], outputs([0, 1, 0, 1, 0])[None])
    assert metric.result() == 2 / 8
    metric.reset_state()
    assert metric.result() == 0.0
    assert metric(y_true, y_pred, [1.0, 2.0, 0.0]) == 2 / 8
    # Masked steps are left out wherever they are.
    mask = np.ones((3, 5), bool)
    mask[0, 3:] = mask[1, 2] = False
    metric.reset_state()
    metric.update_masked(y_true, y_pred, mask)
    assert metric.result() == 4 / 6  # 1; 3 and 1; nothing
    other = metrics.LabelErrorRate(mask_index=3)
    assert other([[0, 3], [1, 3]], np.stack([outputs([0, 3]), outputs([1, 0])])) == 0.5
    again = metrics.get(metrics.serialize(other))
    assert isinstance(again, metrics.LabelErrorRate)
    assert again.get_config() == {"mask_index": 3, "name": "label_error_rate"}
    assert isinstance(metrics.get("label_error_rate"), metrics.LabelErrorRate)


def test_errors_of_the_metric() -> None:
    metric = metrics.LabelErrorRate()
    y_pred = np.zeros((2, 5, 4))
    with pytest.raises(ValueError, match=r"^y_pred: expected shape \(B, T, C\), got \(2, 4\)"):
        metric([[1], [2]], y_pred[:, 0])
    with pytest.raises(ValueError, match=r"^y_true: expected shape \(B=2, L\), got \(3, 1\)"):
        metric([[1], [2], [3]], y_pred)
    with pytest.raises(ValueError, match=r"^mask_index: expected a class in \[0, 4\), got 4"):
        metrics.LabelErrorRate(4).check(np.zeros((2, 1)), y_pred.shape)
    with pytest.raises(ValueError, match=r"^mask_index: expected an integer >= 0, got -1"):
        metrics.LabelErrorRate(-1)


def test_a_model_with_masks() -> None:
    """What `evaluate` says is what decoding its predictions gives."""
    random = np.random.default_rng(2)
    x = random.normal(size=(10, 9, 3)).astype(np.float32)
    lengths = random.integers(4, 10, 10)
    x[np.arange(9) >= lengths[:, None]] = 0
    y = random.integers(1, 5, (10, 3)) * (np.arange(3) < random.integers(0, 4, (10, 1)))
    model = fusedlstm.Sequential(
        [
            layers.Input((None, 3)),
            layers.Masking(),
            layers.LSTM(8, return_sequences=True),
            layers.Dense(5, kernel_initializer="orthogonal"),
        ]
    )
    model.compile("adam", "ctc", metrics=["label_error_rate"])
    model.fit(x, y, epochs=3, batch_size=4, verbose=0)
    logs = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    decoded = ops.ctc_decode(model.predict(x, verbose=0), lengths).labels[0]
    expected = metrics.label_error_rate([row[row > 0] for row in y], decoded)
    assert logs["label_error_rate"] == pytest.approx(expected, rel=1e-12)
    assert expected > 0
