"""Find attacks in network traffic without having seen one: flag what an LSTM can't predict.

An LSTM reads normal flows in their order. At each it says, from those before and from the kind of this one
(protocol, service), what this one's numbers will be, and how sure it is. A flow whose numbers are many of the
said deviations away is a surprise; the threshold is what one in twenty normal flows of a later time
exceeds. Attacks are not needed for that: labels, where there are some, take them out of the training flows,
and test what was flagged, with ROC and precision-recall curves. Beside it stand the same surprise without a
memory, one with a moving average, and scikit-learn's isolation forest.

Data are a part of KDD Cup 99, which the package brings: flows of a network on which users' work was acted out
and attacks of 22 kinds were made on purpose, all labelled. --full takes all of it, through scikit-learn.

\b
A file for --data is one of these, in the order of time:
  CSV of NSL-KDD, UNSW-NB15 or CIC-IDS, known by its columns, with or without labels
  pcap or pcapng, whose packets become flows by addresses and ports
"""  # noqa: D301 (click's mark of a paragraph that keeps its lines)

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm import Input, Sequential, callbacks, layers, optimizers, utils
from fusedlstm.examples import anomaly_pictures as pictures
from fusedlstm.examples import captures, flows
from fusedlstm.examples.anomaly_events import attacks, events, explain, in_words
from fusedlstm.examples.job import Job, Option, ProblemError, in_percent
from fusedlstm.examples.tuning import Range, Tuning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.callbacks import Callback, History
    from fusedlstm.examples.flows import Flows
    from fusedlstm.examples.tuning import Chosen

    Array = NDArray[Any]

PICTURES = ("curves.png", "timeline.png", "events.png")
OPTIONS = (
    Option(
        "full", False, "All of KDD Cup 99, 494,021 flows; needs a network the first time.", with_data=False
    ),
    Option("false-alarms", 0.05, "Share of normal validation flows above the threshold, which it sets."),
    Option(
        "epochs",
        20,
        "Passes over the training flows at most; it stops when validation gets no better.",
        quick=3,
    ),
    Option("units", 64, "Units of the LSTM."),
)
STEPS = 50  # flows of a training window
COMMON = 12  # values of a kind that have an input of their own; rarer ones share none


class Scaled(NamedTuple):
    """Flows as a model takes them: ``numbers`` (N, F) and ``kinds`` (N, K) of zeros and ones."""

    numbers: Array
    kinds: Array

    @property
    def x(self) -> Array:
        """What is known before a flow's numbers are: those of the flow before, and both flows' kinds."""
        before = [np.vstack([np.zeros_like(part[:1]), part[:-1]]) for part in (self.numbers, self.kinds)]
        return np.hstack([*before, self.kinds])

    def of(self, chosen: Array) -> Scaled:
        """Return some of the flows, as if there were no others."""
        return Scaled(self.numbers[chosen], self.kinds[chosen])


def scaled(traffic: Flows, training: Array) -> tuple[Scaled, Array, Array]:
    """Return flows in units of the training flows' deviations, whose means and sizes are returned too.

    Bytes and seconds span many powers of ten, so it is their logarithms that are scaled. A number that is the
    same in all training flows has no deviation; another value of it is far away then, but not infinitely.
    """
    logs = np.sign(traffic.numbers) * np.log1p(np.abs(traffic.numbers))
    mean, deviation = logs[training].mean(axis=0), np.maximum(logs[training].std(axis=0), 0.05)
    kinds: list[Array] = []
    for column in traffic.kinds.T:
        values, counts = np.unique(column[training], return_counts=True)
        kinds += [column == value for value in values[np.argsort(-counts, kind="stable")[:COMMON]]]
    numbers = np.clip((logs - mean) / deviation, -8, 8).astype(np.float32)
    marks = np.array(kinds, np.float32).reshape(-1, len(numbers)).T  # no columns where flows have no kinds
    return Scaled(numbers, np.ascontiguousarray(marks)), mean, deviation


def said(outputs: Array) -> tuple[Array, Array]:
    """Return the means and deviations (..., F) in a model's outputs (..., 2 F)."""
    mean, log_variance = np.split(outputs, 2, axis=-1)
    return mean, np.exp(0.5 * np.clip(log_variance, -5, 5))


def gaussian_loss(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Return each flow's negative log-likelihood, but for a constant, and its gradient by the outputs."""
    mean, deviation = said(y_pred)
    z = (y_true - mean) / deviation
    gradient = np.concatenate([-z / deviation, 0.5 * (1 - z * z)], axis=-1)
    return (0.5 * z * z + np.log(deviation)).mean(axis=-1), gradient / y_true.shape[-1]


def train(
    job: Job, normal: Scaled, validation: Scaled, chosen: Chosen, epochs: int, watching: list[Callback]
) -> tuple[Sequential, History]:
    """Return a model that has learned normal flows, and the history of its losses."""
    model = Sequential(
        [
            Input((None, normal.x.shape[1])),
            layers.Dropout(
                chosen["dropout"]
            ),  # whole inputs now and then, so that no single one is relied on
            layers.LSTM(chosen["units"], return_sequences=True),
            layers.Dense(2 * normal.numbers.shape[1]),
        ]
    )
    model.compile(optimizers.Adam(chosen["learning_rate"]), loss=gaussian_loss)
    history = model.fit(
        *windows(normal),
        batch_size=chosen["batch_size"],
        validation_data=windows(validation),
        epochs=epochs,
        verbose=job.verbose,
        callbacks=watching,
        device=job.device,
    )
    return model, history


def as_good_as_it_gets(job: Job, normal: Scaled, validation: Scaled, chosen: Chosen) -> Sequential:
    """Return a model that has learned normal flows until it got no better at later ones."""
    stop = callbacks.EarlyStopping(patience=5, restore_best_weights=True)
    epochs = job.options["epochs"]
    return train(job, normal, validation, chosen, epochs, [*job.backup(), stop])[0]


def defaults(job: Job) -> dict[str, Any]:
    """Return the hyper-parameters without a search."""
    return {"units": job.options["units"], "dropout": 0.2, "learning_rate": 3e-3, "batch_size": 32}


def windows(flows_in_order: Scaled) -> tuple[Array, Array]:
    """Return inputs (B, T, I) and numbers to predict (B, T, F) of windows of flows that overlap."""

    def cut(rows: Array) -> Array:
        batches = utils.timeseries_dataset_from_array(rows, None, STEPS, sequence_stride=STEPS // 5)
        return np.concatenate(list(batches))

    return cut(flows_in_order.x), cut(flows_in_order.numbers)


def surprises(numbers: Array, mean: Array, deviation: Array) -> Array:
    """Return how much each number (N, F) surprises: log(1 + z^2), which no single number can dominate."""
    z = (numbers - mean) / deviation
    return np.log1p(z * z)


def moving_average(numbers: Array, memory: float = 0.05) -> Array:
    """Return the surprises by mean and deviation of the flows before, the later the more."""
    mean, variance, result = np.zeros(numbers.shape[1]), np.ones(numbers.shape[1]), np.empty_like(numbers)
    for row, now in enumerate(numbers):
        result[row] = surprises(now, mean, np.sqrt(variance))
        mean += memory * (now - mean)
        variance = np.maximum(variance + memory * ((now - mean) ** 2 - variance), 0.01)
    return result


def forest(job: Job, data: Scaled, training: Array) -> Array:
    """Return the scores (N,) of scikit-learn's isolation forest, which knows flows one by one."""
    from sklearn.ensemble import IsolationForest

    rows = np.hstack([data.numbers, data.kinds])
    trees = IsolationForest(n_estimators=50 if job.quick else 200, random_state=job.seed).fit(rows[training])
    return np.asarray(-trees.score_samples(rows))


def stream(model: Sequential, data: Scaled, count: int) -> tuple[Array, float]:
    """Score the first flows as they come, one by one; return the model's outputs and flows a second."""
    session, x, outputs = model.stream(), data.x[:count], []
    start = time.perf_counter()
    for row in range(count):
        outputs.append(session.step(x[row : row + 1])[0].copy())
        surprises(data.numbers[row], *said(outputs[-1])).mean()
    return np.stack(outputs), count / (time.perf_counter() - start)


def curves(truth: Array, scores: dict[str, Array]) -> dict[str, dict[str, Any]]:
    """Return ROC and precision-recall curves and the areas under them, of each score."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    return {
        name: {
            "roc_auc": float(roc_auc_score(truth, score)),
            "average_precision": float(average_precision_score(truth, score)),
            "roc": roc_curve(truth, score)[:2],
            "precision_recall": precision_recall_curve(truth, score)[:2],
        }
        for name, score in scores.items()
    }


class Parts(NamedTuple):
    """Flows as a model takes them, their scales, and which of them are for what, each (N,)."""

    traffic: Flows
    data: Scaled
    mean: Array
    deviation: Array
    attack: Array
    training: Array
    validation: Array
    test: Array


def parts_of(job: Job) -> Parts:
    """Return the flows that the options say: half of them to learn, a fifth to validate, the rest to test."""
    traffic = load(job)
    count = len(traffic.numbers)
    attack = np.zeros(count, bool) if traffic.labels is None else traffic.labels != ""
    half, later, where = count // 2, 7 * count // 10, np.arange(count)
    training, validation = where[(where < half) & ~attack], where[(where >= half) & (where < later) & ~attack]
    test = where >= later
    for name, chosen in (("first half", training), ("fifth after that", validation)):
        if len(chosen) < 2 * STEPS:
            raise ProblemError(
                f"{traffic.name}: expected {2 * STEPS} normal flows in the {name}, got {len(chosen)}"
            )
    job.say(f"{traffic.name}: {len(training):,} normal flows to learn, {test.sum():,} flows to test")
    if traffic.unknown:
        job.say(f"{traffic.unknown:,} numbers are missing or not finite, and count as 0")
    data, mean, deviation = scaled(traffic, training)
    normal = [data.of(chosen).numbers for chosen in (training, where[test & ~attack])]
    apart = [rows[: len(rows) // STEPS * STEPS].reshape(-1, STEPS, rows.shape[1]) for rows in normal]
    if len(apart[1]):
        job.compare(*apart, features=traffic.number_names)
    elif job.check_data:
        job.warn(f"--check-data: expected {STEPS} normal flows to test or more, got {len(normal[1])}")
    return Parts(traffic, data, mean, deviation, attack, training, validation, test)


def run(job: Job) -> dict[str, Any]:
    """Learn the first half of the flows, set the threshold on the next fifth, and test on the rest."""
    if not 0 < job.options["false_alarms"] < 1 or min(job.options[name] for name in ("epochs", "units")) < 1:
        raise ProblemError("expected --false-alarms between 0 and 1, and --epochs and --units of at least 1")
    traffic, data, mean, deviation, attack, training, validation, test = parts_of(job)
    count = len(traffic.numbers)
    model = as_good_as_it_gets(job, data.of(training), data.of(validation), defaults(job))

    outputs = model.predict(data.x[None], verbose=0)[0]
    said_mean, said_deviation = said(outputs)
    parts = surprises(data.numbers, said_mean, said_deviation)
    scores = {
        "LSTM": parts.mean(axis=1),
        "no memory": surprises(data.numbers, np.zeros(1), np.ones(1)).mean(axis=1),
        "moving average": moving_average(data.numbers).mean(axis=1),
        "isolation forest": forest(job, data, training),
    }
    threshold = float(np.quantile(scores["LSTM"][validation], 1 - job.options["false_alarms"]))
    flagged = test & (scores["LSTM"] > threshold)
    logs = said_mean * deviation + mean
    seen = traffic.numbers[training]
    expected = np.clip(np.sign(logs) * np.expm1(np.abs(logs)), seen.min(axis=0), seen.max(axis=0))
    found = [explain(traffic, parts, expected, e) for e in events(flagged, scores["LSTM"])]
    several = "s above the threshold; the most surprising ones" if len(found) > 1 else " above the threshold"
    job.say(f"\n{len(found)} event{several}:" if found else "\nNo flow is above the threshold.")
    for event in found[:5]:
        job.say(f"  {in_words(event)}")

    results: dict[str, Any] = {"threshold": threshold, "flagged": int(flagged.sum()), "events": found}
    table: dict[str, dict[str, Any]] = {}
    if attack[test].any() and not attack[test].all():
        table = curves(attack[test], {name: score[test] for name, score in scores.items()})
        results["curves"] = {
            name: {key: row[key] for key in ("roc_auc", "average_precision")} for name, row in table.items()
        }
        for name, row in table.items():
            results[name] = f"ROC AUC {row['roc_auc']:.3f}, average precision {row['average_precision']:.3f}"
        assert traffic.labels is not None
        runs = attacks(traffic.labels, test)
        found_runs = [(label, bool(flagged[first:last].any())) for label, first, last in runs]
        results["false_alarm_rate"] = float(flagged[test & ~attack].mean())
        results["precision"] = float(attack[flagged].mean()) if flagged.any() else 0.0
        results["flows_found"] = float(flagged[test & attack].mean())
        results["attacks_found"] = float(np.mean([found for _, found in found_runs]))
        results["by_attack"] = {
            kind: {
                "attacks": sum(label == kind for label, _ in found_runs),
                "found": sum(label == kind and found for label, found in found_runs),
                "flows": int((test & (traffic.labels == kind)).sum()),
                "flows_found": int((flagged & (traffic.labels == kind)).sum()),
            }
            for kind in sorted({label for label, _ in found_runs})
        }
    streamed, results["flows_a_second"] = stream(model, data, min(count, 1_000 if job.quick else 5_000))
    results["stream_differs_by"] = float(np.abs(streamed - outputs[: len(streamed)]).max())
    job.save_model(model, include_optimizer=False)
    if job.report is not None:
        note = job.note(f"LSTM of {job.options['units']} units", f"{traffic.name}, {test.sum():,} test flows")
        pictures.draw_curves(job, table, note)
        pictures.draw_timeline(job, traffic, scores["LSTM"], threshold, test, results, note)
        pictures.draw_events(job, found, note)
    return results


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return what to print of the results."""
    return in_percent(results, ("false_alarm_rate", "precision", "flows_found", "attacks_found"))


def load(job: Job) -> Flows:
    """Return the flows that the options say."""
    if job.data is not None:
        return (captures.read_pcap if captures.is_capture(job.data) else flows.read_csv)(job.data)
    traffic = flows.kdd_cup_99() if job.options["full"] else flows.bundled()
    if not job.quick:
        return traffic
    some = slice(0, 10_000)
    assert traffic.labels is not None
    return traffic._replace(
        numbers=traffic.numbers[some],
        kinds=traffic.kinds[some],
        labels=traffic.labels[some],
        where=traffic.where[some],
    )


# For the example `search`.


def tuning(job: Job) -> Tuning:
    """Let `search` choose: attempts are as good as they say what later flows will be."""
    epochs = 2 if job.quick else 8
    traffic, data, _, _, attack, training, validation, test = parts_of(job)
    learned, later = data.of(training), data.of(validation)
    normal = np.flatnonzero(test & ~attack)

    def attempt(chosen: Chosen, watching: list[Callback]) -> float:
        utils.set_random_seed(job.seed)
        _, history = train(job, learned, later, chosen, epochs, watching)
        return min(history.history["val_loss"])  # A training keeps its best epoch.

    def verify(job: Job, chosen: Chosen) -> tuple[Sequential, dict[str, float]]:
        utils.set_random_seed(job.seed)
        model = as_good_as_it_gets(job, learned, later, chosen)
        outputs = model.predict(data.x[None], verbose=0)[0]
        measures = {
            "loss of normal test flows": float(gaussian_loss(data.numbers, outputs)[0][normal].mean())
        }
        if attack[test].any() and len(normal):
            score = surprises(data.numbers, *said(outputs)).mean(axis=1)
            found = curves(attack[test], {"LSTM": score[test]})["LSTM"]
            measures |= {name: found[name] for name in ("average_precision", "roc_auc")}
        return model, measures

    ranges = (
        Range("units", defaults(job)["units"], 16, 256, log=True),
        Range("dropout", 0.2, 0.0, 0.5),
        Range("learning_rate", 3e-3, 3e-4, 3e-2, log=True),
        Range("batch_size", 32, 8, 128, log=True),
    )
    name = f"{traffic.name}, {len(training):,} normal flows"
    return Tuning(ranges, name, "val_loss", epochs, attempt, verify)
