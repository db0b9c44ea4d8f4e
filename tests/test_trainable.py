"""Frozen layers and models: what training leaves alone, and what still passes through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import layers

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(8, 3, 4)).astype("float32"), RANDOM.normal(size=(8, 2)).astype("float32")


def make_model(optimizer: str = "adam") -> fusedlstm.Sequential:
    fusedlstm.utils.set_random_seed(1)
    model = fusedlstm.Sequential(
        [
            layers.Input((3, 4)),
            layers.LSTM(5, return_sequences=True, name="one"),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="two"),
            layers.TimeDistributed(layers.Dense(4), name="three"),
            layers.LSTM(5, name="four"),
            layers.Dense(2, name="five"),
        ]
    )
    model.compile(optimizer, "mse")
    return model


def changed(model: fusedlstm.Sequential, steps: int = 1) -> set[str]:
    """Train and name the variables that moved."""
    before = model.get_weights()
    for _ in range(steps):
        model.train_on_batch(X, Y)
    pairs = zip(model.weights, before, strict=True)
    return {v.path for v, old in pairs if not np.array_equal(v.value, old)}


@pytest.mark.parametrize("frozen", [{"one"}, {"five"}, {"two", "four"}, {"one", "two", "three", "four"}])
def test_frozen_layers(frozen: set[str]) -> None:
    """They stay as they are, and the others get the gradients that they get without them."""
    model, free = make_model("sgd"), make_model("sgd")
    for name in frozen:
        model.get_layer(name).trainable = False
    paths = {v.path for layer in model.layers if layer.name not in frozen for v in layer.weights}
    assert {v.path for v in model.trainable_weights} == paths
    assert changed(model) == paths
    # A frozen LSTM's own gradients are not computed at all.
    for name in frozen & {"one", "two", "four"}:
        assert all(v.grad is None for v in model.get_layer(name).weights)
    free.train_on_batch(X, Y)
    for ours, theirs in zip(model.weights, free.weights, strict=True):
        if ours.path in paths:
            np.testing.assert_array_equal(ours.value, theirs.value)


def test_layers_inside_of_others() -> None:
    model = make_model()
    two: Any = model.get_layer("two")
    two.forward_layer.trainable = False
    assert len(two.trainable_weights) == len(two.non_trainable_weights) == 3
    assert {v.path for v in model.weights} - changed(model) == {v.path for v in two.forward_layer.weights}
    two.trainable = False
    assert not two.backward_layer.trainable
    two.trainable = True
    assert two.forward_layer.trainable
    three: Any = model.get_layer("three")
    three.trainable = False
    assert not three.layer.trainable
    assert three.trainable_weights == []
    assert layers.Bidirectional(layers.LSTM(3), trainable=False).trainable_weights == []


def test_models() -> None:
    model = make_model()
    model.trainable = False
    assert not any(layer.trainable for layer in model.layers)
    assert model.trainable_weights == []
    assert changed(model) == set()
    # As in Keras, the model's own flag stands above the layers'.
    model.get_layer("five").trainable = True
    assert model.trainable_weights == []
    again = fusedlstm.Sequential.from_config(model.get_config())
    assert not again.trainable
    assert again.get_layer("five").trainable
    model.trainable = True
    assert len(model.trainable_weights) == len(model.weights)


def test_single_variables() -> None:
    model = make_model()
    model.get_layer("five").weights[1].trainable = False
    assert {v.path for v in model.weights} - changed(model) == {"five/bias"}


def test_summaries_count_them() -> None:
    model = make_model()
    model.get_layer("one").trainable = False
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    count = model.get_layer("one").count_params()
    assert f"Trainable params: {model.count_params() - count:,}\n" in lines[0]
    assert lines[0].endswith(f"Non-trainable params: {count:,}")


def test_frozen_after_some_training() -> None:
    """The optimizer goes on with what is left, each variable with its own slots."""
    model, free = make_model(), make_model()
    for each in (model, free):
        each.train_on_batch(X, Y)
    model.get_layer("two").trainable = False
    moved = changed(model)
    assert not any(path.startswith(("two", "forward", "backward")) for path in moved)
    free.train_on_batch(X, Y)
    for ours, theirs in zip(model.weights, free.weights, strict=True):
        if ours.path in moved:
            np.testing.assert_array_equal(ours.value, theirs.value)
    model.get_layer("two").trainable = True
    assert changed(model) == {v.path for v in model.weights}


def test_unfrozen_after_some_training() -> None:
    model = make_model()
    model.get_layer("two").trainable = False
    model.train_on_batch(X, Y)
    model.get_layer("two").trainable = True
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"variables: expected those .* or after unfreezing layers"):
        model.train_on_batch(X, Y)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    model.compile("adam", "mse")
    assert changed(model) == {v.path for v in model.weights}


@pytest.mark.parametrize("early", [False, True])
def test_saved_and_resumed(tmp_path: Path, early: bool) -> None:
    """Frozen before or after the optimizer was built, a loaded training goes on to the same bits."""
    model = make_model()
    if early:
        model.get_layer("two").trainable = False
    model.train_on_batch(X, Y)
    model.get_layer("two").trainable = False
    model.save(tmp_path / "model.safetensors")
    again = fusedlstm.load_model(tmp_path / "model.safetensors")
    assert not again.get_layer("two").trainable
    for each in (model, again):
        each.train_on_batch(X, Y)
        if not early:
            each.get_layer("two").trainable = True
            each.train_on_batch(X, Y)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
