"""Predict the time of the CUDA sequence kernels from the plan's layout and devices' published figures.

    python -m bench.gpu_model [--markdown] [--device H100] [--number float16] [--units 768] [--batch 16]

Prints tables for every combination of what is named, or, with --markdown, those of bench/gpu_model.md, which
explains the model. Needs the simulated GPU's module, whose plan it asks for
the layout: `make build/simt/built`, or its folder in FUSEDLSTM_SIMT_BUILD.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusedlstm.benchmark.prediction import STEPS, Step, predict
from fusedlstm.benchmark.prediction_devices import DEVICES, NUMBER_BYTES, PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = (256, 512, 768, 1024, 2048)
BATCHES = (16, 64)


def planner() -> Any:
    """Return the simulated GPU's module."""
    build = Path(os.environ.get("FUSEDLSTM_SIMT_BUILD", Path(__file__).parents[1] / "build" / "simt"))
    sys.path.insert(0, str(build))
    try:
        return importlib.import_module("_simt")
    except ModuleNotFoundError:
        raise click.ClickException(
            f"the planner: expected _simt in {build}; see make build/simt/built"
        ) from None
    finally:
        sys.path.remove(str(build))


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Format a table of Markdown."""
    rule = tuple("---" if i < 3 else "---:" for i in range(len(header)))
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def times(
    module: Any, names: Sequence[str], numbers: Sequence[str], units: Sequence[int], batches: Sequence[int]
) -> str:
    """Tabulate whole sequences."""
    rows = []
    for name in names:
        for number in numbers:
            for batch in batches:
                for H in units:
                    found = predict(module, name, number, batch, H)
                    rows.append(
                        (
                            name,
                            number,
                            f"{batch}, {STEPS}, {H}",
                            f"{found.forward.seconds * 1e6:.2f}",
                            f"{found.backward.seconds * 1e6:.2f}",
                            f"{found.product * 1e3:.2f}",
                            f"{found.forward_seconds * 1e3:.2f}",
                            f"{found.seconds * 1e3:.2f}",
                            f"{found.forward.dominant}, {found.backward.dominant}",
                        )
                    )
    header = (
        "device",
        "numbers",
        "B, T, H",
        "step forward, us",
        "backward, us",
        "a product, ms",
        "forward, ms",
        "forward + backward, ms",
        "longest part",
    )
    return table(header, rows)


def causes(
    module: Any, names: Sequence[str], numbers: Sequence[str], units: Sequence[int], batches: Sequence[int]
) -> str:
    """Tabulate steps by cause."""
    rows = []
    for name in names:
        for number in numbers:
            for batch in batches:
                for H in units:
                    found = predict(module, name, number, batch, H)
                    for direction, one in (("forward", found.forward), ("backward", found.backward)):
                        rows.append(
                            (
                                name,
                                number,
                                f"{batch}, {H} {direction}",
                                *(f"{seconds * 1e6:.2f}" for seconds in one.parts().values()),
                                f"{one.memory * 1e6:.2f}",
                                f"{one.l2_bytes / 1024:.0f}",
                                f"{one.shared_bytes / 1024:.0f}",
                                f"{one.memory_bytes / 1024:.0f}",
                                f"{one.operations / 1e6:.0f}",
                            )
                        )
    header = (
        "device",
        "numbers",
        "B, H",
        *Step().parts(),
        "memory",
        "L2, KiB",
        "shared, KiB",
        "memory, KiB",
        "Mop",
    )
    return table(header, rows)


def published(module: Any) -> str:
    """Tabulate the ratios to published times."""
    found = predict(module, "H100", "float16", 16, 768)
    rows = [
        (
            name,
            f"{forward} ms",
            f"{both} ms",
            f"{found.forward_seconds * 1e3 / forward:.2f}, {found.seconds * 1e3 / both:.2f}",
        )
        for name, (forward, both) in PUBLISHED.items()
    ]
    return table(("of", "forward", "forward + backward", "ratios"), rows)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--markdown", is_flag=True, help="Print the tables of bench/gpu_model.md.")
@click.option("--device", "names", multiple=True, type=click.Choice(list(DEVICES)), default=list(DEVICES))
@click.option(
    "--number", "numbers", multiple=True, type=click.Choice(list(NUMBER_BYTES)), default=["float16"]
)
@click.option("--units", multiple=True, type=click.IntRange(1), default=UNITS)
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1), default=BATCHES)
def main(
    markdown: bool, names: Sequence[str], numbers: Sequence[str], units: Sequence[int], batches: Sequence[int]
) -> None:
    """Print tables."""
    module = planner()
    asked = (module, names, numbers, units, batches)
    parts = [times(*asked), causes(*asked)]
    if markdown:
        others = (module, names, ["float32", "tf32", "float64"], [768], [16])
        parts = [times(*asked), times(*others), published(module), causes(*asked)]
    click.echo("\n\n".join(parts))


if __name__ == "__main__":
    main()
