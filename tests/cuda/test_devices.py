"""fusedlstm.cuda: which devices there are, and clear words where there is none."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from types import SimpleNamespace
from typing import Any

import pytest

from fusedlstm import _core, cuda
from fusedlstm.commands.cli import cuda_devices
from fusedlstm.cuda import devices

from .compiled import BUILD

H100 = {"name": "NVIDIA H100", "major": 9, "minor": 0, "multiprocessors": 132, "memory_bytes": 80 * 2**30}
ALL = (75, 80, 90, 100, 110, 120)


def compiled(monkeypatch: pytest.MonkeyPatch, *found: dict[str, Any], why: str | None = None) -> None:
    """Put a compiled module with such devices in the place of the real one."""

    def properties(index: int) -> dict[str, Any]:
        return found[index]

    module = SimpleNamespace(
        architectures=ALL,
        device_count=lambda: len(found),
        why_unavailable=lambda: why,
        device_properties=properties,
    )
    monkeypatch.setattr(devices, "compiled_module", lambda: module)


def test_any_build_answers() -> None:
    assert cuda.is_available() == (cuda.why_unavailable() is None)
    assert cuda.device_count() >= int(cuda.is_available())
    if not cuda.is_available():
        assert cuda.why_unavailable()


def test_built_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(_core, "why_without_cuda", lambda: "no nvcc was found (pip brings one)")
    assert not cuda.is_available()
    assert cuda.device_count() == 0
    assert cuda.architectures() == ()
    reason = str(cuda.why_unavailable())
    assert reason.startswith(
        "fusedlstm was built without CUDA: no nvcc was found (pip brings one). To have it"
    )
    assert "--config-settings=cmake.define.FUSEDLSTM_CUDA=ON" in reason
    with pytest.raises(RuntimeError, match="built without CUDA"):
        cuda.device_properties()
    assert cuda_devices() == reason


def test_the_build_says_why() -> None:
    reason = _core.why_without_cuda()
    if reason is None:
        pytest.skip("built with CUDA")
    assert f"built without CUDA: {reason}. " in str(cuda.why_unavailable())


def test_compiled_but_lost() -> None:
    assert "fusedlstm._cuda was compiled, but is not here" in devices.not_built(None)


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "no CUDA device: CUDA driver version is insufficient for CUDA runtime version"
    compiled(monkeypatch, why=why)
    assert cuda.why_unavailable() == why
    assert cuda.device_count() == 0
    assert cuda_devices() == why


def test_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(monkeypatch, H100)
    assert cuda.is_available()
    assert cuda.why_unavailable(1) == "no CUDA device 1: there are 1, counted from 0"
    assert cuda.why_unavailable(-1) == "no CUDA device -1: there are 1, counted from 0"
    assert cuda_devices() == "NVIDIA H100, compute capability 9.0, 132 multiprocessors, 80 GiB"


def test_a_device_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(monkeypatch, {**H100, "name": "NVIDIA P100", "major": 6}, H100)
    reason = str(cuda.why_unavailable())
    assert "NVIDIA P100, has compute capability 6.0" in reason
    assert "compiled for 7.5, 8.0, 9.0, 10.0, 11.0, 12.0" in reason
    assert cuda.is_available(1)
    assert reason in cuda_devices()


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((6, 1), False),
        ((7, 0), False),
        ((7, 5), True),
        ((8, 6), True),
        ((8, 9), True),
        ((9, 0), True),
        ((10, 3), True),
        ((12, 1), True),
        ((13, 0), True),
    ],
)
def test_binary_compatibility(capability: tuple[int, int], runs: bool) -> None:
    assert devices.runs_on(ALL, *capability) is runs


def test_machine_code_is_of_one_major_version() -> None:
    assert not devices.runs_on((75, 120), 9, 0)
    assert not devices.runs_on((89, 90), 8, 6)
    assert devices.runs_on((80,), 9, 0)  # PTX of the last


def test_nothing_is_loaded_early() -> None:
    code = "import sys, fusedlstm.cuda; print('fusedlstm._cuda' in sys.modules, 'cupy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


@pytest.fixture
def module() -> Any:
    """Return the package's compiled module, or the one of `make cuda` where the package has none."""
    if importlib.util.find_spec("fusedlstm._cuda") is not None:
        return importlib.import_module("fusedlstm._cuda")
    found = [file for ending in EXTENSION_SUFFIXES for file in BUILD.glob(f"_cuda{ending}")]
    if not found:
        pytest.skip(f"this package was built without CUDA, and there is no _cuda in {BUILD}; see make cuda")
    spec = importlib.util.spec_from_file_location("_cuda", found[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_compiled_module_without_a_device(module: Any) -> None:
    if module.device_count() > 0:
        pytest.skip("there is a CUDA device")
    assert module.why_unavailable().startswith("no CUDA device: ")
    with pytest.raises(RuntimeError, match=r"^no CUDA device: "):
        module.device_properties(0)


@pytest.mark.gpu
def test_the_compiled_module_with_a_device(module: Any) -> None:
    if module.device_count() == 0:
        pytest.skip(module.why_unavailable())
    properties = module.device_properties(0)
    assert properties.keys() == cuda.DeviceProperties.__annotations__.keys()
    assert properties["multiprocessors"] > 0
    assert properties["shared_per_block"] >= 48 * 1024
    count = module.device_count()
    with pytest.raises(ValueError, match=f"^index: expected a device from 0 to {count - 1}, got {count}"):
        module.device_properties(count)
