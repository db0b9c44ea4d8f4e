"""How long a shared training step takes on 2 to 1,024 machines: a model, its table and its picture.

    python bench/scaling.py measure bench/scaling.json    # times of one and of two ranks, by bench/ranks.py
    python bench/scaling.py table bench/scaling.json
    python bench/scaling.py draw bench/scaling.json bench/scaling.png

The model is Hockney's: a message of n bytes takes alpha + n / beta. With R ranks, one a machine, N numbers of
4 bytes in b messages a step:

    exact   T = C + b * 2 (R - 1) alpha + 2 (R - 1) / R * 4 N / beta
    fast    T = C + b * 2 log2(R) alpha + 2 (R - 1) / R * 4 N / beta

C is the measured time of one rank alone, with as many rows; each rank has one shard. Exact sends each rank
its part of the sum from everybody, and collects the parts in a ring; fast halves and doubles. Nothing of it
is hidden behind the backward pass, which is what MPI without a thread of progress gives at worst.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fusedlstm import plots
from fusedlstm.plots.drawing import COLOURS, clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALONE, SHARED = "fast", "exact, a shard a rank"
RANKS = [2**power for power in range(1, 11)]
GOOD = 0.9  # of the perfect rate: below it, a machine more is not worth its price


class Network(NamedTuple):
    """Seconds of an empty message, and bytes per second, with their source."""

    alpha: float
    beta: float
    source: str


# osu_latency and osu_bw of one pair of machines, https://gist.github.com/jfgrimm/3af692a5475bdd4ed836b5a18197a209:
# MPICH over TCP 25 us and 93 % of its Ethernet's rate, Open MPI over InfiniBand 0.9 us and 11.7 GB/s. Faster
# Ethernets are taken to have the same latency over TCP, and the same share of their rate.
_TCP, _SHARE = 25e-6, 0.93
NETWORKS = {
    "10 Gbit/s Ethernet": Network(_TCP, _SHARE * 1.25e9, "TCP"),
    "100 Gbit/s Ethernet": Network(_TCP, _SHARE * 12.5e9, "TCP"),
    "InfiniBand, 100 Gbit/s": Network(0.9e-6, 11.7e9, "verbs"),
}


def seconds(compute: float, numbers: int, messages: int, ranks: int, network: Network, mode: str) -> float:
    """Return the time of a step; see above."""
    turns = 2 * (ranks - 1) if mode == "exact" else 2 * math.log2(ranks)
    volume = 2 * (ranks - 1) / ranks * 4 * numbers
    return float(compute + messages * turns * network.alpha + volume / network.beta)


def fitted(messages: dict[str, float]) -> Network:
    """Return what the messages of two ranks here took: the smallest one's time, and the rate of the largest.

    An exchange sends half of its numbers, and collects the other half.
    """
    times = {int(size): time for size, time in messages.items()}
    largest = max(times)
    alpha = times[min(times)] / 2
    return Network(alpha, largest / (times[largest] - 2 * alpha), "shared memory")


def launched(ranks: int, of_each: float) -> dict[str, Any]:
    """Return the times that so many ranks measure."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    program = Path(__file__).with_name("ranks.py")
    command = ["mpiexec", "-n", str(ranks), sys.executable, str(program), "--seconds", str(of_each)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rates(found: dict[str, Any], model: str) -> dict[str, float]:
    """Return the time of two ranks over that of one, of each round, as medians."""
    rounds = found["rounds"]
    return {
        way: statistics.median(
            one["1"]["steps"][model][ALONE] / one["2"]["steps"][model][way] for one in rounds
        )
        for way in rounds[0]["2"]["steps"][model]
    }


def median(found: dict[str, Any], ranks: int, model: str, way: str) -> float:
    """Return the median over all rounds of a step's seconds."""
    return float(statistics.median(one[str(ranks)]["steps"][model][way] for one in found["rounds"]))


def last_good(compute: float, numbers: int, messages: int, network: Network, mode: str) -> int:
    """Return the most ranks, of RANKS, with the good share of the perfect rate; 1 for none."""
    good = [1]
    for ranks in RANKS:
        if compute / seconds(compute, numbers, messages, ranks, network, mode) >= GOOD:
            good.append(ranks)
    return good[-1]


@click.group(help=__doc__)
def scaling() -> None:
    """Group the commands."""


@scaling.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rounds", default=5, help="Starts of one rank and of two, in turns.")
@click.option("--seconds", "of_each", default=2.0, help="Of each way to share, in each start.")
def measure(path: Path, rounds: int, of_each: float) -> None:
    """Measure one rank and two in turns, and write the times to a file."""
    found = [{str(ranks): launched(ranks, of_each) for ranks in (1, 2)} for _ in range(rounds)]
    path.write_text(json.dumps({"rounds": found}, indent=1) + "\n")


@scaling.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def table(path: Path) -> None:
    """Print the measured times, the model's beside them, and what it predicts."""
    found = json.loads(path.read_text())
    here = fitted(found["rounds"][0]["2"]["messages"])
    print(
        f"Two ranks here: alpha {here.alpha * 1e6:.1f} us, beta {here.beta / 1e9:.2f} GB/s ({here.source})\n"
    )
    print(
        "| model | numbers, messages | one rank | two, exact | predicted | of the perfect rate | two, fast |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model, (numbers, messages) in found["rounds"][0]["1"]["sizes"].items():
        compute, two = median(found, 1, model, ALONE), median(found, 2, model, SHARED)
        predicted = seconds(compute, numbers, messages, 2, here, "exact")
        share = rates(found, model)
        print(
            f"| {model} | {numbers:,}, {messages} | {compute * 1e3:.2f} ms | {two * 1e3:.2f} ms | "
            f"{predicted * 1e3:.2f} ms | {share[SHARED]:.3f} | {share['fast']:.3f} |"
        )
    print("\nExact with the default of 8 shards, over fast, two ranks:")
    for model in found["rounds"][0]["1"]["sizes"]:
        eight, fast = (median(found, 2, model, way) for way in ("exact, 8 shards", "fast"))
        print(f"  {model}: {eight / fast:.3f}; a shard a rank {median(found, 2, model, SHARED) / fast:.3f}")
    print(f"\n| model, mode | network | {' | '.join(map(str, RANKS))} | {GOOD} up to |")
    print(f"| --- | --- |{' --- |' * (len(RANKS) + 1)}")
    for model, (numbers, messages) in found["rounds"][0]["1"]["sizes"].items():
        compute = median(found, 1, model, ALONE)
        for mode in ("exact", "fast"):
            for name, network in NETWORKS.items():
                shares = [
                    compute / seconds(compute, numbers, messages, ranks, network, mode) for ranks in RANKS
                ]
                most = last_good(compute, numbers, messages, network, mode)
                told = " | ".join(f"{share:.2f}" for share in shares)
                print(f"| {model}, {mode} | {name} | {told} | {most} |")


@scaling.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
def draw(path: Path, picture: Path) -> None:
    """Draw the share of the perfect rate over the number of machines."""
    plots.save(drawn(json.loads(path.read_text())), picture)
    print(picture)


def drawn(found: dict[str, Any]) -> Figure:
    """Return the picture."""
    sizes = found["rounds"][0]["1"]["sizes"]
    note = (
        "Modelled from the measured time of one rank of one thread with 64 rows and messages of alpha + n / "
        "beta, nothing hidden behind the backward pass. Solid: exact, whose messages grow with the number of "
        "ranks; dashed: fast."
    )
    title = "Latency ends the scaling of small models, and that of exact sums over TCP"
    figure = plots.figure(title, note, (12, 4.6))
    colours = dict(zip(NETWORKS, ("vermilion", "orange", "blue"), strict=True))
    for axes, (model, (numbers, messages)) in zip(figure.subplots(1, len(sizes)), sizes.items(), strict=True):
        compute = median(found, 1, model, ALONE)
        for name, network in NETWORKS.items():
            for mode, line in (("exact", "-"), ("fast", "--")):
                shares = [
                    compute / seconds(compute, numbers, messages, ranks, network, mode) for ranks in RANKS
                ]
                colour = COLOURS[colours[name]]
                label = f"{name}, {mode}"
                axes.plot(RANKS, shares, line, color=colour, label=label)
        axes.axhline(GOOD, color="0.8", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(RANKS[::3], [str(ranks) for ranks in RANKS[::3]])
        axes.set_ylim(0, 1.05)
        axes.set_title(f"{model}: {numbers / 1e6:.1f} million numbers, {compute * 1e3:.0f} ms", fontsize=9)
        axes.set_xlabel("machines")
        axes.set_ylabel("share of the perfect rate")
        clean(axes)
        if model == next(iter(sizes)):
            axes.legend(loc="lower left", fontsize=7.5, frameon=False)
    return figure


if __name__ == "__main__":
    scaling()
