"""Make the bundled part of KDD Cup 99, the data of ``fusedlstm example anomaly``.

``python tests/tools/make_kddcup99_subset.py kddcup.data_10_percent.gz [FOLDER]``, with the file of the
University of California's archive that scikit-learn's ``fetch_kddcup99`` also downloads.
"""

from __future__ import annotations

import gzip
import lzma
import sys
from itertools import groupby
from pathlib import Path

from fusedlstm.examples.flows import KDD_COLUMNS

SUBSET_FOLDER = Path(__file__).parents[2] / "python" / "fusedlstm" / "examples" / "kddcup99"
# The first flows of each run of flows with one label: floods are hundreds of thousands of the same flow.
NORMAL, ATTACK = 250, 50


def subset(lines: list[str]) -> list[str]:
    """Return the lines of the part, in their order, labels without the full stop."""
    chosen: list[str] = []
    for label, run in groupby(lines, key=lambda line: line.rpartition(",")[2]):
        count = NORMAL if label == "normal." else ATTACK
        chosen += [line.removesuffix(".") for line in list(run)[:count]]
    return chosen


def main(source: Path, folder: Path) -> None:
    """Write ``flows.csv.xz`` into a folder."""
    with gzip.open(source, "rt", encoding="ascii") as file:
        lines = subset(file.read().splitlines())
    text = "\n".join([",".join([*KDD_COLUMNS, "label"]), *lines, ""])
    packed = lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flows.csv.xz").write_bytes(packed)
    print(f"{folder / 'flows.csv.xz'}: {len(lines):,} flows, {len(packed):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else SUBSET_FOLDER)
