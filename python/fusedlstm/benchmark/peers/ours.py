"""fusedlstm as a contender."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fusedlstm
from fusedlstm import ops
from fusedlstm.benchmark.job import Job, mnist_model

if TYPE_CHECKING:
    from fusedlstm.benchmark.peers import Variant
    from fusedlstm.benchmark.workloads import Array, Workload


class Ours:
    """Inference with weights packed beforehand; training packs them each time, as they change each time.

    A variant differs in one option of the calls.
    """

    def __init__(self, threads: int, dtype: str, variant: Variant) -> None:
        ops.set_num_threads(threads)
        self.dtype = dtype
        self.variant = variant
        full = variant.in_float32 or variant.storage is not None
        self.compute = dtype if dtype in ("bfloat16", "int8") and not full else None

    def version(self) -> str:
        """Return version and instruction set."""
        used = f"; {self.compute} by {ops.get_product_set(self.compute)}" if self.compute else ""
        return f"fusedlstm {fusedlstm.__version__} ({ops.get_instruction_set()}{used})"

    def prepare(self, workload: Workload, arrays: dict[str, Array]) -> Job:
        """Make the job; see `Contender`."""
        if workload.kind == "mnist":
            return self._mnist(arrays)
        parts = (arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"])
        weights = ops.LSTMWeights(*parts, storage=self.variant.storage, compute=self.compute)
        x = arrays["x"]
        if workload.kind == "step":
            return _step(x, arrays["h0"], arrays["c0"], weights)
        if workload.kind == "forward":
            return Job(
                lambda: ops.lstm_forward(x, weights),
                lambda: {key: _array(ops.lstm_forward(x, weights), key) for key in ("y", "h", "c")},
            )
        dy = arrays["dy"]
        lengths = None if self.variant.padded else arrays.get("lengths")
        every = self.variant.checkpoint_every

        def forward() -> ops.Tape:
            weights.update(*parts)
            result = ops.lstm_forward(x, weights, lengths=lengths, training=True, checkpoint_every=every)
            assert result.tape is not None
            return result.tape

        def train() -> ops.LSTMGradients:
            return ops.lstm_backward(forward(), dy)

        names = ("dx", "dkernel", "drecurrent_kernel", "dbias")

        def check() -> dict[str, Array]:
            gradients = train()
            return {name: _array(gradients, name) for name in names}

        return Job(train, check, tape_bytes=lambda: forward().nbytes)

    def _mnist(self, arrays: dict[str, Array]) -> Job:
        if self.dtype == "bfloat16":
            fusedlstm.mixed_precision.set_global_policy("mixed_bfloat16" if self.compute else "float32")
        else:
            fusedlstm.config.set_floatx(self.dtype)
        x, labels = arrays["x"], arrays["labels"]

        def check() -> dict[str, Array]:
            model = mnist_model(fusedlstm, arrays, 0.0)
            losses = [model.train_on_batch(x, labels)[0]]
            weights = model.get_weights()
            losses += [model.train_on_batch(x, labels)[0] for _ in range(2)]
            return {"losses": np.array(losses), **{f"w{i}": array for i, array in enumerate(weights)}}

        model = mnist_model(fusedlstm, arrays, 0.2)
        return Job(lambda: model.train_on_batch(x, labels), check)


def _step(x: Array, h: Array, c: Array, weights: ops.LSTMWeights) -> Job:
    out = (np.empty_like(h), np.empty_like(c))

    def run() -> object:
        return ops.lstm_step(x, h, c, weights, out=out)

    def check() -> dict[str, Array]:
        run()
        return {"h": out[0], "c": out[1]}

    return Job(run, check)


def _array(result: object, name: str) -> Array:
    array: Array = getattr(result, name)
    return array
