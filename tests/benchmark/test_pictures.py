"""The benchmark's pictures: that they show every number, each in its place."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fusedlstm import plots
from fusedlstm.benchmark.peers import OURS, PEERS, VARIANTS, offers
from fusedlstm.benchmark.plots import write_plots
from fusedlstm.benchmark.tables import digits, seconds_text
from fusedlstm.benchmark.workloads import CATALOGUE

if TYPE_CHECKING:
    from pathlib import Path

PEAK = 100.0
MACHINE = {
    "processor": "A processor",
    "instruction_set": "avx2",
    "by_threads": {"2": {"peak_gflops": PEAK, "cache_read_gbytes": 120.0, "memory_read_gbytes": 20.0}},
}


def made_up(names: list[str] | None = None) -> dict[str, Any]:
    """Return results of all workloads; rates reach beyond the peak, ratios are not those of the times."""
    random = np.random.default_rng(2)
    results = []
    for workload in CATALOGUE:
        contenders = {}
        for name in names or (OURS, *VARIANTS, *PEERS):
            if name != OURS and not offers(name, workload, "float32"):
                continue
            share = random.uniform(0.6, 1.3) if name == OURS else random.uniform(0.1, 0.6)
            contenders[name] = {
                "seconds": {"median": workload.operations / (share * PEAK * 1e9)},
                "gflops": share * PEAK,
                "fraction_of_peak": {"median": share, "p10": 0.9 * share, "p90": 1.1 * share},
                "time_relative_to_ours": {"median": 1.0 if name == OURS else random.uniform(1.5, 3.0)},
            }
        sizes = {"B": workload.B, "T": workload.T, "I": workload.I, "H": workload.H}
        entry: dict[str, Any] = {"name": workload.name, "kind": workload.kind, "sizes": sizes}
        entry |= {"operations": workload.operations, "bytes": workload.bytes_moved(4)}
        results.append(entry | {"contenders": contenders})
    return {
        "machine": MACHINE,
        "options": {"threads": 2, "dtype": "float32"},
        "workloads": results,
    }


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep the figures by the names of their files."""
    figures: dict[str, Any] = {}
    save = plots.save

    def keep(figure: Any, path: Path) -> Path:
        figures[path.stem] = figure
        return save(figure, path)

    monkeypatch.setattr(plots, "save", keep)
    return figures


def test_the_roofline_shows_every_point(tmp_path: Path, drawn: dict[str, Any]) -> None:
    content = made_up()
    write_plots(tmp_path, content)
    axes = drawn["roofline"].axes[0]
    points = [tuple(group.get_offsets()[0]) for group in axes.collections]
    expected = [entry["gflops"] for result in content["workloads"] for entry in result["contenders"].values()]
    assert sorted(y for _, y in points) == pytest.approx(sorted(expected))
    assert max(expected) > PEAK
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert all(left < x < right and low < y < high for x, y in points)
    # The numbers stand above all points and the roof.
    numbers = [text for text in axes.texts if text.get_text().isdecimal()]
    assert {text.get_text() for text in numbers} == {str(n + 1) for n in range(len(CATALOGUE))}
    drawn["roofline"].draw_without_rendering()
    top = axes.transData.transform((1, max(*expected, PEAK)))[1]
    boxes = [text.get_window_extent() for text in numbers]
    assert all(top < box.y0 and box.y1 < axes.get_window_extent().y1 + 1 for box in boxes)
    boxes.sort(key=lambda box: box.x0)
    assert all(one.x1 < two.x0 for one, two in itertools.pairwise(boxes))


def test_each_workload_has_a_column(tmp_path: Path, drawn: dict[str, Any]) -> None:
    """Also where two move as many bytes for an operation; columns stay near their place and in order."""
    content = made_up([OURS])
    first, second = content["workloads"][:2]
    second["bytes"] = first["bytes"] * second["operations"] / first["operations"]
    write_plots(tmp_path, content)
    columns = [group.get_offsets()[0][0] for group in drawn["roofline"].axes[0].collections]
    assert len(columns) == len(CATALOGUE)
    places = np.log(np.sort(columns))
    apart = np.diff(places).min()
    assert apart > 0.02 * (places[-1] - places[0])
    intensity = np.array([result["operations"] / result["bytes"] for result in content["workloads"]])
    assert np.abs(np.log(columns) - np.log(intensity)).max() <= len(CATALOGUE) / 2 * apart
    for one in range(len(columns)):
        assert all(
            (columns[one] < columns[two]) for two in np.flatnonzero(intensity > intensity[one] * 1.001)
        )


def test_bars_say_what_their_ratios_are(tmp_path: Path, drawn: dict[str, Any]) -> None:
    content = made_up()
    write_plots(tmp_path, content)
    texts = {text.get_text() for figure in drawn.values() for text in figure.axes[0].texts}
    for result in content["workloads"]:
        for name, entry in result["contenders"].items():
            label = PEERS[name].label if name in PEERS else name
            wanted = f"{label}  {seconds_text(entry['seconds']['median'])}"
            if name != OURS:
                wanted += f"  {digits(entry['time_relative_to_ours']['median'])} x"
            assert wanted in texts
    for name, figure in drawn.items():
        note = figure.get_supxlabel().replace("\n", " ")
        assert "A processor, 2 threads, float32, avx2; random weights and inputs, seed 0" in note
        assert ("a ratio is the median of those within each round" in note) == (name != "roofline")


def test_titles_tell_the_finding(tmp_path: Path, drawn: dict[str, Any]) -> None:
    content = made_up()
    ratios = [
        entry["time_relative_to_ours"]["median"]
        for result in content["workloads"]
        for name, entry in result["contenders"].items()
        if result["kind"] == "mnist" and name in PEERS
    ]
    write_plots(tmp_path, content)
    title = drawn["mnist"].get_suptitle().replace("\n", " ")
    between = f"{digits(min(ratios))} to {digits(max(ratios))}"
    assert title == f"Training step of the MNIST model: others take {between} times as long as fusedlstm"
    write_plots(tmp_path, made_up([OURS]))
    assert "of the multiply-add peak" in drawn["checkpoint"].get_suptitle().replace("\n", " ")
    assert "ratio" not in drawn["checkpoint"].get_supxlabel()
