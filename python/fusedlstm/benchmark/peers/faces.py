"""fusedlstm through its other faces: a model's `predict`, a stream, and `fusedlstm.torch.LSTM`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fusedlstm
from fusedlstm import ops
from fusedlstm.benchmark.job import Job

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload


class Faces:
    """Inference by one of the faces `predict`, `stream` and `torch`."""

    def __init__(self, face: str, threads: int, dtype: str) -> None:
        ops.set_num_threads(threads)
        fusedlstm.config.set_floatx(dtype)
        self.face, self.threads, self.dtype = face, threads, dtype

    def version(self) -> str:
        """Return version and instruction set."""
        return f"fusedlstm {fusedlstm.__version__} ({ops.get_instruction_set()}), {self.face}"

    def prepare(self, workload: Workload, arrays: dict[str, Array]) -> Job:
        """Make the job; see `Contender`."""
        weights = [arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"]]
        if self.face == "torch":
            return self._torch(workload, arrays, weights)
        x = arrays["x"]
        stateful = self.face == "stream"
        model = fusedlstm.Sequential(
            [
                fusedlstm.Input((None, workload.I)),
                fusedlstm.layers.LSTM(workload.H, return_sequences=not stateful),
            ]
        )
        model.set_weights(weights)
        if stateful:
            stream = model.stream(workload.B)

            def check() -> dict[str, Array]:
                stream.states = [(arrays["h0"], arrays["c0"])]
                h = np.array(stream.step(x))
                return {"h": h, "c": stream.states[0][1]}

            return Job(lambda: stream.step(x), check)

        def run() -> Array:
            return np.asarray(model.predict(x, verbose=0))

        def check_all() -> dict[str, Array]:
            y = run()
            return {"y": y, "h": y[:, -1]}

        return Job(run, check_all)

    def _torch(self, workload: Workload, arrays: dict[str, Array], weights: list[Array]) -> Job:
        import torch

        from fusedlstm.torch import LSTM

        torch.set_num_threads(self.threads)
        lstm = LSTM(workload.I, workload.H, batch_first=True, dtype=getattr(torch, self.dtype)).eval()
        kernel, recurrent_kernel, bias = weights
        values = (kernel.T, recurrent_kernel.T, bias, np.zeros_like(bias))
        with torch.no_grad():
            for parameter, value in zip(lstm.parameters(), values, strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
        x = torch.from_numpy(arrays["x"])

        def run() -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
            with torch.inference_mode():
                result: tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]] = lstm(x)
            return result

        def check() -> dict[str, Array]:
            y, (h, c) = run()
            return {"y": y.numpy(), "h": h[0].numpy(), "c": c[0].numpy()}

        return Job(run, check)
