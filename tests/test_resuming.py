"""A training that is saved, and goes on in a fresh process from the file alone, gets the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import constraints, io, optimizers, regularizers
from fusedlstm.layers import (
    LSTM,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    Input,
    Layer,
    LayerNormalization,
    Masking,
    SpatialDropout1D,
    StackedLSTM,
    TimeDistributed,
)
from fusedlstm.models.states import get_states
from fusedlstm.optimizers import schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

B, T, F, H = 4, 5, 3, 4
ROOT = Path(__file__).parents[1]


def stateful(**options: Any) -> list[Layer]:
    return [LSTM(H, stateful=True, **options)]


def both(merge_mode: str, **options: Any) -> list[Layer]:
    return [Bidirectional(LSTM(H, stateful=True, **options), merge_mode)]


LAYERS: dict[str, Callable[[], list[Layer]]] = {
    "plain": stateful,
    "sequences": lambda: stateful(return_sequences=True),
    "backwards": lambda: stateful(go_backwards=True),
    "no bias": lambda: stateful(use_bias=False),
    "activations": lambda: stateful(activation="softsign", recurrent_activation="hard_sigmoid"),
    "peepholes": lambda: stateful(use_peepholes=True, peephole_initializer="random_normal"),
    "coupled": lambda: stateful(coupled=True),
    "clipped": lambda: stateful(cell_clip=0.3),
    "layer norm": lambda: stateful(layer_norm=True),
    "projection": lambda: stateful(projection_units=2),
    "dropout": lambda: stateful(dropout=0.3),
    "recurrent dropout": lambda: stateful(recurrent_dropout=0.3),
    "zoneout of h": lambda: stateful(zoneout_h=0.3),
    "zoneout of c": lambda: stateful(zoneout_c=0.3, seed=8),
    "all options": lambda: stateful(
        use_peepholes=True,
        layer_norm=True,
        cell_clip=2.0,
        projection_units=3,
        dropout=0.1,
        recurrent_dropout=0.2,
        zoneout_h=0.1,
        zoneout_c=0.1,
        return_sequences=True,
    ),
    "two layers": lambda: [*stateful(return_sequences=True), Dropout(0.2), *stateful()],
    "masked": lambda: [Masking(0.5), *stateful(zero_output_for_mask=True, return_sequences=True)],
    "embedding": lambda: [Embedding(7, F, mask_zero=True), *stateful(dropout=0.2)],
    "concat": lambda: both("concat", return_sequences=True, dropout=0.2),
    "sum": lambda: both("sum", recurrent_dropout=0.2),
    "mul": lambda: both("mul", zoneout_h=0.2),
    "ave": lambda: both("ave", use_peepholes=True),
    "two of their own": lambda: [
        Bidirectional(
            LSTM(H, stateful=True, dropout=0.2),
            backward_layer=LSTM(H, stateful=True, go_backwards=True, zoneout_c=0.2, layer_norm=True),
        )
    ],
    "stack": lambda: [StackedLSTM([H, 2, H], stateful=True, between_dropout=0.3, dropout=0.1)],
    "stack of both": lambda: [
        StackedLSTM(H, 2, bidirectional=True, stateful=True, between_dropout=0.3, seed=3)
    ],
    "two stacks": lambda: [
        StackedLSTM(H, stateful=True, return_sequences=True),
        StackedLSTM(3, 3, stateful=True, zoneout_h=0.2),
    ],
    "one of two stateful": lambda: [LSTM(H, return_sequences=True, dropout=0.2), *stateful()],
    "not stateful": lambda: [LSTM(H, recurrent_dropout=0.3, dropout=0.3)],
    "noise": lambda: [GaussianNoise(0.3), SpatialDropout1D(0.3), *stateful(), LayerNormalization()],
    "steps": lambda: [
        *stateful(return_sequences=True),
        TimeDistributed(Dropout(0.4)),
        TimeDistributed(Dense(2)),
    ],
    "names inside": lambda: [
        *stateful(return_sequences=True),
        TimeDistributed(Dense(H, name="same"), name="one"),
        TimeDistributed(Dense(H, name="same"), name="other"),
        Bidirectional(LSTM(H, name="same", stateful=True, return_sequences=True), name="a"),
        Bidirectional(LSTM(H, name="same", stateful=True), name="b"),
        Dense(3, name="same"),
    ],
    "penalties": lambda: stateful(
        kernel_regularizer=regularizers.L1L2(0.01, 0.02),
        recurrent_constraint=constraints.MaxNorm(0.9),
        activity_regularizer="l2",
    ),
}
OPTIMIZERS: dict[str, Callable[[], optimizers.Optimizer]] = {
    "plain sgd": lambda: optimizers.SGD(0.05),
    "sgd": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipvalue=0.5),
    "rmsprop": lambda: optimizers.RMSprop(1e-3, momentum=0.5, centered=True, weight_decay=1e-4),
    "amsgrad": lambda: optimizers.Adam(1e-2, amsgrad=True, clipnorm=1.0),
    "schedule": lambda: optimizers.AdamW(schedules.ExponentialDecay(1e-2, 3, 0.5), global_clipnorm=1.0),
}


def frozen_inside(model: fusedlstm.Model) -> None:
    model.layers[0]._layers[1].trainable = False


def frozen_weight(model: fusedlstm.Model) -> None:
    model.weights[1].trainable = False


def other_rate(model: fusedlstm.Model) -> None:
    assert model.optimizer is not None
    model.optimizer.learning_rate = 0.0123


# Changes after compiling, and after the first updates.
CHANGES: dict[str, tuple[Callable[[], list[Layer]], Callable[[fusedlstm.Model], object], bool]] = {
    "frozen direction": (lambda: both("concat"), frozen_inside, False),
    "frozen layer of a stack": (lambda: [StackedLSTM(H, 3, stateful=True)], frozen_inside, False),
    "frozen weight": (stateful, frozen_weight, False),
    "frozen later": (lambda: both("concat"), frozen_inside, True),
    "weight frozen later": (stateful, frozen_weight, True),
    "other rate": (stateful, other_rate, True),
}


def make(layers: Sequence[Layer], optimizer: Any = "adam", dtype: str = "float32") -> fusedlstm.Model:
    shape = (T,) if isinstance(layers[0], Embedding) else (T, F)
    model = fusedlstm.Sequential([Input(shape), *layers, Dense(2, dtype=dtype)])
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def build(name: str) -> tuple[fusedlstm.Model, Callable[[fusedlstm.Model], object] | None]:
    """Return a model, and a change to make after its first training."""
    fusedlstm.utils.set_random_seed(sum(name.encode()))
    if name == "float64":
        layer = LSTM(H, stateful=True, dropout=0.2, zoneout_h=0.2, dtype="float64")
        return make([layer], optimizers.Adam(epsilon=1e-9), "float64"), None
    if name in OPTIMIZERS:
        return make(stateful(dropout=0.2), OPTIMIZERS[name]()), None
    if name in CHANGES:
        layers, change, later = CHANGES[name]
        model = make(layers())
        if not later:
            change(model)
        return model, change if later else None
    return make(LAYERS[name]()), None


CASES = [*LAYERS, *OPTIMIZERS, *CHANGES, "float64"]


def train(model: fusedlstm.Model, part: int) -> None:
    """Train by batches and by epochs; evaluations and predictions move the states of stateful layers too."""
    random = np.random.default_rng(part)
    assert model.input_shape is not None
    if len(model.input_shape) == 2:
        x: Any = random.integers(0, 7, (3 * B, T))
    else:
        x = random.normal(size=(3 * B, T, F))
        x[:, 1] = 0.5  # what the mask leaves out
    shape: Any = model.output_shape
    y = random.normal(size=(3 * B, *shape[1:]))
    model.train_on_batch(x[:B], y[:B])
    model.fit(x, y, batch_size=B, epochs=2, verbose=0, validation_data=(x[:B], y[:B]))
    model.train_on_batch(x[B : 2 * B], y[B : 2 * B])
    model.predict(x, batch_size=B, verbose=0)


def everything(model: fusedlstm.Model) -> dict[str, Any]:
    """Return all numbers that a training has moved, and what comes out of the model, by place."""
    assert model.optimizer is not None
    found = {f"weight {number}": weight for number, weight in enumerate(model.get_weights())}
    found.update({f"slot {name}": value for name, value in model.optimizer.get_state().items()})
    found.update({f"state {name}": value for name, value in get_states(model).items()})
    found["seeds"] = np.array([seeds.state for seeds in model.seed_generators], np.uint64)
    found["trained"] = np.array([variable.path for variable in model.trainable_weights])
    found["rate"] = np.array(model.optimizer.learning_rate)
    ones = np.ones((B, *(T if size is None else size for size in (model.input_shape or ())[1:])))
    found["output"] = model.predict(ones, batch_size=B, verbose=0)
    return found


def resume(folder: Path) -> None:
    """Go on with all files of a folder; runs in a process of its own."""
    fusedlstm.utils.set_random_seed(99)  # the file alone must suffice
    for number in range(len(CASES)):
        model = fusedlstm.load_model(folder / f"{number}.safetensors")
        train(model, 2)
        np.savez(folder / f"{number}.npz", **everything(model))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumed")
    for number, name in enumerate(CASES):
        model, change = build(name)
        train(model, 1)
        if change is not None:
            change(model)
        model.save(folder / f"{number}.safetensors")
        train(model, 2)
        np.savez(folder / f"{number}.wanted.npz", **everything(model))
    paths = os.pathsep.join([str(Path(fusedlstm.__file__).parents[1]), str(ROOT)])
    code = "import pathlib, sys, tests.test_resuming as t; t.resume(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths}, cwd=folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_fresh_process_gets_the_same_bits(folder: Path, name: str) -> None:
    number = CASES.index(name)
    with np.load(folder / f"{number}.npz") as got, np.load(folder / f"{number}.wanted.npz") as wanted:
        assert set(got) == set(wanted)
        assert any(key.startswith("state") for key in got) == (name != "not stateful")
        for key in wanted:
            assert got[key].dtype == wanted[key].dtype, key
            assert got[key].shape == wanted[key].shape, key
            assert got[key].tobytes() == wanted[key].tobytes(), key


# ---- states ----


def used(**options: Any) -> fusedlstm.Model:
    """Return a model whose stateful layer is not at zeros."""
    fusedlstm.utils.set_random_seed(2)
    model = make(stateful(name="l", **options))
    train(model, 1)
    return model


def test_states_are_there_without_the_optimizer(tmp_path: Path) -> None:
    model = used()
    io.save_model(model, tmp_path / "a.safetensors", include_optimizer=False)
    loaded = fusedlstm.load_model(tmp_path / "a.safetensors")
    assert loaded.optimizer is None
    x = np.ones((B, T, F))
    assert loaded.predict(x, verbose=0).tobytes() == model.predict(x, verbose=0).tobytes()


def test_states_of_a_layer() -> None:
    layer = used(projection_units=2).layers[0]
    assert isinstance(layer, LSTM)
    assert layer.states is not None
    h, c = layer.states
    assert (h.shape, c.shape) == ((B, 2), (B, H))
    h[...] = 0  # a copy
    assert layer.states[0].any()
    layer.states = (h, c)
    c[...] = 7
    assert not layer.states[0].any()
    assert not (layer.states[1] == 7).any()
    for wrong in ((h[:2], c), (c, h), (h, c, c), h, (h[0], c[0])):
        with pytest.raises((TypeError, ValueError), match="state"):
            layer.states = wrong  # type: ignore[assignment]
    layer.states = None
    assert layer.states is None
    with pytest.raises(ValueError, match="expected a stateful layer"):
        LSTM(3).states = (h, c)


def test_what_keras_has_no_place_for(tmp_path: Path) -> None:
    model = used()
    with pytest.warns(UserWarning, match=r"no place for the states of l, which will start from zeros"):
        model.save(tmp_path / "a.keras")
    loaded = fusedlstm.load_model(tmp_path / "a.keras")
    assert not get_states(loaded)
    assert loaded.optimizer is not None  # which has a place there
    layer = model.layers[0]
    assert isinstance(layer, LSTM)
    layer.reset_state()
    model.save(tmp_path / "a.keras")  # no warning


# ---- what a description does not tell ----


def test_layers_that_were_changed_inside(tmp_path: Path) -> None:
    for layer in (StackedLSTM(H, 2), Bidirectional(LSTM(H))):
        model = make([layer])
        inner = layer._layers[1]
        assert isinstance(inner, LSTM)
        inner.dropout = 0.5
        with pytest.raises(ValueError, match=rf"model: expected {inner.name} .*dropout=0.0, got 0.5"):
            model.save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_files_without_flags(tmp_path: Path) -> None:
    """As this version of the format had them at first."""
    path = tmp_path / "a.safetensors"
    model = used()
    model.save(path)
    tensors, metadata = io.safetensors.read_tensors(path)
    del metadata["trainable"]
    io.safetensors.write_tensors(path, tensors, metadata)
    assert len(fusedlstm.load_model(path).trainable_weights) == len(model.weights)


@pytest.mark.parametrize(
    "flags", [[], {}, {"layers": [True]}, {"layers": [True, True], "weights": [1] * 5}, {"layers": 3}, None]
)
def test_flags_that_do_not_fit(tmp_path: Path, flags: Any) -> None:
    path = tmp_path / "a.safetensors"
    used().save(path)
    tensors, metadata = io.safetensors.read_tensors(path)
    io.safetensors.write_tensors(path, tensors, {**metadata, "trainable": json.dumps(flags)})
    with pytest.raises(ValueError, match=r"a\.safetensors: .*trainable: expected . times true or false"):
        fusedlstm.load_model(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("states/0/h", np.zeros((B, H + 1), np.float32)),
        ("states/0/h", np.zeros((B + 1, H), np.float32)),
        ("states/0/h", np.zeros((B, H))),
        ("states/0/c", np.zeros(3, np.float32)),
        ("states/0/c", None),
        ("states/1/h", np.zeros((B, H), np.float32)),
        ("states/9/h", np.zeros((B, H), np.float32)),
    ],
)
def test_states_that_do_not_fit(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "a.safetensors"
    used().save(path)
    tensors, metadata = io.safetensors.read_tensors(path)
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    io.safetensors.write_tensors(path, tensors, metadata)
    with pytest.raises(ValueError, match=r"a\.safetensors: expected a model that this version .*states?: "):
        fusedlstm.load_model(path)
