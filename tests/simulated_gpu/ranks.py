"""A training on a simulated GPU for each rank, which mpiexec starts: ``python ranks.py FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fusedlstm import distributed
from tests.distributed.trainings import CASES, CLASSES, X, made, train
from tests.simulated_gpu import nccl
from tests.simulated_gpu.device import simulated_device

NAMES = ["random", "weights", "masks"]


def device() -> Any:
    """Return the simulated GPU, with threads in one order."""
    found = simulated_device()
    found.extension.set_order("random", 3)
    found.extension.set_device()
    return found


def on_device(name: str, communicator: Any, **options: Any) -> str:
    """Return what a training leaves, as text."""
    model = made(name)
    model.move(device())
    found = repr(train(model, name, communicator, **options))
    assert model.predict(X, verbose=0).shape[0] == len(CLASSES)
    return found


def main(folder: str) -> None:
    """Train over MPI and over NCCL's functions."""
    mpi = distributed.get("mpi")
    links = {"mpi": mpi, "nccl": distributed.NCCLCommunicator(mpi, nccl)}
    found = {}
    for link, communicator in links.items():
        for mode in ("exact", "fast"):
            nccl.calls.clear()
            for name in NAMES:
                found[f"{link} {mode} {name}"] = on_device(name, communicator, mode=mode)
            if link == "nccl":
                assert set(nccl.calls) == {"send" if mode == "exact" else "allReduce"}, nccl.calls
    Path(folder, f"{mpi.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    assert set(NAMES) <= set(CASES)
    main(sys.argv[1])
