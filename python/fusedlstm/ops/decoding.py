"""From the outputs of a CTC model to labels."""

from __future__ import annotations

from math import inf, isnan
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from fusedlstm import _core
from fusedlstm.base import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Labels: TypeAlias = tuple[int, ...]
    # Log-probabilities (N, C) of the next label, of N prefixes.
    Scorer: TypeAlias = "NGramScorer | Callable[[list[Labels]], Any]"


class CTCDecoded(NamedTuple):
    """What `ctc_decode` returns. P is ``top_paths``; -1 fills rows up to T.

    Attributes
    ----------
    labels : array (P, B, T) of int64
        The labellings, best first.
    scores : array (B, P)
        What labellings are ranked by: ``log_probabilities``, and what the scorer and ``beta`` add to them.
    log_probabilities : array (B, P)
        Of the paths of a labelling that the search has kept; of the one path with ``"greedy"``.
    lengths : array (P, B) of int64
        Numbers of labels.
    starts, ends : array (P, B, T) of int64
        Label k stands in the steps from ``starts[..., k]`` to before ``ends[..., k]`` of the labelling's most
        probable path; of equally probable ones, that with the earliest labels.
    """

    labels: NDArray[np.int64]
    scores: Array
    log_probabilities: Array
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


class NGramScorer:
    """N-grams of labels with backoff (Katz 1987), as ARPA files have them, for `ctc_decode`: read in C++.

    The probability of a label after others is that of the longest n-gram of the table that ends with it;
    for each label that the n-gram falls short of, the backoff weight of the longer context comes with it.
    ``mask_index`` stands for the sequence's start where an n-gram begins with it, and for its end where one
    ends with it; without any such n-gram, ends cost nothing.

    Parameters
    ----------
    log_probabilities : mapping
        From n-grams, tuples of labels, to natural logarithms of their last label's probability after the
        others. ARPA files have logarithms to the base 10.
    backoffs : mapping, optional
        From contexts, tuples of labels, to logarithms of their backoff weights; 0 for others.
    unknown : float
        Logarithm of the probability of labels that have no unigram.

    Raises
    ------
    TypeError, ValueError
        A key is no tuple of labels, or a value no number below infinity.
    """

    def __init__(
        self,
        log_probabilities: Mapping[Labels, float],
        backoffs: Mapping[Labels, float] | None = None,
        *,
        unknown: float = -inf,
    ) -> None:
        self.log_probabilities = dict(log_probabilities)
        self.backoffs = {} if backoffs is None else dict(backoffs)
        self.unknown = _log_probability(unknown, "unknown")
        self._compiled = _core.NGrams(
            *_table(self.log_probabilities, "log_probabilities"),
            *_table(self.backoffs, "backoffs"),
            self.unknown,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Let copies and pickles be made from the tables."""
        return _scorer, (self.log_probabilities, self.backoffs, self.unknown)


def _scorer(*arguments: Any) -> NGramScorer:
    *tables, unknown = arguments
    return NGramScorer(*tables, unknown=unknown)


def _log_probability(value: object, name: str) -> float:
    number = checks.real(value, name)
    if isnan(number) or number == inf:
        raise ValueError(f"{name}: expected numbers below infinity, got {number}")
    return number


def _table(table: dict[Labels, float], name: str) -> tuple[Array, Array, Array]:
    """Return all labels one after another, the numbers of labels and the values."""
    for labels in table:
        if not isinstance(labels, tuple) or not labels:
            raise TypeError(f"{name}: expected tuples of labels as keys, got {labels!r:.80}")
        for label in labels:
            if checks.non_negative_int(label, f"{name}: key {labels!r:.80}") >= 2**31:
                raise ValueError(f"{name}: expected labels below 2^31, got {label}")
    values = [_log_probability(value, f"{name}[{key!r:.80}]") for key, value in table.items()]
    return (
        np.array([label for labels in table for label in labels], np.int64),
        np.array([len(labels) for labels in table], np.int64),
        np.array(values, np.float64),
    )


def ctc_decode(
    inputs: Array,
    sequence_lengths: NDArray[np.integer[Any]] | Sequence[int] | None = None,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
    *,
    scorer: Scorer | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    min_log_probability: float = -inf,
) -> CTCDecoded:
    """Decode the outputs of a model that was trained with a CTC loss (Graves et al. 2006).

    A path has a class for each step. Its labelling is made of it by turning equal classes that follow each
    other into one, and leaving out ``mask_index``, the blank.

    Parameters
    ----------
    inputs : array (B, T, C)
        Logits, or logarithms of probabilities.
    sequence_lengths : integer array (B,), optional
        Steps of each row, from 0 to T; all by default.
    strategy : str
        ``"greedy"``: the labelling of the most probable path. ``"beam_search"``: the most probable
        labellings, whose probability is that of all their paths, as far as a prefix beam search finds them
        (Hannun et al. 2014).
    beam_width : int
        Prefixes that the search keeps at each step. As many as there are find the best labelling for sure.
    top_paths : int
        Labellings of each row, at most ``beam_width``; 1 with ``"greedy"``.
    merge_repeated : bool
        Turn equal labels that follow each other into one. False needs ``"greedy"``.
    mask_index : int
        The blank.
    scorer : NGramScorer or callable, optional
        How probable labels are after others, for a beam search. A callable gets a list of N prefixes, each a
        tuple of labels, and returns an array (N, C): the logarithm of each label's probability as the next
        one, and at ``mask_index`` that of the sequence's end there (0 where ends shall not count). It is
        called for all rows at once, with those prefixes that are new at a step.
    alpha, beta : float
        Labellings of a beam search are ranked by ``log P(labelling) + alpha * (sum of the scorer's
        logarithms) + beta * (number of labels)``; ``alpha`` is not negative.
    min_log_probability : float
        Labels less probable than that at a step don't begin there, which makes a beam search faster.

    Returns
    -------
    CTCDecoded
        ``(labels, scores, log_probabilities, lengths, starts, ends)``; Keras returns the first two, and for
        ``"greedy"`` the negative sum of the logits as scores. Of labellings that score equally, the first in
        lexicographic order comes first; of equally probable classes, a greedy path takes the first. A row
        that has fewer labellings than ``top_paths`` is filled up by empty ones with a score of -inf. One with
        a step whose logits are no probabilities (a NaN, +inf, or -inf for all classes) has empty ones with a
        score of NaN.

    Raises
    ------
    TypeError, ValueError
        An argument does not fit, or what a scorer returns.
    """
    lengths = None if sequence_lengths is None else checks.whole(sequence_lengths, "sequence_lengths", inputs)
    checks.choice(strategy, "strategy", ("greedy", "beam_search"))
    width = checks.positive_int(beam_width, "beam_width")
    paths = checks.positive_int(top_paths, "top_paths")
    merge = checks.flag(merge_repeated, "merge_repeated")
    blank = checks.non_negative_int(mask_index, "mask_index")
    weight, bonus = checks.non_negative(alpha, "alpha"), checks.number(beta, "beta")
    least = checks.real(min_log_probability, "min_log_probability")
    if isnan(least):
        raise ValueError("min_log_probability: expected a number, got nan")
    if scorer is not None and not isinstance(scorer, NGramScorer) and not callable(scorer):
        raise TypeError(f"scorer: expected an NGramScorer, a callable or None, got {type(scorer).__name__}")
    if strategy == "greedy":
        options = {"scorer": (scorer, None), "beta": (bonus, 0.0), "min_log_probability": (least, -inf)}
        for name, (value, default) in {"top_paths": (paths, 1), **options}.items():
            if value != default:
                raise ValueError(f"{name}: expected {default} with strategy='greedy', got {value!r:.80}")
        return CTCDecoded(*_core.ctc_greedy(inputs, lengths, blank, merge))
    if not merge:
        raise ValueError("merge_repeated: expected True with strategy='beam_search', got False")
    if paths > width:
        raise ValueError(f"top_paths: expected at most beam_width={width}, got {paths}")
    compiled: Any = scorer._compiled if isinstance(scorer, NGramScorer) else scorer
    used = compiled if weight else None
    return CTCDecoded(
        *_core.ctc_beam_search(inputs, lengths, blank, width, paths, least, used, weight, bonus)
    )
