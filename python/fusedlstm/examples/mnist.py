"""Train an LSTM on MNIST and print its test accuracy.

The model reads a digit as 28 rows of 28 pixels: LSTMs, each followed by dropout, then Dense(32, relu),
dropout and Dense(10, softmax), trained with Adam on the cross-entropy. The test digits are the validation
data. Where MNIST is neither here nor can be downloaded, it is trained on a bundled subset of 5,000 digits,
for more epochs.

\b
The IDX files that --data looks for in a folder, as they are or with .gz:
  train-images-idx3-ubyte  train-labels-idx1-ubyte
  t10k-images-idx3-ubyte   t10k-labels-idx1-ubyte
"""  # noqa: D301 (click's mark of a paragraph that keeps its lines)

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fusedlstm
from fusedlstm import callbacks, datasets, layers, optimizers, utils
from fusedlstm.examples import mnist_pictures as pictures
from fusedlstm.examples.job import Job, Option, ProblemError
from fusedlstm.examples.tuning import Range, Tuning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fusedlstm.callbacks import Callback
    from fusedlstm.datasets.mnist import MNIST
    from fusedlstm.examples.tuning import Chosen

    Split = tuple[NDArray[np.float32], NDArray[np.uint8]]  # pixels (N, 28, 28) from 0 to 1, labels (N,)

PICTURES = ("learning_curves.png", "confusion_matrix.png", "misclassified.png")
OPTIONS = (
    Option("units", 128, "Units of each LSTM.", least=1),
    Option("layers", 2, "Number of LSTMs.", least=1),
    Option(
        "epochs",
        None,
        "Passes over the training digits.",
        least=1,
        type=int,
        shown="3; 20 on the bundled subset; 5 if quick",
    ),
    Option("batch-size", 64, "Digits in one training step.", least=1),
    Option(
        "learning-rate",
        None,
        "Adam's step size.",
        above=0,
        type=float,
        shown="0.001; on the bundled subset and if quick 0.002, falling to 0",
    ),
    Option("dropout", 0.2, "Share of activations dropped after each layer but the last.", least=0, below=1),
)
FULL = "97.9 % in 3 epochs with the defaults (seeds 0 to 2); needs the four files: --data FOLDER"
DISTRIBUTES = True
BATCH = 256  # of predictions


class Data(NamedTuple):
    """Digits for training and test, where they came from, and whether they are few."""

    train: Split
    test: Split
    found: MNIST
    few: bool

    @property
    def subset(self) -> bool:
        """Whether these are the bundled digits."""
        return self.found.source == "subset"

    @property
    def origin(self) -> str:
        """Where the digits came from, in words."""
        if self.subset:
            return "bundled SUBSET of MNIST; not comparable with results on the full set"
        return f"{self.found.source} {self.found.folder}"


def load(job: Job) -> Data:
    """Return the digits that the options say."""
    try:
        with job.in_turn(), warnings.catch_warnings():
            if job.rank:
                warnings.simplefilter("ignore", datasets.SubsetWarning)
            found = datasets.mnist.find_mnist(job.data)
    except ValueError as error:  # It names the file and what is wrong with it.
        raise ProblemError(str(error)) from error
    train, test = (
        (images[:most].astype(np.float32) / np.float32(255), labels[:most])
        for (images, labels), most in zip(
            (found.train, found.test), (4000, 1000) if job.quick else (None, None), strict=True
        )
    )
    some = slice(4000)  # are enough to see a difference
    job.compare(*((x[some], y[some].astype(np.int64)) for x, y in (train, test)))
    return Data(train, test, found, found.source == "subset" or job.quick)


def build(units: int, depth: int, dropout: float) -> fusedlstm.Sequential:
    """Return the model, for digits (B, 28, 28)."""
    model = fusedlstm.Sequential([layers.Input((28, 28))])
    for index in range(depth):
        model.add(layers.LSTM(units, return_sequences=index < depth - 1))
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(32, activation="relu"))
    model.add(layers.Dropout(dropout))
    model.add(layers.Dense(10, activation="softmax"))
    return model


def compiled(options: Mapping[str, Any], updates: int) -> fusedlstm.Sequential:
    """Return the model with the optimizer that the options say, for so many updates."""
    rate: Any = options["learning_rate"]
    if options["decay"]:
        rate = optimizers.schedules.CosineDecay(rate, updates)
    model = build(options["units"], options["layers"], options["dropout"])
    model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def training(options: Mapping[str, Any], data: Data, quick: bool) -> dict[str, Any]:
    """Return epochs and learning rate, and whether that falls, as the options say or the data need them.

    A pass over few digits takes a fraction of the time, and a rate that falls to zero along half a cosine
    lets the results settle.
    """
    few_epochs = 5 if quick else 20
    return {
        "epochs": options["epochs"] or (few_epochs if data.few else 3),
        "learning_rate": options["learning_rate"] or (2e-3 if data.few else 1e-3),
        "decay": data.few and options["learning_rate"] is None,
    }


class Clock(callbacks.Callback):
    """Measures each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 (what callbacks get)
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Read the clock."""
        self.seconds.append(time.perf_counter() - self._start)


def run(job: Job) -> dict[str, Any]:
    """Train the model on all training digits, and report how well it does on the test digits."""
    data = load(job)
    options = {**job.options, **training(job.options, data, job.quick)}
    epochs, batch = options["epochs"], options["batch_size"]
    model = compiled(options, epochs * -(-len(data.train[1]) // batch))
    name = (
        f"LSTM({options['units']}) x {options['layers']}, dropout {options['dropout']:g}; "
        f"Adam {options['learning_rate']:g}{' falling to 0' * options['decay']}, batch {batch}"
    )
    digits = f"{len(data.train[1]):,} training and {len(data.test[1]):,} test digits ({data.origin})"
    if job.ranks is not None:
        digits += f"; {job.ranks.size} rank{'s' * (job.ranks.size > 1)}"
    job.say(job.note(name, digits))

    clock = Clock()
    # A training that diverges shows in the losses; NumPy's warnings on the way would add nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        history = model.fit(
            *data.train,
            batch_size=batch,
            epochs=epochs,
            verbose=job.verbose,
            callbacks=[clock, *job.backup()],
            validation_data=data.test,
            device=job.device,
            distribute=job.ranks,
        ).history
        loss, accuracy = model.evaluate(*data.test, batch_size=BATCH, verbose=0)
    model.distribute(None)
    if job.rank:
        return {}
    job.tell_divergence(loss, "test")
    job.save_model(model)
    if job.report is not None:
        images, labels = data.found.test[0][: len(data.test[1])], data.test[1]
        probabilities = model.predict(data.test[0], batch_size=BATCH, verbose=0)
        note = job.note(name, digits)
        job.picture(PICTURES[0], pictures.learning_curves(history, note))
        job.picture(PICTURES[1], pictures.confusion_matrix(labels, probabilities, note))
        job.picture(PICTURES[2], pictures.misclassified(images, labels, probabilities, note))
    return {
        **training(job.options, data, job.quick),
        "test_accuracy": float(accuracy),
        "test_loss": float(loss),
        "epoch_seconds": clock.seconds,  # of this run; the history has the epochs of an interrupted one too
        "device": model.device,
        "kernel": kernel(model, data.train[0][:batch]),
        "history": history,
        "data": {
            "source": data.found.source,
            "folder": str(data.found.folder),
            "origin": data.origin,
            "subset": data.subset,
            "train": len(data.train[1]),
            "test": len(data.test[1]),
        },
    }


def kernel(model: fusedlstm.Sequential, batch: NDArray[np.float32]) -> str:
    """Return which kernel trains the first LSTM.

    The last kernel of a training step is the optimizer's, so the layer is run once more on a batch of the
    same shape, which is what decides the kernel.
    """
    layer = model.layers[0]
    layer.forward(layer.prepare(batch), training=True)
    return fusedlstm.last_kernel()


def summary(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what to print of the results."""
    accuracy, items, seconds = results["test_accuracy"], results["data"]["test"], results["epoch_seconds"]
    shown = {
        "test accuracy": f"{100 * accuracy:.2f} % ({round(items * accuracy):,} of {items:,})",
        "test loss": f"{results['test_loss']:.4f}",
    }
    if seconds:
        each = ", ".join(f"{value:.2f}" for value in seconds)
        shown["time per epoch"] = f"{sum(seconds) / len(seconds):.2f} s with validation ({each})"
    shown |= {"device": results["device"], "kernel": results["kernel"], "data": results["data"]["origin"]}
    if results["data"]["subset"]:
        shown["full MNIST"] = FULL
    return shown


def tuning(job: Job) -> Tuning:
    """Let `search` choose: a tenth of the training digits validates attempts on some of the others."""
    data = load(job)
    options = {**job.options, **training(job.options, data, job.quick)}
    x, y = data.train
    last = 9 * len(y) // 10
    some, attempted_epochs = (1500, 2) if job.quick else (min(last, 30_000), 10 if data.few else 3)

    def attempt(chosen: Chosen, watching: list[Callback]) -> float:
        utils.set_random_seed(job.seed)
        batch = chosen["batch_size"]
        model = compiled({**options, **chosen}, attempted_epochs * -(-some // batch))
        history = model.fit(
            x[:some],
            y[:some],
            batch_size=batch,
            epochs=attempted_epochs,
            verbose=0,
            callbacks=watching,
            validation_data=(x[last:], y[last:]),
            device=job.device,
        ).history
        return history["val_loss"][-1]

    def verify(job: Job, chosen: Chosen) -> tuple[fusedlstm.Sequential, dict[str, float]]:
        utils.set_random_seed(job.seed)
        epochs, batch = options["epochs"], chosen["batch_size"]
        model = compiled({**options, **chosen}, epochs * -(-len(y) // batch))
        model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=job.backup(), device=job.device)
        loss, accuracy = model.evaluate(*data.test, batch_size=BATCH, verbose=0)
        return model, {"share of test digits misread": 1 - accuracy, "test loss": loss}

    ranges = (
        Range("units", options["units"], 32, 128 if job.quick else 256, log=True),
        Range("layers", options["layers"], 1, 3),
        Range("dropout", options["dropout"], 0.0, 0.5),
        Range("learning_rate", options["learning_rate"], 3e-4, 1e-2, log=True),
        Range("batch_size", options["batch_size"], 16, 256, log=True),
    )
    digits = f"{some:,} of {len(y):,} training digits ({data.origin})"
    return Tuning(ranges, digits, "val_loss", attempted_epochs, attempt, verify)
