"""What ranks of MPI do in the tests: ``python program.py NAME ARGUMENTS``, started by mpiexec."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm import callbacks, distributed, utils
from tests.distributed.trainings import CASES, CLASSES, X, made, train


def trainings(folder: str, *names: str) -> None:
    """Train, and leave what each rank has then."""
    rank = distributed.get("mpi").rank
    found = {name: repr(train(made(name), name, "mpi")) for name in names}
    Path(folder, f"{distributed.size()}-{rank}.json").write_text(json.dumps(found))


def files(folder: str) -> None:
    """Let callbacks of rank 0 write and print."""
    model = made("random")
    place = Path(folder, str(distributed.get("mpi").size))
    log = callbacks.CSVLogger(place / "log.csv")
    best = callbacks.ModelCheckpoint(place / "best.safetensors", monitor="loss", save_best_only=True)
    model.fit(X, CLASSES, 9, epochs=2, verbose=2, callbacks=[log, best], distribute="mpi")


def backup(folder: str, out: str, die_at: str, rank: str) -> None:
    """Train with backups; one rank dies after so many steps."""
    comm = distributed.get("mpi")
    model = made("random")
    kept = callbacks.BackupAndRestore(folder, save_freq=1, background=False)
    model.distribute(comm)
    step = model._run_batch
    steps = 0

    def counted(*arguments: Any, **options: Any) -> None:
        nonlocal steps
        step(*arguments, **options)
        steps += options.get("training", False)
        if steps == int(die_at) and comm.rank == int(rank):
            os.kill(os.getpid(), signal.SIGKILL)

    model._run_batch = counted
    history = model.fit(X, CLASSES, 9, epochs=4, verbose=0, callbacks=kept)
    if comm.rank == 0:
        np.savez(out, *model.get_weights(), loss=history.history["loss"])


def fails(rank: str) -> None:
    """Let one rank raise an error while the others wait for it."""
    comm = distributed.get("mpi")
    model = made("classes")
    model.distribute(comm)
    if comm.rank == int(rank):

        def broken(*_: Any, **__: Any) -> None:
            raise ArithmeticError("what went wrong")

        model.add_parts = model.add_together = broken
    model.fit(X, CLASSES, 9, epochs=3, verbose=0)


def preempted(folder: str, out: str) -> None:
    """Train on until SIGTERM, which comes to all ranks."""
    comm = distributed.get("mpi")
    model = made("random")
    kept = callbacks.BackupAndRestore(folder, save_freq=1000, save_before_exit=True)
    began = Path(folder).with_name("began")

    class Slow(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            if not self.resumed:
                began.touch()
                time.sleep(0.05)

    watch = [kept, Slow()]
    model.distribute(comm)
    Path(folder).with_name(f"pid{comm.rank}").write_text(str(os.getpid()))
    try:
        model.fit(X, CLASSES, 9, epochs=40 if not Path(out).exists() else 4, verbose=0, callbacks=watch)
    except SystemExit as error:
        Path(folder).with_name(f"code{comm.rank}").write_text(str(error.code))
        raise
    if comm.rank == 0:
        np.savez(out, *model.get_weights())


def exits() -> None:
    """Let a rank that is not the first leave while the others wait for it."""
    comm = distributed.get("mpi")
    model = made("classes")
    model.distribute(comm)
    if comm.rank == 1:
        model.add_together = lambda *_: sys.exit(3)
    model.fit(X, CLASSES, 9, epochs=3, verbose=0)


def fails_outside() -> None:
    """Let one rank raise an error of the program's own, before the others wait for it."""
    if distributed.get("mpi").rank == 1:
        raise ArithmeticError("what went wrong")
    made("classes").fit(X, CLASSES, 9, epochs=3, verbose=0, distribute="mpi")


def seeds() -> None:
    """Let ranks draw different weights."""
    comm = distributed.get("mpi")
    utils.set_random_seed(comm.rank)
    model = CASES["classes"].model()
    model.fit(X, CLASSES, verbose=0, distribute=comm)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
