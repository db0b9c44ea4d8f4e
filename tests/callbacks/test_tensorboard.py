"""`TensorBoard`: files that its library reads, and what is found before a training."""

from __future__ import annotations

import builtins
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import callbacks

from .common import Watcher, X, Y, small_model

if TYPE_CHECKING:
    from pathlib import Path

event_pb2: Any = pytest.importorskip("tensorboardX.proto.event_pb2")


def read(folder: Path) -> dict[str, dict[int, Any]]:
    """Return by tag and step what a folder's files hold: records of a length, two checksums, an event."""
    found: dict[str, dict[int, Any]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, start = path.read_bytes(), 0
        while start < len(content):
            (length,) = struct.unpack_from("<Q", content, start)
            event = event_pb2.Event.FromString(content[start + 12 : start + 12 + length])
            start += length + 16
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                found.setdefault(value.tag, {})[event.step] = getattr(value, kind)
    return found


def test_epochs(tmp_path: Path) -> None:
    model = small_model()
    history = model.fit(
        X, Y, 5, epochs=3, verbose=0, validation_data=(X, Y), callbacks=[callbacks.TensorBoard(tmp_path)]
    )
    train, tested = read(tmp_path / "train"), read(tmp_path / "validation")
    assert sorted(train) == ["epoch_accuracy", "epoch_learning_rate", "epoch_loss"]
    metrics = "accuracy", "loss"
    names = [f"epoch_{name}" for name in metrics] + [f"evaluation_{name}_vs_iterations" for name in metrics]
    assert sorted(tested) == sorted(names)
    for name in metrics:
        logs = dict(enumerate(map(np.float32, history.history[name])))
        assert train[f"epoch_{name}"] == logs
        logs = dict(enumerate(map(np.float32, history.history[f"val_{name}"])))
        assert tested[f"epoch_{name}"] == logs
        assert list(tested[f"evaluation_{name}_vs_iterations"].items()) == [
            (2 * (epoch + 1), value) for epoch, value in logs.items()
        ]
    assert list(train["epoch_learning_rate"].values()) == [np.float32(0.01)] * 3


@pytest.mark.parametrize(
    ("update_freq", "steps"), [("batch", [1, 2, 3, 4]), (1, [1, 2, 3, 4]), (3, [3]), (9, [])]
)
def test_batches(tmp_path: Path, update_freq: Any, steps: list[int]) -> None:
    hook = callbacks.TensorBoard(tmp_path, update_freq=update_freq, write_steps_per_second=True)
    small_model().fit(X, Y, 5, epochs=2, verbose=0, callbacks=[hook])
    found = read(tmp_path / "train")
    for name in ("batch_loss", "batch_accuracy", "batch_steps_per_second"):
        assert list(found.get(name, {})) == steps
    assert min(found["epoch_steps_per_second"].values()) > 0
    assert not (tmp_path / "validation").exists()


def test_weights(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    model = small_model()
    hook = callbacks.TensorBoard(tmp_path, histogram_freq=2, write_images=True)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[hook])
    found = read(tmp_path / "train")
    for variable in model.weights:
        histograms = found[f"{variable.path}/histogram"]
        assert list(histograms) == [0, 2]
        assert histograms[2].num == sum(histograms[2].bucket) == variable.size
        assert histograms[2].min == variable.value.min()
        assert histograms[2].sum == pytest.approx(variable.value.sum(), abs=1e-6)
        assert found[f"{variable.path}/image"][2].encoded_image_string.startswith(b"\x89PNG")
    kernel = found[f"{model.weights[0].path}/image"][2]
    assert (kernel.height, kernel.width) == (3, 4)


def test_evaluations_and_further_trainings(tmp_path: Path) -> None:
    """Each has a file of its own, and later ones count on where they may."""
    model, hook = small_model(), callbacks.TensorBoard(tmp_path)
    model.fit(X, Y, verbose=0, callbacks=[hook])
    model.fit(X, Y, epochs=2, initial_epoch=1, verbose=0, callbacks=[hook])
    loss, _ = model.evaluate(X, Y, verbose=0, callbacks=[hook])
    assert list(read(tmp_path / "train")["epoch_loss"]) == [0, 1]
    assert read(tmp_path / "validation")["evaluation_loss_vs_iterations"] == {2: np.float32(loss)}


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    model = small_model()
    model.set_weights([np.full((4, 3), np.nan), np.zeros(3)])
    model.fit(X, Y, verbose=0, callbacks=[callbacks.TensorBoard(tmp_path, histogram_freq=1)])
    assert not any("histogram" in tag for tag in read(tmp_path / "train"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    watcher = Watcher()
    with pytest.raises(OSError, match=r"^log_dir: cannot write"):
        small_model().fit(X, Y, verbose=0, callbacks=[watcher, callbacks.TensorBoard(tmp_path / "file")])
    assert not watcher.begun


def test_a_failure_on_the_way_is_outlived(tmp_path: Path) -> None:
    hook = callbacks.TensorBoard(tmp_path)
    block = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: (tmp_path / "train").touch())  # noqa: ARG005
    model = small_model()
    with (
        pytest.warns(
            UserWarning, match="^TensorBoard could not write scalars in .*train, the training goes on"
        ),
        pytest.raises(OSError, match=r"TensorBoard could not write 1 times, first scalars") as found,
    ):
        model.fit(X, Y, verbose=0, callbacks=[block, hook])
    assert "the training is complete" in str(found.value)
    assert model.history is not None
    assert model.history.epoch == [0]


@pytest.mark.parametrize(
    ("missing", "settings", "message"),
    [
        ("tensorboardX", {}, r'^TensorBoard needs tensorboardX: pip install "fusedlstm\[tensorboard\]"'),
        ("PIL", {"write_images": True, "histogram_freq": 1}, "^write_images needs Pillow: pip install"),
    ],
)
def test_missing_libraries(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    settings: dict[str, Any],
    message: str,
) -> None:
    original = builtins.__import__

    def refuse(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    watcher = Watcher()
    with pytest.raises(ImportError, match=message):
        small_model().fit(X, Y, verbose=0, callbacks=[watcher, callbacks.TensorBoard(tmp_path, **settings)])
    assert not watcher.begun


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"histogram_freq": -1}, "^histogram_freq: "),
        ({"update_freq": "never"}, "^update_freq: "),
        ({"update_freq": 0}, "^update_freq: "),
        ({"write_images": 2}, "^write_images: "),
        ({"embeddings_freq": 1}, "^embeddings_freq: expected 0, got 1"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        callbacks.TensorBoard(**settings)


def test_profiles_warn() -> None:
    with pytest.warns(UserWarning, match=r"^profile_batch: nothing is profiled, got '2,3'"):
        callbacks.TensorBoard(profile_batch="2,3")
