"""Fixtures of the kernel tests, and the devices that they run on.

Modules with ``DEVICES = True`` run on the simulated GPU too, with fewer shapes, where it is built, and on a
real one, where there is one; tests marked ``cpu`` there do not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import _core, ops

from . import devices
from .operations import ONLY_CPU
from .problems import REDUCED, Number

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# Set where the tests run once more for the CPU's sake.
DEVICES = os.environ.get("FUSEDLSTM_TEST_DEVICES", "cpu,simt,gpu").split(",")
# Every so many of the values of a long parameter are tried on the simulated GPU, which is slow.
STRIDE = 9
LONG = 12
# Numbers of a problem, B T (I + H) H, beyond which one is too large for it.
LARGEST = 350_000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" not in metafunc.fixturenames:
        return
    everywhere = getattr(metafunc.module, "DEVICES", False)
    # A reduced run is about the CPU's instructions: emulated, or watched by sanitizers.
    only_cpu = REDUCED or not everywhere or metafunc.definition.get_closest_marker("cpu") is not None
    chosen = ["cpu"] if only_cpu else DEVICES
    names: list[Any] = [name for name in chosen if name != "gpu"]
    if "gpu" in chosen and devices.why_no_gpu() is None:
        names.append(pytest.param("gpu", marks=pytest.mark.gpu))
    metafunc.parametrize("device", names, indirect=True)


def is_left_out(item: pytest.Item) -> bool:
    """Tell whether a test is one whose numbers are not here, or that no GPU, simulated or real, runs."""
    call = getattr(item, "callspec", None)
    # Another library's types, as of tests beside PyTorch that are collected with these, are not asked for.
    dtype = None if call is None else call.params.get("dtype", "float32")
    if isinstance(dtype, str | type | np.dtype) and np.dtype(dtype).name not in _core.number_types:
        return True  # of a library that `make kernels` built
    if call is None or call.params.get("device", "cpu") == "cpu":
        return False
    # What has no kernel there yet is refused, which tests/simulated_gpu shows.
    names = [value for value in call.params.values() if isinstance(value, str)]
    if any(name in ONLY_CPU for name in names) or "threads" in call.params:
        return True
    if call.params["device"] == "gpu":
        return item.get_closest_marker("not_gpu") is not None or call.params.get("layout") == "misaligned"
    shape = call.params.get("shape")
    if isinstance(shape, tuple) and len(shape) == 4:
        B, T, I, H = shape  # noqa: E741
        if B * T * (I + H) * H > LARGEST:
            return True
    # As many calls as windows.
    if isinstance(shape, tuple) and len(shape) == 4 and shape[1] > 20 * call.params.get("every", shape[1]):
        return True
    return any(
        index >= LONG and index % STRIDE
        for name, index in call.indices.items()
        if name in ("shape", "size", "units")
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
    if REDUCED:
        skip = pytest.mark.skip(reason="FUSEDLSTM_TEST_REDUCED=1")
        for item in items:
            if item.get_closest_marker("not_reduced"):
                item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Skip a test for whose numbers a library of `make kernels` has no kernels."""
    try:
        return (yield)
    except TypeError as error:
        if " or " not in _core.number_types and f"NumPy array of {_core.number_types}, got" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Number:
    number: Number = request.param
    return number


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test's `ops` on a device."""
    name: str = request.param
    devices.ops.use(name)  # type: ignore[attr-defined]
    yield name
    devices.ops.use("cpu")  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    """Give the next test the number of threads that this one started with."""
    threads = ops.get_num_threads()
    yield
    ops.set_num_threads(threads)
