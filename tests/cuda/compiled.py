"""What `make cuda` leaves in build/cuda, and how to disassemble it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUILD = Path(os.environ.get("FUSEDLSTM_CUDA_BUILD", ROOT / "build" / "cuda"))

_FUNCTION = re.compile(
    r"^\s*Function : (\w+)$|^\s*code for sm_(\d+)\w*$|^\s*/\*[0-9a-f]+\*/\s+(.*?);", re.MULTILINE
)


def report_script() -> Any:
    """Return bench/cuda_resources.py as a module."""
    spec = importlib.util.spec_from_file_location("cuda_resources", ROOT / "bench" / "cuda_resources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled_kernels() -> list[dict[str, Any]]:
    """Return the kernels of build/cuda/resources.json, a dictionary for each architecture."""
    file = BUILD / "resources.json"
    if not file.exists():
        pytest.skip(f"the CUDA kernels are not compiled: no {file}; see make cuda")
    kernels: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["kernels"]
    return kernels


def object_file(source: str) -> Path:
    """Return what a source was compiled to."""
    found = list(BUILD.glob(f"CMakeFiles/*.dir/{source}.o"))
    assert len(found) == 1, f"{source}: expected one object file in {BUILD}, got {found}"
    return found[0]


def disassembler() -> Path:
    """Return cuobjdump of the system or of the PyPI wheels; it needs nvdisasm beside it or on the PATH."""
    if shutil.which("cuobjdump") and shutil.which("nvdisasm"):
        return Path(str(shutil.which("cuobjdump")))
    nvidia = importlib.util.find_spec("nvidia")
    for folder in (nvidia and nvidia.submodule_search_locations) or ():
        program = Path(folder) / "cu13" / "bin" / "cuobjdump"
        if program.exists() and program.with_name("nvdisasm").exists():
            return program
    pytest.skip('there is no disassembler; pip install "fusedlstm[cuda-tools]" brings cuobjdump and nvdisasm')


def machine_code(file: Path) -> dict[tuple[str, int], list[str]]:
    """Return the instructions of each kernel in an object file, by its symbol and architecture."""
    command = [str(disassembler()), "-sass", str(file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    code: dict[tuple[str, int], list[str]] = {}
    architecture = 0
    own: list[str] = []
    for symbol, number, instruction in _FUNCTION.findall(text):
        if number:
            architecture = int(number)
        elif symbol:
            own = code.setdefault((symbol, architecture), [])
        else:
            own.append(instruction)
    return code
