"""Keras's home of `Sequential` and `load_model`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedlstm.model import Sequential

if TYPE_CHECKING:
    import os

__all__ = ["Sequential", "load_model"]


def load_model(path: str | os.PathLike[str]) -> Sequential:
    """Load a model that `Sequential.save` or, ending in ``.keras``, Keras 3 wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Sequential
        Built, with its weights; compiled when it was saved so by this package. See `io.load_model`.

    Raises
    ------
    ValueError
        If the file is corrupt, truncated or not one of this package's.
    """
    from fusedlstm import io

    return io.load_model(path)
