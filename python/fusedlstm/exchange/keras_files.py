"""Files of Keras 3, without Keras: whole models (``.keras``) and weights (``.weights.h5``).

A ``.keras`` file is a zip archive of ``config.json``, ``metadata.json`` and ``model.weights.h5``.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks, limits
from fusedlstm.base.filling import filling
from fusedlstm.base.versions import of_one_version
from fusedlstm.exchange.keras_config import config_of, model_from_config, reader
from fusedlstm.exchange.keras_training import (
    arrays_of,
    compile_config,
    compile_from_config,
    set_arrays,
    shapes_of,
)
from fusedlstm.exchange.keras_weights import Stored, opened, write_weights
from fusedlstm.io.atomic import check_target, write_file
from fusedlstm.io.endings import WEIGHTS, check_ending
from fusedlstm.io.json_text import parse
from fusedlstm.models.states import warn_of_states

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from fusedlstm.models.model import Model

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
_PIECE = 1 << 16
# What zipfile has of a member.
_ENTRY = 1024
# The oldest version whose files are laid out like this.
_KERAS_VERSION = "3.0.0"


def load_keras(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002 - Keras's name
    *,
    max_bytes: int | None = None,
) -> Model:
    """Make the model that a ``.keras`` file holds.

    Nothing in the file is ever executed.

    Parameters
    ----------
    path : path-like
        A file that Keras 3 or `save_keras` wrote, of a Sequential or Functional model of layers that this
        package has.
    custom_objects : mapping of str to object, optional
        What names of others in the file mean: classes of layers, losses, metrics and optimizers, objects of
        them in place of classes, and functions as losses and metrics.
    compile : bool
        Whether a model that was saved compiled is so again, with its optimizer's state.
    max_bytes : int, optional
        Memory that its content may take; see `fusedlstm.base.limits`.

    Returns
    -------
    Model
        Built, with its weights.

    Raises
    ------
    ImportError
        When h5py is not installed.
    OSError
        When the file is not there or cannot be read.
    ValueError
        When it is damaged, describes what this package does not have, or asks for more memory than it may;
        the message names the layer and its class, the loss or the metric.
    """
    custom = dict(custom_objects or {})
    with limits.content(path, max_bytes) as content:
        try:
            config, weights = _members(content)
            description = parse(config, _CONFIG)
        except (*_ZIP_ERRORS, ValueError) as error:
            raise ValueError(f"{path}: expected a complete .keras file of Keras 3, found {error}") from error
        try:
            with opened(weights) as stored:
                made_by = reader(custom)
                with filling(stored.numbers):
                    model = model_from_config(description, made_by)
                model.set_weights(stored.read(model, made_by.class_names))
                if compile and description.get("compile_config"):
                    _compile(
                        model, checks.member(description, "compile_config", dict, "model"), custom, stored
                    )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return model


def _compile(model: Model, config: dict[str, Any], custom: Mapping[str, Any], stored: Stored) -> None:
    """Compile a model as it was, and put its optimizer where it was."""
    compile_from_config(model, config, custom)
    assert model.optimizer is not None
    variables = model.trainable_weights
    arrays = stored.read_optimizer(shapes_of(model.optimizer, variables))
    if arrays:
        set_arrays(model.optimizer, variables, arrays)


@of_one_version
def save_keras(model: Model, path: str | os.PathLike[str], *, include_optimizer: bool = True) -> None:
    """Write a model to a file that ``keras.models.load_model`` reads.

    Optimizer, with its state, loss and metrics of a compiled model are in the file. States of stateful layers
    and the places of random streams are not; one of `fusedlstm.io.save_model` that ends in ``.safetensors``
    holds them.

    Parameters
    ----------
    model : Model
        A built model of this package's layers. Losses, metrics and an optimizer of other classes are there by
        their names, which whoever loads it says by ``custom_objects``.
    path : path-like
        File to write, ending in ``.keras``; it appears only when complete.
    include_optimizer : bool
        False leaves out what is only needed for training.

    Warns
    -----
    UserWarning
        When stateful layers are not at zeros: their states are not in the file.

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
    check_ending(path, (".keras",))
    check_target(path)
    warn_of_states(model, f"{path}, a file of Keras,")
    config, arrays = config_of(model), []
    if model.optimizer is not None and include_optimizer:
        config["compile_config"] = compile_config(model)
        arrays = arrays_of(model.optimizer, model.trainable_weights)
    parts = {
        _METADATA: json.dumps({"keras_version": _KERAS_VERSION, "written_by": "fusedlstm"}).encode(),
        _CONFIG: json.dumps(config).encode(),
        _WEIGHTS: write_weights(model, arrays),
    }
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in parts.items():
            # Without a time, so that equal models make equal files.
            archive.writestr(zipfile.ZipInfo(name), content)
    write_file(path, [memory.getvalue()])


def load_keras_weights(model: Model, path: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
    """Replace a built model's weights by those of a ``.weights.h5`` file.

    Parameters
    ----------
    model : Model
        A built model of the same layers.
    path : path-like
        A file that Keras 3 or `save_keras_weights` wrote.
    max_bytes : int, optional
        Memory that its content may take; see `fusedlstm.base.limits`.

    Raises
    ------
    ImportError
        When h5py is not installed.
    OSError
        When the file is not there or cannot be read.
    ValueError
        When the model is not built, or the file is damaged, does not fit it or asks for more memory than it
        may; nothing is changed then.
    """
    check_ending(path, WEIGHTS)
    if not model.built:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    with limits.content(path, max_bytes) as content:
        try:
            with opened(content) as stored:
                model.set_weights(stored.read(model))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def save_keras_weights(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a built model's weights to a file that ``load_weights`` of Keras 3 reads.

    The weights and nothing else: states of stateful layers, optimizer and random streams stay with the model.

    Parameters
    ----------
    model : Model
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
    check_ending(path, WEIGHTS)
    check_target(path)
    write_file(path, [write_weights(model)])


def _members(content: bytes) -> tuple[bytes, bytes]:
    """Return the description and the weights in an archive."""
    # Each entry in its directory begins with this.
    limits.claim_description(_ENTRY * content.count(b"PK\1\2"), "members of the archive")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        for name in (_CONFIG, _WEIGHTS):
            if names.count(name) != 1:
                raise ValueError(f"{names.count(name)} members {name}")
        return _member(archive, _CONFIG), _member(archive, _WEIGHTS)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member, after its size: a small one can become any number of bytes.

    In pieces, since `zipfile` unpacks as much as it is asked for, whatever the size that was declared; other
    methods than these two it would unpack in one go.
    """
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} packed by method {info.compress_type}")
    limits.claim(info.file_size, name)
    parts = []
    with archive.open(info) as member:
        while part := member.read(_PIECE):
            parts.append(part)
    content = b"".join(parts)
    if len(content) != info.file_size:
        raise ValueError(f"{len(content)} bytes of {name}, not the {info.file_size} that are declared")
    return content
