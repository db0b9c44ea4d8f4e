"""Logs that callbacks add and look for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm import callbacks

from .common import X, Y, small_model

if TYPE_CHECKING:
    from pathlib import Path


# ---- logs that only a callback of the user knows ----


class Adding(callbacks.Callback):
    """Adds a log, as a Keras script does for a metric of its own."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["mine"] = -float(epoch)


def test_logs_that_a_callback_adds_are_taken(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    saver = callbacks.ModelCheckpoint(
        tmp_path / "{mine:.0f}.safetensors", monitor="mine", save_best_only=True
    )
    rates = callbacks.LearningRateScheduler(lambda epoch: 0.5 ** (epoch + 1))
    other = callbacks.ModelCheckpoint(tmp_path / "r{learning_rate:.2f}.safetensors")
    small_model().fit(X, Y, epochs=2, verbose=0, callbacks=[Adding(), saver, rates, other])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["-0.safetensors", "-1.safetensors", "r0.25.safetensors", "r0.50.safetensors"]


def test_the_order_of_callbacks_decides_which_logs_there_are(tmp_path: Path) -> None:
    rates = callbacks.LearningRateScheduler(lambda epoch: 0.5 ** (epoch + 1))
    other = callbacks.ModelCheckpoint(tmp_path / "r{learning_rate:.2f}.safetensors")
    with pytest.raises(ValueError, match="filepath: expected names of"):
        small_model().fit(X, Y, verbose=0, callbacks=[other, rates])


def test_a_log_that_nobody_adds_is_told_at_the_end(tmp_path: Path) -> None:
    """A callback of the user might have added it, so it is left open until then."""
    see = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)  # noqa: ARG005
    for options in ({}, {"monitor": "none", "save_best_only": True}):
        name = "a.safetensors" if options else "{none}.safetensors"
        saver = callbacks.ModelCheckpoint(tmp_path / name, **options)  # type: ignore[arg-type]
        model = small_model()
        with (
            pytest.warns(UserWarning, match="the training goes on"),
            pytest.raises(
                OSError, match=r"could not write 2 times, first .* in epoch 1: 'none'|monitor: expected"
            ),
        ):
            model.fit(X, Y, epochs=2, verbose=0, callbacks=[see, saver])
        assert model.history is not None
        assert model.history.epoch == [0, 1]
