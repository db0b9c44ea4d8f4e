"""Endings of file names: one table, and one error wherever an ending is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import fusedlstm
from fusedlstm import callbacks, exchange, io, layers, plots
from fusedlstm.io.endings import MODELS, ONNX, PICTURES, WEIGHTS, check_ending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def model() -> fusedlstm.Sequential:
    return fusedlstm.Sequential([layers.Input((4,)), layers.Dense(3)])


PLACES: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "save_model": (lambda path: io.save_model(model(), path), MODELS),
    "load_model": (io.load_model, MODELS),
    "fusedlstm.load_model": (fusedlstm.load_model, MODELS),
    "save": (lambda path: model().save(path), MODELS),
    "save_weights": (lambda path: model().save_weights(path), WEIGHTS),
    "load_weights": (lambda path: model().load_weights(path), WEIGHTS),
    "save_keras": (lambda path: exchange.save_keras(model(), path), (".keras",)),
    "to_onnx": (lambda path: exchange.to_onnx(model(), path), ONNX),
    "ModelCheckpoint": (callbacks.ModelCheckpoint, MODELS),
    "ModelCheckpoint of weights": (lambda p: callbacks.ModelCheckpoint(p, save_weights_only=True), WEIGHTS),
    "plots.save": (lambda path: plots.save(plots.figure("finding", "note"), path), PICTURES),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "name", ["model", "model.h5", "model.txt", ".keras", "model.keras.bak", "safetensors"]
)
def test_a_wrong_ending_is_told_in_terms_of_all_that_work(tmp_path: Path, place: str, name: str) -> None:
    act, endings = PLACES[place]
    with pytest.raises(ValueError, match=r"^(path|filepath): expected a file name that ends in ") as caught:
        act(tmp_path / name)
    told, got = str(caught.value).split(": expected a file name that ends in ")[1].split(", got ")
    assert told.split(" or ") == list(endings)
    assert got == repr(str(tmp_path / name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", PLACES)
def test_endings_of_other_functions_are_told_apart(tmp_path: Path, place: str) -> None:
    act, endings = PLACES[place]
    for others in (MODELS, WEIGHTS, ONNX, PICTURES):
        if set(others) & set(endings):
            continue
        for other in others:
            with pytest.raises(ValueError, match=rf"; \{other} is for "):
                act(tmp_path / f"a{other}")


def test_endings_that_work() -> None:
    assert check_ending("a/b.c.keras", MODELS) == ".keras"
    assert check_ending("a.weights.h5", WEIGHTS) == ".weights.h5"
