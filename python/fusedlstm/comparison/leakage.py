"""Rows of the training set that are in the test set too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.comparison.findings import Finding, share_text
from fusedlstm.comparison.hashing import common, hash_rows, hash_stretches
from fusedlstm.comparison.sets import steps_of
from fusedlstm.comparison.testing import Family, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusedlstm.comparison.sets import AnyArray, Field

_DRAWS = 9_999
# Numbers that are looked at to tell measurements, which no two samples share by chance, from counts.
_LOOKED_AT = 100_000
_REPEATS = 0.01


class Repeats:
    """Which rows of both sets are equal, in all inputs together.

    Attributes
    ----------
    shared : ndarray of bool, shape (M,)
        Test rows that train has too.
    findings : list of Finding
        Leakage that needs no test: rows of measurements do not repeat by chance.
    family : Family or None
        A test where rows repeat within the sets as well.
    """

    def __init__(self, fields: Sequence[Field], labels: Field | None, rng: np.random.Generator) -> None:
        self.findings: list[Finding] = []
        self.family: Family | None = None
        pairs = [common(field.train, field.test) for field in fields]
        n, m = len(pairs[0][0]), len(pairs[0][1])
        hashes = np.concatenate([hash_rows([pair[side] for pair in pairs]) for side in (0, 1)])
        distinct, groups, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        in_train = np.bincount(groups[:n], minlength=len(distinct))
        self.shared: NDArray[np.bool_] = in_train[groups[n:]] > 0
        leaked = int(self.shared.sum())
        self._words = self._described(leaked, m, labels, groups)
        if leaked and any(_measured(*pair) for pair in pairs):
            self.findings.append(
                Finding("leakage", "error", self._words, _name(fields), statistic=leaked / m)
            )
        elif leaked:
            p = _chance(groups, counts, n, leaked, rng)
            self.family = Family(
                "repeats", [Place(_name(fields), None, "leakage")], np.array([leaked / m]), np.array([p])
            )
        for side, rows, count in (("train", groups[:n], n), ("test", groups[n:], m)):
            again = count - len(np.unique(rows))
            if again >= max(2, _REPEATS * count):
                text = f"{share_text(again, count)} rows of {side} repeat others of {side}"
                self.findings.append(Finding("duplicates", "note", text, statistic=again / count))
        if not leaked:
            self.findings += [
                found for field, pair in zip(fields, pairs, strict=True) for found in _stretches(field, *pair)
            ]

    def tested(self, alpha: float) -> list[Finding]:
        """Return the finding or note about rows that repeat."""
        if self.family is None:
            return []
        severity, words = "error", self._words
        if self.family.adjusted[0] > alpha:
            severity, words = "note", f"{words}; no more than by chance, as rows repeat anyhow"
        place = self.family.places[0]
        return [Finding("leakage", severity, words, place.field, **self.family.numbers(0))]

    def _described(self, leaked: int, m: int, labels: Field | None, groups: NDArray[np.intp]) -> str:
        text = f"{share_text(leaked, m)} rows of test are in train too"
        if labels is None or not leaked:
            return text
        n = len(groups) - m
        # The label of each row's last twin in train is compared; several twins may have several.
        ours, theirs = (hash_rows([one]) for one in common(labels.train, labels.test))
        last = np.zeros(int(groups.max()) + 1, np.uint64)
        last[groups[:n]] = ours
        other = int((self.shared & (last[groups[n:]] != theirs)).sum())
        return f"{text}, {other} of them with another label" if other else f"{text}, with the same labels"


def _name(fields: Sequence[Field]) -> str:
    return fields[0].name if len(fields) == 1 else "x"


def _measured(train: AnyArray, test: AnyArray) -> bool:
    """Tell whether numbers are measurements: at one step, most that are not whole are different ones."""
    if train.dtype.kind != "f":
        return False
    middle = [one[:, one.shape[1] // 2] if one.ndim > 2 else one for one in (train, test)]
    values = np.concatenate([one.reshape(len(one), -1)[:, :8].ravel() for one in middle])
    values = values[:: max(1, values.size // _LOOKED_AT)]
    values = values[np.isfinite(values) & (values != np.floor(values))]
    return 2 * len(np.unique(values)) > len(values) > 0


def _chance(
    groups: NDArray[np.intp], counts: NDArray[np.intp], n: int, leaked: int, rng: np.random.Generator
) -> float:
    """Return the chance of as many shared rows, if the rows were dealt out to the sets at random."""
    among = np.flatnonzero(counts[groups] > 1)
    _, inner = np.unique(groups[among], return_inverse=True)
    size, total = int(inner.max()) + 1, len(groups)
    draws = min(_DRAWS, max(1_999, 100_000_000 // len(among)))
    reached = 0
    for _ in range(draws):
        # Those of the rows that repeat which come to train; the rest of train is of other rows.
        taken = rng.hypergeometric(len(among), total - len(among), n)
        in_train = np.zeros(len(among), bool)
        in_train[rng.permutation(len(among))[:taken]] = True
        known = np.zeros(size, bool)
        known[inner[in_train]] = True
        reached += int((known[inner] & ~in_train).sum()) >= leaked
    return (1 + reached) / (1 + draws)


def _stretches(field: Field, train: AnyArray, test: AnyArray) -> list[Finding]:
    """Return whether test samples hold half of a training sample's steps at another place: windows."""
    steps = min(steps_of(train), steps_of(test))
    if field.kind != "numbers" or steps < 4 or not _measured(train, test):
        return []
    length = steps // 2
    ours, theirs = hash_stretches(train[:, :steps], length), hash_stretches(test[:, :steps], length)
    known = np.isin(theirs[:, [0, -1]], ours)
    # A stretch of one value, such as a padding, tells nothing.
    for number, some in enumerate((test[:, :length], test[:, steps - length : steps])):
        known[:, number] &= (some != some[:, :1]).reshape(len(test), -1).any(axis=1)
    places = np.flatnonzero(known.any(axis=1))
    if not len(places):
        return []
    count = share_text(len(places), len(test))
    text = f"{field.name}: {count} test samples share at least {length} steps with train"
    share = len(places) / len(test)
    if places[-1] < steps:
        text += ": windows overlap where train ends and test begins"
        return [Finding("time overlap", "warning", text, field.name, statistic=share)]
    text += ": overlapping windows of one series were dealt out to both sets"
    return [Finding("leakage", "error", text, field.name, statistic=share)]
