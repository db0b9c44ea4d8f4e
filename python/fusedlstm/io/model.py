"""Save and load whole models: layers, weights and, for compiled ones, all that training goes on from.

A file holds the tensors ``weights/<path>`` and ``optimizer/<path>``, and as metadata two JSON texts:
``model`` (`Sequential.get_config`) and ``training`` (optimizer, loss, metrics, states of the random streams).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusedlstm import layers
from fusedlstm.io.describe import describe, restore
from fusedlstm.io.safetensors import check_path, read_tensors, write_tensors
from fusedlstm.versions import of_one_version

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from fusedlstm.model import Sequential

__all__ = ["load_model", "save_model"]

_WEIGHTS, _OPTIMIZER = "weights/", "optimizer/"
_KERAS = ".keras"


@of_one_version
def save_model(model: Sequential, path: str | os.PathLike[str], *, include_optimizer: bool = True) -> None:
    """Write a model to one file.

    A compiled model is saved with optimizer, loss, metrics and random streams: loaded and trained on, it gets
    the same weights, bit for bit, as one that was never interrupted between two epochs.

    Parameters
    ----------
    model
        A built model of this package's layers.
    path
        The file, ending in ``.safetensors``, or in ``.keras`` for a file that Keras 3 reads, with layers and
        weights only. One that exists is replaced only by a complete new one.
    include_optimizer
        False leaves out what is only needed for training.

    Raises
    ------
    ImportError
        When safetensors, or h5py for ``.keras``, is not installed.
    OSError
        When the file cannot be written.
    ValueError
        When the model is not built or holds classes of another origin, which a file cannot restore, or the
        name ends in something else. Nothing is written then.
    """
    if Path(path).suffix == _KERAS:
        from fusedlstm.exchange import keras_files

        keras_files.save_keras(model, path)
        return
    check_path(path)
    if not model.built:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    for layer in model.layers:
        if getattr(layers, type(layer).__name__, None) is not type(layer):
            raise ValueError(
                f"model: expected layers of fusedlstm.layers, got {layer!r}; save its weights instead"
            )
    tensors: dict[str, NDArray[Any]] = {_WEIGHTS + weight.path: weight.numpy() for weight in model.weights}
    metadata = {"model": json.dumps(model.get_config())}
    if model.optimizer is not None and include_optimizer:
        training = {
            "optimizer": describe(model.optimizer),
            "loss": None if model.loss is None else describe(model.loss),
            "metrics": [describe(metric) for metric in model.metrics],
            "seeds": [seeds.state for seeds in model.seed_generators],
            "targets": [variable.path for variable in model.optimizer.targets],
        }
        metadata["training"] = json.dumps(training)
        for name, value in model.optimizer.get_state().items():
            tensors[_OPTIMIZER + name] = value
    write_tensors(path, tensors, metadata)


def load_model(path: str | os.PathLike[str]) -> Sequential:
    """Make the model that a file holds.

    Parameters
    ----------
    path
        A file that `save_model` wrote, or a ``.keras`` file of Keras 3.

    Returns
    -------
    model
        Built, with its weights; compiled, with optimizer and random streams, when it was saved so.

    Raises
    ------
    ImportError
        When safetensors, or h5py for ``.keras``, is not installed.
    OSError
        When the file is not there or cannot be read.
    ValueError
        When the file is damaged, truncated, of another program or of an unknown version of the format, or
        describes what this version cannot make.
    """
    path = Path(path)
    if path.suffix == _KERAS:
        from fusedlstm.exchange import keras_files

        return keras_files.load_keras(path)
    tensors, metadata = read_tensors(path)
    try:
        return _make(tensors, metadata)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # The checksum was right, so another version must have written the file.
        raise ValueError(
            f"{path}: expected a model that this version of fusedlstm can make, found {error!r}"
        ) from error


def _make(tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> Sequential:
    from fusedlstm.model import Sequential

    model = Sequential.from_config(json.loads(metadata["model"]))
    weights = _part(tensors, _WEIGHTS)
    wanted = {weight.path: (weight.shape, weight.dtype.name) for weight in model.weights}
    found = {name: (value.shape, value.dtype.name) for name, value in weights.items()}
    if wanted != found:
        raise ValueError(f"weights: expected {wanted}, got {found}")
    model.set_weights([weights[weight.path] for weight in model.weights])
    if "training" in metadata:
        training = json.loads(metadata["training"])
        optimizer = restore(training["optimizer"])
        model.compile(
            optimizer=optimizer,
            loss=None if training["loss"] is None else restore(training["loss"]),
            metrics=[restore(metric) for metric in training["metrics"]],
        )
        targets = [weight for weight in model.weights if weight.path in training["targets"]]
        optimizer.set_state(_part(tensors, _OPTIMIZER), targets)
        for seeds, state in zip(model.seed_generators, training["seeds"], strict=True):
            seeds.state = (int(state[0]), int(state[1]))
    return model


def _part(tensors: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
