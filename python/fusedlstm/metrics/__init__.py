"""Metrics with Keras's names and values, over the samples seen since the last reset."""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType

from fusedlstm.base.names import name_of, snake_case
from fusedlstm.base.registry import Registry, serialize
from fusedlstm.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from fusedlstm.losses import functions as loss_functions
from fusedlstm.metrics import functions
from fusedlstm.metrics.accuracy import (
    Accuracy,
    AutoAccuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from fusedlstm.metrics.auc import AUC
from fusedlstm.metrics.base import Mean, MeanMetric, MeanMetricWrapper, Metric, Sum
from fusedlstm.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from fusedlstm.metrics.error_rates import (
    LabelErrorRate,
    character_error_rate,
    edit_distance,
    label_error_rate,
    word_error_rate,
)
from fusedlstm.metrics.f_score import F1Score, FBetaScore
from fusedlstm.metrics.functions import (
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from fusedlstm.metrics.of_losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from fusedlstm.metrics.regression import R2Score, RootMeanSquaredError

__all__ = [
    "AUC",
    "Accuracy",
    "AutoAccuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "LabelErrorRate",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetric",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "Poisson",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "character_error_rate",
    "edit_distance",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "label_error_rate",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
    "word_error_rate",
]

_NAMED: tuple[type[Metric], ...] = (
    AUC,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    F1Score,
    FBetaScore,
    FalseNegatives,
    FalsePositives,
    Hinge,
    KLDivergence,
    LabelErrorRate,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    Precision,
    R2Score,
    Recall,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    TopKCategoricalAccuracy,
    TrueNegatives,
    TruePositives,
)
_SHORT: dict[str, type[Metric]] = {
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "bce": BinaryCrossentropy,
}
REGISTRY = Registry(
    Metric,
    {
        # As in Keras, the name of the class `Accuracy` means the one that shapes choose.
        **dict.fromkeys(("accuracy", "acc", "Accuracy"), AutoAccuracy),
        **{snake_case(cls.__name__): cls for cls in _NAMED},
        **_SHORT,
        **{name.upper(): cls for name, cls in _SHORT.items()},
    },
    others=(Accuracy, Mean, MeanMetric, Sum),
)


def get(identifier: object, name: str = "metrics") -> Metric:
    """Return the metric that ``identifier`` means.

    Parameters
    ----------
    identifier : str or dict or callable or Metric or type
        Keras's name (its key in logs is the name as given), a description as of `serialize`, a function of
        labels and predictions, such as `MeanMetricWrapper` takes, this module or `fusedlstm.losses` has, a
        metric, or a class of one.
    name : str
        The argument's name, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is unknown; the message lists the known names.
    """
    if isinstance(identifier, FunctionType | MethodType | partial):
        if identifier in functions.CLASSES:
            return functions.CLASSES[identifier]()
        loss = loss_functions.CLASSES.get(identifier)
        return MeanMetricWrapper(identifier) if loss is None else MeanMetric(loss, name_of(identifier))
    metric = REGISTRY.get(identifier, name)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric
