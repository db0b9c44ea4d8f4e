"""``fusedlstm mnist --device``, with the simulated GPU in the place of a real one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from fusedlstm.base import devices
from fusedlstm.commands.cli import cli
from tests.test_cli import SMALL, write_digits

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulated_gpu.device import SimDevice


def test_mnist(device: SimDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results say what has run, and are those of the CPU."""
    find = devices.find
    monkeypatch.setattr(devices, "find", lambda name: device if name == "cuda" else find(name))
    data, out = write_digits(tmp_path / "digits"), tmp_path / "out.json"
    results = []
    for name in ("cpu", "cuda"):
        options = (*SMALL, "--epochs", "1", "--data", data, "--json", out, "--device", name)
        done = CliRunner().invoke(cli, ["mnist", *(str(option) for option in options)])
        assert done.exit_code == 0, done.output
        results.append(json.loads(out.read_text(encoding="utf-8"))["results"])
    assert [result["device"] for result in results] == ["cpu", "simt"]
    assert results[1]["kernel"].startswith("simt:0 float32 lstm_forward")
    assert results[1]["test_loss"] == pytest.approx(results[0]["test_loss"], rel=1e-3)
