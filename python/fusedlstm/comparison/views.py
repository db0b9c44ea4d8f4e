"""Numbers of the picture: distances by feature and step, and the feature that differs most in both sets."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.comparison.columns import means_between
from fusedlstm.comparison.result import Distances, Shares
from fusedlstm.comparison.testing import known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.comparison.sets import Field, Numbers, Rows
    from fusedlstm.comparison.testing import Family

_VALUES, _MOST_SHARES = 5_000, 12
_LEVELS = (0.1, 0.5, 0.9)


def distances_of(field: Field, rows: Rows, families: Sequence[Family], alpha: float) -> Distances:
    """Return what the picture shows of a field of numbers."""
    steps = [
        (place, family.statistic[number], family.adjusted[number])
        for family in families
        if family.name == "steps"
        for number, place in enumerate(family.places)
        if place.field == field.name
    ]
    first = [place for place, _, _ in steps if place.feature == field.features[0]]
    edges = [place.step or 0 for place in first] + [first[-1].end or 0]
    values = np.array([distance for _, distance, _ in steps]).reshape(len(field.features), -1)
    differs = np.zeros(len(field.features), bool)
    smallest = np.ones(len(field.features))
    index = {feature: number for number, feature in enumerate(field.features)}
    for family in families:
        for place, adjusted in zip(family.places, family.adjusted, strict=True):
            if place.field == field.name and place.feature in index:
                number = index[place.feature]
                differs[number] |= adjusted <= alpha
                smallest[number] = min(smallest[number], adjusted)
    shown = int(np.lexsort((-values.max(axis=1), smallest))[0])
    ours, theirs = (one[:, :, shown] for one in field.numbers(rows))
    return Distances(
        field.name,
        field.features,
        edges,
        values,
        differs,
        _quantiles(ours, edges),
        _quantiles(theirs, edges),
        (_some(ours), _some(theirs)),
        shown,
    )


def shares_of(field: Field) -> Shares:
    """Return how often the classes, or ids, come whose shares differ most."""
    both = field.train.astype(np.int64).ravel(), field.test.astype(np.int64).ravel()
    classes = np.unique(np.concatenate(both))
    ours, theirs = (
        np.bincount(np.searchsorted(classes, one), minlength=len(classes)) / len(one) for one in both
    )
    most = np.sort(np.lexsort((-np.maximum(ours, theirs), -np.abs(ours - theirs)))[:_MOST_SHARES])
    what = "class" if field.kind == "classes" else "id"
    title = f"shares of {'classes' if what == 'class' else 'ids'}"
    if len(most) < len(classes):
        title += f", the {len(most)} of {len(classes)} that differ most"
    return Shares(
        field.name,
        title,
        what,
        tuple(field.classes[one] if field.classes else str(one) for one in classes[most]),
        ours[most],
        theirs[most],
    )


def _quantiles(values: Numbers, edges: list[int]) -> Numbers:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # steps of NaN alone have none
        return np.asarray(np.nanquantile(means_between(values[:, :, None], edges)[:, :, 0], _LEVELS, axis=0))


def _some(values: Numbers) -> Numbers:
    flat = known(values.ravel())
    return flat[:: max(1, flat.size // _VALUES)]
