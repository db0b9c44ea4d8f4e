"""What a language model makes of a word that was said long before: English pronouns that agree with it.

Who was *thou* is *thee* and *thy* some words on, and who was *she* is *her*, however much stands between.
In real text two things mix: a passage in which *thou* was said is about a single person in other ways too.
So the second measurement takes the same passage twice, as it is and with all such words before in their other
form, *ye* for *thou* and *he* for *she*; the difference is what the memory of these words does.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Reals = NDArray[np.floating]

# Words that agree with each other, and each one's other form.
AGREEING: tuple[Mapping[str, str], ...] = (
    {"thou": "ye", "thee": "you", "thy": "your", "thine": "your"},
    {"ye": "thou", "you": "thee", "your": "thy"},
    {"she": "he", "her": "his"},
    {"he": "she", "him": "her", "his": "her"},
)
# Distances in tokens, each band up to the next one's begin. Words of the first are in a 5-gram's sight.
BANDS = (1, 5, 8, 15, 30, 70, 128)
WINDOW = 128  # tokens before the word that are read in the second measurement
NO_END = 10**9
_MOST = 400  # words of a band in the second measurement
_SPACE = "\u0120"  # begins tokens of bytes that have a space before them


class Repeats(NamedTuple):
    """Words of passages that agree with others, N of them: where they stand, and what was said before.

    ``distance`` is how many tokens ago a word of the same group came last, 0 where the passage had none.
    ``groups`` and ``other`` are those of all tokens: see `agreement`.
    """

    passages: Sequence[Ids]
    groups: Ids
    other: Ids
    passage: Ids
    place: Ids
    distance: Ids


def agreement(tokens: Sequence[str | None]) -> tuple[Ids, Ids]:
    """Return each token's group, from 1 on or 0 for none, and the token of its other form, or itself."""
    numbers = {token: number for number, token in enumerate(tokens)}
    groups, other = np.zeros(len(tokens), np.int64), np.arange(len(tokens))
    for group, forms in enumerate(AGREEING, 1):
        for word, form in forms.items():
            for spelled, respelled in ((word, form), (word.capitalize(), form.capitalize())):
                for before in ("", _SPACE):
                    if before + spelled in numbers and before + respelled in numbers:
                        groups[numbers[before + spelled]] = group
                        other[numbers[before + spelled]] = numbers[before + respelled]
    return groups, other


def find_repeats(passages: Sequence[Ids], groups: Ids, other: Ids) -> Repeats:
    """Return the words of passages that agree with others, all but first tokens."""
    found = []
    for number, passage in enumerate(passages):
        last: dict[int, int] = {}
        for place, group in enumerate(groups[passage].tolist()):
            if group:
                if place:
                    found.append((number, place, place - last.get(group, place)))
                last[group] = place
    return Repeats(passages, groups, other, *np.array(found, np.int64).reshape(-1, 3).T)


def by_distance(repeats: Repeats, lstm: Sequence[Reals], ngrams: Sequence[Reals]) -> list[dict[str, Any]]:
    """Return such words' mean log-probabilities by the distance of the last one; the first row: none.

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
    """Return how much likelier words are after those they agree with than after the other forms, by distance.

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
        context = said[:, :-1]
        agrees = repeats.groups[context] == repeats.groups[said[:, -1:]]
        unsaid = said.copy()
        unsaid[:, :-1] = np.where(agrees, repeats.other[context], context)
        mean_distance = float(np.exp(np.log(repeats.distance[chosen]).mean()))
        row = {"from": first, "to": end - 1, "words": len(chosen), "distance": mean_distance}
        for name, score in (("lstm", lstm), ("ngrams", ngrams)):
            gains = score(said) - score(unsaid)
            row |= {name: float(gains.mean()), f"{name} error": float(gains.std() / np.sqrt(len(gains)))}
        rows.append(row)
    return rows
