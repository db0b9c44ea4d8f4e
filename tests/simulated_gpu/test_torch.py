"""`fusedlstm.torch.LSTM` by arrays of the simulated GPU, to which tensors are copied, and of a real one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fusedlstm import cuda

torch: Any = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402

from fusedlstm.torch import LSTM, places  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulated_gpu.device import SimDevice

B, T, I, H = 3, 5, 4, 6  # noqa: E741


class SimulatedPlace:
    """CPU tensors whose arrays are the simulated GPU's."""

    host = False

    def __init__(self, device: SimDevice) -> None:
        self.device = device
        self.depth = 0

    def array(self, tensor: Any) -> Any:
        assert self.depth, "expected a scope"
        return self.device.put(tensor.detach().numpy())

    def tensor(self, array: Any) -> Any:
        assert self.depth, "expected a scope"
        return torch.from_numpy(array.get())

    @contextmanager
    def scope(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, device: SimDevice) -> None:
    place = SimulatedPlace(device)
    monkeypatch.setattr(places, "place_of", lambda _: place)


def compare(place: str, packed: bool = False, training: bool = True, **options: Any) -> None:
    """Compare results and all gradients with PyTorch's own module on the CPU."""
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(I, H, batch_first=True, **options).train(training)
    ours = LSTM(I, H, batch_first=True, **options).train(training)
    ours.load_state_dict(theirs.state_dict())
    ours.to(place)
    rows = theirs.num_layers * (2 if theirs.bidirectional else 1)
    results = []
    for module, where in ((theirs, "cpu"), (ours, place)):
        torch.manual_seed(1)
        x, h0, c0 = torch.randn(B, T, I), torch.randn(rows, B, H), torch.randn(rows, B, H)
        x, h0, c0 = leaves = [tensor.to(where).requires_grad_() for tensor in (x, h0, c0)]
        given = pack_padded_sequence(x, [2, 5, 1], batch_first=True, enforce_sorted=False) if packed else x
        y, (h, c) = module(given, (h0, c0))
        y = y.data if isinstance(y, PackedSequence) else y
        (y.square().sum() + h.sum() + (2 * c).sum()).backward()
        results.append([y, h, c, *(leaf.grad for leaf in leaves), *(p.grad for p in module.parameters())])
    for one, two in zip(*results, strict=True):
        assert two.device.type == place
        torch.testing.assert_close(two.cpu(), one, rtol=1e-4, atol=1e-5)


CASES: list[dict[str, Any]] = [
    {},
    {"bias": False, "training": False},
    {"num_layers": 2, "bidirectional": True},
    {"packed": True, "bidirectional": True},
]


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("options", CASES, ids=str)
def test_module(options: dict[str, Any]) -> None:
    compare("cpu", **options)


@pytest.mark.usefixtures("simulated")
def test_changed_parameters_are_seen() -> None:
    module, x = LSTM(I, H), torch.randn(T, B, I)
    with torch.no_grad():
        before = module(x)[0]
        module.bias_hh_l0.data.add_(1)
        assert not torch.equal(module(x)[0], before)


def second(module: Any, x: Any) -> None:
    (dx,) = torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)
    assert dx.shape == x.shape
    with pytest.raises(RuntimeError, match="expected first derivatives only for tensors on a CUDA device"):
        dx.sum().backward()


@pytest.mark.usefixtures("simulated")
def test_second_derivatives() -> None:
    """First ones can be had with ``create_graph=True``; they cannot be differentiated."""
    second(LSTM(I, H), torch.randn(T, B, I, requires_grad=True))


def needs_gpu() -> None:
    pytest.importorskip("cupy")
    if not cuda.is_available() or not torch.cuda.is_available():
        pytest.skip(cuda.why_unavailable() or "PyTorch has no CUDA device")


@pytest.mark.gpu
@pytest.mark.parametrize("options", CASES, ids=str)
def test_module_on_a_gpu(options: dict[str, Any]) -> None:
    needs_gpu()
    compare("cuda", **options)


@pytest.mark.gpu
def test_streams_and_memory_on_a_gpu() -> None:
    """Work is in order on a stream that is not the default one; tensors share memory with arrays."""
    needs_gpu()
    module, x = LSTM(I, H).to("cuda"), torch.randn(T, B, I, device="cuda")
    with torch.no_grad():
        expected = module(x)[0]
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            late = torch.zeros_like(x)
            torch.cuda._sleep(10_000_000)
            late.copy_(x)
            result = module(late)[0]
        stream.synchronize()
    assert torch.equal(result, expected)
    place = places.place_of(x)
    with place.scope():
        array = place.array(x)
        assert int(array.data.ptr) == x.data_ptr()
        assert place.tensor(array).data_ptr() == x.data_ptr()


@pytest.mark.gpu
def test_errors_on_a_gpu() -> None:
    needs_gpu()
    second(LSTM(I, H).to("cuda"), torch.randn(T, B, I, device="cuda", requires_grad=True))
    with pytest.raises(
        ValueError, match="weight_ih_l0: expected a tensor on cuda:0 like the input, got one on c"
    ):
        LSTM(I, H)(torch.randn(T, B, I, device="cuda"))
