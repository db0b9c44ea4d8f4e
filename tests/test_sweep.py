"""bench/sweep.py: one shape is one point, wherever it is drawn."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("matplotlib")


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the script, with small shapes."""
    path = Path(__file__).parents[1] / "bench" / "sweep.py"
    spec = importlib.util.spec_from_file_location("sweep", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CENTRE", (2, 3, 4))
    for name, values in (("UNITS", (2, 4, 8)), ("ROWS", (1, 2, 3)), ("STEPS", (1, 3))):
        monkeypatch.setattr(module, name, values)
    return module


def test_the_shape_in_common_is_one_point(sweep: Any, tmp_path: Path) -> None:
    options = ("--threads", "1", "--rounds", "2", "--seconds", "0.01")
    files = ("--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png"))
    result = CliRunner().invoke(sweep.main, [*options, *files])
    assert result.exit_code == 0, result.output
    points = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert len(points) == 8
    common = [point for point in points if point["shape"] == [2, 3, 4]]
    assert [point["axis"] for point in common] == ["units H", "batch rows B", "time steps T"]
    assert len({point["fraction"] for point in common}) == 1
    assert all(point["lowest"] <= point["fraction"] <= point["highest"] for point in points)
    figure = sweep.draw(points, "from a test")
    for panel, axis in zip(figure.axes, ("units H", "batch rows B", "time steps T"), strict=True):
        own = [point for point in points if point["axis"] == axis]
        assert panel.get_xlabel() == axis
        assert list(panel.lines[0].get_xdata()) == [point["value"] for point in own]
        assert list(panel.lines[0].get_ydata()) == [100 * point["fraction"] for point in own]
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_cliffs(sweep: Any) -> None:
    points = [{"axis": "T", "value": n, "fraction": f} for n, f in enumerate((0.8, 0.2, 0.8, 0.7))]
    assert sweep.cliffs(points) == ["T = 1: 0.20, neighbours 0.80"]
