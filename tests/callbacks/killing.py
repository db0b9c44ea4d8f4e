"""Kills trainings at random moments, and compares their bits with those of one that was not.

``python -m tests.callbacks.killing --kills 40`` prints a line for each training and ends with 1 where bits
differ, files are left, or a training hangs. Every second process kills itself while it writes a backup.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fusedlstm
from fusedlstm import callbacks, layers, utils

from .resumed import everything

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
KINDS = ("arrays", "dataset", "generator")
ROWS, T, F, BATCH = 480, 6, 8, 16
SECONDS = 0.12  # at most, from the begin of a training to its end by a signal
HANGS = 300.0  # seconds after which a training is said to hang


class Batches(utils.PyDataset):
    """Batches of an order that changes between epochs, with NumPy's noise."""

    def __init__(self, x: Any, y: Any) -> None:
        super().__init__()
        self.x, self.y, self.order = x, y, np.arange(ROWS)
        self.random = np.random.default_rng(5)

    def __len__(self) -> int:
        return ROWS // BATCH

    def __getitem__(self, index: int) -> Any:
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        noise = np.random.normal(scale=0.1, size=(BATCH, T, F))  # noqa: NPY002
        return self.x[rows] + noise.astype("float32"), self.y[rows]

    def on_epoch_end(self) -> None:
        self.random.shuffle(self.order)


def drawn(x: Any, y: Any) -> Iterator[Any]:
    generator = np.random.default_rng(6)
    while True:
        rows = generator.integers(0, ROWS, BATCH)
        yield x[rows], y[rows]


class Mark(callbacks.Callback):
    """Tells when the first step of a process is done, and how many were."""

    steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.steps += 1
        if self.steps == 1:
            print("begun", flush=True)


class KillWhileWriting:
    """Kills the process in the midst of one of its calls for files."""

    def __init__(self, calls: int) -> None:
        self.left = calls
        for name in ("fsync", "replace"):
            setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                if isinstance(arguments[0], int) and os.fstat(arguments[0]).st_size > 100:
                    os.ftruncate(
                        arguments[0], os.fstat(arguments[0]).st_size // 2
                    )  # as if it were half written
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call


def train(kind: str, folder: Path, every: int | None) -> str:
    """Train to the end, from a backup if there is one, and return a digest of all that came out."""
    utils.set_random_seed(1)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, T, F)).astype("float32")
    y = x.sum((1, 2), keepdims=True)[:, 0]
    stateful = kind == "arrays"
    model = fusedlstm.Sequential(
        [
            layers.Input((T, F)),
            layers.LSTM(32, dropout=0.1, recurrent_dropout=0.1, stateful=stateful),
            layers.Dropout(0.2),
            layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    folder.mkdir(exist_ok=True)
    hooks: list[callbacks.Callback] = [
        callbacks.ReduceLROnPlateau("loss", factor=0.7, patience=0, min_delta=5.0),
        callbacks.EarlyStopping("loss", patience=100, restore_best_weights=True),
        callbacks.CSVLogger(folder / "log.csv"),
        Mark(),
    ]
    if every is not None:
        hooks.append(callbacks.BackupAndRestore(folder / "backup", every, keep=2))
    options: dict[str, Any] = {
        "arrays": {
            "x": x,
            "y": y,
            "batch_size": BATCH,
            "validation_split": 1 / 6,
            "sample_weight": np.linspace(0, 2, ROWS),
        },
        "dataset": {"x": Batches(x, y)},
        "generator": {"x": drawn(x, y), "steps_per_epoch": 25},
    }[kind]
    model.fit(epochs=12, verbose=0, callbacks=hooks, **options)
    digest = hashlib.sha256(repr(everything(model)).encode())
    digest.update((folder / "log.csv").read_bytes())
    return digest.hexdigest()


class Outcome(NamedTuple):
    """What became of a training that was killed again and again."""

    kills: int
    while_writing: int
    same: bool
    left_over: list[str]


def start(kind: str, folder: Path, every: int | None, calls: int | None) -> subprocess.Popen[str]:
    words = [kind, str(folder), str(every or 0), str(-1 if calls is None else calls)]
    command = [sys.executable, "-m", "tests.callbacks.killing", "--train", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def killed_again_and_again(kind: str, folder: Path, every: int, most: int, draw: random.Random) -> Outcome:
    """Kill a training up to so many times, let it come to its end, and compare."""
    straight, _ = start(kind, folder / "straight", None, None).communicate(timeout=HANGS)
    kills = writing = 0
    while True:
        itself = kills % 2 == 1 and kills < most
        # A first call or two come from the trial before a training.
        process = start(kind, folder / "killed", every, draw.randrange(1, 24) if itself else None)
        assert process.stdout is not None
        first = process.stdout.readline()
        if kills < most and not itself:
            time.sleep(draw.uniform(0, SECONDS))
            process.kill()
        rest, _ = process.communicate(timeout=HANGS)
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"{kind}: a process ended with {process.returncode}: {first}{rest}")
        kills += 1
        writing += itself
    left = sorted(
        str(path.relative_to(folder)) for path in (folder / "killed").rglob("*") if path.name != "log.csv"
    )
    same = straight.splitlines()[-1] == (first + rest).splitlines()[-1]
    return Outcome(kills, writing, same, left)


def main() -> int:
    """Run trainings until there were so many kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--each", type=int, default=12, help="kills of one training at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train is not None:
        kind, folder, every, calls = given.train
        if int(calls) >= 0:
            KillWhileWriting(int(calls))
        print(train(kind, Path(folder), int(every) or None), flush=True)
        return 0
    draw = random.Random(given.seed)
    done = wrong = number = 0
    while done < given.kills:
        kind, every = KINDS[number % len(KINDS)], draw.choice([1, 2, 5])
        most = min(given.each, given.kills - done)
        with tempfile.TemporaryDirectory() as folder:
            outcome = killed_again_and_again(kind, Path(folder), every, most, draw)
        print(f"{kind}, saving every {every}: {outcome}", flush=True)
        done, number = done + outcome.kills, number + 1
        wrong += not outcome.same or bool(outcome.left_over)
    print(f"{done} kills in {number} trainings, {wrong} trainings that differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
