"""What a difference looks like: features swapped, another scale, a shift, a delay."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusedlstm.comparison.columns import SUMMARIES, edges_of, means_between, summaries
from fusedlstm.comparison.findings import Finding, number_text
from fusedlstm.comparison.structure import factor_text
from fusedlstm.comparison.testing import distances, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.comparison.sets import Field, Numbers, Rows
    from fusedlstm.comparison.testing import Family

# An explanation has to leave at most so much of the distance between the distributions.
_LEFT = 0.35
_MOST_SWAPPED, _BINS, _ROWS, _VALUES = 12, 16, 1_000, 20_000
_WORDS = {
    "value": "has other values",
    "mean": "has other means",
    "spread": "varies otherwise within samples",
    "change": "changes otherwise from step to step",
    "trend": "rises or falls otherwise within samples",
}


class Strongest(NamedTuple):
    """A feature's test with the smallest p-value."""

    family: Family
    number: int


def strongest(families: Sequence[Family], field: str, alpha: float) -> dict[str, Strongest]:
    """Return by feature its clearest test of those that differ, in the order of p-values."""
    found = [
        (float(family.adjusted[number]), -float(family.statistic[number]), Strongest(family, number))
        for family in families
        for number, place in enumerate(family.places)
        if place.field == field and family.adjusted[number] <= alpha
    ]
    result: dict[str, Strongest] = {}
    for _, _, one in sorted(found, key=lambda item: item[:2]):
        result.setdefault(str(one.family.places[one.number].feature), one)
    return result


def explained(field: Field, rows: Rows, families: Sequence[Family], alpha: float) -> list[Finding]:
    """Return a finding for each feature of a field that tests found to differ, with what it looks like."""
    differing = strongest(families, field.name, alpha)
    if not differing:
        return []
    if field.kind == "ids":
        return [_of_ids(field, rows, feature, one) for feature, one in differing.items()]
    train, test = field.numbers(rows)
    numbers = [number for number, name in enumerate(field.features) if name in differing]
    findings = []
    swapped = _swaps(train, test, numbers)
    for pair in swapped:
        one, other = (field.features[number] for number in pair)
        best = differing[one]
        text = f"{field.name}: {one} and {other} look swapped: each of them has the other's values in test"
        findings.append(_finding("swapped", text, field, f"{one}, {other}", best))
    done = {number for pair in swapped for number in pair}
    for feature, best in differing.items():
        if feature not in field.features:
            continue
        number = field.features.index(feature)
        if number not in done:
            kind, words = _look(train[:, :, number], test[:, :, number], best)
            findings.append(_finding(kind, f"{field.name}: {feature} {words}", field, feature, best))
    return findings or _relations(field, train, test, differing)


def _finding(kind: str, text: str, field: Field, feature: str, best: Strongest) -> Finding:
    place = best.family.places[best.number]
    return Finding(kind, "warning", text, field.name, feature, place.step, **best.family.numbers(best.number))


def _of_ids(field: Field, rows: Rows, feature: str, best: Strongest) -> Finding:
    place = best.family.places[best.number]
    if place.what == "count":
        often = [
            number_text(float((one == int(feature.split()[1])).sum(axis=1).mean()))
            for one in field.whole(rows)
        ]
        text = f"{feature} comes {often[0]} times in a sample of train and {often[1]} times in one of test"
    elif place.what == "value":
        text = "some positions have ids of another frequency"
    elif place.what == "unseen":
        text = "samples of test have other numbers of ids that train does not know"
    else:
        text = "samples have other numbers of distinct ids"
    kind = "unseen ids" if place.what == "unseen" else "ids"
    return _finding(kind, f"{field.name}: {text}", field, feature, best)


def _look(train: Numbers, test: Numbers, best: Strongest) -> tuple[str, str]:
    """Return kind and words of how one feature (n, T) differs from another (m, T)."""
    place = best.family.places[best.number]
    lag = _lag(train, test)
    if lag:
        later = "later" if lag > 0 else "earlier"
        steps = "step" if abs(lag) == 1 else "steps"
        return "time shift", f"runs {abs(lag)} {steps} {later} in test"
    ours, theirs = _values(train), _values(test)
    if not ours.size or not theirs.size:
        return "distribution", _WORDS[place.what]
    before = _distance(ours, theirs)
    factor = _factor(ours, theirs)
    if factor is not None and _distance(ours * factor, theirs) <= _LEFT * before:
        return "scale", f"is in other units in test, {factor_text(factor)}"
    by = float(np.median(theirs) - np.median(ours))
    if _distance(ours + by, theirs) <= _LEFT * before:
        spread = float(np.std(ours))
        side = "higher" if by > 0 else "lower"
        text = f"is {number_text(abs(by))} {side} in test"
        return "shift", f"{text}, {number_text(abs(by) / spread)} standard deviations" if spread > 0 else text
    if place.what in SUMMARIES:  # It is these that differ, and the values need not.
        ours, theirs = (known(summaries(one)[:, SUMMARIES.index(place.what)]) for one in (train, test))
    middles = _middles(ours, theirs)
    where = ""
    if place.step is not None and train.shape[1] > 1:
        last = (place.end or 0) - 1
        where = (
            f", most at step {place.step}"
            if last <= place.step
            else f", most at steps {place.step} to {last}"
        )
    return "distribution", f"{_WORDS[place.what]}{where} ({middles})"


def _middles(ours: Numbers, theirs: Numbers) -> str:
    """Return the medians in words, or other quantiles where those look the same."""
    for share, name in ((0.5, "medians"), (0.9, "90 % lie below"), (0.1, "10 % lie below")):
        texts = [number_text(float(np.quantile(one, share))) for one in (ours, theirs)]
        if texts[0] != texts[1]:
            return f"{name} {texts[0]} in train and {texts[1]} in test"
    means = [number_text(float(np.mean(one))) for one in (ours, theirs)]
    if means[0] != means[1]:
        return f"means {means[0]} in train and {means[1]} in test, and most numbers alike"
    return f"medians {texts[0]} in both"


def _values(values: Numbers) -> Numbers:
    flat = known(values.ravel())
    return flat[:: max(1, flat.size // _VALUES)]


def _distance(ours: Numbers, theirs: Numbers) -> float:
    return float(distances(ours[:, None], theirs[:, None])[0])


def _factor(ours: Numbers, theirs: Numbers) -> float | None:
    """Return the factor that all sizes of numbers have in common, if it is far from 1."""
    a, b = np.abs(ours[ours != 0]), np.abs(theirs[theirs != 0])
    if min(a.size, b.size) < 8:
        return None
    ratios = np.quantile(b, (0.5, 0.75, 0.9)) / np.quantile(a, (0.5, 0.75, 0.9))
    factor = float(np.median(ratios))
    same = ratios.max() <= 1.3 * ratios.min()
    return factor if same and not 0.5 < factor < 2 else None


def _lag(train: Numbers, test: Numbers) -> int:
    """Return by how many steps the mean course of test comes later; 0 where that explains little."""
    steps = train.shape[1]
    if steps < 8 or np.isnan(train).all(axis=0).any() or np.isnan(test).all(axis=0).any():
        return 0
    ours, theirs = np.nanmean(train, axis=0), np.nanmean(test, axis=0)
    most = steps // 3

    def error(lag: int) -> float:
        shifted = ours[max(0, -lag) : steps - max(0, lag)]
        return float(np.mean((theirs[max(0, lag) : steps + min(0, lag)] - shifted) ** 2))

    lags = sorted(range(-most, most + 1), key=abs)
    errors = {lag: error(lag) for lag in lags}
    best = min(lags, key=errors.__getitem__)
    # A course that only lies higher, or that is another multiple, is not a later one.
    moved = float(np.var(theirs - ours))
    return best if errors[best] <= 0.2 * errors[0] and errors[best] < moved else 0


def _swaps(train: Numbers, test: Numbers, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return pairs of features of which each is nearer to the other than to itself."""
    numbers = numbers[:_MOST_SWAPPED]
    if len(numbers) < 2:
        return []
    edges = edges_of(train.shape[1], _BINS)
    ours, theirs = (
        means_between(one[:: max(1, len(one) // _ROWS)], edges)[:, :, list(numbers)] for one in (train, test)
    )

    def apart(i: int, j: int) -> float:
        return float(distances(ours[:, :, i], theirs[:, :, j]).mean())

    own = [apart(i, i) for i in range(len(numbers))]
    ranked = sorted(
        (max(apart(i, j), apart(j, i)) / max(min(own[i], own[j]), 1e-12), i, j)
        for i, j in combinations(range(len(numbers)), 2)
    )
    result: list[tuple[int, int]] = []
    used: set[int] = set()
    for ratio, i, j in ranked:
        if ratio <= 0.5 and not {i, j} & used:
            result.append((numbers[i], numbers[j]))
            used |= {i, j}
    return result


def _relations(field: Field, train: Numbers, test: Numbers, differing: dict[str, Strongest]) -> list[Finding]:
    """Return findings of features that go together otherwise, where each alone is as it was."""
    ours, theirs = (_correlations(one) for one in (train, test))
    best = next(iter(differing.values()))
    whole = float(((ours - theirs) ** 2).sum())
    for i, j in combinations(range(len(field.features)), 2):
        order = np.arange(len(field.features))
        order[[i, j]] = j, i
        if ((ours - theirs[np.ix_(order, order)]) ** 2).sum() <= _LEFT**2 * whole:
            names = f"{field.features[i]}, {field.features[j]}"
            text = (
                f"{field.name}: {field.features[i]} and {field.features[j]} look swapped: in test each of "
                "them goes with other features as the other one does in train"
            )
            return [_finding("swapped", text, field, names, best)]
    return [
        _finding("relation", f"{field.name}: {feature} goes together otherwise in test", field, feature, one)
        for feature, one in differing.items()
    ]


def _correlations(values: Numbers) -> Numbers:
    flat = values.reshape(-1, values.shape[2])
    flat = flat[~np.isnan(flat).any(axis=1)]
    if len(flat) < 2:
        return np.zeros((values.shape[2], values.shape[2]))
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.corrcoef(flat, rowvar=False).reshape(values.shape[2], values.shape[2]))
