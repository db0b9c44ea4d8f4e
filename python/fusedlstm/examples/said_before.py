"""What a language model makes of a word that was said before: its probability by the distance.

Rare words come again where they came once, and a model that remembers them expects them. In real text two
things mix: words that return are easier in other ways too. So the second measurement takes the same passage
twice, as it is and with another word in the place of the earlier one; the difference is what the memory does.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Reals = NDArray[np.floating]

# Distances in tokens, each band up to the next one's begin. Words of the first are in a 5-gram's sight.
BANDS = (1, 5, 8, 15, 30, 70, 128)
WINDOW = 128  # tokens before the word that are read in the second measurement
NO_END = 10**9
_MOST = 400  # words of a band in the second measurement
_SPACE = "\u0120"  # begins tokens of bytes that have a space before them


class Repeats(NamedTuple):
    """Rare words of passages, N of them: where they stand, and how many tokens ago they came last.

    ``distance`` is 0 for words that the passage did not have before. ``kinds`` and ``counts`` are those of
    all tokens: see `kinds_of_words`.
    """

    passages: Sequence[Ids]
    kinds: Ids
    counts: Ids
    passage: Ids
    place: Ids
    distance: Ids


def kinds_of_words(tokens: Sequence[str | None], counts: Ids) -> Ids:
    """Return 1 for rare words, 2 for rare names (that begin with a capital), 0 for other tokens.

    A rare word has three letters or more, and is less than one in 5,000 tokens of the training text, by which
    ``counts`` (tokens,) go.
    """
    words = [(token or "").removeprefix(_SPACE) for token in tokens]
    letters = np.array([len(word) > 2 and word.isalpha() for word in words])
    names = np.array([word[:1].isupper() for word in words])
    rare = letters & (counts > 0) & (counts < counts.sum() / 5000)
    return np.where(rare, 1 + names, 0)


def find_repeats(passages: Sequence[Ids], kinds: Ids, counts: Ids) -> Repeats:
    """Return the rare words of passages, all but first tokens."""
    found = []
    for number, passage in enumerate(passages):
        last: dict[int, int] = {}
        for place, token in enumerate(passage.tolist()):
            if kinds[token]:
                if place:
                    found.append((number, place, place - last.get(token, place)))
                last[token] = place
    return Repeats(passages, kinds, counts, *np.array(found, np.int64).reshape(-1, 3).T)


def by_distance(repeats: Repeats, lstm: Sequence[Reals], ngrams: Sequence[Reals]) -> list[dict[str, Any]]:
    """Return rare words' mean log-probabilities by the distance of their last mention; the first row: none.

    Parameters
    ----------
    repeats : Repeats
    lstm, ngrams : sequence of ndarray
        For each passage the log-probabilities of its tokens, from the second one on.
    """
    rows = []
    for first, end in ((0, 1), *pairwise((*BANDS, NO_END))):
        chosen = (repeats.distance >= first) & (repeats.distance < end)
        places = list(zip(repeats.passage[chosen], repeats.place[chosen] - 1, strict=True))
        if places:
            means = {
                name: float(np.mean([found[passage][place] for passage, place in places]))
                for name, found in (("lstm", lstm), ("ngrams", ngrams))
            }
            rows.append({"from": first, "to": end - 1, "words": len(places), **means})
    return rows


def effects(
    repeats: Repeats, lstm: Callable[[Ids], Reals], ngrams: Callable[[Ids], Reals]
) -> list[dict[str, Any]]:
    """Return how much likelier words are after their mention than after a substitute for it, by distance.

    The substitute is the word of the same kind that is nearest in frequency and not in the window.

    Parameters
    ----------
    repeats : Repeats
    lstm, ngrams : callable
        Take windows (N, WINDOW + 1) and return the log-probabilities (N,) of their last tokens.

    Returns
    -------
    list of dict
        For each band of distances the mean differences of log-probabilities and their standard errors.
    """
    rows = []
    # Another order than the text's, so that a band's words do not all come from the first passages.
    order = np.random.default_rng(0).permutation(len(repeats.place))
    for first, end in pairwise(BANDS):
        inside = (repeats.distance >= first) & (repeats.distance < end) & (repeats.place >= WINDOW)
        chosen = order[inside[order]][:_MOST]
        if len(chosen) < 2:
            continue
        ends = zip(repeats.passage[chosen], repeats.place[chosen], strict=True)
        said = np.array([repeats.passages[passage][place - WINDOW : place + 1] for passage, place in ends])
        unsaid = said.copy()
        for window in unsaid:
            context = window[:-1]
            context[context == window[-1]] = _substitute(window, repeats.kinds, repeats.counts)
        mean_distance = float(np.exp(np.log(repeats.distance[chosen]).mean()))
        row = {"from": first, "to": end - 1, "words": len(chosen), "distance": mean_distance}
        for name, score in (("lstm", lstm), ("ngrams", ngrams)):
            gains = score(said) - score(unsaid)
            row |= {name: float(gains.mean()), f"{name} error": float(gains.std() / np.sqrt(len(gains)))}
        rows.append(row)
    return rows


def _substitute(window: Ids, kinds: Ids, counts: Ids) -> int:
    word = window[-1]
    allowed = kinds == kinds[word]
    allowed[window] = False
    places = np.flatnonzero(allowed)
    return int(places[np.abs(counts[places] - counts[word]).argmin()]) if len(places) else 0
