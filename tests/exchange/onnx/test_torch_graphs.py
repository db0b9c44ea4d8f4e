"""PyTorch's programs around an LSTM that are no stack of layers, by both exporters: results of the graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm

from .test_torch_exports import H, I, T, export

torch: Any = pytest.importorskip("torch")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")


class Net(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not looked into
    """An LSTM and a function of its outputs (B, T, H) and of the rows' lengths (B,)."""

    def __init__(self, function: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.lstm = torch.nn.LSTM(I, H, batch_first=True)
        self.linear = torch.nn.Linear(H, 2)
        self.attention = torch.nn.MultiheadAttention(H, 2, batch_first=True)
        self.batch_norm = torch.nn.BatchNorm1d(H)
        self.prelu = torch.nn.PReLU()

    def forward(self, x: Any, lengths: Any) -> Any:
        return self.function(self, self.lstm(x)[0], lengths) + 0 * lengths.sum()


def real(y: Any, n: Any) -> Any:
    return torch.arange(y.shape[1])[None] < n[:, None]


def softmax(scores: Any) -> Any:
    return torch.softmax(scores, 1)


FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "mean of real steps": lambda _, y, n: (y * real(y, n)[:, :, None]).sum(1) / n[:, None],
    "last real step": lambda _, y, n: y[torch.arange(y.shape[0]), n - 1],
    "last real step, gathered": lambda _, y, n: y.gather(1, (n - 1)[:, None, None].expand(-1, 1, H))[:, 0],
    "masked attention": lambda net, y, n: torch.bmm(
        softmax(net.linear(y)[..., 0].masked_fill(~real(y, n), -1e9))[:, None], y
    ),
    "several heads": lambda net, y, n: net.attention(y, y, y)[0],  # noqa: ARG005
    "normalized": lambda net, y, n: net.batch_norm(y.transpose(1, 2)),  # noqa: ARG005
    "classes": lambda net, y, n: net.linear(y).argmax(-1),  # noqa: ARG005
    "largest": lambda _, y, n: y.topk(2, 1)[0],  # noqa: ARG005
    "running sum": lambda _, y, n: y.cumsum(1),  # noqa: ARG005
    "sloped": lambda net, y, n: net.prelu(y).exp().reciprocal().prod(1),  # noqa: ARG005
}
# An export by the newer exporter takes seconds.
BY_DYNAMO = ("mean of real steps", "last real step", "several heads", "normalized")


@pytest.mark.parametrize(
    ("name", "dynamo"), [*((name, False) for name in FUNCTIONS), *((name, True) for name in BY_DYNAMO)]
)
def test_graphs(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = Net(FUNCTIONS[name]).eval()
    net.batch_norm.running_mean.normal_()
    net.batch_norm.running_var.uniform_(0.5, 2.0)
    lengths = torch.tensor([T, 3, 1])
    x = torch.randn(3, T, I)
    export(net, (x, lengths), tmp_path / "net.onnx", "" if dynamo else "BT", dynamo)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    rows = [(x, lengths)]
    if not dynamo and name != "several heads":  # where PyTorch fixes the number of steps
        rows.append((torch.randn(3, 7, I), torch.tensor([7, 2, 7])))
    for given in rows:
        want = net(*given).detach().numpy()
        got = graph(*(one.numpy() for one in given))
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)
    with pytest.raises(ValueError, match="not a stack of layers"):
        graph.sequential()
