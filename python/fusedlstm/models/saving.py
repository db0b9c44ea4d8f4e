"""Save and load whole models: layers, weights and, for compiled ones, all that training goes on from.

A file holds the tensors ``weights/<path>``, ``optimizer/<path>`` and, of stateful layers,
``states/<number of the layer>/h`` and ``/c``. Its metadata are JSON texts: ``model``
(`get_config` of `Sequential` or `Model`), ``trainable`` (what is frozen, inside of layers too) and, of
compiled models, ``training`` (optimizer, loss, metrics, states of the random streams).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks, limits
from fusedlstm.base.filling import filling
from fusedlstm.base.variable import unique_paths
from fusedlstm.base.versions import of_one_version
from fusedlstm.io.atomic import check_target
from fusedlstm.io.endings import MODELS, check_ending
from fusedlstm.io.json_text import parse
from fusedlstm.io.safetensors import parse_tensors, write_tensors
from fusedlstm.models.describe import describe, restore
from fusedlstm.models.heads import by_place
from fusedlstm.models.model import Model
from fusedlstm.models.sequential import Sequential
from fusedlstm.models.states import check_described, check_once, get_flags, get_states, set_flags, set_states

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fusedlstm.models.heads import Head

_WEIGHTS, _OPTIMIZER, _STATES = "weights/", "optimizer/", "states/"
_KERAS = ".keras"


@of_one_version
def save_model(model: Model, path: str | os.PathLike[str], *, include_optimizer: bool = True) -> None:
    """Write a model to one file.

    A compiled model is saved with optimizer, loss, metrics and random streams (shuffling, dropouts, zoneout,
    noise): loaded and trained on, in whatever process, it gets the same weights, bit for bit, as one that was
    never interrupted. That holds between two epochs of `fit`, or two calls of `train_on_batch`; a place
    inside of an epoch is not saved. States of stateful layers are always saved.

    Parameters
    ----------
    model
        A built model of this package's layers.
    path
        The file, ending in ``.safetensors``, or in ``.keras`` for a file that Keras 3 reads. One that exists
        is replaced only by a complete new one; `fusedlstm.io.atomic` says what becomes of its mode, of links
        and of special files. What is loaded from a ``.keras`` file has new random streams, and its stateful
        layers start from zeros.
    include_optimizer
        False leaves out what is only needed for training.

    Warns
    -----
    UserWarning
        When a ``.keras`` file is written of a model whose stateful layers are not at zeros.

    Raises
    ------
    ImportError
        When safetensors, or h5py for ``.keras``, is not installed.
    OSError
        When the file cannot be written.
    ValueError
        When the model is not built, holds classes of another origin, which a file cannot restore, or layers
        inside of others that were changed afterwards, or the name ends in something else. Nothing is written
        then.
    """
    if check_ending(path, MODELS) == _KERAS:
        from fusedlstm.exchange import keras_files

        keras_files.save_keras(model, path, include_optimizer=include_optimizer)
        return
    check_target(path)
    if not model.built:
        raise ValueError("model: expected a built model, got one whose weights are not made yet")
    check_once(model)
    for layer in model.layers:
        check_described(layer)
    names = unique_paths(model.weights)
    tensors: dict[str, NDArray[Any]] = {
        _WEIGHTS + name: weight.numpy() for name, weight in zip(names, model.weights, strict=True)
    }
    tensors.update({_STATES + name: state for name, state in get_states(model).items()})
    metadata = {"model": json.dumps(model.get_config()), "trainable": json.dumps(get_flags(model))}
    if model.optimizer is not None and include_optimizer:
        targets = {id(variable) for variable in model.optimizer.targets}
        training = {
            "optimizer": describe(model.optimizer),
            **_described_heads(model.heads),
            "seeds": [seeds.state for seeds in model.seed_generators],
            "targets": [
                name for name, weight in zip(names, model.weights, strict=True) if id(weight) in targets
            ],
        }
        metadata["training"] = json.dumps(training)
        for name, value in model.optimizer.get_state().items():
            tensors[_OPTIMIZER + name] = value
    write_tensors(path, tensors, metadata)


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002 - Keras's name
    *,
    max_bytes: int | None = None,
) -> Model:
    """Make the model that a file holds.

    Parameters
    ----------
    path
        A file that `save_model` wrote, or a ``.keras`` file of Keras 3.
    custom_objects
        What names of others in a ``.keras`` file mean; see `exchange.load_keras`. Files that end in
        ``.safetensors`` hold this package's classes only.
    compile
        Whether a model that was saved compiled is so again.
    max_bytes
        Memory that its content may take; see `fusedlstm.base.limits`.

    Returns
    -------
    model
        Built, with its weights and the states of stateful layers; compiled, with optimizer and random
        streams, when it was saved so. Nothing is drawn for it: the generator of
        `fusedlstm.utils.set_random_seed` stays where it is.

    Raises
    ------
    ImportError
        When safetensors, or h5py for ``.keras``, is not installed.
    OSError
        When the file is not there or cannot be read.
    ValueError
        When the file is damaged, truncated, of another program or of an unknown version of the format, or
        describes what this version cannot make, or asks for more memory than it may.
    """
    path = Path(path)
    if check_ending(path, MODELS) == _KERAS:
        from fusedlstm.exchange import keras_files

        return keras_files.load_keras(path, custom_objects, compile, max_bytes=max_bytes)
    with limits.content(path, max_bytes) as content:
        tensors, metadata = parse_tensors(content, path)
        try:
            return _make(tensors, metadata, compile)
        except ValueError as error:
            # The checksum was right, so another version must have written the file.
            raise ValueError(
                f"{path}: expected a model that this version of fusedlstm can make, found {error}"
            ) from error


def _make(tensors: dict[str, NDArray[Any]], metadata: dict[str, str], compiled: bool) -> Model:
    weights = part(tensors, _WEIGHTS)
    with filling(sum(value.size for value in weights.values())):
        config = parse(checks.member(metadata, "model", str, "metadata"), "model")
        kind = Model if isinstance(config, dict) and "calls" in config else Sequential
        model: Model = kind.from_config(config)
    names = unique_paths(model.weights)
    wanted = {name: (w.shape, w.dtype.name) for name, w in zip(names, model.weights, strict=True)}
    found = {name: (value.shape, value.dtype.name) for name, value in weights.items()}
    if wanted != found:
        raise ValueError(f"weights: expected {wanted}, got {found}")
    model.set_weights([weights[name] for name in names])
    set_states(model, part(tensors, _STATES))
    if "trainable" in metadata:  # Files of the first version lack it.
        set_flags(model, parse(metadata["trainable"], "trainable"))
    if compiled and "training" in metadata:
        _go_on(model, names, parse(metadata["training"], "training"), part(tensors, _OPTIMIZER))
    return model


def _described_heads(heads: list[Head]) -> dict[str, Any]:
    """Describe losses and metrics as `Model.compile` takes them, of several outputs in a list by output."""
    found: dict[str, Any] = {
        "loss": [None if head.loss is None else describe(head.loss) for head in heads],
        "metrics": [[describe(metric) for metric in head.metrics] for head in heads],
        "loss_weights": [head.weight for head in heads],
        "weighted_metrics": [[describe(metric) for metric in head.weighted] for head in heads],
    }
    ordered = by_place(heads)
    if [head.name for head in ordered] != [head.name for head in heads]:
        found["loss"] = {head.name: None if head.loss is None else describe(head.loss) for head in ordered}
    if len(heads) == 1:
        found = {key: value[0] for key, value in found.items()}
    # Files for models of one output stay as they were.
    return {
        key: value for key, value in found.items() if key in ("loss", "metrics") or _says_something(value)
    }


def _says_something(value: Any) -> bool:
    return any(map(_says_something, value)) if isinstance(value, list) else value is not None


def _restored(described: Any) -> Any:
    """Make the objects in a description, which lists and dicts by output may hold."""
    if isinstance(described, list):
        return [_restored(one) for one in described]
    if isinstance(described, dict) and "class_name" not in described:
        return {name: _restored(one) for name, one in described.items()}
    return None if described is None else restore(described)


def _go_on(model: Model, names: list[str], training: Any, state: dict[str, NDArray[Any]]) -> None:
    """Compile a model as it was, and put its optimizer and its random streams where they were.

    The weights have these names in the file.
    """
    optimizer = restore(checks.member(training, "optimizer", dict, "training"))
    loss = training.get("loss")
    metrics = checks.member(training, "metrics", list, "training")
    targets = checks.member(training, "targets", list, "training")
    seeds = checks.member(training, "seeds", list, "training")
    streams = model.seed_generators
    if len(seeds) != len(streams):
        raise ValueError(f"training: seeds: expected {len(streams)} random streams, got {len(seeds)}")
    pairs = [seed_state(pair) for pair in seeds]
    weighted = training.get("weighted_metrics")
    model.compile(
        optimizer=optimizer,
        loss=_restored(loss),
        loss_weights=training.get("loss_weights"),
        metrics=_restored(metrics),
        weighted_metrics=_restored(weighted),
    )
    chosen = {name for name in targets if isinstance(name, str)}
    trained = [weight for name, weight in zip(names, model.weights, strict=True) if name in chosen]
    optimizer.set_state(state, trained)
    for stream, pair in zip(streams, pairs, strict=True):
        stream.state = pair


def seed_state(pair: Any) -> tuple[int, int]:
    """Return the state of a random stream that a file holds; `ValueError` if it is none."""
    if (
        not isinstance(pair, list)
        or len(pair) != 2
        or any(type(item) is not int or item < 0 for item in pair)
    ):
        raise ValueError(f"training: seeds: expected pairs of integers >= 0, got {pair!r:.80}")
    return pair[0], pair[1]


def part(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
