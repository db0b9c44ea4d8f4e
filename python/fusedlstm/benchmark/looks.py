"""How contenders look in pictures, and what each picture says about where its numbers come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusedlstm.benchmark.peers import OURS, PEERS
from fusedlstm.plots import COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping

# Colours, and markers for those who print in grey; a contender's relatives have other shades of its colour.
LOOKS = {
    OURS: (COLOURS["vermilion"], "o"),
    "fusedlstm-padded": ("#F2B38A", "h"),
    "fusedlstm-bfloat16": ("#F2B38A", "p"),
    "fusedlstm-float32": ("#8C3D00", "*"),
    "fusedlstm-int8": ("#8C3D00", "X"),
    "fusedlstm-checkpoints": ("#F2B38A", "d"),
    "torch": (COLOURS["blue"], "s"),
    "torch-cell": (COLOURS["sky"], "D"),
    "torch-padded": (COLOURS["sky"], "<"),
    "onnxruntime": (COLOURS["green"], "^"),
    "keras-jax": (COLOURS["purple"], "v"),
    "keras-tensorflow": (COLOURS["orange"], "P"),
}
# How ratios come about, which readers would otherwise take for those of the times beside them.
RATIOS = "a ratio is the median of those within each round, and not the ratio of the medians"


def label(name: str) -> str:
    """Return a contender's name for readers."""
    return PEERS[name].label if name in PEERS else name


def machine_note(content: Mapping[str, Any]) -> str:
    """Return the machine, the kernels and the data of a benchmark's results."""
    machine, options = content["machine"], content["options"]
    threads = "1 thread" if options["threads"] == 1 else f"{options['threads']} threads"
    return (
        f"{machine['processor']}, {threads}, {options['dtype']}, {machine['instruction_set']}; "
        "random weights and inputs, seed 0"
    )
