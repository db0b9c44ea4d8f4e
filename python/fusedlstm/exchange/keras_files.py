"""Files of Keras 3, without Keras: whole models (``.keras``) and weights (``.weights.h5``).

A ``.keras`` file is a zip archive of ``config.json``, ``metadata.json`` and ``model.weights.h5``.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from fusedlstm.exchange.keras_config import config_of, model_from_config
from fusedlstm.exchange.keras_weights import read_weights, write_weights
from fusedlstm.io.atomic import write_file
from fusedlstm.versions import of_one_version

if TYPE_CHECKING:
    import os

    from fusedlstm.model import Sequential

__all__ = ["load_keras", "load_keras_weights", "save_keras", "save_keras_weights"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# What zipfile raises for damaged archives depends on the damage.
_ZIP_ERRORS = (
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
)
# The oldest version whose files are laid out like this.
_KERAS_VERSION = "3.0.0"


def load_keras(path: str | os.PathLike[str]) -> Sequential:
    """Make the model that a ``.keras`` file holds.

    Nothing in the file is ever executed. Optimizer, loss and metrics are passed over: compile the model
    before training it further.

    Parameters
    ----------
    path : path-like
        A file that Keras 3 or `save_keras` wrote, of a Sequential model of layers that this package has.

    Returns
    -------
    Sequential
        Built, with its weights.

    Raises
    ------
    ImportError
        When h5py is not installed.
    OSError
        When the file is not there or cannot be read.
    ValueError
        When it is damaged, or describes what this package does not have; the message names the layer and its
        class.
    """
    content = Path(path).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config, weights = archive.read(_CONFIG), archive.read(_WEIGHTS)
        description = json.loads(config)
    except (*_ZIP_ERRORS, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a complete .keras file of Keras 3, found {error}") from error
    try:
        model = model_from_config(description)
        model.set_weights(read_weights(weights, model))
    except (MemoryError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return model


@of_one_version
def save_keras(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write layers and weights to a file that ``keras.models.load_model`` reads.

    Parameters
    ----------
    model : Sequential
        A built model of this package's layers.
    path : path-like
        File to write, ending in ``.keras``; it appears only when complete.

    Raises
    ------
    ImportError
        When h5py is not installed.
    OSError
        When the file cannot be written.
    ValueError
        When the model is not built, or holds layers of another origin or with options that Keras does not
        have, or the name ends in something else.
    """
    _check_name(path, ".keras")
    parts = {
        _METADATA: json.dumps({"keras_version": _KERAS_VERSION, "written_by": "fusedlstm"}).encode(),
        _CONFIG: json.dumps(config_of(model)).encode(),
        _WEIGHTS: write_weights(model),
    }
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in parts.items():
            # Without a time, so that equal models make equal files.
            archive.writestr(zipfile.ZipInfo(name), content)
    write_file(path, [memory.getvalue()])


def load_keras_weights(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Replace a built model's weights by those of a ``.weights.h5`` file.

    Parameters
    ----------
    model : Sequential
        A built model of the same layers.
    path : path-like
        A file that Keras 3 or `save_keras_weights` wrote.

    Raises
    ------
    ImportError
        When h5py is not installed.
    OSError
        When the file is not there or cannot be read.
    ValueError
        When the model is not built, or the file is damaged or does not fit it; nothing is changed then.
    """
    _check_name(path, ".weights.h5")
    if not model.built:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    content = Path(path).read_bytes()
    try:
        model.set_weights(read_weights(content, model))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def save_keras_weights(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write a built model's weights to a file that ``load_weights`` of Keras 3 reads.

    Parameters
    ----------
    model : Sequential
        A built model.
    path : path-like
        File to write, ending in ``.weights.h5``; it appears only when complete.

    Raises
    ------
    ImportError
        When h5py is not installed.
    OSError
        When the file cannot be written.
    ValueError
        When the model is not built, a layer has options that Keras does not have, or the name ends in
        something else.
    """
    _check_name(path, ".weights.h5")
    write_file(path, [write_weights(model)])


def _check_name(path: str | os.PathLike[str], ending: str) -> None:
    if not Path(path).name.endswith(ending):
        raise ValueError(f"path: expected a file name that ends in {ending}, got {str(path)!r}")
