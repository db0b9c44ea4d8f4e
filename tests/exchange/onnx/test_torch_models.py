"""PyTorch's programs with several inputs and outputs, by both exporters, as models of layers."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm

torch: Any = pytest.importorskip("torch")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# PyTorch's exporters warn of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

B, T, S, I, J, H = 3, 5, 7, 4, 2, 6  # noqa: E741


class Net(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not looked into
    """Layers, and a function of them and of the inputs."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        self.function = function
        width = H * (1 + options.get("bidirectional", False))
        options = {"batch_first": True, **options}
        self.table = torch.nn.Embedding(9, I)
        self.encoder = torch.nn.LSTM(I, H, **options)
        self.decoder = torch.nn.LSTM(J, H, **options)
        self.same = torch.nn.LSTM(I, I, batch_first=True)
        self.norm = torch.nn.LayerNorm(I)
        self.out = torch.nn.Linear(width, 2)

    def forward(self, *given: Any) -> Any:
        return self.function(self, *given)


def translation(net: Any, a: Any, b: Any) -> Any:
    return net.out(net.decoder(b, net.encoder(a)[1])[0])


def a_step(net: Any, x: Any, h: Any, c: Any) -> Any:
    y, (h, c) = net.decoder(x, (h, c))
    return net.out(y), h, c


def pairs(net: Any, a: Any, b: Any) -> Any:
    one, two = (torch.cat(tuple(net.encoder(net.table(x))[1][0]), 1) for x in (a, b))
    both = (one + two) / 2
    return net.out(both), torch.cat([one, two], 1), torch.maximum(one, two), one - two


def attention(net: Any, a: Any, b: Any) -> Any:
    x, y = net.encoder(a)[0], net.decoder(b)[0]
    weights = torch.softmax(torch.bmm(y, x.transpose(1, 2)), -1)
    return torch.cat([torch.bmm(weights, x), y], -1), net.out(y)


def residual(net: Any, a: Any) -> Any:
    return net.norm(a + net.same(a)[0])


def signal(steps: int, features: int) -> Any:
    return torch.randn(B, steps, features)


TWO = (signal(T, I), signal(S, J))
STATES = (torch.randn(1, B, H), torch.randn(1, B, H))
WORDS = (torch.randint(0, 9, (B, T)), torch.randint(0, 9, (B, S)))
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[Any, ...]]] = {
    "translation": (translation, {}, TWO),
    "translation by stacks": (translation, {"num_layers": 2, "bidirectional": True}, TWO),
    "translation, steps first": (
        translation,
        {"batch_first": False},
        tuple(x.transpose(0, 1).contiguous() for x in TWO),
    ),
    "a step": (a_step, {}, (signal(1, J), *STATES)),
    "pairs": (pairs, {"bidirectional": True}, WORDS),
    "attention": (attention, {}, TWO),
    "residual": (residual, {}, TWO[:1]),
}
# An export by the newer exporter takes seconds.
BY_DYNAMO = ("translation by stacks", "a step")


@pytest.mark.parametrize(
    ("name", "dynamo"), [*((name, False) for name in CASES), *((name, True) for name in BY_DYNAMO)]
)
def test_models(name: str, dynamo: bool, tmp_path: Path) -> None:
    function, options, given = CASES[name]
    torch.manual_seed(4)
    net = Net(function, **options).eval()
    more: dict[str, Any] = {}
    if dynamo:
        pytest.importorskip("onnxscript")
        more = {"external_data": False, "verbose": False}
    # With the log that pytest takes of it, an export takes a minute.
    logging.disable()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(net, given, tmp_path / "net.onnx", dynamo=dynamo, **more)
    finally:
        logging.disable(logging.NOTSET)
    model = fusedlstm.from_onnx(tmp_path / "net.onnx").model()
    turned = options.get("batch_first") is False

    def rows_first(array: Any, like: Any) -> Any:
        array = array.detach().numpy()
        if len(array) == 1 and array.ndim > len(like.shape):
            return array[0]  # states
        return array.swapaxes(0, 1) if turned else array

    x = [rows_first(one, tensor) for one, tensor in zip(given, model.inputs, strict=True)]
    want, got = net(*given), model(x if len(x) > 1 else x[0])
    wanted, found = ([one] if not isinstance(one, list | tuple) else one for one in (want, got))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, rows_first(other, one), rtol=2e-6, atol=2e-6)
    model.compile("sgd", "mse")
    labels = [np.zeros_like(one) for one in found]
    model.fit(x if len(x) > 1 else x[0], labels if len(labels) > 1 else labels[0], verbose=0)
