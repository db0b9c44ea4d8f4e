"""Loss functions with Keras's names and semantics, each with its gradient.

A loss has one number per sample (for a sequence output, per step). Class objects reduce these to one number:
``sum_over_batch_size`` divides the sum by their count whatever the sample weights are, as in Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.base.registry import Registry, serialize
from fusedlstm.losses.base import Loss
from fusedlstm.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from fusedlstm.losses.regression import MeanAbsoluteError, MeanSquaredError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "serialize",
    "sparse_categorical_crossentropy",
]


def mean_squared_error(y_true: object, y_pred: object) -> Any:
    """Return `MeanSquaredError` of each sample, unreduced: shape (...) for predictions (..., C)."""
    return MeanSquaredError(reduction="none")(y_true, y_pred)


def mean_absolute_error(y_true: object, y_pred: object) -> Any:
    """Return `MeanAbsoluteError` of each sample, unreduced: shape (...) for predictions (..., C)."""
    return MeanAbsoluteError(reduction="none")(y_true, y_pred)


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


_FUNCTIONS: dict[Callable[..., Any], type[Loss]] = {
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}
REGISTRY = Registry(
    Loss,
    {
        **{function.__name__: cls for function, cls in _FUNCTIONS.items()},
        "mse": MeanSquaredError,
        "mae": MeanAbsoluteError,
        "bce": BinaryCrossentropy,
    },
)


def get(identifier: object, name: str = "loss") -> Loss:
    """Return the loss that ``identifier`` means.

    Parameters
    ----------
    identifier : str or dict or callable or Loss or type
        Keras's name (of the function or the class, or ``"mse"``, ``"mae"``, ``"bce"``), a description as of
        `serialize`, one of this module's functions, a loss, or a class of one.
    name : str
        The argument's name, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is unknown; the message lists the known names. There is no automatic differentiation: a loss of
        your own is a subclass of `Loss` whose ``terms`` gives the gradient.
    """
    for function, cls in _FUNCTIONS.items():
        if identifier is function:
            return cls()
    return REGISTRY.get(identifier, name)
