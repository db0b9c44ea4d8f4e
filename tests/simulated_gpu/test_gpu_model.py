"""The predicted times of the CUDA kernels are what the script says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from .build import BUILD, load

ROOT = Path(__file__).parents[2]


def predictions(*arguments: str) -> str:
    load("_simt")  # skips where it is not built
    return subprocess.run(
        [sys.executable, "-m", "bench.gpu_model", *arguments],
        cwd=ROOT,
        env={**os.environ, "FUSEDLSTM_SIMT_BUILD": str(BUILD)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_tables_are_the_scripts() -> None:
    text = (ROOT / "bench" / "gpu_model.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- python -m bench.gpu_model --markdown -->\n(.*)<!-- end -->", text, re.DOTALL)
    assert found is not None
    assert found[1] == predictions("--markdown")


def test_longer_with_more_work() -> None:
    def forward(*arguments: str) -> float:
        row = predictions("--device", "H100", *arguments).splitlines()[2]
        return float(row.split("|")[4])

    base = forward("--units", "512", "--batch", "64")
    assert base < forward("--units", "1024", "--batch", "64")
    assert base < forward("--units", "512", "--batch", "256")
    assert base < forward("--units", "512", "--batch", "64", "--number", "float32")
