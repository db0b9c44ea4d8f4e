"""Training steps of a graph and of the stack of the same layers, in turns.

    python bench/graphs.py

Both models see the same batch. Turns change places from round to round; printed are the lowest tenth and the
median of the steps, and the graph's as multiples of the stack's.
"""

from __future__ import annotations

import time
from typing import Any

import click
import numpy as np

import fusedlstm
from fusedlstm import layers

# B, T, I, units of the LSTMs, outputs, and steps of a turn.
SIZES = ((1, 3, 4, (8,), 4, 200), (64, 28, 28, (128, 128), 10, 3))


def _pair(steps: int, inputs: int, units: tuple[int, ...], outputs: int) -> tuple[Any, Any]:
    def made() -> list[Any]:
        inner = [layers.LSTM(count, return_sequences=True) for count in units[:-1]]
        return [*inner, layers.LSTM(units[-1]), layers.Dense(outputs)]

    x = y = fusedlstm.Input((steps, inputs))
    for layer in made():
        y = layer(y)
    pair = fusedlstm.Sequential([fusedlstm.Input((steps, inputs)), *made()]), fusedlstm.Model(x, y)
    for model in pair:
        model.compile("adam", fusedlstm.losses.SparseCategoricalCrossentropy(from_logits=True))
    return pair


@click.command()
@click.option("--rounds", default=24, show_default=True, type=click.IntRange(2))
def main(rounds: int) -> None:
    """Time training steps of a stack and of a graph."""
    for rows, steps, inputs, units, outputs, count in SIZES:
        pair = _pair(steps, inputs, units, outputs)
        rng = np.random.default_rng(0)
        x = rng.standard_normal((rows, steps, inputs)).astype(np.float32)
        y = rng.integers(0, outputs, rows)
        pair[1].set_weights(pair[0].get_weights())
        first = [model.train_on_batch(x, y) for model in pair]
        if first[0] != first[1]:
            raise click.ClickException(f"losses of the same step differ: {first}")
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                pair[which].train_on_batch(x, y)
                for _ in range(count):
                    start = time.perf_counter()
                    pair[which].train_on_batch(x, y)
                    times[which].append(time.perf_counter() - start)
        stack, graph = (1e6 * np.percentile(one, (10, 50)) for one in times)
        low, usual = graph / stack
        click.echo(
            f"({rows},{steps},{inputs}) LSTM{units}: stack {stack[0]:.1f} and {stack[1]:.1f} us, "
            f"graph {graph[0]:.1f} and {graph[1]:.1f} us, {low:.3f} and {usual:.3f} of it"
        )


if __name__ == "__main__":
    main()
