"""PyTorch's LSTM on a GPU, which is cuDNN's, as a contender of ``fusedlstm bench --device cuda``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fusedlstm.benchmark.job import Job

if TYPE_CHECKING:
    from fusedlstm.benchmark.workloads import Array, Workload


def version() -> str:
    """Return PyTorch's version, and cuDNN's."""
    return f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"


def prepare(workload: Workload, arrays: dict[str, Array], place: str = "cuda") -> Job:
    """Make the job of a forward or training workload, in cuDNN's layout (T, B, I) and without TF32."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False

    number: torch.dtype = getattr(torch, arrays["x"].dtype.name)

    def tensor(array: Array) -> torch.Tensor:
        # PyTorch does not know NumPy's bfloat16, and float32 holds all 16-bit numbers.
        wide = array.astype(np.float32) if array.dtype.itemsize == 2 else array
        return torch.from_numpy(np.ascontiguousarray(wide)).to(place, number)

    def steps_first(array: Array) -> torch.Tensor:
        return tensor(np.swapaxes(array, 0, 1))

    def host(value: torch.Tensor) -> Array:
        here = value.detach().cpu()
        array: Array = (here.float() if here.itemsize == 2 else here).numpy()
        return array

    x = steps_first(arrays["x"])
    lstm = torch.nn.LSTM(workload.I, workload.H, dtype=number, device=place)
    # Gates come in the order i, f, c~, o, as here; weights are transposed, and the second bias becomes zero.
    values = (arrays["kernel"].T, arrays["recurrent_kernel"].T, arrays["bias"], np.zeros_like(arrays["bias"]))
    with torch.no_grad():
        for parameter, value in zip(lstm.parameters(), values, strict=True):
            parameter.copy_(tensor(value))

    if workload.kind == "forward":
        lstm.eval()

        def infer() -> Any:
            with torch.inference_mode():
                return lstm(x)

        def states() -> dict[str, Array]:
            y, (h, c) = infer()
            return {"y": np.swapaxes(host(y), 0, 1), "h": host(h[0]), "c": host(c[0])}

        return Job(infer, states)

    x.requires_grad_()
    dy = steps_first(arrays["dy"])
    wanted = [x, *list(lstm.parameters())[:3]]

    def train() -> Any:
        return torch.autograd.grad(lstm(x)[0], wanted, dy)

    def gradients() -> dict[str, Array]:
        dx, dkernel, drecurrent, dbias = (host(gradient) for gradient in train())
        return {
            "dx": np.swapaxes(dx, 0, 1),
            "dkernel": dkernel.T,
            "drecurrent_kernel": drecurrent.T,
            "dbias": dbias,
        }

    return Job(train, gradients)
