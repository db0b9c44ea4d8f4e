"""Keras's `utils`: seeds, label encoding and pictures of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.base.names import clear_session
from fusedlstm.base.seeds import SeedGenerator, set_random_seed

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

__all__ = ["SeedGenerator", "clear_session", "plot_model", "set_random_seed", "to_categorical"]


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


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_trainable: bool = False,
) -> None:
    """Write a picture of a model: a box for each layer, and an arrow for each that takes what another gives.

    Graphviz draws it where its program ``dot`` is installed, and otherwise matplotlib (the extra ``report``).

    Parameters
    ----------
    model : Model
        Built.
    to_file : path-like
        The file, ending in ``.png``; it appears only when complete.
    show_shapes, show_dtype, show_layer_names, show_trainable : bool
        What boxes tell besides the layers' classes: shapes of what layers take and give, number types, names,
        and whether training changes the weights.
    rankdir : {"TB", "BT", "LR", "RL"}
        Where the arrows lead: T is the top, B the bottom, L left, R right.
    expand_nested : bool
        Whether the layers of models inside of the model have boxes too, in a frame.
    dpi : int
        Dots per inch; fewer where a side would have more than 65,000 dots.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the model is not built.
    ImportError
        If there is neither ``dot`` nor matplotlib.
    OSError
        If the file cannot be written, or ``dot`` fails.
    """
    from fusedlstm.models.plotting import plot_model as plot

    plot(
        model,
        to_file,
        show_shapes,
        show_dtype,
        show_layer_names,
        rankdir,
        expand_nested,
        dpi,
        show_trainable,
    )
