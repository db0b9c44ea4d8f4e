"""What PyTorch's programs do with the outputs of an LSTM, by both exporters: results, layers, training on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

import fusedlstm

from .test_torch_exports import B, H, I, T, assert_step_equals, export

torch: Any = pytest.importorskip("torch")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")

F = torch.nn.functional


class Net(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not looked into
    """An LSTM and what a head makes of its outputs y (B, T, DH) and h (LD, B, H)."""

    embedding: Any = None  # as other modules of these tests have one
    head = ""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.function = case.function
        self.lstm = torch.nn.LSTM(I, H, batch_first=True, **case.options)
        width = H * (2 if case.options.get("bidirectional") and not case.single else 1)
        self.decoder: Any = torch.nn.LSTM(width, H, batch_first=True) if case.decoder else None
        self.linear = torch.nn.Linear(H if case.decoder else width, case.units)

    def forward(self, x: Any) -> Any:
        y, (h, _) = self.lstm(x)
        return self.function(self, Outputs(y, h))


class Outputs(NamedTuple):
    y: Any
    h: Any


class Case(NamedTuple):
    function: Callable[[Net, Outputs], Any]
    layers: str  # the model's, in short
    options: dict[str, Any] = {}  # noqa: RUF012  # a default that nobody changes
    units: int = 2
    single: bool = False  # whether the head takes one direction, or both added
    decoder: bool = False
    fixed: bool = False  # whether the model is for the exported number of steps


def repeated(net: Net, h: Any, how: Callable[[Any], Any]) -> Any:
    return net.linear(net.decoder(how(h[-1].unsqueeze(1)))[0])


def pooled(net: Net, y: Any, pool: Callable[[Any], Any]) -> Any:
    return net.linear(pool(y.transpose(1, 2)).squeeze(-1))


def by_layers(h: Any) -> Any:
    return h.view(2, 2, -1, H)


TWO: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
BOTH: dict[str, Any] = {"bidirectional": True}
CASES: dict[str, Case] = {
    "view, turned": Case(lambda n, o: n.linear(by_layers(o.h)[-1].transpose(0, 1).flatten(1)), "BBD", TWO),
    "view, joined": Case(lambda n, o: n.linear(torch.cat((by_layers(o.h)[-1, 0], o.h[-1]), 1)), "BBD", TWO),
    "view, added": Case(lambda n, o: n.linear(by_layers(o.h)[-1].sum(0)), "BBD", TWO, single=True),
    "view, one way": Case(lambda n, o: n.linear(o.h.view(2, 1, -1, H)[-1, 0]), "LLD", {"num_layers": 2}),
    "unbound": Case(lambda n, o: n.linear(torch.cat(o.h.unbind(0), 1)), "BD", BOTH),
    "chunks": Case(lambda n, o: n.linear(sum(o.y.chunk(2, -1))), "BD", BOTH, single=True),
    "log softmax": Case(lambda n, o: F.log_softmax(n.linear(o.h[-1]), -1), "LDA", units=5),
    "log softmax, steps": Case(lambda n, o: F.log_softmax(n.linear(o.y), 2), "LDA", units=5),
    "number": Case(lambda n, o: n.linear(o.h[-1])[:, 0], "LDR", units=1),
    "number, steps": Case(lambda n, o: n.linear(o.y)[..., 0], "LDR", units=1),
    "probability": Case(lambda n, o: torch.sigmoid(n.linear(o.h[-1])[:, 0]), "LDAR", units=1),
    "one of two": Case(lambda n, o: n.linear(o.h[-1])[:, 1], "LDR"),
    "two of four": Case(lambda n, o: n.linear(o.y)[..., 1:3], "LD", units=4),
    "last of linear": Case(lambda n, o: n.linear(o.y)[:, -1], "LD"),
    "last of many": Case(lambda n, o: torch.tanh(n.linear(torch.relu(o.y)))[:, -1, :], "LADA"),
    "last number": Case(lambda n, o: n.linear(o.y)[:, -1, 0], "LDR", units=1),
    "adaptive maximum": Case(lambda n, o: pooled(n, o.y, lambda z: F.adaptive_max_pool1d(z, 1)), "LMD"),
    "adaptive, both": Case(lambda n, o: pooled(n, o.y, lambda z: F.adaptive_max_pool1d(z, 1)), "BMD", BOTH),
    "adaptive mean": Case(lambda n, o: pooled(n, o.y, lambda z: F.adaptive_avg_pool1d(z, 1)), "LMD"),
    "maximum of all": Case(lambda n, o: pooled(n, o.y, lambda z: F.max_pool1d(z, T)), "LMD", fixed=True),
    "mean of all": Case(lambda n, o: pooled(n, o.y, lambda z: F.avg_pool1d(z, T)), "LMD", fixed=True),
    "repeat": Case(lambda n, o: repeated(n, o.h, lambda z: z.repeat(1, T, 1)), "LRLD", decoder=True),
    "expand": Case(lambda n, o: repeated(n, o.h, lambda z: z.expand(-1, T, -1)), "LRLD", decoder=True),
    "interleave": Case(
        lambda n, o: repeated(n, o.h, lambda z: z.repeat_interleave(T, 1)), "LRLD", decoder=True
    ),
}
LETTERS = {
    "LSTM": "L",
    "Bidirectional": "B",
    "Dense": "D",
    "Activation": "A",
    "GlobalMaxPooling1D": "M",
    "GlobalAveragePooling1D": "M",
    "RepeatVector": "R",
    "Reshape": "R",
}
# Export by the newer exporter takes seconds.
BY_DYNAMO = [
    name for name in CASES if name not in ("view, one way", "number, steps", "last number", "adaptive, both")
]


def made(name: str, dynamic: str, dynamo: bool, folder: Path) -> tuple[Net, Any, fusedlstm.OnnxModel]:
    torch.manual_seed(1)
    net = Net(CASES[name]).eval()
    x = torch.randn(B, T, I)
    export(net, (x,), folder / "net.onnx", dynamic, dynamo)
    return net, x, fusedlstm.from_onnx(folder / "net.onnx")


@pytest.mark.parametrize(
    ("name", "dynamic", "dynamo"),
    [
        *((name, dynamic, False) for name in CASES for dynamic in ("", "BT")),
        *((name, dynamic, True) for name, dynamic in zip(BY_DYNAMO, ("", "B") * len(CASES), strict=False)),
    ],
)
def test_heads(name: str, dynamic: str, dynamo: bool, tmp_path: Path) -> None:
    net, x, graph = made(name, dynamic, dynamo, tmp_path)
    model = graph.sequential()
    assert "".join(LETTERS[type(layer).__name__] for layer in model.layers) == CASES[name].layers
    free = "T" in dynamic and not CASES[name].fixed
    for given in (x, torch.randn(2 if dynamic else B, 7 if free else T, I)):
        want = net(given).detach().numpy()
        for got in (graph(given.numpy()), model(given.numpy())):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)
    assert model.input_shape == (None, None if free else T, I)
    if name not in ("one of two", "two of four"):  # whose other columns are no weights of the model
        assert_step_equals(model, net, x, 2e-6)


@pytest.mark.parametrize("dynamo", [False, True])
def test_as_many_repetitions_as_steps(dynamo: bool, tmp_path: Path) -> None:
    """The graph computes them, and a layer repeats a fixed number of times."""
    torch.manual_seed(1)
    net = Net(Case(lambda n, o: repeated(n, o.h, lambda z: z.repeat(1, o.y.shape[1], 1)), "", decoder=True))
    net.eval()
    export(net, (torch.randn(B, T, I),), tmp_path / "net.onnx", "BT", dynamo)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    x = torch.randn(2, T if dynamo else 7, I)
    np.testing.assert_allclose(graph(x.numpy()), net(x).detach().numpy(), rtol=0, atol=2e-6)
    if dynamo:  # It fixes the number of steps.
        np.testing.assert_allclose(graph.sequential()(x.numpy()), graph(x.numpy()), rtol=0, atol=1e-6)
    else:
        with pytest.raises(ValueError, match=r"\(Tile\): .*: export the model with a fixed one"):
            graph.sequential()


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("dynamic", ["", "B"])
def test_half_precision(dynamic: str, dynamo: bool, tmp_path: Path) -> None:
    """Graphs round as PyTorch does, more or less; layers have the same weights in float32."""
    torch.manual_seed(1)
    net = Net(CASES["view, turned"]).eval().half()
    x = torch.randn(B, T, I).half()
    export(net, (x,), tmp_path / "net.onnx", dynamic, dynamo)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    exact = net.float()(x.float()).detach().numpy()
    assert graph.inputs[0].dtype == graph(x.numpy()).dtype == np.float16
    # Each of two layers and a product rounds numbers below 1 to within 2**-12, and adds up some.
    np.testing.assert_allclose(graph(x.numpy()), exact, rtol=0, atol=2**-10)
    model = graph.sequential()
    assert model.dtype == "float32"
    np.testing.assert_allclose(model(x.float().numpy()), exact, rtol=0, atol=2e-6)


def masked_mean(net: Net, o: Outputs) -> Any:
    """Return the mean of the outputs whose first feature is positive."""
    real = (o.y[:, :, :1] > 0).to(o.y.dtype)
    return net.linear((o.y * real).sum(1) / real.sum(1).clamp(min=1))


ALONE: dict[str, Callable[[Net, Outputs], Any]] = {
    "masked mean": masked_mean,
    "masked maximum": lambda n, o: n.linear(o.y.masked_fill(o.y < -0.1, -1e9).amax(1)),
    "attention": lambda n, o: n.linear(torch.softmax(o.y @ o.h[-1].unsqueeze(-1), 1).transpose(1, 2) @ o.y),
    "normalized": lambda n, o: F.normalize(n.linear(o.h[-1]), dim=-1),
    "log sigmoid": lambda n, o: F.logsigmoid(-n.linear(o.h[-1]).abs()),
    "relu6": lambda n, o: F.relu6(4 * n.linear(o.y)) + F.silu(n.linear(o.y)),
}


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", ALONE)
def test_what_graphs_alone_do(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Net(Case(ALONE[name], "")).eval()
    export(net, (torch.randn(B, T, I),), tmp_path / "net.onnx", "B", dynamo)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    x = torch.randn(2, T, I)
    np.testing.assert_allclose(graph(x.numpy()), net(x).detach().numpy(), rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match="not a stack of layers: node "):
        graph.sequential()


class Cells(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not looked into
    """A loop over the steps, and what comes of it by Gelu."""

    def __init__(self, take: Callable[[Any], Any]) -> None:
        super().__init__()
        self.take = take
        self.lstm = torch.nn.LSTM(I, H, batch_first=True)  # for `export` alone
        self.cell = torch.nn.LSTMCell(I, H)

    def forward(self, x: Any) -> Any:
        states: Any = None
        outputs = []
        for step in self.take(x):
            states = self.cell(step, states)
            outputs.append(states[0])
        return F.gelu(torch.stack(outputs, 1), approximate="tanh") + F.gelu(states[1]).unsqueeze(1)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("take", [lambda x: x.unbind(1), lambda x: [x[:, step] for step in range(T)]])
@pytest.mark.parametrize("more", [{}, {"opset_version": 18}], ids=str)
def test_loops_of_cells(more: dict[str, Any], take: Any, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Cells(take).eval()
    export(net, (torch.randn(B, T, I),), tmp_path / "net.onnx", "B", dynamo, **more)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    x = torch.randn(2, T, I)
    np.testing.assert_allclose(graph(x.numpy()), net(x).detach().numpy(), rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match="not a stack of layers: node "):
        graph.sequential()


REFUSED: dict[str, tuple[Case, str]] = {
    "gelu": (
        Case(lambda n, o: n.linear(F.gelu(o.y)), ""),
        "no layer for the operator 'Gelu' here, as .*: train",
    ),
    "first step": (
        Case(lambda n, o: n.linear(o.y)[:, 0], ""),
        "output .*no layer turns .* or takes one",
    ),
    "last of both": (
        Case(lambda n, o: n.linear(o.y)[:, -1], "", BOTH),
        "no layer turns .* or takes one",
    ),
    "windows": (
        Case(lambda n, o: n.linear(F.max_pool1d(o.y.transpose(1, 2), 2).transpose(1, 2)), ""),
        r"kernel_shape: expected all 5 steps, for which there are layers, got windows of \[2\]",
    ),
    "some features": (
        Case(lambda n, o: torch.tanh(n.linear(o.y))[..., :1], ""),
        "expected all features of a layer that is no matrix product, got some",
    ),
    "squares": (
        Case(lambda n, o: (lambda z: z * z)(n.linear(o.y)), ""),
        "output that is used more than once",
    ),
    "doubled": (Case(lambda n, o: (lambda z: z + z)(n.linear(o.h[-1])), ""), "used more than once"),
    "twice": (
        Case(lambda n, o: (lambda z: torch.cat((z, z), -1))(n.linear(o.y)), ""),
        "used more than once",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_layer_does_is_refused_by_name(name: str, tmp_path: Path) -> None:
    case, text = REFUSED[name]
    torch.manual_seed(1)
    net = Net(case).eval()
    x = torch.randn(B, T, I)
    export(net, (x,), tmp_path / "net.onnx", "", dynamo=False)
    graph = fusedlstm.from_onnx(tmp_path / "net.onnx")
    np.testing.assert_allclose(graph(x.numpy()), net(x).detach().numpy(), rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match=text):
        graph.sequential()
