"""ctc_decode against an enumeration of all paths and the definition of greedy decoding."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections import defaultdict
from math import inf, log
from typing import Any, TypeAlias

import numpy as np
import pytest

from fusedlstm import ops

from .problems import Array, Number, assert_same_bits

ANY: Any = ops  # for arguments that type checkers refuse
Labels: TypeAlias = tuple[int, ...]
WIDE = 10_000  # beams for all prefixes of the problems here


def normal(seed: int, *shape: int, dtype: Any = np.float64) -> Array:
    return (2 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def log_softmax(row: Array) -> Array:
    wide = row.astype(np.float64)
    shares: Array = (
        wide
        - np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - (wide.max(-1, keepdims=True))
    )
    return shares


def collapsed(path: Labels, blank: int) -> Labels:
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def spans(path: Labels, blank: int) -> list[tuple[int, int]]:
    """Return where the labels of a path begin and end."""
    found, step = [], 0
    for label, run in itertools.groupby(path):
        length = len(list(run))
        if label != blank:
            found.append((step, step + length))
        step += length
    return found


def enumerated(row: Array, blank: int, least: float = -inf) -> dict[Labels, tuple[float, Labels]]:
    """Return all labellings of a row (T, C): the logarithm of the probability, and the most probable path."""
    shares = log_softmax(row)
    paths: dict[Labels, list[tuple[float, Labels]]] = defaultdict(list)
    for path in itertools.product(range(row.shape[1]), repeat=len(row)):
        begun = [shares[t, c] for t, c in enumerate(path) if c != blank and (t == 0 or path[t - 1] != c)]
        if all(share >= least for share in begun):
            logarithm = float(sum(shares[t, c] for t, c in enumerate(path)))
            paths[collapsed(path, blank)].append((logarithm, path))
    return {
        labels: (float(np.logaddexp.reduce([share for share, _ in found])), max(found)[1])
        for labels, found in paths.items()
        if max(found)[0] > -inf
    }


def check_paths(decoded: ops.CTCDecoded, b: int, row: Array, blank: int, scores: dict[Labels, float]) -> None:
    """Compare a row's labellings with the scores of all that there are."""
    dtype = decoded.scores.dtype
    shares = enumerated(row, blank)
    ranked = sorted(scores, key=lambda labels: (-scores[labels], labels))
    for p in range(len(decoded.labels)):
        count = int(decoded.lengths[p, b])
        labels = tuple(int(label) for label in decoded.labels[p, b, :count])
        for filled in (decoded.labels, decoded.starts, decoded.ends):
            assert (filled[p, b, count:] == -1).all()
        if p >= len(ranked):
            assert count == 0
            assert decoded.scores[b, p] == decoded.log_probabilities[b, p] == -inf
            continue
        assert labels == ranked[p]
        tolerance = 8 * float(np.finfo(dtype).eps) * (1 + abs(scores[labels]))
        assert abs(decoded.scores[b, p] - scores[labels]) <= tolerance
        steps = list(zip(decoded.starts[p, b, :count], decoded.ends[p, b, :count], strict=True))
        assert steps == spans(shares[labels][1], blank)


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("steps", range(1, 6))
def test_a_wide_beam_finds_the_best_labellings(steps: int, blank: int, dtype: Number) -> None:
    x = normal(steps, 4, 5, 3, dtype=dtype)
    lengths = [steps, 0, max(steps - 1, 0), 5]
    decoded = ops.ctc_decode(x, lengths, "beam_search", WIDE, 7, mask_index=blank)
    assert decoded.labels.shape == (7, 4, 5)
    assert decoded.scores.dtype == dtype
    assert_same_bits(decoded.scores, decoded.log_probabilities, "scores")
    for b, length in enumerate(lengths):
        row = x[b, :length]
        scores = {labels: share for labels, (share, _) in enumerated(row, blank).items()}
        check_paths(decoded, b, row, blank, scores)


def test_probabilities_of_all_labellings_add_up(dtype: Number) -> None:
    x = normal(1, 3, 4, 3, dtype=dtype)
    decoded = ops.ctc_decode(x, None, "beam_search", WIDE, 60)
    np.testing.assert_allclose(np.exp(decoded.scores.astype(np.float64)).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_narrow_beams_keep_the_best_prefixes(width: int) -> None:
    """What Hannun et al. write down, with dicts, prefix by prefix."""
    for seed in range(20):
        x = normal(seed, 1, 9, 4)
        shares = log_softmax(x[0])
        beams: dict[Labels, tuple[float, float]] = {(): (0.0, -inf)}
        for t in range(9):
            found: dict[Labels, tuple[float, float]] = defaultdict(lambda: (-inf, -inf))
            for prefix, (in_blank, in_label) in beams.items():
                either = float(np.logaddexp(in_blank, in_label))
                old = found[prefix]
                again = in_label + shares[t, prefix[-1]] if prefix else -inf
                found[prefix] = (
                    float(np.logaddexp(old[0], either + shares[t, 0])),
                    float(np.logaddexp(old[1], again)),
                )
                for c in range(1, 4):
                    start = in_blank if prefix and prefix[-1] == c else either
                    old = found[(*prefix, c)]
                    found[(*prefix, c)] = (old[0], float(np.logaddexp(old[1], start + shares[t, c])))
            ranked = sorted(found.items(), key=lambda item: (-np.logaddexp(*item[1]), item[0]))
            beams = dict(ranked[:width])
        decoded = ops.ctc_decode(x, None, "beam_search", width, width)
        for p, (prefix, probabilities) in enumerate(beams.items()):
            assert tuple(decoded.labels[p, 0, : decoded.lengths[p, 0]]) == prefix
            np.testing.assert_allclose(decoded.scores[0, p], np.logaddexp(*probabilities), rtol=1e-12)


def test_many_classes_and_narrow_beams() -> None:
    """Labels that no beam can go on with are left out early, but for scorers, here of zeros."""
    for seed in range(5):
        x = normal(seed, 2, 12, 60)
        got = ops.ctc_decode(x, None, "beam_search", 4, 4)
        silent = ops.ctc_decode(
            x, None, "beam_search", 4, 4, scorer=lambda prefixes: np.zeros((len(prefixes), 60))
        )
        for one, other in zip(got, silent, strict=True):
            assert_same_bits(one, other, "decoded")


@pytest.mark.parametrize("blank", [0, 2, 5])
@pytest.mark.parametrize("merge", [True, False])
def test_greedy_is_the_definition(merge: bool, blank: int, dtype: Number) -> None:
    x = np.round(normal(3, 6, 11, 6, dtype=dtype))  # with ties
    lengths = np.array([11, 0, 1, 5, 10, 11])
    decoded = ops.ctc_decode(x, lengths, merge_repeated=merge, mask_index=blank)
    shares = log_softmax(x)
    for b, length in enumerate(lengths):
        path = tuple(int(c) for c in x[b, :length].argmax(-1))
        expected = collapsed(path, blank) if merge else tuple(c for c in path if c != blank)
        places = [(t, t + 1) for t, c in enumerate(path) if c != blank]
        count = len(expected)
        assert decoded.lengths[0, b] == count
        assert tuple(decoded.labels[0, b, :count]) == expected
        steps = list(zip(decoded.starts[0, b, :count], decoded.ends[0, b, :count], strict=True))
        assert steps == (spans(path, blank) if merge else places)
        for filled in (decoded.labels, decoded.starts, decoded.ends):
            assert (filled[0, b, count:] == -1).all()
        score = shares[b, np.arange(length), list(path)].sum()
        np.testing.assert_allclose(
            decoded.scores[b, 0], score, rtol=float(8 * np.finfo(dtype).eps), atol=1e-30
        )
    assert_same_bits(decoded.scores, decoded.log_probabilities, "scores")


def test_labels_that_may_begin() -> None:
    for seed in range(10):
        x = normal(seed, 1, 5, 3)
        decoded = ops.ctc_decode(x, None, "beam_search", WIDE, 5, min_log_probability=log(0.3))
        expected = {labels: share for labels, (share, _) in enumerated(x[0], 0, log(0.3)).items()}
        ranked = sorted(expected, key=lambda labels: -expected[labels])
        for p, labels in enumerate(ranked[:5]):
            assert tuple(decoded.labels[p, 0, : decoded.lengths[p, 0]]) == labels
            np.testing.assert_allclose(decoded.scores[0, p], expected[labels], rtol=1e-12)


# P(a), P(b) and the end, after two labels at most, with gaps in the table.
NGRAMS: dict[Labels, float] = {
    (1,): log(0.5),
    (2,): log(0.2),
    (0,): log(0.3),
    (0, 1): log(0.9),
    (1, 1): log(0.05),
    (2, 0): log(0.6),
    (1, 2): log(0.7),
    (1, 2, 1): log(0.15),
    (0, 2, 2): log(0.8),
}
BACKOFFS: dict[Labels, float] = {(1,): log(0.4), (1, 2): log(0.3), (0,): log(0.25), (2, 2): log(0.9)}


def after(context: Labels, label: int, unknown: float = -inf) -> float:
    """Return log P(label | context) as Katz defines it."""
    if (*context, label) in NGRAMS:
        return NGRAMS[(*context, label)]
    if not context:
        return unknown
    return BACKOFFS.get(context, 0.0) + after(context[1:], label, unknown)


def language(labels: Labels, unknown: float = -inf) -> float:
    """Return the logarithm of a labelling's probability, from its start to its end."""
    sequence = (0, *labels, 0)
    return sum(after(sequence[max(n - 2, 0) : n], sequence[n], unknown) for n in range(1, len(sequence)))


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.4, 1.5), (2.5, -0.7), (0.0, 1.0)])
def test_ngrams(alpha: float, beta: float, dtype: Number) -> None:
    x = normal(6, 5, 5, 3, dtype=dtype)
    lengths = [5, 4, 3, 1, 0]
    scorer = ops.NGramScorer(NGRAMS, BACKOFFS)
    decoded = ops.ctc_decode(x, lengths, "beam_search", WIDE, 4, scorer=scorer, alpha=alpha, beta=beta)
    for b, length in enumerate(lengths):
        row = x[b, :length]
        scores = {
            labels: share + alpha * language(labels) + beta * len(labels)
            for labels, (share, _) in enumerated(row, 0).items()
        }
        check_paths(decoded, b, row, 0, scores)


def test_labels_without_a_unigram() -> None:
    x = normal(7, 1, 4, 4)
    assert 3 in ops.ctc_decode(x, None, "beam_search").labels
    for unknown in (-inf, -0.5):
        scorer = ops.NGramScorer(NGRAMS, BACKOFFS, unknown=unknown)
        decoded = ops.ctc_decode(x, None, "beam_search", WIDE, 4, scorer=scorer)
        scores = {
            labels: share + language(labels, unknown) for labels, (share, _) in enumerated(x[0], 0).items()
        }
        check_paths(decoded, 0, x[0], 0, {key: value for key, value in scores.items() if value > -inf})


def test_ends_cost_nothing_unless_an_ngram_has_one() -> None:
    x = normal(8, 1, 4, 3)
    scorer = ops.NGramScorer({(1,): log(0.3), (2,): log(0.7)})
    decoded = ops.ctc_decode(x, None, "beam_search", WIDE, 5, scorer=scorer)
    scores = {
        labels: share + sum(log((0.3, 0.7)[label - 1]) for label in labels)
        for labels, (share, _) in enumerated(x[0], 0).items()
    }
    check_paths(decoded, 0, x[0], 0, scores)


@pytest.mark.parametrize("width", [2, 5, WIDE])
def test_a_callable_scores_as_ngrams_do(width: int, dtype: Number) -> None:
    x = normal(9, 4, 8, 3, dtype=dtype)
    if width == WIDE:
        x = x[:, :5]
    lengths = [x.shape[1], 0, 4, 5]
    calls: list[list[Labels]] = []

    def scorer(prefixes: list[Labels]) -> list[list[float]]:
        calls.append(prefixes)
        return [[after((0, *prefix)[-2:], label) for label in range(3)] for prefix in prefixes]

    kinds: tuple[Any, ...] = (scorer, ops.NGramScorer(NGRAMS, BACKOFFS))
    got, expected = (
        ops.ctc_decode(x, lengths, "beam_search", width, 2, scorer=kind, alpha=0.7, beta=0.3)
        for kind in kinds
    )
    for name, value in got._asdict().items():
        wanted = getattr(expected, name)
        if value.dtype == np.int64:
            np.testing.assert_array_equal(value, wanted)
        else:
            np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert calls[0] == [()] * 4
    assert len(calls) <= 1 + x.shape[1]  # however many rows there are


def test_errors_of_a_callable() -> None:
    x = normal(10, 2, 3, 3)

    def run(answer: Any) -> None:
        ops.ctc_decode(x, None, "beam_search", scorer=lambda _: answer)

    with pytest.raises(ValueError, match=r"^scorer: expected shape \(N=2, C=3\), got shape \(2, 2\)$"):
        run(np.zeros((2, 2)))
    with pytest.raises(TypeError, match=r"^scorer: expected an array of log-probabilities back, got str$"):
        run("many")
    for wrong in (np.nan, inf):
        with pytest.raises(ValueError, match=r"^scorer: .* below infinity, back, got .* at index \(1, 2\)"):
            run([[0, 0, 0], [0, 0, wrong]])

    def failing(_: list[Labels]) -> Any:
        raise KeyError("no such word")

    with pytest.raises(KeyError, match="no such word"):
        ops.ctc_decode(x, None, "beam_search", scorer=failing)
    assert ops.ctc_decode(x, None, "beam_search").labels.shape == (1, 2, 3)


def test_scorers_can_be_copied() -> None:
    x = normal(11, 2, 4, 3)
    scorer = ops.NGramScorer(NGRAMS, BACKOFFS, unknown=-3)
    expected = ops.ctc_decode(x, None, "beam_search", scorer=scorer)
    for other in (copy.copy(scorer), copy.deepcopy(scorer), pickle.loads(pickle.dumps(scorer))):
        for got, wanted in zip(ops.ctc_decode(x, None, "beam_search", scorer=other), expected, strict=True):
            assert_same_bits(got, wanted, "decoded")


def test_equal_labellings_come_in_lexicographic_order() -> None:
    decoded = ops.ctc_decode(np.zeros((1, 1, 4)), None, "beam_search", 10, 6, mask_index=2)
    rows = zip(decoded.labels[:, 0], decoded.lengths[:, 0], strict=True)
    assert [list(row[:count]) for row, count in rows] == [[], [0], [1], [3], [], []]
    assert list(decoded.scores[0, 4:]) == [-inf, -inf]
    narrow = ops.ctc_decode(np.zeros((1, 1, 4)), None, "beam_search", 2, 2, mask_index=2)
    assert_same_bits(narrow.labels, decoded.labels[:2], "labels")


def test_equal_paths_have_their_labels_early() -> None:
    x = np.zeros((1, 4, 2))
    decoded = ops.ctc_decode(x, None, "beam_search", top_paths=3)
    for p in range(3):
        count = decoded.lengths[p, 0]
        assert list(decoded.starts[p, 0, :count]) == [0, 2][:count]
        assert list(decoded.ends[p, 0, :count]) == [1, 3][:count]


def test_impossible_classes(dtype: Number) -> None:
    x = normal(12, 2, 4, 3, dtype=dtype)
    x[0, :, 0] = -inf
    x[0, 1:3, 2] = -inf
    x[1, 2, :2] = -inf
    decoded = ops.ctc_decode(x, None, "beam_search", WIDE, 6)
    for b in range(2):
        scores = {labels: share for labels, (share, _) in enumerated(x[b], 0).items()}
        check_paths(decoded, b, x[b], 0, scores)


@pytest.mark.parametrize("wrong", [np.nan, inf, -inf])
@pytest.mark.parametrize("strategy", ["greedy", "beam_search", "scorer"])
def test_rows_without_probabilities(strategy: str, wrong: float, dtype: Number) -> None:
    """They spoil no others, nor do their steps beyond the row's length."""
    x = normal(13, 3, 6, 4, dtype=dtype)
    options: dict[str, Any] = {"strategy": "greedy" if strategy == "greedy" else "beam_search"}
    if strategy == "scorer":
        options["scorer"] = lambda prefixes: np.zeros((len(prefixes), 4))
    clean = ops.ctc_decode(x, [6, 6, 2], **options)
    x[1, 3] = -inf if wrong == -inf else x[1, 3]
    x[1, 3, 2] = x[2, 2, 0] = wrong
    decoded = ops.ctc_decode(x, [6, 6, 2], **options)
    assert decoded.lengths[0, 1] == 0
    assert (decoded.labels[0, 1] == -1).all()
    assert (decoded.starts[0, 1] == -1).all()
    assert np.isnan([decoded.scores[1, 0], decoded.log_probabilities[1, 0]]).all()
    for b in (0, 2):
        assert_same_bits(decoded.labels[0, b], clean.labels[0, b], "labels")
        assert_same_bits(decoded.scores[b], clean.scores[b], "scores")


@pytest.mark.parametrize("strategy", ["greedy", "beam_search"])
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 1), (0, 0, 1)], ids=str)
def test_little(strategy: str, shape: tuple[int, int, int], dtype: Number) -> None:
    decoded = ops.ctc_decode(np.zeros(shape, dtype), None, strategy)
    B, T, _ = shape
    assert decoded.labels.shape == decoded.starts.shape == decoded.ends.shape == (1, B, T)
    assert (decoded.labels == -1).all()
    assert_same_bits(decoded.lengths, np.zeros((1, B), np.int64), "lengths")
    assert_same_bits(decoded.scores, np.zeros((B, 1), dtype), "scores")


def test_layouts(dtype: Number) -> None:
    x = normal(14, 3, 7, 5, dtype=dtype)
    for strategy in ("greedy", "beam_search"):
        expected = ops.ctc_decode(x, None, strategy)
        steps = np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)
        for other in (steps, x[::-1][::-1], np.asfortranarray(x)):
            for got, wanted in zip(ops.ctc_decode(other, None, strategy), expected, strict=True):
                assert_same_bits(got, wanted, "decoded")


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "inputs: expected a NumPy array of float", {"inputs": [[[0.0]]]}),
        (TypeError, ".*, got an array of int64", {"inputs": np.zeros((1, 2, 3), int)}),
        (ValueError, r"inputs: expected shape \(B, T, C\), got shape \(2, 3\)", {"inputs": np.zeros((2, 3))}),
        (ValueError, r"inputs: expected 1 to 2\^31 - 1 classes, got 0", {"inputs": np.zeros((2, 3, 0))}),
        (
            ValueError,
            r"sequence_lengths: expected shape \(B=2,\), got shape \(1,\)",
            {"sequence_lengths": [1]},
        ),
        (
            ValueError,
            r"sequence_lengths: expected numbers from 0 to T=4, got 5 at index \(1,\)",
            {"sequence_lengths": [0, 5]},
        ),
        (ValueError, r"sequence_lengths: expected .*, got -1 at index \(0,\)", {"sequence_lengths": [-1, 4]}),
        (ValueError, r"sequence_lengths: expected whole numbers, got 1\.5", {"sequence_lengths": [1.5, 4]}),
        (ValueError, r"strategy: expected one of .*, got 'best'", {"strategy": "best"}),
        (ValueError, "beam_width: expected a positive integer, got 0", {"beam_width": 0}),
        (TypeError, "beam_width: expected a positive integer, got 1.5", {"beam_width": 1.5}),
        (ValueError, "top_paths: expected a positive integer, got 0", {"top_paths": 0}),
        (ValueError, "top_paths: expected at most beam_width=2, got 3", {"beam_width": 2, "top_paths": 3}),
        (
            ValueError,
            "top_paths: expected 1 with strategy='greedy', got 3",
            {"strategy": "greedy", "top_paths": 3},
        ),
        (ValueError, "beta: expected 0.0 with strategy='greedy', got 1.0", {"strategy": "greedy", "beta": 1}),
        (ValueError, "scorer: expected None with strategy='greedy'", {"strategy": "greedy", "scorer": len}),
        (TypeError, "merge_repeated: expected True or False, got 2", {"merge_repeated": 2}),
        (ValueError, "merge_repeated: expected True with strategy='beam_search'", {"merge_repeated": False}),
        (ValueError, r"mask_index: expected a class in \[0, 3\), got 3", {"mask_index": 3}),
        (ValueError, "mask_index: expected an integer >= 0, got -1", {"mask_index": -1}),
        (TypeError, "scorer: expected an NGramScorer, a callable or None, got dict", {"scorer": {}}),
        (ValueError, "alpha: expected a number >= 0, got -1", {"alpha": -1}),
        (ValueError, "beta: expected a finite number, got inf", {"beta": inf}),
        (ValueError, "min_log_probability: expected a number, got nan", {"min_log_probability": np.nan}),
    ],
)
def test_errors(error: type[Exception], message: str, options: dict[str, Any]) -> None:
    with pytest.raises(error, match=f"^{message}"):
        ANY.ctc_decode(**{"inputs": np.zeros((2, 4, 3)), "strategy": "beam_search", **options})


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, r"log_probabilities: expected tuples of labels as keys, got 'ab'", [{"ab": 0.0}]),
        (TypeError, r"log_probabilities: expected tuples of labels as keys, got \(\)", [{(): 0.0}]),
        (TypeError, r"log_probabilities: key \('a',\): expected an integer >= 0, got 'a'", [{("a",): 0.0}]),
        (ValueError, r"log_probabilities: key \(-1,\): expected an integer >= 0", [{(-1,): 0.0}]),
        (ValueError, r"log_probabilities: expected labels below 2\^31", [{(2**31,): 0.0}]),
        (
            ValueError,
            r"log_probabilities\[\(1,\)\]: expected numbers below infinity, got nan",
            [{(1,): np.nan}],
        ),
        (TypeError, r"backoffs\[\(1,\)\]: expected a number, got 'x'", [{(1,): 0.0}, {(1,): "x"}]),
    ],
)
def test_errors_of_ngrams(error: type[Exception], message: str, arguments: list[Any]) -> None:
    with pytest.raises(error, match=f"^{message}"):
        ANY.NGramScorer(*arguments)
    with pytest.raises(ValueError, match=r"^unknown: expected numbers below infinity, got inf"):
        ops.NGramScorer({}, unknown=inf)


def test_probabilities_of_a_deep_search() -> None:
    """Long rows, where probabilities themselves would be zero."""
    x = normal(15, 2, 3000, 3, dtype=np.float32)
    decoded = ops.ctc_decode(x, None, "beam_search", 20)
    best = ops.ctc_decode(x)
    assert (decoded.log_probabilities > best.log_probabilities).all()
    assert (np.exp(decoded.scores) == 0).all()
    assert np.isfinite(decoded.scores).all()
