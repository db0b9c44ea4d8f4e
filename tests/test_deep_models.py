"""Files of models of many layers, and of layers deep inside of layers, load with default limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import exchange, layers
from fusedlstm.base import limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusedlstm.layers import Layer

ENDINGS = (".safetensors", ".keras", ".weights.h5", ".onnx")

pytest.importorskip("h5py")
pytest.importorskip("onnx")


def lstm() -> layers.LSTM:
    return layers.LSTM(1, return_sequences=True)


def bidirectional() -> Layer:
    return layers.Bidirectional(lstm(), merge_mode="sum")


def stack(layer: Callable[[], Layer], count: int, trained: bool = False) -> fusedlstm.Model:
    model = fusedlstm.Sequential([layers.Input((3, 1)), *(layer() for _ in range(count))])
    if trained:
        model.compile("adam", "mse")
        model.fit(np.ones((1, 3, 1)), np.ones((1, 3, 1)), verbose=0)
    return model


def written(model: fusedlstm.Model, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    elif path.suffix == ".onnx":
        exchange.to_onnx(model, path)
    else:
        model.save(path)
    return path


def loaded(path: Path, model: fusedlstm.Model) -> fusedlstm.Model:
    """Load a file; one of weights into a copy of the model whose weights are zeros."""
    if path.suffix == ".onnx":
        return exchange.from_onnx(path).sequential()
    if not path.name.endswith(".weights.h5"):
        return fusedlstm.load_model(path)
    other = fusedlstm.Sequential.from_config(model.get_config())
    other.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    other.load_weights(path)
    return other


def same_weights(one: fusedlstm.Model, two: fusedlstm.Model) -> None:
    assert len(one.layers) == len(two.layers)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- many layers ----


@pytest.mark.parametrize(
    ("ending", "count"), [(".safetensors", 1500), (".keras", 600), (".weights.h5", 600), (".onnx", 600)]
)
def test_files_of_many_layers(tmp_path: Path, ending: str, count: int) -> None:
    model = stack(lstm, count)
    same_weights(loaded(written(model, tmp_path / f"a{ending}"), model), model)


def test_a_file_of_many_layers_and_their_optimizer(tmp_path: Path) -> None:
    model = stack(lstm, 600, trained=True)
    found = fusedlstm.load_model(written(model, tmp_path / "a.safetensors"))
    same_weights(found, model)
    assert found.optimizer is not None
    assert found.optimizer.iterations == 1


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("layer", "count"), [(lstm, 1400), (bidirectional, 600)])
def test_the_documented_numbers_of_layers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layer: Callable[[], Layer], count: int, ending: str
) -> None:
    """What is claimed for a hundredth of them, an optimizer included, is a hundredth of the limit at most."""
    model = stack(layer, count // 100, trained=True)
    path = written(model, tmp_path / f"a{ending}")
    claimed: list[int] = []
    monkeypatch.setattr(limits, "claim_description", lambda size, _: claimed.append(size))
    # Each of the two steps of reading ONNX is within an allowance of its own.
    result: Any = exchange.from_onnx(path) if ending == ".onnx" else loaded(path, model)
    sums = [sum(claimed)]
    if ending == ".onnx":
        claimed.clear()
        result.sequential()
        sums.append(sum(claimed))
    for number in sums:
        assert number > 100_000
        assert 100 * number <= limits.DESCRIPTION


def calls_of_loading(path: Path, model: fusedlstm.Model) -> int:
    """Return how many functions Python calls."""
    count = 0

    def called(frame: object, event: str, argument: object) -> None:
        nonlocal count
        del frame, argument
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        loaded(path, model)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("ending", ENDINGS)
def test_loading_takes_time_in_proportion_to_the_layers(tmp_path: Path, ending: str) -> None:
    """Calls are counted, as times differ; a loop over all layers for each would quadruple them."""
    counts = []
    for layers_ in (10, 100, 400):
        model = stack(lambda: layers.Activation("relu"), layers_)
        counts.append(calls_of_loading(written(model, tmp_path / f"{layers_}{ending}"), model))
    _, few, many = counts  # the first imports modules
    assert 2 * few < many < 4.4 * few


# ---- layers inside of layers ----


@pytest.mark.parametrize("ending", [".safetensors", ".keras", ".weights.h5"])
def test_files_of_layers_inside_of_layers(tmp_path: Path, ending: str) -> None:
    """As many as there can be: each takes an axis of the input."""
    layer: Layer = layers.Dense(2)
    for _ in range(30):
        layer = layers.TimeDistributed(layer)
    model = fusedlstm.Sequential([layers.Input((*[1] * 30, 2)), layer])
    same_weights(loaded(written(model, tmp_path / f"a{ending}"), model), model)


@pytest.mark.parametrize("ending", [".safetensors", ".keras"])
def test_the_option_raises_the_limit_of_descriptions(tmp_path: Path, ending: str) -> None:
    path = written(stack(lstm, 10), tmp_path / f"a{ending}")
    with pytest.raises(ValueError, match=r"expected content that takes at most 100,000 bytes .* max_bytes"):
        fusedlstm.load_model(path, max_bytes=100_000)
    assert len(fusedlstm.load_model(path, max_bytes=1_000_000).layers) == 10


def test_a_model_beyond_the_limit_loads_with_the_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = written(stack(lstm, 10), tmp_path / "a.safetensors")
    monkeypatch.setattr(limits, "DESCRIPTION", 100_000)
    with pytest.raises(ValueError, match=r"a description that takes at most 100,000 bytes .* max_bytes"):
        fusedlstm.load_model(path)
    assert len(fusedlstm.load_model(path, max_bytes=1_000_000).layers) == 10
