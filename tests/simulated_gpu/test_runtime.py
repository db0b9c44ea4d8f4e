"""How device arrays are found, and CuPy's in particular, with another module in CuPy's place."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fusedlstm.cuda
from fusedlstm import ops
from fusedlstm.cuda import runtime

if TYPE_CHECKING:
    from tests.simulated_gpu.device import SimDevice


class FakeArray:
    """What is asked of a CuPy array."""

    def __init__(self, place: int = 0) -> None:
        self.device = SimpleNamespace(id=place)
        self.dtype = np.dtype(np.float32)


FakeArray.__module__, FakeArray.__name__ = "cupy", "ndarray"


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a module in CuPy's place, whose current device is 0."""
    module: Any = ModuleType("cupy")
    module.ndarray = FakeArray
    device = SimpleNamespace(compute_capability="75")
    module.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDevice=lambda: 0),
        Device=lambda: device,
        get_current_stream=lambda: SimpleNamespace(ptr=7),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(runtime, "_devices", [])
    return module


def test_cupy_is_found_by_its_arrays(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.device_of(object()) is None
    assert not runtime._devices
    device = runtime.device_of(FakeArray())
    assert device is not None
    assert device.name == "cuda:0"
    assert runtime.device_of(FakeArray()) is device
    with pytest.raises(
        ValueError, match=r"^x: expected an array on the current device, cuda:0, got .*cuda:3$"
    ):
        device.check_place("x", FakeArray(3))
    # TF32 by CuPy's own rule.
    monkeypatch.setenv("CUPY_TF32", "1")
    assert [device.allows_tf32] == [False]
    cupy.cuda.Device().compute_capability = "80"
    assert [device.allows_tf32] == [True]
    monkeypatch.delenv("CUPY_TF32")
    assert [device.allows_tf32] == [False]


def test_cupy_sets_zeros_on_the_current_stream(cupy: Any) -> None:
    device = runtime.device_of(FakeArray())
    assert device is not None
    assert device.stream() == 7
    asked: list[tuple[int, int]] = []

    def made(shape: tuple[int, ...], dtype: Any) -> Any:
        data = SimpleNamespace(memset_async=lambda value, size: asked.append((value, size)))
        return SimpleNamespace(data=data, nbytes=int(np.prod(shape)) * np.dtype(dtype).itemsize)

    cupy.ndarray = made
    zeros = runtime.CupyDevice().zeros((3, 5), np.float32)
    assert asked == [(0, zeros.nbytes)] == [(0, 60)]


@pytest.mark.usefixtures("cupy")
def test_a_package_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fusedlstm._cuda", None)
    device = runtime.device_of(FakeArray())
    assert device is not None
    with pytest.raises(ImportError, match="CuPy arrays: expected kernels for them, but fusedlstm was built"):
        _ = device.extension


@pytest.mark.usefixtures("cupy")
def test_cupy_arrays_beside_numpy_arrays() -> None:
    """Their type has the name of NumPy's, so the error says whose it is."""
    z: Any = np.ones((2, 8), np.float32)
    other: Any = FakeArray()
    with pytest.raises(TypeError, match=r"^c_prev: expected a NumPy array of .*, got cupy\.ndarray$"):
        ops.cell_forward(z, other)


def test_asarray(device: SimDevice) -> None:
    own = device.put(np.ones(3))
    assert fusedlstm.cuda.asarray(own) is own
    exporter = SimpleNamespace(__dlpack_device__=lambda: (1, 0))
    with pytest.raises(ValueError, match=r"^value: expected an array on a CUDA device, got .*\(1, 0\)"):
        fusedlstm.cuda.asarray(exporter)
    for wrong in (np.ones(3), [1.0], None):
        with pytest.raises(TypeError, match=r"^value: expected an array on a CUDA device, .* got "):
            fusedlstm.cuda.asarray(wrong)


def test_asarray_shares_memory(cupy: Any) -> None:
    cupy.from_dlpack = lambda value: ("from", value)
    for kind in (2, 13):
        exporter = SimpleNamespace(__dlpack_device__=lambda kind=kind: (kind, 0))
        assert fusedlstm.cuda.asarray(exporter) == ("from", exporter)


def test_the_cpu_alone_imports_nothing_of_cuda() -> None:
    code = """
import sys
import numpy as np
from fusedlstm import ops
x = np.ones((2, 3, 4), np.float32)
weights = ops.LSTMWeights(np.ones((4, 20), np.float32), np.ones((5, 20), np.float32))
result = ops.lstm_forward(x, weights, training=True)
ops.lstm_backward(result.tape, result.y)
ops.dropout(x, 0.5, 1)
print([name for name in sys.modules if name.startswith(("fusedlstm.cuda", "cupy"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr
