"""`plot_model`: a picture of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
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
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        What boxes tell besides the layers' classes: shapes of what layers take and give, number types, names,
        activations, and whether training changes the weights.
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
        show_layer_activations,
        show_trainable,
    )
