"""Metrics beside Keras's, over several batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import losses, metrics

RANDOM = np.random.default_rng(5)
# Samples in batches; the last one is smaller, as in an epoch.
SIZES = (6, 6, 3)
C = 4
T = 3

REAL = (
    "MeanSquaredError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "RootMeanSquaredError",
    "LogCoshError",
    "CosineSimilarity",
    "Poisson",
)
Case = tuple[str, str, dict[str, Any]]
# Class, kind of labels, arguments; these take predictions of any rank.
CASES: list[Case] = [
    *((name, "real", {}) for name in REAL),
    ("KLDivergence", "rows", {}),
    ("Hinge", "bits", {}),
    ("SquaredHinge", "bits", {}),
    ("CategoricalHinge", "one_hot", {}),
    ("BinaryCrossentropy", "bits", {"label_smoothing": 0.1}),
    ("BinaryCrossentropy", "bits", {"from_logits": True}),
    ("CategoricalCrossentropy", "one_hot", {}),
    ("SparseCategoricalCrossentropy", "classes", {"from_logits": True}),
    ("Accuracy", "bits", {}),
    ("BinaryAccuracy", "bits", {"threshold": 0.3}),
    ("CategoricalAccuracy", "one_hot", {}),
    ("SparseCategoricalAccuracy", "classes", {}),
    ("TopKCategoricalAccuracy", "one_hot", {"k": 2}),
    ("SparseTopKCategoricalAccuracy", "classes", {"k": 2}),
]
COUNTS = ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives")
# These take predictions (B, C).
FLAT_CASES: list[Case] = [
    *((name, "bits", options) for name in COUNTS for options in ({}, {"thresholds": [0.7, 0.2]})),
    *(
        (name, "bits", options)
        for name in ("Precision", "Recall")
        for options in (
            {},
            {"thresholds": 0.4},
            {"thresholds": [0.6, 0.1, 0.9]},
            {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]},
            {"top_k": 2},
            {"class_id": 1},
            {"top_k": 3, "class_id": 2, "thresholds": 0.3},
        )
    ),
    *(
        ("AUC", "bits", {"curve": curve, "summation_method": method})
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
    ),
    ("AUC", "bits", {"num_thresholds": 11}),
    ("AUC", "bits", {"thresholds": [0.9, 0.1, 0.3]}),
    ("AUC", "bits", {"thresholds": [0.25, 0.5, 0.75]}),
    ("AUC", "bits", {"from_logits": True}),
    ("AUC", "bits", {"multi_label": True, "num_labels": C}),
    ("AUC", "bits", {"multi_label": True, "curve": "PR", "label_weights": [0.1, 0.2, 0.3, 0.4]}),
    ("AUC", "bits", {"label_weights": [0.1, 0.2, 0.3, 0.4]}),
    *(
        (name, kind, {"average": average, "threshold": threshold})
        for name in ("F1Score", "FBetaScore")
        for average in (None, "micro", "macro", "weighted")
        for kind, threshold in (("one_hot", None), ("bits", 0.6))
    ),
    ("FBetaScore", "bits", {"beta": 2.0, "threshold": 0.4}),
    ("R2Score", "real", {}),
    ("R2Score", "real", {"class_aggregation": None}),
    ("R2Score", "real", {"class_aggregation": "variance_weighted_average", "num_regressors": 2}),
]


def name_of(case: Case) -> str:
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[2].items())])


def batch(kind: str, shape: tuple[int, ...], dtype: str, logarithms: bool) -> tuple[Any, Any]:
    classes = RANDOM.integers(0, shape[-1], shape[:-1])
    y = {
        "real": RANDOM.uniform(-1, 2, shape),
        "rows": RANDOM.dirichlet(np.ones(shape[-1]), shape[:-1]),
        "bits": RANDOM.integers(0, 2, shape),
        "classes": classes,
        "one_hot": np.eye(shape[-1])[classes],
    }[kind]
    p = RANDOM.uniform(0, 1, shape).astype(dtype)
    # Predictions that lie on thresholds, or meet labels. Keras's logarithms near 0 are those of float32.
    p[RANDOM.random(shape) < 0.2] = 0.25
    p[RANDOM.random(shape) < 0.2] = 0.99 if logarithms else 1.0
    p[RANDOM.random(shape) < 0.1] = 0.01 if logarithms else 0.0
    return y, p


def compare(
    keras: Any,
    case: Case,
    shape: tuple[int, ...],
    weights_axes: int | None = None,
    masked: bool = False,
    dtype: str = "float32",
) -> None:
    """Take batches in and compare after each, then anew."""
    name, kind, options = case
    ours = getattr(metrics, name)(**options, name="metric")
    theirs = getattr(keras.metrics, name)(**options, name="metric")
    for _ in range(2):
        for size in SIZES:
            y, p = batch(kind, (size, *shape), dtype, "entropy" in name or name == "KLDivergence")
            weights = None
            if weights_axes is not None:
                weights = RANDOM.uniform(0.5, 2, p.shape[:weights_axes]).astype("float32")
            mask = RANDOM.random(p.shape[:-1]) < 0.7 if masked else None
            predictions = keras.ops.convert_to_tensor(p)
            if mask is not None:
                keras.src.backend.set_keras_mask(predictions, keras.ops.convert_to_tensor(mask))
            theirs.update_state(y, predictions, sample_weight=weights)
            ours.update_masked(y, p, mask, weights)
            # Keras adds up in float32.
            assert np.allclose(ours.result(), np.asarray(theirs.result()), rtol=3e-5, atol=1e-6)
        ours.reset_state()
        theirs.reset_state()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("weighted", "dtype"), [(False, "float32"), (True, "float64")])
@pytest.mark.parametrize("case", [*CASES, *FLAT_CASES], ids=name_of)
def test_flat_predictions(keras: Any, case: Case, weighted: bool, dtype: str) -> None:
    compare(keras, case, (C,), 1 if weighted else None, False, dtype)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "Accuracy"], ids=name_of)
def test_sequences(keras: Any, case: Case, weighted: bool, masked: bool) -> None:
    compare(keras, case, (T, C), 2 if weighted else None, masked, "float32")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Precision", "Recall", "AUC", "TruePositives"])
@pytest.mark.parametrize("weighted", [False, True])
def test_counts_of_sequences(keras: Any, name: str, weighted: bool) -> None:
    """Keras counts masked steps in."""
    compare(keras, (name, "bits", {}), (T, 1), 2 if weighted else None, True, "float32")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weights", [None, 2.0, [1.0, 0.5, 2.0]])
@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_plain_numbers(keras: Any, name: str, weights: Any) -> None:
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for values in (RANDOM.random(3), RANDOM.random((3, 4)), 2.5):
        if np.ndim(values) or np.ndim(weights) == 0:
            ours.update_state(values, weights)
            theirs.update_state(values, weights)
            assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_names(keras: Any) -> None:
    """Every name that Keras takes is taken, or is that of a metric that is not there."""
    absent = {"Metric", "Mean", "Sum", "MeanMetricWrapper", "ConcordanceCorrelation", "PearsonCorrelation"}
    absent |= {
        "PrecisionAtRecall",
        "RecallAtPrecision",
        "SensitivityAtSpecificity",
        "SpecificityAtSensitivity",
    }
    absent |= {"IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"}
    snake = keras.src.utils.naming.to_snake_case
    for name in set(keras.src.metrics.ALL_OBJECTS_DICT) - absent - {snake(one) for one in absent}:
        metric = metrics.get(name)
        assert isinstance(metric, metrics.Metric)
        assert metric.name == name
    for name, cls in keras.src.metrics.ALL_OBJECTS_DICT.items():
        if name == snake(cls.__name__) and name in metrics.REGISTRY.names and name != "accuracy":
            ours, theirs = metrics.REGISTRY.names[name](), cls()
            # Those without a name of the class's are counted.
            assert ours.name.rstrip("_0123456789") == theirs.name.rstrip("_0123456789")


@pytest.mark.filterwarnings("ignore")
def test_in_logs(keras: Any) -> None:
    """Names and values of what a model is compiled with, from its evaluation."""

    def mean_distance(y_true: Any, y_pred: Any) -> Any:
        return abs(y_pred - y_true)

    x, y = RANDOM.normal(size=(20, 3)).astype("float32"), RANDOM.integers(0, 2, (20, 2)).astype("float32")
    weights = RANDOM.uniform(0.5, 2, 20).astype("float32")
    chosen = ["AUC", "precision", "Recall", "MSE", "mape", "top_k_categorical_accuracy", "accuracy"]
    models, results = [], []
    for k in (fusedlstm, keras):
        k.utils.clear_session()
        objects = [k.metrics.AUC(curve="PR"), k.metrics.TruePositives(), k.metrics.TruePositives(0.4)]
        others = [k.metrics.F1Score(), k.metrics.RootMeanSquaredError, k.losses.log_cosh, mean_distance]
        models.append(k.Sequential([k.Input((3,)), k.layers.Dense(2, activation="sigmoid")]))
        models[-1].set_weights(models[0].get_weights())
        weighted = [k.metrics.AUC(name="weighed_auc"), k.metrics.F1Score("macro", name="weighed"), "msle"]
        models[-1].compile(
            "sgd",
            "binary_crossentropy",
            metrics=[*chosen, *objects, *others],
            weighted_metrics=weighted,
        )
        given = {"sample_weight": weights, "batch_size": 8, "verbose": 0, "return_dict": True}
        results.append(models[-1].evaluate(x, y, **given))
    ours, theirs = results
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert np.allclose(ours[name], np.asarray(value), rtol=3e-5, atol=1e-6), name


def test_losses_of_the_same_name() -> None:
    """A metric that is the mean of a loss has its name, apart from the one that Keras has renamed."""
    for name in REAL:
        if name not in ("RootMeanSquaredError", "LogCoshError"):
            assert getattr(metrics, name)().name == getattr(losses, name)().name
