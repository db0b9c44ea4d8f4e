"""Keras's home of `Model`, `Sequential` and `load_model`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedlstm import layers
from fusedlstm.models.model import Model
from fusedlstm.models.sequential import Sequential

if TYPE_CHECKING:
    import os

__all__ = ["Model", "Sequential", "load_model"]

layers.MODELS.update({"Model": Model, "Sequential": Sequential})


def load_model(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Model:
    """Load a model that `Model.save` or, ending in ``.keras``, Keras 3 wrote.

    Parameters
    ----------
    path : path-like
        The file.
    max_bytes : int, optional
        Memory that its content may take; see `fusedlstm.base.limits`.

    Returns
    -------
    Model
        Built, with its weights; compiled when it was saved so by this package. See `io.load_model`.

    Raises
    ------
    OSError
        If the file is not there or cannot be read.
    ValueError
        If the file is corrupt, truncated or not one of this package's, or asks for more memory.
    """
    from fusedlstm.models import saving

    return saving.load_model(path, max_bytes=max_bytes)
