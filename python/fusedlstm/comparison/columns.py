"""What of each sample is tested: numbers at its steps, and summaries of the whole, which do not share steps.

The steps of one sample depend on each other, and samples do not: each column has one number of each sample.
"""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.comparison.testing import Family, Place, family_of_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fusedlstm.comparison.sets import Field, Numbers, Rows

# Limits that keep a comparison within seconds: columns of a field's steps, numbers in all of them, samples.
_MOST_COLUMNS, _MOST_NUMBERS, _FEWEST_ROWS, _MOST_ROWS = 4096, 10_000_000, 1_000, 10_000
_MOST_BINS = 64
SUMMARIES = ("mean", "spread", "change", "trend")
_MOST_PAIRED, _MOST_IDS = 24, 64


def rows_for(fields: Sequence[Field], rows: Rows, rng: np.random.Generator) -> Rows:
    """Return the samples that are looked at, at most 10,000 of each set and fewer of wide ones."""
    width = max(
        (steps * max(1, len(field.features)) for field in fields for steps in [_bins(field)]), default=1
    )
    return rows.at_most(min(_MOST_ROWS, max(_FEWEST_ROWS, _MOST_NUMBERS // width)), rng)


def step_family(fields: Sequence[Field], rows: Rows) -> Family | None:
    """Return tests of the numbers at each step or mean over a few steps, for each feature."""
    places: list[Place] = []
    columns: list[tuple[Numbers, Numbers]] = []
    for field in fields:
        if field.kind == "ids":
            blocks = _id_steps(field, rows)
        elif field.kind == "numbers":
            blocks = _number_steps(field, rows)
        else:
            continue
        for feature, edges, ours, theirs in blocks:
            places += [
                Place(field.name, feature, "value", int(start), int(end))
                for start, end in itertools.pairwise(edges)
            ]
            columns.append((ours, theirs))
    return family_of_columns("steps", places, columns)


def summary_family(fields: Sequence[Field], rows: Rows) -> Family | None:
    """Return tests of what sums a sample up: mean, spread, change, trend, pairs of features, ids."""
    places: list[Place] = []
    columns: list[tuple[Numbers, Numbers]] = []
    for field in fields:
        if field.kind == "ids":
            blocks = _id_summaries(field, rows)
        elif field.kind == "numbers":
            blocks = _number_summaries(field, rows)
        else:
            continue
        for inner, ours, theirs in blocks:
            places += inner
            columns.append((ours, theirs))
    return family_of_columns("summaries", places, columns)


def edges_of(steps: int, most: int) -> list[int]:
    """Return the borders of at most so many bins of steps, as even as can be."""
    return [int(edge) for edge in np.linspace(0, steps, min(steps, most) + 1).round()]


def means_between(values: Numbers, edges: Sequence[int]) -> Numbers:
    """Return the means over bins of steps, (n, T, ...) to (n, bins, ...), NaN left out."""
    if len(edges) == values.shape[1] + 1:
        return values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, as it should be
        parts = [np.nanmean(values[:, start:end], axis=1) for start, end in itertools.pairwise(edges)]
    return np.stack(parts, axis=1)


def _bins(field: Field) -> int:
    if field.kind == "classes":
        return 1
    steps = min(
        one.shape[1] if one.ndim > 2 or field.kind == "ids" else 1 for one in (field.train, field.test)
    )
    return max(1, min(steps, _MOST_BINS, _MOST_COLUMNS // max(1, len(field.features))))


def _number_steps(field: Field, rows: Rows) -> Iterator[tuple[str, list[int], Numbers, Numbers]]:
    ours, theirs = field.numbers(rows)
    edges = edges_of(ours.shape[1], _bins(field))
    ours, theirs = means_between(ours, edges), means_between(theirs, edges)
    for number, feature in enumerate(field.features):
        yield feature, edges, ours[:, :, number], theirs[:, :, number]


def _number_summaries(field: Field, rows: Rows) -> Iterator[tuple[list[Place], Numbers, Numbers]]:
    both = field.numbers(rows)
    if both[0].shape[1] > 1:
        for number, feature in enumerate(field.features):
            ours, theirs = (summaries(one[:, :, number]) for one in both)
            places = [Place(field.name, feature, what) for what in SUMMARIES]
            yield places, ours, theirs
    if 2 <= len(field.features) <= _MOST_PAIRED:
        yield _products(field, *both)


def summaries(values: Numbers) -> Numbers:
    """Return mean, standard deviation, mean absolute and mean first difference of each sample, (n, 4)."""
    steps = np.diff(values, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # samples of NaN alone have no summary
        return np.stack(
            [
                np.nanmean(values, axis=1),
                np.nanstd(values, axis=1),
                np.nanmean(np.abs(steps), axis=1),
                np.nanmean(steps, axis=1),
            ],
            axis=1,
        )


def _products(field: Field, ours: Numbers, theirs: Numbers) -> tuple[list[Place], Numbers, Numbers]:
    """Return how features go together in each sample: mean products of two standardized ones."""
    both = np.concatenate([ours, theirs])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature of NaN alone
        middle = np.nanmedian(both, axis=(0, 1))
        spread = np.nanquantile(np.abs(both - middle), 0.75, axis=(0, 1))
    spread[~(spread > 0)] = 1.0
    # Labels play no part in the scaling, so that under the null the sets stay exchangeable.
    scaled = np.nan_to_num(np.clip((both - middle) / spread, -5, 5))
    one, other = np.triu_indices(len(field.features), 1)
    products = np.matmul(scaled.transpose(0, 2, 1), scaled)[:, one, other] / both.shape[1]
    places = [
        Place(field.name, f"{field.features[i]} with {field.features[j]}", "relation")
        for i, j in zip(one, other, strict=True)
    ]
    return places, products[: len(ours)], products[len(ours) :]


def ranked(values: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ``size`` most frequent ids, and all ids as ranks by frequency, the rest as ``size``."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return distinct[order[:size]], np.minimum(rank[inverse].reshape(values.shape), size)


def _id_steps(field: Field, rows: Rows) -> Iterator[tuple[str, list[int], Numbers, Numbers]]:
    ours, theirs = field.whole(rows)
    _, ranks = ranked(np.concatenate([ours, theirs]), np.iinfo(np.int64).max)
    values = ranks.astype(np.float64)[:, :, None]
    edges = edges_of(values.shape[1], _bins(field))
    binned = means_between(values, edges)[:, :, 0]
    yield "frequency of ids", edges, binned[: len(ours)], binned[len(ours) :]


def _id_summaries(field: Field, rows: Rows) -> Iterator[tuple[list[Place], Numbers, Numbers]]:
    ours, theirs = field.whole(rows)
    both = np.concatenate([ours, theirs])
    frequent, ranks = ranked(both, _MOST_IDS)
    counts = np.stack([(ranks == rank).sum(axis=1) for rank in range(len(frequent))], axis=1).astype(
        np.float64
    )
    ordered = np.sort(both, axis=1)
    distinct = 1.0 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    places = [Place(field.name, f"id {one}", "count") for one in frequent]
    columns = np.column_stack([counts, distinct])
    n = len(ours)
    yield [*places, Place(field.name, "ids", "distinct")], columns[:n], columns[n:]
    if n < 4:
        return
    # Of a vocabulary from one half of train, what the other half and test do not know is comparable.
    unseen = [(~np.isin(some, ours[::2])).sum(axis=1).astype(np.float64) for some in (ours[1::2], theirs)]
    yield [Place(field.name, "ids", "unseen")], unseen[0][:, None], unseen[1][:, None]
