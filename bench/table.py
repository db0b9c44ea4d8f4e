"""Print the tables of docs/performance.md from the JSON file of `fusedlstm bench --json FILE`.

    python bench/table.py bench/measured.json

A workload of another run than the rest may have a mark, which stands behind its name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fusedlstm.benchmark.tables import seconds_text

PEERS = {
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "keras-jax": "Keras on JAX",
    "keras-tensorflow": "Keras on TensorFlow",
}
TITLES = {
    "forward": "forward",
    "training": "forward + backward",
    "lengths": "the same, 48 % real steps",
    "step": "one step",
    "mnist": "MNIST training step",
}


def row(workload: dict[str, Any]) -> list[str]:
    """Make the cells of one workload: what, our time, share of the peak, and each peer's time over ours."""
    contenders = workload["contenders"]
    ours = contenders["fusedlstm"]
    sizes = workload["sizes"]
    letters = {"step": "BIH", "mnist": "B"}.get(workload["kind"], "BTIH")
    numbers = ",".join(str(sizes[letter]) for letter in letters)
    what = (
        f"{TITLES[workload['kind']]} ({numbers})"
        if len(letters) > 1
        else f"MNIST training step, batch {numbers}"
    )
    cells = [
        what + workload.get("mark", ""),
        seconds_text(ours["seconds"]["median"]),
        f"{100 * ours['fraction_of_peak']['median']:.0f} %",
    ]
    for peer in PEERS:
        measured = contenders.get(peer)
        cells.append("" if measured is None else f"{measured['time_relative_to_ours']['median']:.2f}")
    return cells


def narrow_row(workload: dict[str, Any]) -> list[str]:
    """Make the cells of one workload with one row: times with weights in fewer bits, and ONNX Runtime's."""
    sizes, contenders = workload["sizes"], workload["contenders"]
    what = "one step" if workload["kind"] == "step" else f"{sizes['T']} steps"
    names = ("fusedlstm", "fusedlstm-bfloat16", "fusedlstm-int8", "onnxruntime")
    times = [contenders.get(name) for name in names]
    return [
        f"{what}, H = {sizes['H']}",
        *("" if time is None else seconds_text(time["seconds"]["median"]) for time in times),
    ]


def show(header: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    for cells in (header, ["---"] * len(header), *rows):
        click.echo("| " + " | ".join(cells) + " |")


@click.command(help=__doc__)
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path: Path) -> None:
    """Print the tables."""
    workloads = json.loads(path.read_text(encoding="utf-8"))["workloads"]
    header = ["work (B,T,I,H)", "fusedlstm", "of peak", *PEERS.values()]
    show(header, [row(workload) for workload in workloads if workload["kind"] in TITLES])
    single = [w for w in workloads if w["kind"] in ("forward", "step") and w["sizes"]["B"] == 1]
    if single:
        click.echo()
        header = ["one row, weights in", "float32", "bfloat16", "int8", "ONNX Runtime, float32"]
        show(header, [narrow_row(workload) for workload in single])


if __name__ == "__main__":
    main()
