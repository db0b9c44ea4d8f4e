"""Modified Kneser-Ney language models, interpolated: the n-grams that an LSTM has to beat.

The counts of n-grams are discounted, and each context gives what was taken off to the n-grams without its
first token (Chen and Goodman 1998, An empirical study of smoothing techniques for language modeling, section
4.1.6). All n-grams of one length are one sorted array, so that a million tokens take seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.integer]
    Reals = NDArray[np.float64]


class _Grams(NamedTuple):
    """The N n-grams of one length, numbered by their place, of C contexts, which are one token shorter.

    ``keys`` (N,) is the context's number * vocabulary + the last token, sorted. ``kept`` (N,) is the
    discounted count over the sum of the context's counts, ``left`` (C,) the probability that a context gives
    away.
    """

    keys: NDArray[np.int64]
    kept: Reals
    left: Reals

    def find(self, keys: Ids) -> NDArray[np.int64]:
        """Return the numbers of n-grams by their keys, -1 for those that the text does not have."""
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


class KneserNey:
    """A model of the next token by the ``order - 1`` tokens before it.

    Parameters
    ----------
    tokens : ndarray of int, shape (N,)
        The text, more than ``order`` tokens from 0 to ``vocabulary - 1``.
    vocabulary : int
        How many tokens there are. Those that the text lacks have a probability too.
    order : int
        Length of the longest n-grams.
    """

    def __init__(self, tokens: Ids, vocabulary: int, order: int = 5) -> None:
        self.vocabulary = vocabulary
        tokens = np.asarray(tokens, np.int64)
        # For the n-gram from each token on the number of its context, which is itself without the last token.
        contexts = np.zeros(len(tokens), np.int64)
        keys: list[NDArray[np.int64]] = []
        counts: list[Ids] = []
        for n in range(1, order + 1):
            key = contexts[: len(tokens) - n + 1] * vocabulary + tokens[n - 1 :]
            found, first, longer, count = np.unique(
                key, return_index=True, return_inverse=True, return_counts=True
            )
            if n > 1:
                # A shorter n-gram counts once for each token that it comes after, however often it does.
                counts[-1] = np.bincount(contexts[first + 1], minlength=len(keys[-1]))
            keys.append(found)
            counts.append(count)
            contexts = longer
        self.grams = [
            _discounted(keys[n], counts[n], vocabulary, len(keys[n - 1]) if n else 1) for n in range(order)
        ]

    def log_probabilities(self, tokens: Ids) -> Reals:
        """Return the natural logarithm of each token's probability after those before it.

        Parameters
        ----------
        tokens : ndarray of int, shape (..., N)
            Texts, whose first tokens have shorter contexts.

        Returns
        -------
        ndarray, shape (..., N)
        """
        tokens = np.asarray(tokens, np.int64)
        p = np.full(tokens.shape, 1 / self.vocabulary)
        contexts = np.zeros(tokens.shape, np.int64)
        for grams in self.grams:
            found = np.where(contexts >= 0, grams.find(contexts * self.vocabulary + tokens), -1)
            p *= np.where(contexts >= 0, grams.left[contexts], 1)
            p += np.where(found >= 0, grams.kept[found], 0)
            contexts = np.concatenate([np.full_like(found[..., :1], -1), found[..., :-1]], axis=-1)
        return np.asarray(np.log(p))

    def distribution(self, context: Ids) -> Reals:
        """Return the probability (vocabulary,) of each token after the context, of which the end is used."""
        p = np.full(self.vocabulary, 1 / self.vocabulary)
        for n, grams in enumerate(self.grams):
            number = 0
            for length, token in enumerate(context[len(context) - n :]):
                number = int(self.grams[length].find(np.array(number * self.vocabulary + int(token))))
                if number < 0:
                    return p
            if n > len(context):
                return p
            p *= grams.left[number]
            first, end = np.searchsorted(grams.keys, np.array([number, number + 1]) * self.vocabulary)
            p[grams.keys[first:end] % self.vocabulary] += grams.kept[first:end]
        return p


def _discounted(keys: NDArray[np.int64], counts: Ids, vocabulary: int, contexts: int) -> _Grams:
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    context = keys // vocabulary
    totals = np.bincount(context, counts, contexts)
    given = np.bincount(context, discounts, contexts)
    # A context that only the text's end has is followed by nothing, and gives all away.
    left = np.divide(given, totals, out=np.ones(contexts), where=totals > 0)
    kept = np.divide(counts - discounts, totals[context], out=np.zeros(len(keys)), where=totals[context] > 0)
    return _Grams(keys, kept, left)


def _discounts(counts: Ids) -> Reals:
    """Return what is taken off counts of 0, 1, 2, and 3 or more, from how many counts are 1, 2, 3 and 4."""
    n = np.bincount(counts, minlength=5)[:5].astype(float)
    y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
    discounts = np.zeros(4)
    for count in (1, 2, 3):
        wanted = count - (count + 1) * y * n[count + 1] / n[count] if n[count] else y
        # A few n-grams may give what is no discount; one for all counts takes its place.
        discounts[count] = wanted if 0 < wanted < count else min(y, 0.5)
    return discounts
