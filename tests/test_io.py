"""Whole models in files: round trips, exact resumption, and files that must be refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm
from fusedlstm import io, layers, losses, metrics, optimizers
from fusedlstm.io.safetensors import read_tensors, write_tensors
from fusedlstm.models.describe import describe, restore
from fusedlstm.optimizers import schedules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS, FEATURES, CLASSES = 5, 3, 4


def samples(count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.normal(size=(count, STEPS, FEATURES)).astype(np.float32), random.integers(0, CLASSES, count)


def make_model(dtype: str = "float32", **compile_options: Any) -> fusedlstm.Model:
    fusedlstm.utils.set_random_seed(4)
    fusedlstm.utils.clear_session()  # the same automatic names every time
    model = fusedlstm.Sequential(
        [
            layers.Input((STEPS, FEATURES), dtype=dtype),
            layers.LSTM(6, return_sequences=True, dropout=0.1, dtype=dtype),
            layers.Dropout(0.3, dtype=dtype),
            layers.LSTM(5, go_backwards=True, use_bias=False, dtype=dtype),
            layers.Activation("tanh", dtype=dtype),
            layers.Dense(CLASSES, activation="softmax", kernel_initializer="he_normal", dtype=dtype),
        ],
        name="mine",
    )
    if compile_options:
        model.compile(**compile_options)
    return model


def compiled(optimizer: Any = "adam") -> fusedlstm.Model:
    return make_model(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])


def assert_same_weights(left: fusedlstm.Model, right: fusedlstm.Model) -> None:
    assert [weight.path for weight in left.weights] == [weight.path for weight in right.weights]
    for ours, theirs in zip(left.get_weights(), right.get_weights(), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    model = make_model(dtype)
    model.save(tmp_path / "a.safetensors")
    loaded = fusedlstm.load_model(str(tmp_path / "a.safetensors"))
    assert_same_weights(loaded, model)
    assert loaded.get_config() == model.get_config()
    assert loaded.optimizer is None
    x = samples()[0]
    assert loaded.predict(x, verbose=0).tobytes() == model.predict(x, verbose=0).tobytes()
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0, 1e-45])
def test_unusual_numbers_survive(tmp_path: Path, value: float) -> None:
    model = make_model()
    model.set_weights([np.full(weight.shape, value, weight.dtype) for weight in model.weights])
    model.save(tmp_path / "a.safetensors")
    assert_same_weights(fusedlstm.load_model(tmp_path / "a.safetensors"), model)


OPTIMIZERS: list[Callable[[], optimizers.Optimizer]] = [
    lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipvalue=0.5),
    lambda: optimizers.SGD(0.05),
    lambda: optimizers.RMSprop(1e-3, momentum=0.5, centered=True, weight_decay=1e-4),
    lambda: optimizers.Adam(1e-2, amsgrad=True, clipnorm=1.0),
    lambda: optimizers.AdamW(schedules.ExponentialDecay(1e-2, 3, 0.5, staircase=True), global_clipnorm=1.0),
    lambda: optimizers.Adam(schedules.CosineDecay(1e-3, 20, warmup_target=1e-2, warmup_steps=2)),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("epochs_before", [0, 1, 2])
def test_training_resumes_exactly(
    tmp_path: Path, optimizer: Callable[[], optimizers.Optimizer], epochs_before: int
) -> None:
    """Dropout, shuffling, schedule and optimizer go on where they were: the same bits at the end."""
    x, y = samples()
    straight = compiled(optimizer())
    straight.fit(x, y, batch_size=16, epochs=3, verbose=0)

    interrupted = compiled(optimizer())
    if epochs_before:
        interrupted.fit(x, y, batch_size=16, epochs=epochs_before, verbose=0)
    interrupted.save(tmp_path / "a.safetensors")
    fusedlstm.utils.set_random_seed(99)  # the file alone must suffice
    resumed = fusedlstm.load_model(tmp_path / "a.safetensors")
    resumed.fit(x, y, batch_size=16, epochs=3, initial_epoch=epochs_before, verbose=0)
    assert_same_weights(resumed, straight)
    assert resumed.evaluate(x, y, verbose=0) == straight.evaluate(x, y, verbose=0)


def test_without_optimizer(tmp_path: Path) -> None:
    model = compiled()
    model.save(tmp_path / "a.safetensors", include_optimizer=False)
    loaded = io.load_model(tmp_path / "a.safetensors")
    assert loaded.optimizer is None
    assert_same_weights(loaded, model)


def test_frozen_layers_stay_frozen(tmp_path: Path) -> None:
    model = compiled()
    model.layers[0].trainable = False
    x, y = samples()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "a.safetensors")
    loaded = io.load_model(tmp_path / "a.safetensors")
    assert [w.path for w in loaded.trainable_weights] == [w.path for w in model.trainable_weights]


ALL_PARTS = [
    *(make() for make in OPTIMIZERS),
    schedules.PiecewiseConstantDecay([2, 5], [0.1, 0.01, 0.001]),
    schedules.CosineDecay(0.1, 5),
    losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.CategoricalCrossentropy(reduction="sum"),
    losses.SparseCategoricalCrossentropy(from_logits=True, name="mine"),
    losses.MeanSquaredError(),
    losses.MeanAbsoluteError(),
    losses.Huber(0.5),
    losses.CosineSimilarity(reduction="mean_with_sample_weight"),
    losses.CategoricalFocalCrossentropy([0.1, 0.9], 3.0),
    *(metrics.get(name) for name in ("acc", "mse", "mae", "binary_accuracy", "categorical_accuracy")),
    metrics.BinaryAccuracy("b", threshold=0.25),
    metrics.CosineSimilarity(axis=1),
    metrics.SparseCategoricalCrossentropy(from_logits=True),
    metrics.BinaryCrossentropy("b", label_smoothing=0.5),
    metrics.SparseTopKCategoricalAccuracy(3, from_sorted_ids=True),
    metrics.R2Score(None, 2),
    metrics.FBetaScore("micro", 2.0, 0.25),
    metrics.F1Score(threshold=0.25),
    metrics.TruePositives([0.25, 0.75]),
    metrics.Precision(top_k=2, class_id=1),
    metrics.AUC(curve="pr", thresholds=[0.75, 0.25], multi_label=True, label_weights=[1.0, 2.0]),
    metrics.MeanMetric(losses.BinaryCrossentropy(label_smoothing=0.5), name="m"),
]


@pytest.mark.parametrize("part", ALL_PARTS, ids=lambda part: type(part).__name__)
def test_parts_of_a_compiled_model(part: Any) -> None:
    text = json.dumps(describe(part))
    again = restore(json.loads(text))
    assert type(again) is type(part)
    assert json.dumps(describe(again)) == text
    plain = {name: value for name, value in vars(part).items() if isinstance(value, int | float | str | list)}
    assert {name: vars(again)[name] for name in plain} == plain
    if isinstance(part, schedules.LearningRateSchedule):
        assert [again(step) for step in range(10)] == [part(step) for step in range(10)]


def test_learning_rate_of_now_is_saved(tmp_path: Path) -> None:
    model = compiled()
    assert model.optimizer is not None
    model.optimizer.learning_rate = 0.125
    model.save(tmp_path / "a.safetensors")
    loaded = io.load_model(tmp_path / "a.safetensors")
    assert loaded.optimizer is not None
    assert loaded.optimizer.learning_rate == 0.125


# ---- what must be refused ----


def test_models_that_cannot_be_saved(tmp_path: Path) -> None:
    class MyLayer(layers.Activation):
        pass

    class MyLoss(losses.MeanSquaredError):
        pass

    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="model: expected a built model"):
        io.save_model(fusedlstm.Sequential([layers.LSTM(3)]), path)
    with pytest.raises(ValueError, match=r"model: expected layers of fusedlstm\.layers, got <MyLayer"):
        io.save_model(fusedlstm.Sequential([layers.Input((3,)), MyLayer("relu")]), path)
    model = make_model(optimizer="adam", loss=MyLoss())
    with pytest.raises(
        ValueError, match="own classes, got MyLoss; save the model with include_optimizer=False"
    ):
        io.save_model(model, path)
    with pytest.raises(ValueError, match=r"path: expected a file name that ends in \.safetensors"):
        io.save_model(make_model(), tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def _edit(path: Path, change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]) -> None:
    """Rewrite a file, with a right checksum, after a change of tensors, model and training description."""
    tensors, metadata = read_tensors(path)
    model, training = json.loads(metadata["model"]), json.loads(metadata["training"])
    change(tensors, model, training)
    write_tensors(path, tensors, {"model": json.dumps(model), "training": json.dumps(training)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, _m, _r: t.pop("weights/dense/kernel"), "weights: expected"),
        (lambda t, _m, _r: t.update({"weights/more": np.zeros(3)}), "weights: expected"),
        (lambda t, _m, _r: t.update({"weights/dense/bias": np.zeros(9, np.float32)}), "weights: expected"),
        (lambda t, _m, _r: t.update({"weights/dense/bias": np.zeros(CLASSES)}), "weights: expected"),
        (lambda t, _m, _r: t.pop("optimizer/dense/kernel/momentum"), "state: expected"),
        (lambda t, _m, _r: t.pop("optimizer/iterations"), "iterations"),
        (lambda _t, m, _r: m["layers"][0].update(class_name="GRU"), "GRU"),
        (lambda _t, m, _r: m["layers"][0]["config"].update(units=0), "units"),
        (lambda _t, m, _r: m["layers"][0]["config"].update(wings=2), "wings"),
        (lambda _t, m, _r: m.pop("layers"), "layers"),
        (
            lambda _t, _m, r: r["optimizer"].update(class_name="get"),
            r"class_name: expected one of \['SGD', .*\], got 'get'",
        ),
        (lambda _t, _m, r: r["optimizer"].update(class_name="checks"), "got 'checks'"),
        (lambda _t, _m, r: r["loss"].update(module="os", class_name="system"), "os"),
        (lambda _t, _m, r: r["optimizer"]["config"].update(beta_1=2), "beta_1"),
        (lambda _t, _m, r: r["seeds"].pop(), "seeds: expected 4 random streams, got 3"),
        (lambda _t, _m, r: r.pop("metrics"), "metrics"),
    ],
)
def test_files_that_another_version_wrote(
    tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object], message: str
) -> None:
    path = tmp_path / "a.safetensors"
    model = compiled()
    model.fit(*samples(), verbose=0)
    model.save(path)
    _edit(path, change)
    with pytest.raises(ValueError, match=rf"a\.safetensors: expected a model that this version .*{message}"):
        io.load_model(path)


@pytest.mark.parametrize("position", [3, 40, -3, -40])
def test_damaged_files(tmp_path: Path, position: int) -> None:
    path = tmp_path / "a.safetensors"
    compiled().save(path)
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors: expected .*found "):
        fusedlstm.load_model(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fusedlstm.load_model(tmp_path / "none.safetensors")


def test_tensors_without_a_model(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {"weights/a": np.zeros(3)}, {})
    with pytest.raises(ValueError, match=r"a\.safetensors: expected a model that this version"):
        fusedlstm.load_model(tmp_path / "a.safetensors")
