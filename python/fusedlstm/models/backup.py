"""Backups of a training: all that changes while a model is trained, without what the script makes again.

A file holds the tensors ``weights/<path>``, ``optimizer/<path>`` and ``states/<number>/h`` and ``/c``, as a
saved model's. Its metadata are the JSON texts ``epoch``, ``learning_rate`` and ``seeds``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.base.variable import unique_paths
from fusedlstm.base.versions import of_one_version
from fusedlstm.io.json_text import parse
from fusedlstm.io.safetensors import read_tensors, write_tensors
from fusedlstm.models.saving import part, seed_state
from fusedlstm.models.states import get_states, set_states

if TYPE_CHECKING:
    import os

    from fusedlstm.optimizers.base import Optimizer

_WEIGHTS, _OPTIMIZER, _STATES = "weights/", "optimizer/", "states/"


@of_one_version
def write_backup(model: Any, path: str | os.PathLike[str], epoch: int) -> None:
    """Write the state of a training to one file, which is either complete or not there.

    Parameters
    ----------
    model
        A compiled model, of any layers, losses and metrics.
    path
        The file, ending in ``.safetensors``.
    epoch
        The epoch that a training goes on with.

    Raises
    ------
    ImportError, OSError
        When safetensors is not installed, or the file cannot be written.
    """
    optimizer: Optimizer = model.optimizer
    tensors = {_WEIGHTS + name: weight.numpy() for name, weight in _named(model)}
    tensors |= {_STATES + name: state for name, state in get_states(model).items()}
    tensors |= {_OPTIMIZER + name: value for name, value in optimizer.get_state().items()}
    state = {
        "epoch": epoch,
        "learning_rate": None if optimizer.scheduled else float(optimizer.learning_rate),
        "seeds": [seeds.state for seeds in model.seed_generators],
    }
    write_tensors(path, tensors, {name: json.dumps(value) for name, value in state.items()})


def read_backup(model: Any, path: str | os.PathLike[str]) -> int:
    """Put a model's training where a backup of it was made; return the epoch to go on with.

    Parameters
    ----------
    model
        A model that was made and compiled as the other one; its optimizer is built.
    path
        The file.

    Raises
    ------
    ImportError, OSError
        When safetensors is not installed, or the file cannot be read.
    ValueError
        When the file is damaged, or of another model; nothing is changed then.
    """
    tensors, metadata = read_tensors(path)
    found = {name: parse(metadata.get(name, "null"), name) for name in ("epoch", "learning_rate", "seeds")}
    streams = model.seed_generators
    seeds = [seed_state(pair) for pair in checks.member(found, "seeds", list, str(path))]
    epoch = checks.non_negative_int(found["epoch"], f"{path}: epoch")
    weights = part(tensors, _WEIGHTS)
    wanted = {name: (w.shape, w.dtype.name) for name, w in _named(model)}
    got = {name: (value.shape, value.dtype.name) for name, value in weights.items()}
    if wanted != got or len(seeds) != len(streams):
        raise ValueError(f"{path}: expected a backup of this model, with {wanted}, got {got}")
    optimizer: Optimizer = model.optimizer
    optimizer.set_state(part(tensors, _OPTIMIZER), optimizer.targets)
    if not optimizer.scheduled:
        optimizer.learning_rate = found["learning_rate"]
    set_states(model, part(tensors, _STATES))
    model.set_weights([weights[name] for name in wanted])
    for stream, state in zip(streams, seeds, strict=True):
        stream.state = state
    return epoch


def _named(model: Any) -> list[tuple[str, Any]]:
    return list(zip(unique_paths(model.weights), model.weights, strict=True))
