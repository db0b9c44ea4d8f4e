"""A two-sample test by a classifier: a small LSTM learns to tell train from test.

If both sets are alike, it can't do better than chance on rows that were held out (Lopez-Paz and Oquab 2017).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import initializers, layers
from fusedlstm.base.filling import filling
from fusedlstm.comparison.columns import edges_of, means_between, ranked
from fusedlstm.comparison.findings import Finding, number_text
from fusedlstm.comparison.testing import Family, Place
from fusedlstm.losses import BinaryCrossentropy
from fusedlstm.models import Model
from fusedlstm.optimizers import Adam

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusedlstm.comparison.sets import Field, Numbers, Rows

_FEWEST, _MOST = 16, 4_000
_UNITS, _WORDS, _WIDTH = 16, 500, 8
_MOST_STEPS, _MOST_FEATURES = 128, 64
_BATCH, _UPDATES, _EPOCHS = 64, 400, 40
_BINS = 10
_DRAWS, _ENOUGH = 9_999, 50  # permutations of ranks; numbers of either side from which on there are none


@dataclass(frozen=True)
class Drop:
    """How much of the AUC is lost when something is exchanged between held-out rows at random."""

    field: str
    feature: str | None
    step: int | None
    end: int | None
    auc: float


@dataclass(frozen=True)
class Classified:
    """What the classifier did on held-out rows.

    Attributes
    ----------
    train, test : ndarray, shapes (n,) and (m,)
        Logits of the rows; the higher, the more they look like test.
    auc : float
        Chance that a row of test has the higher one, ties counted half.
    p_value : float
        One-sided, by Mann and Whitney's test.
    fitted : int
        Rows that it learned from.
    features, steps : list of Drop
        What gives the sets away, largest drop first; empty where they are not told apart.
    """

    train: NDArray[np.float64]
    test: NDArray[np.float64]
    auc: float
    p_value: float
    fitted: int
    features: list[Drop] = field(default_factory=list)
    steps: list[Drop] = field(default_factory=list)


class Classifier:
    """A model of some fields, trained on half of the rows.

    Parameters
    ----------
    fields : sequence of Field
        Inputs.
    rows : Rows
        Which samples may be used.
    seed : int
        Of the halves, weights and batches.
    """

    def __init__(self, fields: Sequence[Field], rows: Rows, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # Neither set may be much larger, or the loss would hardly see the other one.
        fewest = min(len(rows.train), len(rows.test))
        rows = rows.at_most(min(_MOST, 4 * fewest), rng)
        self._fields = fields
        self._inputs = [_input(one, rows) for one in fields]
        n, m = len(rows.train), len(rows.test)
        marks = np.concatenate([np.zeros(n), np.ones(m)]).astype(np.float32)
        halves = [rng.permutation(n), n + rng.permutation(m)]
        fitted = np.concatenate([some[: len(some) // 2] for some in halves])
        self._held = np.concatenate([some[len(some) // 2 :] for some in halves])
        self._marks = marks[self._held] > 0
        self._rng = rng
        self._fitted = len(fitted)
        self._model = _model(fields, self._inputs, rng)
        self._model.compile(Adam(0.01), BinaryCrossentropy(from_logits=True))
        self._train(fitted, marks)

    def result(self) -> Classified:
        """Return AUC and p-value on the rows that were held out."""
        scores = self._scores([one[self._held] for one in self._inputs])
        ours, theirs = scores[~self._marks], scores[self._marks]
        auc, p = mann_whitney(theirs, ours, self._rng)
        return Classified(ours, theirs, auc, p, self._fitted)

    def explained(self, result: Classified) -> Classified:
        """Return the result with what gives the sets away: rows exchange features, or steps, at random."""
        features, steps = [], []
        for number, (one, values) in enumerate(zip(self._fields, self._inputs, strict=True)):
            edges = edges_of(values.shape[1], _BINS)
            if values.ndim == 3:
                for column in range(min(len(one.features), _MOST_FEATURES)):
                    drop = result.auc - self._without(number, np.s_[:, :, column])
                    features.append(Drop(one.name, one.features[column], None, None, drop))
            if len(edges) > 2:
                widths = _true_steps(one) / values.shape[1]
                for start, end in itertools.pairwise(edges):
                    drop = result.auc - self._without(number, np.s_[:, start:end])
                    steps.append(Drop(one.name, None, int(start * widths), int(end * widths), drop))
        by_drop = sorted(features, key=lambda one: -one.auc)
        return Classified(
            result.train,
            result.test,
            result.auc,
            result.p_value,
            result.fitted,
            by_drop,
            sorted(steps, key=lambda one: -one.auc),
        )

    def _train(self, fitted: NDArray[np.intp], marks: NDArray[np.float32]) -> None:
        size = min(_BATCH, max(16, len(fitted) // 4))
        epochs = min(_EPOCHS, max(5, _UPDATES * size // len(fitted)))
        for _ in range(epochs):
            order = self._rng.permutation(fitted)
            for start in range(0, len(order), size):
                some = order[start : start + size]
                self._model.train_on_batch([one[some] for one in self._inputs], marks[some][:, None])

    def _scores(self, inputs: list[Any]) -> NDArray[np.float64]:
        given = inputs if len(inputs) > 1 else inputs[0]
        return np.asarray(self._model.predict(given, batch_size=512, verbose=0)[:, 0], np.float64)

    def _without(self, number: int, part: Any) -> float:
        inputs = [one[self._held] for one in self._inputs]
        changed = inputs[number].copy()
        changed[part] = changed[self._rng.permutation(len(changed))][part]
        inputs[number] = changed
        scores = self._scores(inputs)
        return _auc(scores[self._marks], scores[~self._marks])


def enough(rows: Rows) -> bool:
    """Tell whether both sets have rows enough to learn from and to be tried on."""
    return min(len(rows.train), len(rows.test)) >= _FEWEST


def family_of(result: Classified) -> Family:
    """Return the test as a family of one."""
    least = 1 / (1 + _DRAWS) if min(len(result.train), len(result.test)) < _ENOUGH else 0.0
    return Family(
        "classifier",
        [Place("x", None, "classifier")],
        np.array([result.auc]),
        np.array([result.p_value]),
        least=least,
    )


def classifier_finding(family: Family, result: Classified) -> Finding:
    """Return that the sets are told apart, and by what."""
    text = (
        f"a small LSTM tells train from test: AUC {result.auc:.3f} on "
        f"{len(result.train) + len(result.test):,} rows that it had not seen"
    )
    parts = []
    for one in result.features[:1]:
        if one.auc > 0:
            parts.append(f"{one.field}: {one.feature} (without it {number_text(result.auc - one.auc)})")
    for one in result.steps[:1]:
        if one.auc > 0:
            last = (one.end or 0) - 1
            where = f"steps {one.step} to {last}" if last != one.step else f"step {one.step}"
            parts.append(f"{one.field}: {where} (without them {number_text(result.auc - one.auc)})")
    if parts:
        text = f"{text}; most given away by {' and '.join(parts)}"
    best = result.features[0] if result.features else None
    return Finding(
        "classifier",
        "warning",
        text,
        None,
        best.feature if best else None,
        result.steps[0].step if result.steps else None,
        **family.numbers(0),
    )


def mann_whitney(
    higher: NDArray[np.float64], lower: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the AUC of numbers (m,) against others (n,), and its one-sided p-value.

    By the normal approximation with a correction for ties where both have 50 numbers, else by permutations of
    the ranks, which hold for any number.
    """
    from scipy import stats

    n, m = len(lower), len(higher)
    auc = _auc(higher, lower)
    if min(n, m) >= _ENOUGH:
        return auc, float(
            stats.mannwhitneyu(higher, lower, alternative="greater", method="asymptotic").pvalue
        )
    ranks = stats.rankdata(np.concatenate([higher, lower]))
    sums = rng.permuted(np.tile(ranks, (_DRAWS, 1)), axis=1)[:, :m].sum(axis=1)
    # Ranks are halves of integers, whose sums are exact.
    return auc, float((1 + (sums >= ranks[:m].sum()).sum()) / (1 + _DRAWS))


def _auc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    from scipy import stats

    ranks = stats.rankdata(np.concatenate([higher, lower]))
    m = len(higher)
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * len(lower)))


def _true_steps(one: Field) -> int:
    """Return how many steps of the sequences the input covers, which may be binned."""
    steps = min(side.shape[1] if side.ndim > 2 or one.kind == "ids" else 1 for side in (one.train, one.test))
    return min(steps, _MOST_STEPS) if one.kind == "ids" else steps


def _input(one: Field, rows: Rows) -> Any:
    """Return both sets' samples, one after the other, as the model takes them; labels play no part in it."""
    if one.kind == "ids":
        both = np.concatenate(one.whole(rows))[:, :_MOST_STEPS]
        return ranked(both, _WORDS)[1]
    values = np.concatenate(one.numbers(rows))
    values = means_between(values, edges_of(values.shape[1], _MOST_STEPS))
    return _standardized(values).astype(np.float32)


def _standardized(values: Numbers) -> Numbers:
    flat = values.reshape(-1, values.shape[2])
    result = np.zeros(values.shape)
    for number in range(values.shape[2]):
        some = flat[:, number]
        some = some[~np.isnan(some)]
        if not some.size:
            continue
        low, middle, high = np.quantile(some, (0.25, 0.5, 0.75))
        spread = high - low if high > low else float(np.std(some)) or 1.0
        result[:, :, number] = np.clip((values[:, :, number] - middle) / spread, -8, 8)
    return np.nan_to_num(result)


def _model(fields: Sequence[Field], inputs: Sequence[Any], rng: np.random.Generator) -> Model:
    """Return an LSTM for each input and one logit of all."""
    with filling():  # so that nothing is drawn from the seeds of the user's session
        starts, ends = [], []
        for one, values in zip(fields, inputs, strict=True):
            is_ids = one.kind == "ids"
            start = layers.Input(values.shape[1:], dtype="int64" if is_ids else "float32")
            inner = layers.Embedding(_WORDS + 1, _WIDTH)(start) if is_ids else start
            starts.append(start)
            ends.append(layers.LSTM(_UNITS, dtype="float32")(inner))
        merged = layers.concatenate(ends) if len(ends) > 1 else ends[0]
        model = Model(starts if len(starts) > 1 else starts[0], layers.Dense(1, dtype="float32")(merged))
    weights = []
    for variable in model.weights:
        if len(variable.shape) == 1:
            value = np.zeros(variable.shape, np.float32)
            if len(value) == 4 * _UNITS:
                value[_UNITS : 2 * _UNITS] = 1.0  # forget gates begin open
        else:
            value = initializers.GlorotUniform(int(rng.integers(1 << 31)))(variable.shape, "float32")
        weights.append(value)
    model.set_weights(weights)
    return model
