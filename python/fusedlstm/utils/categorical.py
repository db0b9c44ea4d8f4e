"""`to_categorical`: class numbers as one-hot rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks

if TYPE_CHECKING:
    import numpy.typing as npt


def to_categorical(x: npt.ArrayLike, num_classes: int | None = None) -> npt.NDArray[np.float64]:
    """Turn class numbers into one-hot rows.

    Parameters
    ----------
    x : array_like of integers
        Class numbers, any shape; a last axis of length 1 is dropped.
    num_classes : int, optional
        Number of classes; the largest number in ``x`` plus 1 by default.

    Returns
    -------
    ndarray of float64, shape (*x.shape, num_classes)
        One where the class is, zero elsewhere.

    Raises
    ------
    TypeError, ValueError
        If ``x`` holds anything but whole numbers in [0, num_classes).
    """
    raw = checks.numeric(x, "x")
    checks.finite(raw, "x")
    labels: npt.NDArray[Any] = raw.astype(np.int64)
    if (labels != raw).any():
        raise ValueError("x: expected whole class numbers, got fractions")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        num_classes = int(labels.max(initial=0)) + 1
    classes = checks.positive_int(num_classes, "num_classes")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"x: expected class numbers in [0, {classes}), got {labels.min()} to {labels.max()}")
    result = np.zeros((*labels.shape, classes))
    np.put_along_axis(result, labels[..., None], 1.0, axis=-1)
    return result
