"""``fusedlstm mnist``: train a stack of LSTMs on MNIST's rows of pixels and report how well it does."""

from __future__ import annotations

import json
import math
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

import fusedlstm
from fusedlstm import callbacks, distributed, layers, ops, optimizers, utils
from fusedlstm.commands import options as cli_options
from fusedlstm.commands.numbers import plain
from fusedlstm.commands.report import REPORT
from fusedlstm.datasets.mnist import MNIST, SubsetWarning, find_mnist
from fusedlstm.io.atomic import write_text
from fusedlstm.optimizers import schedules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.callbacks.base import Logs
    from fusedlstm.distributed import Communicator

_PREDICT_BATCH = 256
# What --epochs and --learning-rate are where nobody says: on MNIST itself, and on the bundled subset, where a
# pass takes a fifteenth of the time and the rate falls to zero along half a cosine, so that results settle.
_EPOCHS, _LEARNING_RATE = 3, 1e-3
_SUBSET_EPOCHS, _SUBSET_LEARNING_RATE = 20, 2e-3
_FULL = "97.9 % in 3 epochs with the defaults (seeds 0 to 2); needs the four files: --data FOLDER"


@click.command(context_settings={"show_default": True})
@click.option("--units", type=click.IntRange(min=1), default=128, help="Units of each LSTM.")
@click.option("--layers", type=click.IntRange(min=1), default=2, help="Number of LSTMs.")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    show_default=f"{_EPOCHS}; {_SUBSET_EPOCHS} on the bundled subset",
    help="Passes over the training digits.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=64, help="Digits in one training step.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    show_default=f"{_LEARNING_RATE:g}; on the bundled subset {_SUBSET_LEARNING_RATE:g}, falling to 0",
    callback=cli_options.finite,
    help="Adam's step size.",
)
@click.option(
    "--dropout",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    callback=cli_options.finite,
    help="Share of activations dropped after each layer but the last.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Makes runs repeatable bit for bit."
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "auto"]),
    default="cpu",
    callback=cli_options.device,
    help="Where to compute; auto is cuda where there is an NVIDIA GPU that can.",
)
@click.option("--threads", type=click.IntRange(1, 1024), show_default="all cores", help="Number of threads.")
@cli_options.distribute_option()
@cli_options.instruction_set_option("Kernels to use")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    show_default="cache, download or bundled subset",
    help="Folder with the four IDX files.",
)
@cli_options.file_option("--save", "Write the model to this .safetensors or .keras file.")
@cli_options.pictures_option("--report", lambda: REPORT)
@cli_options.file_option("--json", "Write results and options to this file.")
@click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
def mnist(**options: Any) -> None:
    """Train an LSTM on MNIST and print its test accuracy.

    The model reads a digit as 28 rows of 28 pixels: LSTMs, each followed by dropout, then Dense(32, relu),
    dropout and Dense(10, softmax), trained with Adam on the cross-entropy. The test digits are the
    validation data. Where MNIST is neither here nor can be downloaded, it is trained on a bundled subset of
    5,000 digits, for more epochs.

    \b
    The IDX files that --data looks for, as they are or with .gz:
      train-images-idx3-ubyte  train-labels-idx1-ubyte
      t10k-images-idx3-ubyte   t10k-labels-idx1-ubyte
    """  # noqa: D301 (click's mark of a paragraph that keeps its lines)
    try:
        with cli_options.kernels_as(options):
            _run(options)
    except MemoryError as error:
        raise click.ClickException("not enough memory; try a smaller --units or --batch-size") from error


def _run(options: dict[str, Any]) -> None:
    ranks: Communicator = options["distribute"] or distributed.Alone()
    shared = options["distribute"] is not None
    options.update(distribute=ranks.name if shared else None, ranks=ranks.size)
    quiet = options["quiet"] or ranks.rank > 0
    data = _load_in_turn(options["data"], ranks)
    x_train, y_train = _scale(data.train[0]), data.train[1]
    x_test, y_test = _scale(data.test[0]), data.test[1]
    _choose_training(options, data)
    utils.set_random_seed(options["seed"])
    rate = _rate(options, len(y_train))
    model = build_model(options["units"], options["layers"], options["dropout"], rate)
    if not quiet:
        click.echo(_headline(options, data))
    clock = _EpochClock()
    if shared:
        model.distribute(ranks)
    # A training that diverges shows in the losses; NumPy's warnings on the way would add nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        history = model.fit(
            x_train,
            y_train,
            batch_size=options["batch_size"],
            epochs=options["epochs"],
            verbose=0 if quiet else "auto",
            callbacks=[clock],
            validation_data=(x_test, y_test),
            device=options["device"],
        ).history
        loss, accuracy = model.evaluate(x_test, y_test, batch_size=_PREDICT_BATCH, verbose=0)
    model.distribute(None)
    if ranks.rank:
        return
    if not math.isfinite(loss):
        _warn(f"the training diverged: the test loss is {loss}. Try a smaller --learning-rate.")
    results: dict[str, Any] = {
        "test_accuracy": float(accuracy),
        "test_loss": float(loss),
        "epoch_seconds": clock.seconds,
        "device": model.device,
        "kernel": _kernel(model, x_train[: options["batch_size"]]),
        "history": {name: [float(value) for value in values] for name, values in history.items()},
    }
    outputs = _write(options, data, model, results)
    if not quiet:
        _print_summary(data, results, outputs.written)
    outputs.finish()


def _load_in_turn(folder: Path | None, ranks: Communicator) -> MNIST:
    """Load on rank 0 first, which may download, and then on all others."""
    if ranks.rank:
        ranks.bcast()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SubsetWarning)
            return find_mnist(folder)
    try:
        return _load(folder)
    finally:
        ranks.bcast()


def _load(folder: Path | None) -> MNIST:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SubsetWarning)
            data = find_mnist(folder)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for warning in caught:
        _warn(str(warning.message))
    return data


def _choose_training(options: dict[str, Any], data: MNIST) -> None:
    """Fill in the epochs and the learning rate, and whether that decays, as the data need them."""
    subset = data.source == "subset"
    options["decay"] = subset and options["learning_rate"] is None
    if options["epochs"] is None:
        options["epochs"] = _SUBSET_EPOCHS if subset else _EPOCHS
    if options["learning_rate"] is None:
        options["learning_rate"] = _SUBSET_LEARNING_RATE if subset else _LEARNING_RATE


def _rate(options: dict[str, Any], digits: int) -> float | schedules.LearningRateSchedule:
    rate: float = options["learning_rate"]
    if not options["decay"]:
        return rate
    steps = options["epochs"] * -(-digits // options["batch_size"])
    return schedules.CosineDecay(rate, steps)


def _warn(text: str) -> None:
    click.secho(f"WARNING: {text}", fg="yellow", bold=True, err=True)


def _scale(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.astype(np.float32) / np.float32(255)


def build_model(
    units: int, depth: int, dropout: float, learning_rate: float | schedules.LearningRateSchedule
) -> fusedlstm.Sequential:
    """Return the compiled model that the command trains, for inputs of (batch, 28, 28)."""
    model = fusedlstm.Sequential([layers.Input((28, 28))])
    for index in range(depth):
        model.add(layers.LSTM(units, return_sequences=index < depth - 1))
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(32, activation="relu"))
    model.add(layers.Dropout(dropout))
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(
        optimizer=optimizers.Adam(learning_rate=learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


class _EpochClock(callbacks.Callback):
    """Measures each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        self.seconds.append(time.perf_counter() - self._start)


def _kernel(model: fusedlstm.Sequential, batch: NDArray[np.float32]) -> str:
    """Return which kernel trains the first LSTM.

    The last kernel of a training step is the optimizer's, so the layer is run once more on a batch of the
    same shape, which is what decides the kernel.
    """
    layer = model.layers[0]
    layer.forward(layer.prepare(batch), training=True)
    return ops.last_kernel()


def _write(options: dict[str, Any], data: MNIST, model: Any, results: dict[str, Any]) -> cli_options.Outputs:
    def save() -> list[Path]:
        model.save(options["save"])
        return [options["save"]]

    def report() -> list[Path]:
        from fusedlstm.commands.report import write_report

        images, labels = data.test
        probabilities = model.predict(_scale(images), batch_size=_PREDICT_BATCH, verbose=0)
        note = _headline(options, data)
        return write_report(options["report"], results["history"], images, labels, probabilities, note)

    def numbers() -> list[Path]:
        content = {**{name: plain(value) for name, value in options.items()}, **plain(results)}
        content["version"] = fusedlstm.__version__
        content["data"] = {
            "source": data.source,
            "folder": str(data.folder),
            "subset": data.source == "subset",
            "train": len(data.train[1]),
            "test": len(data.test[1]),
        }
        write_text(options["json"], json.dumps(content, indent=2, allow_nan=False) + "\n")
        return [options["json"]]

    outputs = cli_options.Outputs()
    for option, write in (("save", save), ("report", report), ("json", numbers)):
        if options[option]:
            outputs.attempt(write)
    return outputs


def _origin(data: MNIST) -> str:
    if data.source == "subset":
        return "bundled SUBSET of MNIST; not comparable with results on the full set"
    return f"{data.source} {data.folder}"


def _headline(options: dict[str, Any], data: MNIST) -> str:
    falling = " falling to 0" if options["decay"] else ""
    count = options["ranks"]
    ranks = "" if options["distribute"] is None else f"{count} rank{'s' * (count > 1)}; "
    return (
        f"LSTM({options['units']}) x {options['layers']}, dropout {options['dropout']:g}; "
        f"Adam {options['learning_rate']:g}{falling}, batch {options['batch_size']}, seed {options['seed']}; "
        f"{ranks}"
        f"{len(data.train[1]):,} training and {len(data.test[1]):,} test digits ({_origin(data)})"
    )


def _print_summary(data: MNIST, results: dict[str, Any], written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    items = len(data.test[1])
    seconds = results["epoch_seconds"]
    each = ", ".join(f"{value:.2f}" for value in seconds)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "test accuracy",
        f"{100 * results['test_accuracy']:.2f} % ({round(items * results['test_accuracy']):,} of {items:,})",
        style="bold",
    )
    table.add_row("test loss", f"{results['test_loss']:.4f}")
    table.add_row("time per epoch", f"{sum(seconds) / len(seconds):.2f} s with validation ({each})")
    table.add_row("device", results["device"])
    table.add_row("kernel", results["kernel"])
    table.add_row("data", _origin(data), style="bold yellow" if data.source == "subset" else None)
    if data.source == "subset":
        table.add_row("full MNIST", _FULL)
    for path in written:
        table.add_row("written", str(path))
    console = Console(highlight=False, markup=False)
    console.print()
    console.print(table)
