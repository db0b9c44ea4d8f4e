"""`TensorBoard`."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedlstm.base import checks
from fusedlstm.callbacks.writer import Writer
from fusedlstm.io.destinations import Destinations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusedlstm.base.types import Array
    from fusedlstm.callbacks.base import ExpectedLogs, Logs

_INSTALL = 'pip install "fusedlstm[tensorboard]"'
_TRAIN, _VALIDATION = "train", "validation"
_files = itertools.count()


class TensorBoard(Writer):
    """Writes losses, metrics and weights to files that TensorBoard shows.

    Scalars of epochs are ``epoch_<log>``, those of batches ``batch_<log>``, those of evaluations
    ``evaluation_<log>_vs_iterations``; training is in the folder ``train``, the rest in ``validation``.
    What cannot be written warns, and `fit` raises the first such error when it is complete.

    Parameters
    ----------
    log_dir : path-like
        The folder.
    histogram_freq : int
        Histograms of all weights are written after each so many epochs; 0 for never.
    write_graph : bool
        In Keras's place; there is no graph to write.
    write_images : bool
        Whether weights are written as pictures too, when histograms are; needs Pillow.
    write_steps_per_second : bool
        Whether updates per second are written.
    update_freq : {"epoch", "batch"} or int
        Logs are written after epochs alone, also after each batch, or after each so many batches.
    profile_batch : int or str or tuple
        In Keras's place: nothing is profiled, and other values than 0 warn.
    embeddings_freq : int
        In Keras's place: 0.
    embeddings_metadata : None
        In Keras's place.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. `fit` raises OSError before it begins if nothing can be written there, and
        ImportError if tensorboardX is not installed.
    """

    fresh = ("_writers",)

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: None = None,
    ) -> None:
        self.log_dir = str(checks.path(log_dir, "log_dir"))
        self.histogram_freq = checks.non_negative_int(histogram_freq, "histogram_freq")
        self.write_graph = checks.flag(write_graph, "write_graph")
        self.write_images = checks.flag(write_images, "write_images")
        self.write_steps_per_second = checks.flag(write_steps_per_second, "write_steps_per_second")
        if update_freq != "epoch":
            update_freq = 1 if update_freq == "batch" else checks.positive_int(update_freq, "update_freq")
        self.update_freq = update_freq
        if profile_batch not in (0, "0"):
            warnings.warn(f"profile_batch: nothing is profiled, got {profile_batch!r}", stacklevel=2)
        if embeddings_freq or embeddings_metadata is not None:
            raise ValueError(f"embeddings_freq: expected 0, got {embeddings_freq!r}")
        self._batches = self._epoch_batches = 0
        self._began = self._batch_began = 0.0
        self._writers: dict[str, Any] | None = None

    def check_before_training(self, logs: ExpectedLogs) -> None:
        """Raise if libraries are missing or the folder cannot be written."""
        super().check_before_training(logs)
        _library()
        if self.write_images and self.histogram_freq:
            try:
                import PIL  # noqa: F401
            except ImportError as error:
                raise ImportError(
                    'write_images needs Pillow: pip install "fusedlstm[tensorboard]"'
                ) from error
        with Destinations("log_dir", makes_folders=True) as destinations:
            for folder in (_TRAIN, _VALIDATION):
                destinations.check(Path(self.log_dir, folder, "events.out.tfevents"))

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Count batches from 0."""
        self._batches = 0

    def get_state(self) -> dict[str, Any]:
        """Return the number of batches; see `Callback.get_state`."""
        return {"batches": self._batches, "epoch_batches": self._epoch_batches}

    def set_state(self, state: dict[str, Any]) -> None:
        """Count on from there; see `Callback.set_state`."""
        self._batches, self._epoch_batches = state["batches"], state["epoch_batches"]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start the epoch's clock."""
        self._epoch_batches, self._began = self._batches, perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start the batch's clock."""
        self._batch_began = perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Write the logs if it is time to."""
        self._batches += 1
        if not isinstance(self.update_freq, int) or self._batches % self.update_freq:
            return
        values = {f"batch_{name}": value for name, value in (logs or {}).items()}
        if self.write_steps_per_second:
            values["batch_steps_per_second"] = 1 / (perf_counter() - self._batch_began)
        self._write_scalars(_TRAIN, values, self._batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write the logs over the number of updates so far."""
        optimizer = self.model.optimizer
        if optimizer is not None:
            values = {f"evaluation_{name}_vs_iterations": value for name, value in (logs or {}).items()}
            self._write_scalars(_VALIDATION, values, optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's logs and, if it is time to, the weights."""
        values = dict(logs or {})
        tested = {key: values.pop(key) for key in list(values) if key.startswith("val_")}
        optimizer = self.model.optimizer
        if optimizer is not None:
            values["learning_rate"] = float(optimizer.learning_rate)
        if self.write_steps_per_second:
            done = self._batches - self._epoch_batches
            values["steps_per_second"] = done / (perf_counter() - self._began)
        self._write_scalars(_TRAIN, {f"epoch_{name}": value for name, value in values.items()}, epoch)
        tested = {f"epoch_{name.removeprefix('val_')}": value for name, value in tested.items()}
        self._write_scalars(_VALIDATION, tested, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self.attempt(f"histograms of epoch {epoch + 1}", lambda: self._write_weights(epoch))

    def release(self) -> None:
        """Close the files."""
        super().release()
        writers, self._writers = self._writers, None
        for folder, writer in (writers or {}).items():
            self.attempt(str(Path(self.log_dir, folder)), writer.close)

    def _write_scalars(self, folder: str, values: Logs, step: int) -> None:
        if values:
            made = (_library().scalar(name, value) for name, value in values.items())
            self.attempt(f"scalars in {Path(self.log_dir, folder)}", lambda: self._write(folder, made, step))

    def _write_weights(self, epoch: int) -> None:
        library = _library()
        for variable in self.model.weights:
            values = variable.numpy()
            if not np.isfinite(values).all():  # they have no histogram
                continue
            name = variable.path.replace(":", "_")
            made = [library.histogram(f"{name}/histogram", values, bins=30)]
            picture = _picture(values) if self.write_images else None
            if picture is not None:
                made.append(library.image(f"{name}/image", picture, dataformats="HW"))
            self._write(_TRAIN, made, epoch)

    def _write(self, folder: str, summaries: Iterable[Any], step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        if self._writers is None:
            self._writers = {}
        if folder not in self._writers:
            path = Path(self.log_dir, folder)
            path.mkdir(parents=True, exist_ok=True)
            # Files of one second have names of their own by the suffix.
            self._writers[folder] = EventsWriter(str(path / "events"), f".{os.getpid()}.{next(_files)}")
        for summary in summaries:
            self._writers[folder].write_event(Event(wall_time=time(), step=step, summary=summary))
        self._writers[folder].flush()


def _library() -> Any:
    """Return the module that makes summaries."""
    try:
        from tensorboardX import summary
    except ImportError as error:
        raise ImportError(f"TensorBoard needs tensorboardX: {_INSTALL}") from error
    return summary


def _picture(values: Array) -> Array | None:
    """Return a weight as grey levels (H, W), the longer side along W; None where it has other axes."""
    matrix = np.squeeze(values)
    if matrix.ndim == 1:
        matrix = matrix[None, :]
    if matrix.ndim != 2:
        return None
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    return np.clip(wide, 0, 1)  # which the library scales to 255
