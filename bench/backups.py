"""The time of a training step with backups, over that without: ``python bench/backups.py``.

Trainings with and without take turns. Of each kind the median of the rounds counts, each one a training of so
many steps as make four backups; begin and end of the training are left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import numpy as np

import fusedlstm
from fusedlstm import callbacks, layers

# Rows of a batch, steps, features, units, layers.
MODELS = {"small": (16, 10, 8, 32, 1), "mnist": (64, 28, 28, 128, 2), "large": (64, 50, 512, 512, 1)}
_SAVES = 4


class Clock(callbacks.Callback):
    """Takes the time from the first step's end to the last one's."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Take both times."""
        self.last = np.array([time.perf_counter(), time.process_time()])
        if batch == 0:
            self.first = self.last


def seconds_per_step(name: str, every: int, hooks: list[callbacks.Callback]) -> tuple[float, float]:
    """Return the time of a step, and that of the processor, all threads together."""
    rows, steps, features, units, count = MODELS[name]
    fusedlstm.utils.set_random_seed(0)
    inner = [layers.LSTM(units, return_sequences=n < count - 1) for n in range(count)]
    model = fusedlstm.Sequential([layers.Input((steps, features)), *inner, layers.Dense(10)])
    model.compile("adam", "mse", metrics=["mae"])
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows * 8, steps, features)).astype("float32")
    y = generator.normal(size=(rows * 8, 10)).astype("float32")
    clock, updates = Clock(), every * _SAVES + 2
    numbers = np.arange(updates * rows) % len(x)

    class Batches(fusedlstm.utils.PyDataset):
        def __len__(self) -> int:
            return updates

        def __getitem__(self, index: int) -> Any:
            chosen = numbers[index * rows : (index + 1) * rows]
            return x[chosen], y[chosen]

    model.fit(Batches(), verbose=0, callbacks=[clock, *hooks])
    wall, processor = clock.last - clock.first
    return wall / (updates - 1), processor / (updates - 1)


def main() -> None:
    """Print a line for each model and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument(
        "--folder", help="where backups are written; the system's temporary folder by default"
    )
    given = parser.parse_args()
    print("| model | step, ms | in the background: time, processor | in its own thread: time, processor |")
    print("| --- | --- | --- | --- |")
    for name in given.models:
        found: dict[bool | None, list[tuple[float, float]]] = {None: [], True: [], False: []}
        for _ in range(given.rounds):
            for background, times in found.items():
                with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                    hooks: list[callbacks.Callback] = []
                    if background is not None:
                        hooks = [callbacks.BackupAndRestore(folder, given.every, background=background)]
                    times.append(seconds_per_step(name, given.every, hooks))
        without, back, front = (np.median(found[kind], axis=0) for kind in (None, True, False))
        ratios = " | ".join("{:.3f}, {:.3f}".format(*(one / without)) for one in (back, front))
        print(f"| {name} | {without[0] * 1e3:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
