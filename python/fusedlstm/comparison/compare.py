"""`compare_data`: whether a test set is like the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.comparison import classifier as classifying
from fusedlstm.comparison import labels as labelling
from fusedlstm.comparison import ordering, structure
from fusedlstm.comparison.columns import rows_for, step_family, summary_family
from fusedlstm.comparison.explain import explained
from fusedlstm.comparison.findings import SEVERITIES, Finding
from fusedlstm.comparison.leakage import Repeats
from fusedlstm.comparison.result import Comparison
from fusedlstm.comparison.sets import Rows, read_set
from fusedlstm.comparison.testing import Family, reachable, share_out
from fusedlstm.comparison.views import distances_of, shares_of


def compare_data(
    train: Any,
    test: Any,
    *,
    time: Any = None,
    features: Sequence[str] | None = None,
    classifier: bool = True,
    alpha: float = 0.01,
    seed: int = 0,
) -> Comparison:
    """Tell in what a test set differs from the training set: facts, tests of distributions, a classifier.

    Facts are shapes, number types, units, missing numbers, labels that train lacks, rows of test that train
    has too, and the order of times. Tests compare each feature at each step, what sums a sample up, features
    that go together and the shares of classes; and a small LSTM learns to tell the sets apart. Samples are
    taken to be independent of each other, steps of a sample are not.

    Parameters
    ----------
    train, test : array, or list or dict of them, or (x, y)
        Inputs and, in a tuple, labels. An input is (N, F), (N, T, F) or has more axes, which are all features
        of a step; integers (N, T) are ids, whose sizes mean nothing. Labels are classes (N,), as integers or
        texts, one-hot rows, ids (N, T) of sequences, or numbers.
    time : pair of arrays, optional
        Times of the samples of train and of test, (N,) or (N, T), as numbers or dates: gaps, overlaps and
        time that runs backwards are looked for.
    features : sequence of str, optional
        Names of the features, for the report; every input of numbers has so many.
    classifier : bool
        Whether an LSTM is trained, which takes most of the time.
    alpha : float
        In (0, 1): chance that any of the tests finds something in sets that were drawn alike. It is shared
        out to all tests. Facts are true whatever chance does.
    seed : int
        Of all that is random. The same seed gives the same findings.

    Returns
    -------
    Comparison
        ``print`` it; ``ok``, ``tested``, ``findings``, ``exit_code``, ``to_json()`` and
        ``plot("picture.png")``.

    Raises
    ------
    ImportError
        If SciPy (the extra ``compare``) is not installed.
    TypeError, ValueError
        If an argument is wrong; the message names it, what was expected and what came.
    """
    _need_scipy()
    checks.flags(classifier=classifier)
    level = checks.rate(alpha, "alpha")
    if level == 0:
        raise ValueError("alpha: expected a number in (0, 1), got 0")
    start = checks.non_negative_int(seed, "seed")
    if features is not None:
        features = _names(features)
    ours, theirs = read_set(train, "train"), read_set(test, "test")
    sizes = len(next(iter(ours.values()))), len(next(iter(theirs.values())))
    clock = ordering.read_time(time, sizes)
    rng = np.random.default_rng(start)

    fields, findings = structure.pair(ours, theirs, features)
    inputs = [one for one in fields if one.name.startswith("x")]
    labels = [one for one in fields if one.name.startswith("y")]
    families: list[Family | None] = []
    for one in fields:
        findings += structure.scales(one)
        if one.kind == "classes":
            findings += labelling.sets_of_labels(one)
    found, lacking = structure.missing(fields)
    findings += found
    shares = labelling.proportions(labels)
    repeats = Repeats(inputs, labels[0] if labels else None, rng) if inputs else None
    rows, found = ordering.apart(inputs, sizes)
    findings += found
    gap = None
    if clock is not None:
        found, gap = ordering.times(*clock)
        findings += found
    elif len(inputs) == 1:
        gap = ordering.jump(inputs[0])
    looked_at = rows_for(fields, rows, rng)
    tested = [summary_family(fields, looked_at), step_family(fields, looked_at)]
    families += [lacking, shares, repeats.family if repeats else None, gap, *tested]
    told: classifying.Classified | None = None
    if classifier and inputs and classifying.enough(rows):
        network = classifying.Classifier(inputs, rows, start)
        told = network.result()
        families.append(classifying.family_of(told))
    present = [family for family in families if family is not None]
    share_out(present, level)
    is_tested, found = _power(present, rows, level)
    findings += found

    if repeats is not None:
        findings += repeats.findings + repeats.tested(level)
    if lacking is not None:
        findings += structure.missing_findings(lacking, level)
    if shares is not None:
        findings += labelling.proportion_findings(shares, level)
    if gap is not None:
        findings += ordering.gap_findings(gap, level)
    of_columns = [family for family in tested if family is not None]
    rescaled = {one.field for one in findings if one.kind == "scale"}
    for one in fields:
        # Where the whole array is measured in other units, so is each of its features.
        found = explained(one, looked_at, of_columns, level)
        findings += [other for other in found if other.kind != "scale" or one.name not in rescaled]
    if told is not None and present[-1].adjusted[0] <= level:
        told = network.explained(told)
        findings.append(classifying.classifier_finding(present[-1], told))
    return Comparison(
        tuple(_ordered(findings)),
        level,
        start,
        sizes,
        {family.name: len(family.places) for family in present},
        None if told is None else told.auc,
        tuple(distances_of(one, looked_at, of_columns, level) for one in fields if one.kind == "numbers"),
        tuple(shares_of(one) for one in fields if one.kind != "numbers"),
        None if told is None else (told.train, told.test),
        is_tested,
    )


def _power(families: list[Family], rows: Rows, alpha: float) -> tuple[bool, list[Finding]]:
    """Return whether any test of distributions can find something, and a note where some of them can't."""
    of_distributions = [one for one in families if one.name in ("summaries", "steps", "classifier", "labels")]
    without = [one for one in of_distributions if reachable(one, families) > alpha]
    if not without:
        return True, []
    count = f"{len(rows.train):,} of train and {len(rows.test):,} of test"
    least = min(reachable(one, families) for one in without)
    which = f"{sum(len(one.p) for one in without):,} of {sum(len(one.p) for one in families):,} tests"
    is_tested = len(without) < len(of_distributions)
    text = (
        f"too few samples {f'for {which}' if is_tested else 'to test'}, {count}: even sets that lie wholly "
        f"apart would have p = {least:.2g}, and alpha is {alpha:g}"
    )
    return is_tested, [Finding("samples", "note", text)]


def _ordered(findings: list[Finding]) -> list[Finding]:
    """Put the worst first; of one severity facts come before tests, and these in the order they came in."""
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.p_adjusted is not None))


def _names(features: Sequence[str]) -> tuple[str, ...]:
    if isinstance(features, str) or not isinstance(features, Sequence):
        raise TypeError(f"features: expected a sequence of names, got {type(features).__name__}")
    for one in features:
        if not isinstance(one, str):
            raise TypeError(f"features: expected names, got {one!r:.80}")
    return tuple(features)


def _need_scipy() -> None:
    try:
        import scipy.stats  # noqa: F401
    except ImportError as error:
        raise ImportError('compare_data needs SciPy: pip install "fusedlstm[compare]"') from error
