"""Training speed of the example `text` beside PyTorch: one model, one text, each in a process of its own.

Both make the same updates first, from the same weights and without dropout, and their losses have to be
equal. Then they take turns with dropout, and the medians of their times are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm import losses, mixed_precision, ops, optimizers
from fusedlstm.examples.text_model import lstm
from fusedlstm.exchange import to_torch
from fusedlstm.layers import LSTM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Update = Callable[[Ids, Ids], float]

_CHECKED, _TIMED, _TURNS = 5, 20, 5  # updates that are compared, updates in a turn, turns
_RATE, _NORM, _DROPOUT = 0.003, 1.0, 0.2
# PyTorch adds it to another number than Keras does; so small, it changes neither.
_EPSILON = 1e-20
# float32 sums in another order move a loss by 1e-6 of it, and five of Adam's updates enlarge that.
# Operands that are rounded to bfloat16, in PyTorch also those of the dense layer, move it by more.
_EQUAL = {"float32": 1e-3, "mixed_bfloat16": 1e-2}


def compare(
    vocabulary: int, units: int, x: Ids, y: Ids, streams: int, precision: str = "float32"
) -> dict[str, Any]:
    """Return tokens a second of both, and how many times PyTorch's ours are.

    Parameters
    ----------
    vocabulary, units : int
        The model's sizes.
    x, y : ndarray of int, shape (windows, steps)
        The text in batches of ``streams`` windows, of which the first ones are used.
    precision : {"float32", "mixed_bfloat16"}
        The policy of our layers; with the second one PyTorch trains with autocast.

    Raises
    ------
    ValueError
        When the losses of both are not equal.
    RuntimeError
        When a process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.npz"
        shape = (-1, streams, x.shape[1])
        count = min(_TIMED, len(x) // streams)
        batches: dict[str, Any] = {
            name: part[: count * streams].reshape(shape) for name, part in (("x", x), ("y", y))
        }
        np.savez(task, sizes=[vocabulary, units], precision=precision, **batches)
        contenders = {name: _start(name, task) for name in ("ours", "torch")}
        try:
            checked = {name: np.array(_answer(one)) for name, one in contenders.items()}
            apart = np.abs(checked["ours"] / checked["torch"] - 1).max()
            if not apart < _EQUAL[precision]:
                raise ValueError(f"losses of equal updates differ: {checked}")
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(_TURNS):
                for name, one in contenders.items():
                    seconds[name].append(_answer(one, "go")[0])
        finally:
            for one in contenders.values():
                one.kill()
                one.communicate()
    tokens = batches["x"].size
    return {
        "threads": ops.get_num_threads(),
        "losses differ by at most": float(apart),
        "tokens a second": tokens / median(seconds["ours"]),
        "tokens a second of PyTorch": tokens / median(seconds["torch"]),
        "times PyTorch": median(seconds["torch"]) / median(seconds["ours"]),
    }


def _start(name: str, task: Path) -> subprocess.Popen[str]:
    threads = str(ops.get_num_threads())
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FUSEDLSTM_NUM_THREADS"), threads)
    return subprocess.Popen(
        [sys.executable, "-m", __name__, name, str(task)],
        env=os.environ | limits,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _answer(process: subprocess.Popen[str], question: str | None = None) -> list[float]:
    assert process.stdin is not None
    assert process.stdout is not None
    if question is not None:
        print(question, file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the comparison ended early; what it printed says why")
    return list(json.loads(line))


def _ours(vocabulary: int, units: int, dropout: float, weights: list[Any]) -> Update:
    model = lstm(vocabulary, units, dropout)
    model.set_weights(weights)
    adam = optimizers.Adam(_RATE, epsilon=_EPSILON, global_clipnorm=_NORM)
    model.compile(adam, losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda x, y: float(model.train_on_batch(x, y))


def _torch(vocabulary: int, units: int, dropout: float, weights: list[Any]) -> Update:
    import torch
    from torch import nn

    shortened = mixed_precision.global_policy().compute_dtype == "bfloat16"

    torch.set_num_threads(ops.get_num_threads())
    made = lstm(vocabulary, units)
    made.set_weights(weights)
    embedding, dense = nn.Embedding(vocabulary, units), nn.Linear(units, vocabulary)
    lstms = [nn.LSTM(units, units, batch_first=True) for _ in range(2)]
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(weights[0]))
        for module, layer in zip(lstms, [one for one in made.layers if isinstance(one, LSTM)], strict=True):
            module.load_state_dict(to_torch(layer))
        dense.weight.copy_(torch.from_numpy(weights[-2].T.copy()))
        dense.bias.copy_(torch.from_numpy(weights[-1]))
    # PyTorch's second bias would make each bias learn twice as fast.
    parameters = [
        parameter
        for module in (embedding, *lstms, dense)
        for name, parameter in module.named_parameters()
        if not name.startswith("bias_hh")
    ]
    adam = torch.optim.Adam(parameters, _RATE, eps=_EPSILON)
    drop = nn.Dropout(dropout)
    states: list[Any] = [None, None]

    def forward(x: Ids, y: Ids) -> Any:
        hidden = drop(embedding(torch.from_numpy(x)))
        outputs = []
        for number, module in enumerate(lstms):
            hidden, state = module(hidden, states[number])
            states[number] = [part.detach() for part in state]
            hidden = drop(hidden)
            outputs.append(hidden)
        logits = dense(outputs[0] + outputs[1])
        return nn.functional.cross_entropy(logits.reshape(-1, vocabulary), torch.from_numpy(y).reshape(-1))

    def update(x: Ids, y: Ids) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=shortened):
            loss = forward(x, y)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, _NORM)
        adam.step()
        return float(loss.detach())

    return update


_CONTENDERS: Mapping[str, Callable[[int, int, float, list[Any]], Update]] = {"ours": _ours, "torch": _torch}


def _work(name: str, task: str) -> None:
    """Be a contender: print the losses of the first updates, then a turn's seconds for each line read."""
    with np.load(task) as data:
        (vocabulary, units), x, y = data["sizes"].tolist(), data["x"], data["y"]
        mixed_precision.set_global_policy(str(data["precision"]))
    rng = np.random.default_rng(0)
    model = lstm(vocabulary, units)
    weights = [rng.normal(scale=0.05, size=value.shape).astype("float32") for value in model.get_weights()]
    make = _CONTENDERS[name]
    update = make(vocabulary, units, 0.0, weights)
    print(json.dumps([update(x[number], y[number]) for number in range(min(_CHECKED, len(x)))]), flush=True)
    update = make(vocabulary, units, _DROPOUT, weights)
    update(x[0], y[0])
    for _ in sys.stdin:
        start = time.perf_counter()
        for inputs, labels in zip(x, y, strict=True):
            update(inputs, labels)
        print(json.dumps([time.perf_counter() - start]), flush=True)


if __name__ == "__main__":
    _work(*sys.argv[1:])
