"""Loss functions with Keras's names and semantics, each with its gradient.

A loss has one number per sample (for a sequence output, per step). Class objects reduce these to one number:
``sum_over_batch_size`` divides the sum by their count whatever the sample weights are, as in Keras.
"""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType

from fusedlstm.base.registry import Registry, serialize
from fusedlstm.losses import functions
from fusedlstm.losses.base import Loss
from fusedlstm.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from fusedlstm.losses.ctc import CTC
from fusedlstm.losses.focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from fusedlstm.losses.functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    cosine_similarity,
    ctc,
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
from fusedlstm.losses.wrapper import LossFunctionWrapper

__all__ = [
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "ctc",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]

_SHORT: dict[str, type[Loss]] = {
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "kld": KLDivergence,
    "bce": BinaryCrossentropy,
}
REGISTRY = Registry(
    Loss,
    {
        **{function.__name__: cls for function, cls in functions.CLASSES.items()},
        **_SHORT,
        **{name.upper(): cls for name, cls in _SHORT.items()},
    },
)


def get(identifier: object, name: str = "loss") -> Loss:
    """Return the loss that ``identifier`` means.

    Parameters
    ----------
    identifier : str or dict or callable or Loss or type
        Keras's name (of the function or the class, or a short one such as ``"mse"`` or ``"MSE"``), a
        description as of `serialize`, one of this module's functions, a function of your own, a loss, or a
        class of one. There is no automatic differentiation: a function of your own returns the losses of
        samples and their gradients, as `LossFunctionWrapper` says.
    name : str
        The argument's name, for the message.

    Raises
    ------
    TypeError, ValueError
        If it is unknown; the message lists the known names.
    """
    if isinstance(identifier, FunctionType | MethodType | partial):
        cls = functions.CLASSES.get(identifier)
        return LossFunctionWrapper(identifier) if cls is None else cls()
    return REGISTRY.get(identifier, name)
