"""Time training steps that ranks share: ``mpiexec -n 2 python bench/ranks.py``, one thread a rank.

Weak scaling: each rank has ROWS rows, whatever their number. Rank 0 prints a line of JSON with the median
seconds of a step for each model and way of sharing, which take turns; and the seconds of messages of several
sizes, exchanged as gradients are.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import fusedlstm
from fusedlstm import distributed, layers, ops, utils
from fusedlstm.examples.mnist import compiled
from fusedlstm.models.rows import Piece, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 64
WAYS: dict[str, dict[str, Any] | None] = {
    "exact, 8 shards": {"mode": "exact", "shards": 8},
    "exact, a shard a rank": {"mode": "exact"},
    "fast": {"mode": "fast"},
    "fast, bfloat16": {"mode": "fast", "transport": "bfloat16"},
}


def mnist() -> Any:
    """Return the model of `fusedlstm mnist`."""
    return compiled({"units": 128, "layers": 2, "dropout": 0.2, "learning_rate": 1e-3, "decay": False}, 1)


def large() -> Any:
    """Return one LSTM with 512 units for sequences (50, 512)."""
    model = fusedlstm.Sequential([layers.Input((50, 512)), layers.LSTM(512), layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def larger() -> Any:
    """Return one LSTM with 1,024 units for sequences (50, 1024)."""
    model = fusedlstm.Sequential([layers.Input((50, 1024)), layers.LSTM(1024), layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, int]]] = {
    "MNIST, 2 x LSTM(128)": (mnist, (28, 28)),
    "(64,50,512,512)": (large, (50, 512)),
    "(64,50,1024,1024)": (larger, (50, 1024)),
}


def step_of(model: Any, shape: tuple[int, int], ranks: int, options: dict[str, Any]) -> Callable[[], None]:
    """Return a training step of a copy of a model."""
    utils.set_random_seed(0)
    own = model()
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS * ranks, *shape)).astype(np.float32)
    shards = {"shards": max(1, 1 << (ranks - 1).bit_length())} if options == {"mode": "exact"} else {}
    own.distribute("mpi", **options, **shards)
    samples = own._samples(x, random.integers(0, 10, len(x)), None)
    variables = own.trainable_weights
    own.optimizer.build(variables)
    rows = Rows([Piece(samples, 0, len(x))], own._batches)
    return lambda: own._run_batch(rows, len(x), True, variables)


def message_seconds(comm: Any, count: int) -> float:
    """Return the time of one exchange of so many float32 numbers: to add up, and to collect."""
    send, part = np.zeros(count, np.float32), count // comm.size
    receive, whole = np.zeros(part * comm.size, np.float32), np.zeros(part * comm.size, np.float32)
    counts = [part] * comm.size
    seconds = []
    for _ in range(50 if count < 1 << 20 else 8):
        comm.bcast()
        start = time.perf_counter()
        comm.exchange(send[: part * comm.size], counts, receive, counts).wait()
        comm.gather(receive[:part], whole, counts).wait()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def main() -> None:
    """Measure, and let rank 0 print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each way")
    limit = parser.parse_args().seconds
    comm = distributed.get("mpi")
    found: dict[str, Any] = {"ranks": comm.size, "rows": ROWS, "threads": ops.get_num_threads()}
    found |= {"steps": {}, "sizes": {}}
    for name, (model, shape) in MODELS.items():
        steps = {way: step_of(model, shape, comm.size, dict(options or {})) for way, options in WAYS.items()}
        own = model()
        own.distribute("mpi")
        exchange = own.group._exchange_of(own, own.trainable_weights)
        found["sizes"][name] = sum(v.size for v in exchange.variables), exchange.messages
        times: dict[str, list[float]] = {way: [] for way in steps}
        for step in list(steps.values()) * 3:  # memory is new at first
            step()
        start = time.perf_counter()
        # Rank 0 says when it is enough.
        while comm.bcast(time.perf_counter() - start < limit * len(steps)):
            for way, step in steps.items():
                began = time.perf_counter()
                step()
                times[way].append(time.perf_counter() - began)
        # The last ranks count.
        slowest = comm.allgather({way: float(np.median(some)) for way, some in times.items()})
        found["steps"][name] = {way: max(one[way] for one in slowest) for way in steps}
    if comm.size > 1:
        sizes = [1 << power for power in range(6, 23, 2)]
        found["messages"] = {4 * size: message_seconds(comm, size) for size in sizes}
    if comm.rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
