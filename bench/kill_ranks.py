"""Kill ranks of a training at random moments, and go on with other numbers of ranks, to the same bits.

``python bench/kill_ranks.py --kills 200``: each start has one or two ranks, of which a random one gets
SIGKILL at a random moment, from the start of Python on; every backup is written by a thread while the
training goes on. Trainings that come to their end are compared with one that nobody disturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MPI = {
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def rank(folder: Path) -> None:
    """Train as one rank, and let rank 0 leave the weights."""
    (folder / f"pid{os.environ.get('OMPI_COMM_WORLD_RANK', 0)}").write_text(str(os.getpid()))
    import fusedlstm
    from fusedlstm import Input, callbacks, distributed, layers, utils

    utils.set_random_seed(0)
    data = np.random.default_rng(0)
    x, y = data.normal(size=(600, 10, 8)).astype("float32"), data.integers(0, 4, 600)
    stack = [Input((10, 8)), layers.LSTM(64, dropout=0.2), layers.Dropout(0.2), layers.Dense(4, "softmax")]
    model = fusedlstm.Sequential(stack)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    backup = callbacks.BackupAndRestore(folder / "backups", save_freq=1, keep=2)
    history = model.fit(x, y, 24, epochs=6, verbose=0, callbacks=backup, distribute="mpi").history
    if distributed.rank() == 0:
        left: dict[str, Any] = dict(history)
        np.savez(folder / "out.npz", *model.get_weights(), **left)


def start(folder: Path, ranks: int) -> subprocess.Popen[str]:
    """Start so many ranks."""
    for path in folder.glob("pid*"):
        path.unlink()
    own = [sys.executable, __file__, "--rank", str(folder)]
    command = ["mpiexec", "-n", str(ranks), *own]
    return subprocess.Popen(
        command, env={**os.environ, **MPI}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def content(path: Path) -> list[tuple[str, bytes]]:
    """Return all that a training has left."""
    with np.load(path) as arrays:
        return [(name, arrays[name].tobytes()) for name in sorted(arrays)]


def main() -> None:
    """Kill, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        rank(options.rank)
        return
    dice = random.Random(options.seed)
    whole = Path(tempfile.mkdtemp())
    began = time.monotonic()
    text, _ = start(whole, 1).communicate(timeout=300)
    assert (whole / "out.npz").exists(), text
    length = time.monotonic() - began
    expected = content(whole / "out.npz")
    kills = trainings = differing = hangs = left = 0
    slowest = 0.0
    folder = Path(tempfile.mkdtemp())
    while kills < options.kills:
        ranks = dice.choice((1, 2))
        process = start(folder, ranks)
        end = time.monotonic() + dice.uniform(0, 0.9 * length)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        found = [path for path in folder.glob("pid*") if path.read_text()]
        if process.poll() is None and found:
            with_rank = dice.choice(sorted(found))
            killed = time.monotonic()
            try:
                os.kill(int(with_rank.read_text()), signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
            try:
                text, _ = process.communicate(timeout=30)
                slowest = max(slowest, time.monotonic() - killed)
            except subprocess.TimeoutExpired:
                hangs += 1
                process.kill()
        else:
            text, _ = process.communicate(timeout=300)
            if process.returncode and found:
                print(text)
        if (folder / "out.npz").exists():
            trainings += 1
            differing += content(folder / "out.npz") != expected
            left += len(list(folder.glob("backups/*")))
            told = (
                f"{kills} kills, {trainings} trainings: {differing} differ, {left} files left, {hangs} hangs"
            )
            print(f"{told}, {slowest:.1f} s", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
            folder = Path(tempfile.mkdtemp())
    shutil.rmtree(folder)
    shutil.rmtree(whole)
    print(
        f"{kills} kills, {trainings} trainings came to their end: {differing} differ, {left} files left, "
        f"{hangs} hangs; all ranks were gone {slowest:.1f} s after a kill at most"
    )


if __name__ == "__main__":
    main()
