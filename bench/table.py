"""Print the README's table from the JSON file of `fusedlstm bench --json FILE`.

python bench/table.py bench.json
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
        what,
        seconds_text(ours["seconds"]["median"]),
        f"{100 * ours['fraction_of_peak']['median']:.0f} %",
    ]
    for peer in PEERS:
        measured = contenders.get(peer)
        cells.append("" if measured is None else f"{measured['time_relative_to_ours']['median']:.2f}")
    return cells


@click.command(help=__doc__)
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path: Path) -> None:
    """Print the table."""
    content = json.loads(path.read_text(encoding="utf-8"))
    header = ["work (B,T,I,H)", "fusedlstm", "of peak", *PEERS.values()]
    lines = [header, ["---"] * len(header)]
    lines += [row(workload) for workload in content["workloads"] if workload["kind"] in TITLES]
    for cells in lines:
        click.echo("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
