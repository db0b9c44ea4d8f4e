"""`class_weight`: weights of classes as weights of samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusedlstm import config
from fusedlstm.base import checks, devices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusedlstm.base.types import Shape
    from fusedlstm.models.samples import Samples

# Weights by the numbers of classes.
ClassWeight = dict[int, float]


def check_class_weight(class_weight: object, sample_weight: object = None) -> ClassWeight | None:
    """Return the weights of classes by their numbers; None stays None.

    Raises
    ------
    TypeError, ValueError
        If it is no dict of finite numbers by integers, or there are weights of samples too.
    """
    if class_weight is None:
        return None
    if not isinstance(class_weight, dict):
        raise TypeError(
            f"class_weight: expected a dict from class to weight, got {type(class_weight).__name__}"
        )
    if sample_weight is not None:
        raise ValueError("class_weight: expected None where there is a sample_weight, got both")
    return {
        checks.integer(number, "class_weight"): checks.number(weight, f"class_weight[{number}]")
        for number, weight in class_weight.items()
    }


def weighted(samples: Samples, class_weight: ClassWeight | None, shapes: Sequence[Shape]) -> Samples:
    """Return samples whose weights are those of their classes, and 1 where a class has none.

    The class is where a label, a row of several numbers, has its largest, or else the number, rounded.

    Parameters
    ----------
    samples : Samples
        With prepared labels.
    class_weight : dict or None
        As `check_class_weight` returns it; with None the samples stay as they are.
    shapes : sequence of tuple
        Shapes of the model's outputs.

    Raises
    ------
    ValueError
        If there are several outputs, there is not a class for each loss, or the samples have weights.
    """
    if class_weight is None:
        return samples
    labels, shape = samples.y[0], shapes[0]
    if len(shapes) > 1:
        raise ValueError(f"class_weight: expected None for a model with {len(shapes)} outputs, got a dict")
    if samples.weights[0] is not None:
        raise ValueError("class_weight: expected None where there is a sample_weight, got both")
    if labels is None or labels.ndim != len(shape):
        raise ValueError(f"class_weight: expected labels with a class for each prediction of shape {shape}")
    rows = devices.to_host(labels)
    classes = rows.argmax(axis=-1) if rows.shape[-1] > 1 else np.round(rows[..., 0])
    weights = np.ones(classes.shape, config.floatx())
    for number, weight in class_weight.items():
        weights[classes == number] = weight
    return replace(samples, weights=[devices.beside(weights, labels)])
