"""Measure what is not a race: threads, denormal numbers, options, memory, the time to import.

    python bench/limits.py [threads] [denormals] [options] [memory] [import]

All parts by default, each a table on standard output. Times are medians of calls that take turns; one thread
and all threads have the same bits, which is checked first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from fusedlstm import layers, ops

if TYPE_CHECKING:
    from collections.abc import Callable

# (B, T, I, H): the table of docs/options.md.
SHAPES = (
    (64, 28, 28, 128),
    (64, 28, 128, 128),
    (256, 28, 128, 128),
    (32, 100, 256, 256),
    (64, 50, 512, 512),
    (16, 50, 1024, 1024),
    (1, 100, 128, 128),
    (1, 100, 512, 512),
    (1, 1, 128, 128),
    (1, 1, 512, 512),
)
MEMORY_SHAPES = ((256, 200, 128, 128), (256, 200, 128, 256), (32, 400, 64, 512))


def arrays(shape: tuple[int, int, int, int], scale: float = 1.0) -> tuple[Any, Any, Any]:
    """Make x, weights (kernel, recurrent_kernel, bias) and dy; x, bias and dy are times `scale`."""
    B, T, I, H = shape  # noqa: E741
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, H))
    kernel, recurrent = (
        rng.standard_normal((I, 4 * H)) * 0.5 / I**0.5,
        rng.standard_normal((H, 4 * H)) * 0.33 / H**0.5,
    )
    weights = (kernel, recurrent, rng.standard_normal(4 * H) * scale)
    return (x * scale).astype("f"), tuple(a.astype("f") for a in weights), (dy * scale).astype("f")


def forward(shape: tuple[int, int, int, int], scale: float = 1.0) -> Callable[[], list[Any]]:
    """Make a call of the forward pass that returns its results."""
    x, parts, _ = arrays(shape, scale)
    weights = ops.LSTMWeights(*parts)

    def run() -> list[Any]:
        result = ops.lstm_forward(x, weights)
        return [result.y, result.h, result.c]

    return run


def training(
    shape: tuple[int, int, int, int], scale: float = 1.0, projection: Any = None, **options: Any
) -> Callable[[], list[Any]]:
    """Make a call of the forward and backward pass that returns the gradients."""
    x, (kernel, recurrent_kernel, bias), dy = arrays(shape, scale)
    if projection is not None:
        outputs = projection.shape[1]
        recurrent_kernel, dy = recurrent_kernel[:outputs], dy[..., :outputs]
    weights = ops.LSTMWeights(kernel, recurrent_kernel, bias, projection=projection)

    def run() -> list[Any]:
        tape = ops.lstm_forward(x, weights, training=True, **options).tape
        assert tape is not None
        return [gradient for gradient in ops.lstm_backward(tape, dy) if gradient is not None]

    return run


def layer_training(shape: tuple[int, int, int, int], layer: layers.Layer) -> Callable[[], object]:
    """Make a call of a layer forward and backward, whose outputs are (B,T,H) or (B,T,2 H)."""
    x, _, dy = arrays(shape)
    outputs = layer(x).shape[2]
    dy = np.concatenate([dy] * (outputs // dy.shape[2]), axis=2)

    def run() -> object:
        layer(x, training=True)
        return layer.backward(dy)

    return run


def take_turns(calls: list[Callable[[], object]], seconds: float) -> list[float]:
    """Return the median time of each call."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, own in zip(calls, times, strict=True):
            call()  # wakes the threads that this one uses
            start = time.perf_counter()
            call()
            own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in times]


def show_threads(seconds: float) -> None:
    """Compare one thread with all."""
    count = ops.get_num_threads()

    def with_threads(number: int, call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            ops.set_num_threads(number)
            return call()

        return run

    click.echo(
        f"| (B,T,I,H) | forward, 1 thread | {count} threads | ratio "
        f"| training, 1 thread | {count} threads | ratio |"
    )
    click.echo("| --- | --- | --- | --- | --- | --- | --- |")
    for shape in SHAPES:
        cells = [str(shape).replace(" ", "")]
        for make in (forward, training):
            call = make(shape)
            one, all_threads = with_threads(1, call), with_threads(count, call)
            for a, b in zip(one(), all_threads(), strict=True):
                np.testing.assert_array_equal(a, b)
            times = take_turns([one, all_threads], seconds)
            cells += [f"{times[0] * 1e3:.3f} ms", f"{times[1] * 1e3:.3f} ms", f"{times[0] / times[1]:.2f}"]
        click.echo("| " + " | ".join(cells) + " |")
    ops.set_num_threads(count)


def show_denormals(seconds: float) -> None:
    """Compare inputs, biases and incoming gradients of 1e-39 with ordinary ones."""
    click.echo("| (B,T,I,H) | forward | denormal / normal | training | denormal / normal |")
    click.echo("| --- | --- | --- | --- | --- |")
    for shape in SHAPES[:4] + SHAPES[6:8]:
        cells = [str(shape).replace(" ", "")]
        for make in (forward, training):
            normal, denormal = make(shape), make(shape, 1e-39)
            assert all(np.isfinite(a).all() for a in denormal())
            times = take_turns([normal, denormal], seconds)
            cells += [f"{times[0] * 1e3:.3f} ms", f"{times[1] / times[0]:.2f}"]
        click.echo("| " + " | ".join(cells) + " |")


def show_options(seconds: float) -> None:
    """Compare training with options of the cell, masks and recurrent dropout with the plain one."""
    shape = B, T, I, H = 64, 100, 128, 128  # noqa: E741
    rng = np.random.default_rng(1)
    holes = np.ones((B, T), bool)
    holes[:, ::9] = False
    peepholes = rng.normal(size=(3, H), scale=0.1).astype("f")
    gamma, beta = np.ones(4 * H, "f"), np.zeros(H, "f")
    kept = (rng.random((B, H)) < 0.8).astype("f") / np.float32(0.8)
    state = rng.normal(size=(B, H)).astype("f")
    cells: dict[str, dict[str, Any]] = {
        **{f"activation {name}": {"activation": name} for name in ("relu", "elu", "softsign", "softplus")},
        "recurrent activation hard_sigmoid": {"recurrent_activation": "hard_sigmoid"},
        "peepholes": {"peepholes": peepholes},
        "coupled gates": {"coupled": True},
        "limit on the cell state": {"cell_clip": 3.0},
        "layer normalization": {"layer_norm": ops.LayerNorm(gamma, gamma, gamma[:H], beta)},
        "limit on the pre-activations": {"gate_clip": 3.0},
        "zoneout of h and c": {"zoneout_h": 0.1, "zoneout_c": 0.1},
    }
    drawn = {"zoneout of h and c": {"zoneout_seed": 1}}
    cases: dict[str, dict[str, Any]] = {
        "plain": {},
        **{name: {"options": ops.CellOptions(**cell), **drawn.get(name, {})} for name, cell in cells.items()},
        "initial states": {"h0": state, "c0": state},
        "go_backwards": {"go_backwards": True},
        "recurrent dropout": {"recurrent_mask": kept},
        "mask without one step in nine": {"mask": holes},
        "mask of the first half": {"mask": np.broadcast_to(np.arange(T) < T // 2, (B, T))},
    }
    projection = (rng.normal(size=(H, H // 2)) / H**0.5).astype("f")
    calls: list[Callable[[], object]] = [training(shape, **options) for options in cases.values()]
    calls.append(training(shape, projection=projection))
    calls.append(layer_training(shape, layers.LSTM(H, return_sequences=True, dropout=0.2, seed=1)))
    calls.append(layer_training(shape, layers.Bidirectional(layers.LSTM(H, return_sequences=True))))
    names = [*cases, "projection to H / 2", "dropout of inputs (the layer)", "both directions (the layer)"]
    times = take_turns(calls, seconds * len(calls))
    click.echo("| option | training | of the plain time |")
    click.echo("| --- | --- | --- |")
    for name, own in zip(names, times, strict=True):
        click.echo(f"| {name} | {own * 1e3:.2f} ms | {own / times[0]:.2f} |")
    # Multiply-adds of a row and step, forward; backward has twice as many of each.
    plain, projected = 4 * H * (I + H), 4 * H * (I + H // 2) + H * (H // 2)
    click.echo(f"A projection to H / 2 leaves {projected / plain:.2f} of the operations.")


def training_bytes(shape: tuple[int, int, int, int], threads: int) -> int:
    """Return what a training step of one layer allocates, by the formula of docs/performance.md, in float32.

    With V the vector's width, P = H rounded up to V, D = 4 P, and Q = I and H each rounded up to 4 V: the
    tape B T (D + H), y and dx B T (H + I), packed weights D (I + H + 1) and transposed ones D Q, gradients
    4 H (I + H + 1), the packed left operand of the weight gradients (I + H) min(B T, 1536), and for each
    thread a panel of 4 V 768.
    """
    B, T, I, H = shape  # noqa: E741
    V = {"avx512": 16, "avx2": 8, "neon": 4, "scalar": 1}[ops.get_instruction_set()]

    def up(n: int, step: int) -> int:
        return -(-n // step) * step

    D = 4 * up(H, V)
    numbers = B * T * (D + H) + B * T * (H + I) + D * (I + H + 1) + D * (up(I, 4 * V) + up(H, 4 * V))
    numbers += 4 * H * (I + H + 1) + (I + H) * min(B * T, 1536) + threads * 4 * V * 768
    return 4 * numbers


_PEAK = """
import json, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import limits
from fusedlstm import ops
shape = tuple(json.loads({shape!r}))
def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
limits.training((1, 1, 4, 4))()
x, parts, dy = limits.arrays(shape)
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
before = kilobytes("VmRSS")
for _ in range(3):
    weights = ops.LSTMWeights(*parts)
    tape = ops.lstm_forward(x, weights, training=True).tape
    ops.lstm_backward(tape, dy)
    del tape  # and with it y
print(1024 * (kilobytes("VmHWM") - before), limits.training_bytes(shape, ops.get_num_threads()))
"""


def show_memory() -> None:
    """Compare the peak of three training steps, beyond x, dy and the weights, with the formula."""
    click.echo("| (B,T,I,H) | peak | formula | ratio |")
    click.echo("| --- | --- | --- | --- |")
    for shape in MEMORY_SHAPES:
        code = _PEAK.format(folder=str(Path(__file__).parent), shape=json.dumps(shape))
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peak, formula = map(int, run.stdout.split())
        click.echo(
            f"| {str(shape).replace(' ', '')} | {peak / 1e6:.1f} MB | {formula / 1e6:.1f} MB "
            f"| {peak / formula:.2f} |"
        )


def show_import() -> None:
    """Time importing, the median of 15 processes each, and add up what is installed."""
    import fusedlstm

    def median(code: str) -> float:
        times = []
        for _ in range(15):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    numpy, ours = median("import numpy"), median("import fusedlstm")
    files = [
        path
        for path in Path(fusedlstm.__file__).parent.rglob("*")
        if path.suffix != ".pyc" and path.is_file()
    ]
    click.echo(f"import fusedlstm: {ours - numpy:.3f} s beyond NumPy's {numpy:.3f} s")
    click.echo(f"installed: {sum(path.stat().st_size for path in files) / 1e6:.2f} MB")


PARTS = ("threads", "denormals", "options", "memory", "import")


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option(
    "--seconds", type=click.FloatRange(0.01), default=1.5, show_default=True, help="Time per figure."
)
def main(parts: tuple[str, ...], seconds: float) -> None:
    """Run the parts."""
    for part in parts or PARTS:
        click.echo(f"\n{part} ({ops.get_instruction_set()}, {ops.get_num_threads()} threads)")
        if part == "threads":
            show_threads(seconds)
        elif part == "denormals":
            show_denormals(seconds)
        elif part == "options":
            show_options(seconds)
        elif part == "memory":
            show_memory()
        else:
            show_import()


if __name__ == "__main__":
    main()
