"""Handwriting without segmentation: strings of digits, read by CTC.

A strip holds 3 to 8 of MNIST's digits, stretched to different widths, shifted up and down, with gaps of
different widths between them, and some touch. The labels say which digits a strip holds, and nothing says
where. Two bidirectional LSTMs read it, two columns of pixels a step, and the CTC loss sums over all ways in
which the labels can stand in the steps.

Training strips are drawn anew for each epoch, of nine tenths of the training digits; those of the last tenth
make the strips for validation, and the test digits those that are read once, at the end.

--data is a folder with MNIST's four IDX files. Without it, the digits come from the cache, from the public
mirrors, or else from a bundled subset of 5,000 digits. With --quick there are fewer strips, all of 3 digits,
and half of the units.
"""

from __future__ import annotations

import itertools
import time
from difflib import SequenceMatcher
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

import fusedlstm
from fusedlstm import callbacks, datasets, layers, losses, metrics, ops, optimizers, plots, utils
from fusedlstm.examples.job import Job, Option, ProblemError, in_percent
from fusedlstm.examples.tuning import Range, Tuning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fusedlstm.callbacks import Callback, History
    from fusedlstm.examples.tuning import Chosen

    Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # images (N, 28, 28) and labels (N,)
    Strips = tuple[NDArray[np.float32], NDArray[np.int64]]  # steps (B, T, 64) and classes (B, L)

BATCH = 16  # strips of a training step
HEIGHT = 32  # of a strip in pixels: a digit has 28 and stands up to 4 lower
PADDING = -1.0  # fills strips of a batch up to the longest one; pixels are from 0 to 1
BLANK = 0  # CTC's class for "no label here"; digit d is class d + 1

PICTURES = ("strips.png",)
OPTIONS = (
    Option("epochs", 8, "Passes of the training.", least=1),
    Option("strips", 8000, "Strips of an epoch.", least=BATCH, quick=1000),
    Option("units", 128, "Units of each direction of an LSTM.", least=2, quick=64),
    Option("learning-rate", 5e-3, "Adam's largest step size.", least=0.0),
)


# The strips. ---------------------------------------------------------------------------------------------


@cache
def stretching(old: int, new: int) -> NDArray[np.float32]:
    """Return the (old, new) weights that make so many columns of so many, by linear interpolation."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    distances = np.abs(np.arange(old)[:, None] - np.clip(places, 0, old - 1))
    return np.asarray(np.maximum(1 - distances, 0), np.float32)


def draw_strip(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Put digits (L, 28, 28) into a strip and return it as steps (T, 64) of two columns each."""
    count = len(images)
    stretches, tops = rng.uniform(0.7, 1.3, count), rng.integers(0, HEIGHT - 28 + 1, count)
    gaps = rng.integers(-2, 13, count)
    strip = np.zeros((HEIGHT, 52 * count), np.float32)
    left, end = int(gaps[-1]) + 2, 0  # There is nothing behind the last digit, so that its gap comes first.
    for image, stretch, top, gap in zip(images, stretches, tops, gaps, strict=True):
        ink = np.flatnonzero(image.any(axis=0))  # the columns that have any
        box = image[:, ink[0] : ink[-1] + 1] if len(ink) else image
        width = max(2, round(stretch * box.shape[1]))
        place = strip[top : top + 28, left : left + width]
        np.maximum(place, box.astype(np.float32) @ stretching(box.shape[1], width) / 255, out=place)
        end = max(end, left + width)
        # Three steps from a digit to the next leave room for the blank that CTC wants between equal ones.
        left += max(6, width + int(gap))
    end += end % 2
    return strip[:, :end].T.reshape(end // 2, 2 * HEIGHT)


def draw_strips(digits: Digits, count: int, most: int, rng: np.random.Generator) -> Strips:
    """Return strips of 3 to `most` random digits, and their classes filled up with the blank."""
    images, labels = digits
    classes = np.full((count, most), BLANK, np.int64)
    strips = []
    for row, length in zip(classes, rng.integers(3, most + 1, count), strict=True):
        picked = rng.integers(0, len(images), length)
        row[:length] = labels[picked].astype(np.int64) + 1
        strips.append(draw_strip(images[picked], rng))
    return utils.pad_sequences(strips, dtype="float32", padding="post", value=PADDING), classes


class Epochs(utils.PyDataset):
    """Batches of strips that are others in each epoch, and the same whenever that epoch is run."""

    def __init__(self, digits: Digits, count: int, most: int, seed: int) -> None:
        super().__init__()
        self.digits, self.count, self.most, self.seed = digits, count, most, seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // BATCH

    def __getitem__(self, index: int) -> Strips:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        return draw_strips(self.digits, BATCH, self.most, rng)

    def turn_to(self, epoch: int, logs: object) -> None:  # noqa: ARG002 (a callback's signature)
        """Draw the strips of that epoch from now on."""
        self.epoch = epoch


# The job. ------------------------------------------------------------------------------------------------


def load(job: Job) -> tuple[Digits, Digits, Digits, str]:
    """Return digits for training, validation and test, and what they are called."""
    try:
        data = datasets.mnist.find_mnist(job.data)
    except ValueError as error:  # It names the file and what is wrong with it.
        raise ProblemError(str(error)) from error
    images, labels = data.train
    count = 9 * len(images) // 10
    if count == 0 or len(data.test[0]) == 0:
        raise ProblemError(f"{data.folder}: expected at least 2 training digits and a test digit")
    name = f"{'SUBSET of MNIST' if data.source == 'subset' else 'MNIST'}, {count:,} digits to learn from"
    learned, held_out = (images[:count], labels[:count]), (images[count:], labels[count:])
    first = slice(4000)  # are enough to see a difference
    job.compare(*((x[first], y[first].astype(np.int64)) for x, y in (learned, data.test)))
    return learned, held_out, data.test, name


def build(
    units: int, rate: float, updates: int, dropout: float = 0.2, depth: int = 2
) -> fusedlstm.Sequential:
    """Return the compiled model: strips (B, T, 64) to logits (B, T, 11)."""
    model = fusedlstm.Sequential([layers.Input((None, 2 * HEIGHT)), layers.Masking(PADDING)])
    for _ in range(depth):
        model.add(layers.Bidirectional(layers.LSTM(units, return_sequences=True)))
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(11))
    warm = max(1, updates // 20)
    schedule = optimizers.schedules.CosineDecay(
        rate / 10, max(1, updates - warm), warmup_target=rate, warmup_steps=warm
    )
    model.compile(optimizers.Adam(schedule, clipnorm=1.0), losses.CTC(), metrics=[metrics.LabelErrorRate()])
    return model


def run(job: Job) -> dict[str, Any]:
    """Train on strips, read those of the test digits, and return what there is to report."""
    learned, held_out, tested, data = load(job)
    part, most = (8, 3) if job.quick else (1, 8)
    units, epochs = job.options["units"], job.options["epochs"]
    training = Epochs(learned, job.options["strips"], most, job.seed)
    # These are the same strips for all seeds, so that their results can be compared.
    validation = draw_strips(held_out, 500 // part, most, np.random.default_rng(1))
    test = draw_strips(tested, 2000 // part, most, np.random.default_rng(2))
    model = build(units, job.options["learning_rate"], epochs * len(training))
    name = f"2 x Bidirectional(LSTM({units})) with CTC"
    which = f"strips of 3{'' if job.quick else f' to {most}'} digits"
    job.say(f"{name}; {data}; {epochs} epochs of {BATCH * len(training):,} {which}")

    steps_done = itertools.count()
    count = callbacks.LambdaCallback(on_train_batch_end=lambda _, __: next(steps_done))
    start = time.perf_counter(), time.process_time()
    model.fit(
        training,
        epochs=epochs,
        verbose=job.verbose,
        callbacks=[callbacks.LambdaCallback(on_epoch_begin=training.turn_to), count, *job.backup()],
        validation_data=validation,
        device=job.device,
    )
    seconds, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    job.save_model(model)
    lstms = model.layers[1]
    lstms.forward(lstms.prepare(test[0][:BATCH]), training=True)
    kernel = fusedlstm.last_kernel()  # of these; after `fit` it would be the optimizer's

    began = time.perf_counter()
    logits = model.predict(test[0], verbose=0)
    reading = time.perf_counter() - began
    steps = np.any(test[0] != PADDING, axis=2).sum(axis=1)
    greedy = ops.ctc_decode(logits, steps)
    beam = ops.ctc_decode(logits, steps, "beam_search", beam_width=20)
    results, by_length = scores(test[1], greedy)
    loss, wrong = model.evaluate(*validation, verbose=0)
    job.tell_divergence(loss, "validation")
    if job.report is not None:
        note = job.note(name, f"{data}; strips of {len(tested[0]):,} test digits")
        job.picture(PICTURES[0], draw_readings(test, logits, greedy, results["label_error_rate"], note))
    return {
        **results,
        **{f"{key}_beam_search": value for key, value in scores(test[1], beam)[0].items()},
        "validation_label_error_rate": wrong,
        "by_length": by_length,
        "training_seconds": seconds,
        "training_processor_seconds": processor,
        "strips_trained_per_second": BATCH * next(steps_done) / seconds,
        "strips_read_per_second": len(logits) / reading,
        "kernel": kernel,
        "digits": data,
    }


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return what to print of the results."""
    rates = ("label_error_rate", "strips_read_right")
    more = [f"{rate}_beam_search" for rate in rates]
    return in_percent(results, (*rates, *more, "validation_label_error_rate"))


def scores(classes: NDArray[np.int64], decoded: ops.CTCDecoded) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the share of wrong labels and of strips without any, of all strips and by their length."""
    edits = metrics.edit_distance(np.where(classes == BLANK, -1, classes), decoded.labels[0])
    lengths = np.count_nonzero(classes, axis=1)

    def rates(rows: NDArray[np.bool_]) -> dict[str, float]:
        return {
            "label_error_rate": float(edits[rows].sum() / lengths[rows].sum()),
            "strips_read_right": float(np.mean(edits[rows] == 0)),
        }

    by_length = {
        str(one): {"strips": int(np.sum(lengths == one)), **rates(lengths == one)}
        for one in np.unique(lengths)
    }
    return rates(lengths > 0), by_length


# For the example `search`. -------------------------------------------------------------------------------


def tuning(job: Job) -> Tuning:
    """Let `search` choose: attempts read strips of 3 digits, of those that a training learns from."""
    learned, held_out, tested, data = load(job)
    part, most, attempted_epochs = (8, 3, 3) if job.quick else (1, 8, 6)
    validation = draw_strips(held_out, 300 // part, 3, np.random.default_rng(1))
    test = draw_strips(tested, 2000 // part, most, np.random.default_rng(2))

    def train(
        chosen: Chosen, strips: Epochs, epochs: int, watching: list[Callback], **options: Any
    ) -> tuple[fusedlstm.Sequential, History]:
        utils.set_random_seed(strips.seed)
        updates = epochs * len(strips)
        model = build(chosen["units"], chosen["learning_rate"], updates, chosen["dropout"], chosen["layers"])
        watching = [callbacks.LambdaCallback(on_epoch_begin=strips.turn_to), *watching]
        history = model.fit(
            strips, epochs=epochs, verbose=0, callbacks=watching, device=job.device, **options
        )
        return model, history

    def attempt(chosen: Chosen, watching: list[Callback]) -> float:
        strips = Epochs(learned, 256 if job.quick else 1024, 3, job.seed)
        _, history = train(chosen, strips, attempted_epochs, watching, validation_data=validation)
        return history.history["val_loss"][-1]

    def verify(job: Job, chosen: Chosen) -> tuple[fusedlstm.Sequential, dict[str, float]]:
        strips = Epochs(learned, job.options["strips"], most, job.seed)
        model, _ = train(chosen, strips, job.options["epochs"], job.backup())
        wrong = model.evaluate(*test, verbose=0)[1]
        return model, {"label error rate": wrong}

    ranges = (
        Range("units", job.options["units"], 32, 96 if job.quick else 192, log=True),
        Range("layers", 2, 1, 3),
        Range("dropout", 0.2, 0.0, 0.5),
        Range("learning_rate", job.options["learning_rate"], 1e-3, 2e-2, log=True),
    )
    return Tuning(ranges, f"strips of 3 digits; {data}", "val_loss", attempted_epochs, attempt, verify)


# The picture. --------------------------------------------------------------------------------------------


def draw_readings(
    strips: Strips, logits: NDArray[np.float32], decoded: ops.CTCDecoded, wrong: float, note: str
) -> Figure:
    """Draw the first three strips on the left, and the first three that are misread on the right."""
    truth, read = ([row[row > 0] - 1 for row in rows] for rows in (strips[1], decoded.labels[0]))
    misread = [row for row, digits in enumerate(read) if not np.array_equal(digits, truth[row])]
    figure = plots.figure(
        f"{100 * wrong:.1f} % of the digits are misread by a model that was never told where a digit stands",
        "Left: the first of the test strips; right: the first that are misread. Under each: how probable any "
        f"digit is in a step of two columns (grey), and the one that is read (blue; orange: wrong).\n{note}",
        (11, 6.5),
    )
    grid = figure.subplots(6, 2, sharex=True, height_ratios=[4, 3] * 3)
    for axes in grid.flat:
        axes.axis("off")
    for column, rows in enumerate((range(min(3, len(read))), misread[:3])):
        for place, row in enumerate(rows):
            spans = [places[0, row, : len(read[row])] for places in (decoded.starts, decoded.ends)]
            above, below = grid[2 * place : 2 * place + 2, column]
            draw_reading(above, below, strips[0][row], logits[row], truth[row], read[row], np.stack(spans, 1))
            below.set_xlabel("column of pixels" if place == 2 else "", fontsize=8)
    return figure


def draw_reading(
    above: Axes, below: Axes, strip: Any, logits: Any, truth: Any, read: Any, spans: Any
) -> None:
    """Draw a strip (T, 64), and under it the digits that are read, in the steps (L, 2) that they stand in."""
    strip = strip[np.any(strip != PADDING, axis=1)]
    chances = np.exp(logits[: len(strip)] - logits[: len(strip)].max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    edges = 2 * np.arange(len(strip) + 1)  # in columns of pixels
    above.plot([0, 0, edges[-1], edges[-1], 0], [0, HEIGHT, HEIGHT, 0, 0], color="0.7", linewidth=0.7)
    above.imshow(strip.reshape(-1, HEIGHT).T, cmap="gray_r", extent=(0, edges[-1], HEIGHT, 0), aspect="auto")
    above.set_title(
        f"is {' '.join(map(str, truth))}, read as {' '.join(map(str, read))}", loc="left", fontsize=9
    )
    below.stairs(1 - chances[:, BLANK], edges, fill=True, color="0.8")
    matches = SequenceMatcher(None, truth.tolist(), read.tolist(), autojunk=False).get_matching_blocks()
    for place, (digit, (start, end)) in enumerate(zip(read, spans, strict=True)):
        right = any(match.b <= place < match.b + match.size for match in matches)
        colour = plots.COLOURS["blue" if right else "vermilion"]
        below.stairs(chances[start:end, digit + 1], edges[start : end + 1], fill=True, color=colour)
        below.text(start + end, 1.05, str(digit), color=colour, ha="center", fontsize=9, fontweight="bold")
        above.axvspan(2 * start, 2 * end, color=colour, alpha=0.25, linewidth=0)
    below.set_xlim(0, max(160, edges[-1], below.get_xlim()[1]))
    below.set_ylim(0, 1.4)
    below.axis("on")
    below.spines[["top", "right"]].set_visible(False)
    below.set_yticks([0, 1], ["0", "1"], fontsize=8)
    below.tick_params(axis="x", labelsize=8)
    below.set_ylabel("probability", fontsize=7)
