"""The progress display of `fit`, `evaluate` and `predict`."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.callbacks.base import Callback, Logs

if TYPE_CHECKING:
    from rich.progress import Progress

# Redrawing takes about a millisecond: ten times a second is smooth and costs 1 %.
_REDRAW_SECONDS = 0.1


class ProgressBar(Callback):
    """A live bar with loss, metrics, samples or steps per second and time left; then a line per epoch.

    Without a terminal, or without the package rich, there are only the lines.

    Parameters
    ----------
    live : bool
        Whether a bar is wanted where there is a terminal.
    """

    fresh = ("_bar",)

    def __init__(self, live: bool = True) -> None:
        self.live = live
        self._training = False
        self._bar: Progress | None = None
        self._epoch = 0
        self._label = ""
        self._began = self._drawn = 0.0
        self._seconds = 0.0
        self._steps = self._before = 0  # before: those of the epoch before an interruption
        # Steps of the run before, which the next one may have too where nothing else tells how many.
        self._found: int | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Remember that evaluations are `fit`'s validation from now on."""
        self._training = True

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Forget it."""
        self._training = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start the epoch's bar."""
        self._begin(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar."""
        self._advance(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Print the epoch's line; its time includes the validation, samples per second do not."""
        self._end(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start a bar, unless this is `fit`'s validation."""
        if not self._training:
            self._begin("Evaluate")

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar."""
        if not self._training:
            self._advance(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Print the evaluation's line."""
        if not self._training:
            self._end(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start a bar."""
        self._begin("Predict")

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Move the bar."""
        self._advance(batch, None)

    def on_predict_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Remove the bar; there are no numbers to tell."""
        self._stop()

    def release(self) -> None:
        """Give the terminal back."""
        self._training = False
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self, label: str) -> None:
        self._label = label
        self._began = self._drawn = perf_counter()
        self._seconds = 0.0
        self._steps = self._before = 0
        self._bar = _make_bar() if self.live and sys.stdout.isatty() else None
        if self._bar is not None:
            self._bar.add_task(label, total=self._progress()[1], numbers="")
            self._bar.start()

    def _progress(self) -> tuple[int, int | None, str]:
        """Return how much is done, of how much, and of what: steps, where samples are not known."""
        samples = self.params["samples"]
        if samples is None:
            return self._steps, self.params["steps"] or self._found, "steps"
        return self._samples(self._steps), samples, "samples"

    def _samples(self, steps: int) -> int:
        return min(steps * int(self.params["batch_size"]), int(self.params["samples"]))

    def _advance(self, batch: int, logs: Logs | None) -> None:
        now = perf_counter()
        self._seconds = now - self._began
        if not self._steps:
            self._before = batch
        self._steps = batch + 1
        if self._bar is None or now - self._drawn < _REDRAW_SECONDS:
            return
        self._drawn = now
        done, total, _ = self._progress()
        numbers = f"{done}/{'?' if total is None else total}{_numbers(logs)} - {self._speed()}"
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, numbers=numbers)
        self._bar.refresh()

    def _end(self, logs: Logs | None) -> None:
        self._stop()
        self._found = self._steps
        total = perf_counter() - self._began
        print(f"{self._label} - {total:.1f} s - {self._speed()}{_numbers(logs)}", flush=True)

    def _speed(self) -> str:
        done, _, unit = self._progress()
        done -= self._before if unit == "steps" else self._samples(self._before)
        return f"{done / max(self._seconds, 1e-9):,.0f} {unit}/s"


def _numbers(logs: Logs | None) -> str:
    # Metrics of several numbers show their mean, as in Keras.
    return "".join(f" - {key}: {np.mean(value):.4g}" for key, value in (logs or {}).items())


def _make_bar() -> Progress | None:
    try:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(compact=True),
    )
    # No thread of its own: it is redrawn by the training loop, and erased before the epoch's line.
    return Progress(*columns, auto_refresh=False, transient=True, expand=True)
