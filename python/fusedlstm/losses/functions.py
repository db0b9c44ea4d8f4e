"""Losses as functions, which return a number for each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from fusedlstm.losses.ctc import CTC
from fusedlstm.losses.focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from fusedlstm.losses.margins import CategoricalHinge, Hinge, SquaredHinge
from fusedlstm.losses.probabilistic import KLDivergence, Poisson
from fusedlstm.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusedlstm.losses.base import Loss, NamedLoss


def _plain(cls: type[NamedLoss]) -> Callable[[object, object], Any]:
    def function(y_true: object, y_pred: object) -> Any:
        return cls(reduction="none")(y_true, y_pred)

    function.__name__ = function.__qualname__ = cls.usual_name
    function.__doc__ = (
        f"Return `{cls.__name__}` of each sample, unreduced: shape (...) for predictions (..., C)."
    )
    return function


mean_squared_error = _plain(MeanSquaredError)
mean_absolute_error = _plain(MeanAbsoluteError)
mean_absolute_percentage_error = _plain(MeanAbsolutePercentageError)
mean_squared_logarithmic_error = _plain(MeanSquaredLogarithmicError)
log_cosh = _plain(LogCosh)
kl_divergence = _plain(KLDivergence)
poisson = _plain(Poisson)
hinge = _plain(Hinge)
squared_hinge = _plain(SquaredHinge)
categorical_hinge = _plain(CategoricalHinge)


def huber(y_true: object, y_pred: object, delta: float = 1.0) -> Any:
    """Return `Huber` of each sample, unreduced: shape (...) for predictions (..., C)."""
    return Huber(delta, reduction="none")(y_true, y_pred)


def cosine_similarity(y_true: object, y_pred: object, axis: int = -1) -> Any:
    """Return `CosineSimilarity` of each sample, unreduced: shape (...) for predictions (..., C)."""
    return CosineSimilarity(axis, reduction="none")(y_true, y_pred)


def binary_crossentropy(
    y_true: object, y_pred: object, from_logits: bool = False, label_smoothing: float = 0.0
) -> Any:
    """Return `BinaryCrossentropy` of each sample, unreduced: shape (...) for predictions (..., C)."""
    return BinaryCrossentropy(from_logits, label_smoothing, reduction="none")(y_true, y_pred)


def categorical_crossentropy(
    y_true: object, y_pred: object, from_logits: bool = False, label_smoothing: float = 0.0
) -> Any:
    """Return `CategoricalCrossentropy` of each sample, unreduced: shape (...) for predictions (..., C)."""
    return CategoricalCrossentropy(from_logits, label_smoothing, reduction="none")(y_true, y_pred)


def sparse_categorical_crossentropy(y_true: object, y_pred: object, from_logits: bool = False) -> Any:
    """Return `SparseCategoricalCrossentropy` of each sample, unreduced: shape (...) for (..., C)."""
    return SparseCategoricalCrossentropy(from_logits, reduction="none")(y_true, y_pred)


def binary_focal_crossentropy(
    y_true: object,
    y_pred: object,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> Any:
    """Return `BinaryFocalCrossentropy` of each sample, unreduced: shape (...) for predictions (..., C)."""
    loss = BinaryFocalCrossentropy(
        apply_class_balancing, alpha, gamma, from_logits, label_smoothing, reduction="none"
    )
    return loss(y_true, y_pred)


def categorical_focal_crossentropy(
    y_true: object,
    y_pred: object,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> Any:
    """Return `CategoricalFocalCrossentropy` of each sample, unreduced: shape (...) for (..., C)."""
    loss = CategoricalFocalCrossentropy(alpha, gamma, from_logits, label_smoothing, reduction="none")
    return loss(y_true, y_pred)


def ctc(y_true: object, y_pred: object) -> Any:
    """Return `CTC` of each sequence, unreduced: shape (B,) for labels (B, L) and logits (B, T, C)."""
    return CTC(reduction="none")(y_true, y_pred)


CLASSES: dict[Callable[..., Any], type[Loss]] = {
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    mean_absolute_percentage_error: MeanAbsolutePercentageError,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError,
    huber: Huber,
    log_cosh: LogCosh,
    cosine_similarity: CosineSimilarity,
    kl_divergence: KLDivergence,
    poisson: Poisson,
    hinge: Hinge,
    squared_hinge: SquaredHinge,
    categorical_hinge: CategoricalHinge,
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    binary_focal_crossentropy: BinaryFocalCrossentropy,
    categorical_focal_crossentropy: CategoricalFocalCrossentropy,
    ctc: CTC,
}
