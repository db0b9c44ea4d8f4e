"""Facts: names, shapes, number types, missing numbers and scales, which need no test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base.scales import scale_difference
from fusedlstm.comparison.findings import Finding, number_text, share_text
from fusedlstm.comparison.sets import Field, features_of, make_field, steps_of
from fusedlstm.comparison.testing import Family, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.comparison.sets import AnyArray


def pair(
    train: dict[str, AnyArray], test: dict[str, AnyArray], features: Sequence[str] | None
) -> tuple[list[Field], list[Finding]]:
    """Return the fields that both sets have in shapes that fit, and what is wrong with the others."""
    findings = []
    for one, other, ours, theirs in (("train", "test", train, test), ("test", "train", test, train)):
        for name in ours:
            if name not in theirs:
                text = f"{name} is in {one} and not in {other}, which has {', '.join(theirs)}"
                findings.append(Finding("inputs", "error", text, name))
    fields = []
    for name in (name for name in train if name in test):
        found = _shapes(name, train[name], test[name]) + _types(name, train[name], test[name])
        findings += found
        if not any(one.severity == "error" for one in found):
            fields.append(make_field(name, train[name], test[name], features))
    return fields, findings


def _shapes(name: str, train: AnyArray, test: AnyArray) -> list[Finding]:
    ours, theirs = train.shape[1:], test.shape[1:]
    if ours == theirs:
        return []
    sizes = f"{name} has samples of shape {ours} in train and {theirs} in test"
    only_steps = train.ndim == test.ndim and train.ndim > 1 and ours[1:] == theirs[1:]
    is_sequence = train.ndim > 2 or (train.ndim == 2 and train.dtype.kind in "iu" and test.dtype.kind in "iu")
    if only_steps and is_sequence:
        fewer = min(ours[0], theirs[0])
        text = f"{sizes}: sequences differ in length, and their first {fewer} steps were compared"
        return [Finding("shape", "warning", text, name)]
    return [Finding("shape", "error", f"{sizes}: nothing else of {name} can be compared", name)]


def _types(name: str, train: AnyArray, test: AnyArray) -> list[Finding]:
    texts = [array.dtype.kind == "U" for array in (train, test)]
    if train.dtype == test.dtype or all(texts):
        return []
    if any(texts):
        kinds = ["texts" if is_text else "numbers" for is_text in texts]
        text = (
            f"{name} has {kinds[0]} in train and {kinds[1]} in test: nothing else of {name} can be compared"
        )
        return [Finding("dtype", "error", text, name)]
    text = f"{name} is {train.dtype} in train and {test.dtype} in test"
    if (train.dtype.kind == "f") != (test.dtype.kind == "f"):
        return [Finding("dtype", "warning", f"{text}: one of them has not gone the same way", name)]
    return [Finding("dtype", "note", text, name)]


def scales(field: Field) -> list[Finding]:
    """Return whether a field of numbers is measured in other units in the test set."""
    found = scale_difference(field.train, field.test) if field.kind == "numbers" else None
    if found is None:
        return []
    factor = found.theirs / found.ours
    text = f"{field.name}: test is measured in other units, {factor_text(factor)} ({_typical(found)})"
    return [Finding("scale", "error", text, field.name, statistic=factor)]


def factor_text(factor: float) -> str:
    """Return ``255 times as large``, with what such a factor comes from."""
    if factor >= 1:
        text, of_bytes = f"about {number_text(factor)} times as large as train", 200 < factor < 300
    else:
        text, of_bytes = f"about {number_text(1 / factor)} times as small as train", 200 < 1 / factor < 300
    return f"{text}, as bytes beside numbers from 0 to 1" if of_bytes else text


def _typical(found: Any) -> str:
    return f"typical magnitudes {number_text(found.ours)} and {number_text(found.theirs)}"


def missing(fields: Sequence[Field]) -> tuple[list[Finding], Family | None]:
    """Return which numbers are NaN or infinite in the test set alone, and tests of those that both have."""
    findings: list[Finding] = []
    places: list[Place] = []
    counts: list[tuple[int, int, int, int]] = []
    for field in fields:
        for what, counted in (("missing", np.isnan), ("infinite", np.isinf)):
            if field.kind != "numbers":
                continue
            marks = [
                counted(one).reshape(len(one), steps_of(one), features_of(one))
                if one.dtype.kind == "f"
                else np.zeros((len(one), 1, features_of(one)), bool)
                for one in (field.train, field.test)
            ]
            ours, theirs = (int(mark.any(axis=(1, 2)).sum()) for mark in marks)
            if theirs and not ours:
                findings.append(_only_in_test(field, what, marks[1]))
            elif ours or theirs:
                places.append(Place(field.name, None, what))
                counts.append((ours, len(field.train), theirs, len(field.test)))
    if not places:
        return findings, None
    from scipy import stats

    p = [
        float(stats.fisher_exact([[ours, n - ours], [theirs, m - theirs]]).pvalue)
        for ours, n, theirs, m in counts
    ]
    distances = [abs(ours / n - theirs / m) for ours, n, theirs, m in counts]
    details = [
        f"{share_text(ours, n)} samples of train and {share_text(theirs, m)} of test"
        for ours, n, theirs, m in counts
    ]
    return findings, Family("missing", places, np.array(distances), np.array(p), details)


def _only_in_test(field: Field, what: str, marks: AnyArray) -> Finding:
    samples = int(marks.any(axis=(1, 2)).sum())
    by_feature = marks.any(axis=1).sum(axis=0)
    feature = field.features[int(by_feature.argmax())]
    which = (
        feature
        if (by_feature > 0).sum() == 1
        else f"{int((by_feature > 0).sum())} features, most in {feature}"
    )
    word = "NaN" if what == "missing" else "infinity"
    text = (
        f"{field.name}: {share_text(samples, len(marks))} test samples have {word} in {which}; train has none"
    )
    step = int(marks.any(axis=2).sum(axis=0).argmax()) if marks.shape[1] > 1 else None
    share = samples / len(marks)
    return Finding(what, "error", text, field.name, feature, step, statistic=share)


def missing_findings(family: Family, alpha: float) -> list[Finding]:
    """Return a finding for each field whose missing or infinite numbers are not as many, notes for others."""
    findings = []
    for number, place in enumerate(family.places):
        differs = family.adjusted[number] <= alpha
        word = "NaN" if place.what == "missing" else "infinity"
        text = f"{place.field}: {word} is in {family.details[number]}"
        findings.append(
            Finding(
                place.what,
                "warning" if differs else "note",
                text,
                place.field,
                **family.numbers(number),
            )
        )
    return findings
