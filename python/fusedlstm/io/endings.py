"""The endings of file names: which there are, and the error for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedlstm.base import checks

if TYPE_CHECKING:
    import os

MODELS = (".safetensors", ".keras")
WEIGHTS = (".weights.h5",)
ONNX = (".onnx",)
PICTURES = (".png",)
# Whose endings they are, for those who use one in the wrong place.
_USERS = {
    MODELS: "save_model, load_model and Sequential.save",
    WEIGHTS: "Sequential.save_weights and load_weights",
    ONNX: "exchange.to_onnx and from_onnx",
    PICTURES: "the pictures of reports",
}


def check_ending(path: str | os.PathLike[str], endings: tuple[str, ...], argument: str = "path") -> str:
    """Return the ending that a file's name has.

    Parameters
    ----------
    path : path-like
        The file.
    endings : tuple of str
        All endings that work.
    argument : str
        The argument's name, for the message.

    Returns
    -------
    str
        One of `endings`.

    Raises
    ------
    TypeError, ValueError
        When it is no path of text, or the name has none of them; the message tells all, and what
        another known ending is for.
    """
    name = checks.path(path, argument).name
    found = _found(name, endings)
    if found is not None:
        return found
    text = f"{argument}: expected a file name that ends in {' or '.join(endings)}, got {str(path)!r}"
    for others, users in _USERS.items():
        other = _found(name, others)
        if other is not None:
            text += f"; {other} is for {users}"
    raise ValueError(text)


def _found(name: str, endings: tuple[str, ...]) -> str | None:
    return next((end for end in endings if name.endswith(end) and name != end), None)
