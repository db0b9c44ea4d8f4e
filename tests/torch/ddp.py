"""Two processes that train one module by PyTorch's DDP over gloo: ``python ddp.py RANK SIZE FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from fusedlstm.torch import LSTM

N, T, F, H = 12, 5, 3, 8


class Regressor(torch.nn.Module):  # type: ignore[misc]
    """An LSTM and a linear layer behind its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = LSTM(F, H, num_layers=2, batch_first=True, dtype=torch.float64)
        self.linear = torch.nn.Linear(H, 1, dtype=torch.float64)

    def forward(self, x: Any) -> Any:
        return self.linear(self.lstm(x)[0][:, -1])


def trained(rank: int, size: int) -> dict[str, Any]:
    """Return what some steps on a rank's rows leave, with size 1 those on all rows."""
    torch.manual_seed(0)
    model: Any = Regressor()
    x = torch.randn(N, T, F, dtype=torch.float64)
    y = x.sum((1, 2))[:, None]
    shared = DistributedDataParallel(model) if size > 1 else model
    optimizer = torch.optim.SGD(shared.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(shared(x[rank::size]), y[rank::size]).backward()
        optimizer.step()
    found: dict[str, Any] = model.state_dict()
    return found


if __name__ == "__main__":
    number, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=number, world_size=count)
    torch.save(trained(number, count), folder / f"{number}.pt")
    distributed.destroy_process_group()
