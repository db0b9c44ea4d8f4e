"""Labels of the two sets: classes that one of them lacks, and how often each comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusedlstm.comparison.findings import Finding, share_text
from fusedlstm.comparison.testing import Family, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusedlstm.comparison.sets import Field

# The chi-square distribution holds from so many expected labels in each cell on (Cochran 1954).
_EXPECTED = 5
_MOST_SHOWN = 5


def sets_of_labels(field: Field) -> list[Finding]:
    """Return which classes are in one set alone."""
    ours, theirs = np.unique(field.train), np.unique(field.test)
    strange, absent = np.setdiff1d(theirs, ours), np.setdiff1d(ours, theirs)
    findings = []
    if len(strange):
        count = int(np.isin(field.test, strange).sum())
        text = (
            f"{field.name}: {_classes(field, strange)} in test {'is' if len(strange) == 1 else 'are'} not in "
            f"train, which has {_classes(field, ours)}; {share_text(count, field.test.size)} test labels "
            "can't be predicted"
        )
        findings.append(
            Finding(
                "labels",
                "error",
                text,
                field.name,
                field.called(strange[0]),
                statistic=count / field.test.size,
            )
        )
    if len(absent):
        text = f"{field.name}: test has no sample of {_classes(field, absent)}, which train has"
        findings.append(Finding("labels", "note", text, field.name, field.called(absent[0])))
    return findings


def proportions(fields: Sequence[Field]) -> Family | None:
    """Return chi-square tests of the classes' shares, those that are too rare taken together."""
    from scipy import stats

    places, statistic, p, details = [], [], [], []
    for field in fields:
        if field.kind != "classes":
            continue
        classes, table = counts_of(field)
        cells = _merged(table)
        if cells.shape[1] < 2:
            continue
        places.append(Place(field.name, None, "proportions"))
        p.append(float(stats.chi2_contingency(cells, correction=False).pvalue))
        shares = table / table.sum(axis=1, keepdims=True)
        statistic.append(float(np.abs(shares[0] - shares[1]).sum() / 2))
        worst = int(np.abs(shares[0] - shares[1]).argmax())
        details.append(
            f"class {field.called(classes[worst])} is {100 * shares[0, worst]:.3g} % of train and "
            f"{100 * shares[1, worst]:.3g} % of test"
        )
    if not places:
        return None
    return Family("labels", places, np.array(statistic), np.array(p), details)


def proportion_findings(family: Family, alpha: float) -> list[Finding]:
    """Return a finding for each field whose classes come in other shares."""
    return [
        Finding(
            "label proportions",
            "warning",
            f"{place.field}: classes come in other shares; {family.details[number]}",
            place.field,
            **family.numbers(number),
        )
        for number, place in enumerate(family.places)
        if family.adjusted[number] <= alpha
    ]


def counts_of(field: Field) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the classes (K,), and how often each is in train and test (2, K)."""
    classes = np.unique(np.concatenate([field.train, field.test]))
    table = [
        np.bincount(np.searchsorted(classes, some), minlength=len(classes))
        for some in (field.train, field.test)
    ]
    return classes, np.stack(table)


def _merged(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put rare classes together until each cell of the table (2, K) is expected often enough."""
    sides = table.sum(axis=1) / table.sum()
    table = table[:, np.argsort(-table.sum(axis=0), kind="stable")]
    while table.shape[1] > 1 and sides.min() * table[:, -1].sum() < _EXPECTED:
        table = np.column_stack([table[:, :-2], table[:, -2] + table[:, -1]])
        table = table[:, np.argsort(-table.sum(axis=0), kind="stable")]
    return table


def _classes(field: Field, some: NDArray[np.int64]) -> str:
    shown = ", ".join(field.called(one) for one in some[:_MOST_SHOWN])
    if len(some) > _MOST_SHOWN:
        shown += f" and {len(some) - _MOST_SHOWN} more"
    return f"class {shown}" if len(some) == 1 else f"classes {shown}"
