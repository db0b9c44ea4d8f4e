"""Graphs that PyTorch's two exporters write around ``torch.nn.LSTM``: their results, and training on."""

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
    from pathlib import Path

    Array = np.ndarray[Any, Any]

# PyTorch's exporters warn of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

B, T, I, H = 3, 5, 4, 6  # noqa: E741

# What is made of y, h and c, by the module's `head`; an LSTM with its options.
HEADS: dict[str, Any] = {
    "steps": lambda y, h, c, at: y,  # noqa: ARG005
    "last step": lambda y, h, c, at: y.select(at, -1),  # noqa: ARG005
    "last step, sliced": lambda y, h, c, at: y.narrow(at, T - 1, 1).squeeze(at),  # noqa: ARG005
    "last states": lambda y, h, c, at: h[-1],  # noqa: ARG005
    "last states of both": lambda y, h, c, at: torch.cat((h[-2], h[-1]), 1),  # noqa: ARG005
    "both ends": lambda y, h, c, at: torch.cat((y.select(at, -1)[:, :H], y.select(at, 0)[:, H:]), 1),  # noqa: ARG005
    "sum": lambda y, h, c, at: y[:, :, :H] + y[:, :, H:],  # noqa: ARG005
    "mean": lambda y, h, c, at: y.mean(at),  # noqa: ARG005
    "maximum": lambda y, h, c, at: y.amax(at),  # noqa: ARG005
    "rows": lambda y, h, c, at: y.reshape(-1, y.shape[-1]),  # noqa: ARG005
    "flat": lambda y, h, c, at: y.flatten(1),  # noqa: ARG005
}


class Net(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not looked into
    """An LSTM and a linear layer over what `head` makes of its outputs."""

    def __init__(self, head: str, features: int = I, states: bool = False, **options: Any) -> None:
        super().__init__()
        self.head, self.states = head, states
        self.embedding = torch.nn.Embedding(11, I) if head == "embedded" else None
        self.lstm = torch.nn.LSTM(features, H, **options)
        width = H * (1 + bool(options.get("bidirectional") and head != "sum")) * (T if head == "flat" else 1)
        self.norm = torch.nn.LayerNorm(width) if head == "normalized" else torch.nn.Identity()
        self.linear = torch.nn.Linear(width, 1 if head == "numbers" else 2)

    def forward(self, x: Any, h0: Any = None, c0: Any = None) -> Any:
        if self.embedding is not None:
            x = self.embedding(x)
        if self.head == "numbers":
            x = x.unsqueeze(-1)
        y, (h, c) = self.lstm(x) if h0 is None else self.lstm(x, (h0, c0))
        at = 1 if self.lstm.batch_first else 0
        output = self.linear(self.norm(HEADS.get(self.head, HEADS["steps"])(y, h, c, at)))
        if self.head == "rows":
            output = output.reshape(y.shape[0], y.shape[1], 2)
        if self.head == "numbers":
            output = output.squeeze(-1)
        return (output, h, c) if self.states else output


# head, options of the LSTM, which axes are dynamic
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "one layer": ("steps", {}, "BT"),
    "fixed axes": ("steps", {"num_layers": 2}, ""),
    "steps first": ("steps", {"batch_first": False, "num_layers": 2}, "BT"),
    "steps first, fixed": ("last step", {"batch_first": False}, ""),
    "three layers": ("last states", {"num_layers": 3, "dropout": 0.3}, "B"),
    "bidirectional": ("steps", {"bidirectional": True, "num_layers": 2}, "BT"),
    "bidirectional, fixed": ("last states of both", {"bidirectional": True, "num_layers": 2}, ""),
    "last states of both": ("last states of both", {"bidirectional": True}, "BT"),
    "both ends": ("both ends", {"bidirectional": True}, "BT"),
    "sum": ("sum", {"bidirectional": True}, "BT"),
    "last step": ("last step", {"num_layers": 2}, "BT"),
    "last step, sliced": ("last step, sliced", {}, "B"),
    "mean": ("mean", {"bidirectional": True}, "BT"),
    "maximum": ("maximum", {"batch_first": False}, "BT"),
    "rows": ("rows", {}, "BT"),
    "flat": ("flat", {"bidirectional": True}, "B"),
    "normalized": ("normalized", {"bidirectional": True}, "BT"),
    "embedded": ("embedded", {}, "BT"),
    "numbers": ("numbers", {"features": 1}, "BT"),
    "states": ("steps", {"states": True, "bidirectional": True, "num_layers": 2}, "BT"),
    "no bias": ("steps", {"bias": False, "bidirectional": True}, "BT"),
    "float64": ("steps", {"dtype": torch.float64}, "BT"),
}
# An export by the newer exporter takes seconds.
DYNAMO = ("one layer", "fixed axes", "steps first", "bidirectional, fixed", "three layers", "states")


def export(net: Any, arguments: tuple[Any, ...], path: Path, dynamic: str, dynamo: bool, **more: Any) -> None:
    names = ["x", "h0", "c0"][: len(arguments)]
    order = "BT" if net.lstm.batch_first else "TB"
    axes = {order.index(axis): axis for axis in dynamic}
    options: dict[str, Any] = {"input_names": names, **more}
    if dynamo:
        pytest.importorskip("onnxscript")
        options |= {"external_data": False, "verbose": False}
        if dynamic:
            options["dynamic_shapes"] = ({axis: torch.export.Dim(name) for axis, name in axes.items()},)
    elif dynamic:
        options["dynamic_axes"] = {"x": axes}
    # With the log that pytest takes of it, an export takes a minute.
    logging.disable()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(net, arguments, path, dynamo=dynamo, **options)
    finally:
        logging.disable(logging.NOTSET)


def sample(net: Any, rows: int = B, steps: int = T) -> Any:
    dtype = net.lstm.weight_ih_l0.dtype
    x = torch.randn(rows, steps, I, dtype=dtype)
    if net.embedding is not None:
        x = torch.randint(0, 11, (rows, steps))
    if net.head == "numbers":
        x = x[:, :, 0]
    return x.contiguous() if net.lstm.batch_first else x.transpose(0, 1).contiguous()


def rows_first(array: Array, net: Any) -> Array:
    return array if net.lstm.batch_first or array.ndim < 3 else array.swapaxes(0, 1)


def assert_step_equals(model: fusedlstm.Sequential, net: Any, x: Any, limit: float) -> None:
    """Compare what one step of SGD adds to each weight."""
    y = net(x)
    y = y[0] if isinstance(y, tuple) else y
    target = torch.randn_like(y)
    before = [value.detach().numpy().copy() for value in net.parameters()]
    torch.nn.functional.mse_loss(y, target).backward()
    with torch.no_grad():
        for value in net.parameters():
            value -= 0.5 * value.grad
    ours = model.get_weights()
    model.compile(fusedlstm.optimizers.SGD(0.5), "mse")
    features, wanted = (rows_first(array.numpy(), net) for array in (x, target))
    model.fit(features, wanted, batch_size=len(features), epochs=1, verbose=0)
    changes = [new - old for new, old in zip(model.get_weights(), ours, strict=True)]
    theirs = []
    for (name, value), old in zip(net.named_parameters(), before, strict=True):
        if "bias_hh" not in name:  # The two biases are one here, and have the same gradient.
            change = value.detach().numpy() - old
            theirs.append(change.T if ".weight" in name and "embedding" not in name else change)
    for own, their in zip(changes, theirs, strict=True):
        assert np.abs(their).max() > 10 * limit
        np.testing.assert_allclose(own, their, rtol=0, atol=limit)


@pytest.mark.parametrize(
    ("name", "dynamo"), [*((name, False) for name in CASES), *((name, True) for name in DYNAMO)]
)
def test_exports_are_models(name: str, dynamo: bool, tmp_path: Path) -> None:
    head, options, dynamic = CASES[name]
    torch.manual_seed(1)
    options = {"batch_first": True, **options}
    dtype = options.pop("dtype", torch.float32)
    net = Net(head, **options).to(dtype).eval()
    x = sample(net)
    export(net, (x,), tmp_path / "net.onnx", dynamic, dynamo)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    model = graph.sequential()
    limit = 1e-13 if dtype == torch.float64 else 2e-6
    # The newer exporter fixes the number of steps of most graphs, whatever it is told.
    steps = 7 if "T" in dynamic and (not dynamo or name == "one layer") else T
    for given in (x, sample(net, 1 if "B" in dynamic else B, steps)):
        want = net(given)
        want = want if isinstance(want, tuple) else (want,)
        got = graph(given.numpy())
        for own, their in zip(got if isinstance(got, list) else [got], want, strict=True):
            np.testing.assert_allclose(own, their.detach().numpy(), rtol=0, atol=limit)
        got = model(rows_first(given.numpy(), net))
        np.testing.assert_allclose(got, rows_first(want[0].detach().numpy(), net), rtol=0, atol=limit)
    assert_step_equals(model, net, x, limit)


class CellStates(torch.nn.Module):  # type: ignore[misc]
    """An LSTM of which only the cell states are read."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(I, H, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[1][1][-1]


@pytest.mark.parametrize("dynamo", [False, True])
def test_cell_states_alone(dynamo: bool, tmp_path: Path) -> None:
    """The newer exporter writes a wrong shape for the output that nobody reads."""
    torch.manual_seed(3)
    net = CellStates().eval()
    x = torch.randn(B, T, I)
    export(net, (x,), tmp_path / "net.onnx", "", dynamo)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    np.testing.assert_allclose(graph(x.numpy()), net(x).detach().numpy(), rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match="expected outputs, got cell states"):
        graph.sequential()


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 17, 20])
@pytest.mark.parametrize(
    "more",
    [{}, {"do_constant_folding": False}, {"keep_initializers_as_inputs": True, "do_constant_folding": False}],
    ids=str,
)
def test_versions_and_computed_weights(opset: int, more: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = Net("last states of both", bidirectional=True, num_layers=2, batch_first=True).eval()
    with torch.no_grad():
        net.lstm.bias_hh_l0.zero_()
    x = sample(net)
    export(net, (x,), tmp_path / "net.onnx", "BT", dynamo=False, opset_version=opset, **more)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    for model in (graph, graph.sequential()):
        np.testing.assert_allclose(model(x.numpy()), net(x).detach().numpy(), rtol=0, atol=2e-6)


def test_weights_computed_from_shapes(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = Net("steps", batch_first=True).eval()
    x = sample(net)
    export(net, (x,), tmp_path / "net.onnx", "BT", dynamo=True, optimize=False)
    model = fusedlstm.from_onnx(tmp_path / "net.onnx").sequential()
    np.testing.assert_allclose(model(x.numpy()), net(x).detach().numpy(), rtol=0, atol=2e-6)
    assert_step_equals(model, net, x, 2e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_single_sequence(bidirectional: bool, tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = Net("steps", num_layers=2, bidirectional=bidirectional).eval()
    x = torch.randn(T, I)
    export(net, (x,), tmp_path / "net.onnx", "", dynamo=False)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    want = net(x).detach().numpy()
    np.testing.assert_allclose(graph(x.numpy()), want, rtol=0, atol=2e-6)
    got = graph.sequential()(np.stack([x.numpy(), x.numpy()]))
    np.testing.assert_allclose(got, np.stack([want, want]), rtol=0, atol=2e-6)


def test_dropout_is_a_layer(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = Net("steps", batch_first=True)
    net.norm = torch.nn.Dropout(0.25)
    export(
        net,
        (sample(net),),
        tmp_path / "net.onnx",
        "BT",
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
    )
    model = fusedlstm.from_onnx(tmp_path / "net.onnx").sequential()
    (dropout,) = [layer for layer in model.layers if isinstance(layer, fusedlstm.layers.Dropout)]
    assert dropout.rate == 0.25
    x = sample(net)
    np.testing.assert_allclose(model(x.numpy()), net.eval()(x).detach().numpy(), rtol=0, atol=2e-6)


def test_states_that_are_given_are_refused_by_name(tmp_path: Path) -> None:
    torch.manual_seed(6)
    net = Net("steps", batch_first=True).eval()
    arguments = (sample(net), torch.randn(1, B, H), torch.randn(1, B, H))
    export(net, arguments, tmp_path / "net.onnx", "", dynamo=False)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    got = graph(*(one.numpy() for one in arguments))
    np.testing.assert_allclose(got, net(*arguments).detach().numpy(), rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match="expected one input, got 'x', 'h0', 'c0'"):
        graph.sequential()


def test_the_last_step_of_both_directions_is_refused(tmp_path: Path) -> None:
    net = Net("last step", batch_first=True, bidirectional=True).eval()
    export(net, (sample(net),), tmp_path / "net.onnx", "", dynamo=False)
    with pytest.raises(ValueError, match="not the output at the first or last step"):
        fusedlstm.from_onnx(tmp_path / "net.onnx").sequential()
