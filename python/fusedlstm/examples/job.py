"""What the command line hands to an example, and takes from it.

An example is a module with a function ``run(job)``, which returns its results by name: numbers and texts, and
lists or dicts of them. It may have ``OPTIONS``, the options that it has beside those of all examples,
``PICTURES``, the names of the files that it draws into the folder of ``--report``, and a function
``summary(results)``, which returns what to print of the results by name; by default all numbers and texts.
With ``DISTRIBUTES = True`` it has the option ``--distribute``.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import fusedlstm
from fusedlstm import callbacks
from fusedlstm.io.locks import FolderLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from fusedlstm.callbacks.base import Callback
    from fusedlstm.distributed import Communicator
    from fusedlstm.models import Model


class Option(NamedTuple):
    """An option of one example: ``--name``, of the default's type and within limits, or a choice.

    One that depends on the data has None as its default, and says of which type it is and what it will be.
    """

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None  # in place of least: more than so much
    below: float | None = None
    type: type[Any] | None = None
    shown: str = ""
    quick: Any = None  # the default with --quick, where that is another one
    keeps_state: bool = False  # whether a run goes on from the state that one with another value left
    with_data: bool | None = None  # True where it is about the user's data, False about the example's own


def defaults_of(options: Iterable[Option], quick: bool) -> dict[str, Any]:
    """Return the values of options that nobody gives, by their names in `Job.options`."""
    return {
        one.name.replace("-", "_"): one.default if one.quick is None or not quick else one.quick
        for one in options
    }


def percent(share: float) -> str:
    """Return a share as it is printed: ``100 %``, ``27.2 %``, ``1.31 %``."""
    return f"{100 * share:.3g} %"


def in_percent(results: Mapping[str, Any], shares: Iterable[str]) -> dict[str, Any]:
    """Return results with those that are shares as it is printed; the file of --json keeps the numbers."""
    return {**results, **{name: percent(results[name]) for name in shares if name in results}}


class ResultWarning(UserWarning):
    """What a user should know of the results that follow."""


class ProblemError(ValueError):
    """What the user's data lack, in one sentence that names the file, line or column."""


@dataclass
class Job:
    """One run of an example.

    Attributes
    ----------
    name : str
        Of the example.
    data : Path or None
        The user's file or folder in place of the example's own data.
    quick : bool
        Whether to show within half a minute that everything works, with a result of less worth.
    seed : int
    device : str
        ``cpu`` or ``cuda``, for `fit` and `predict`.
    precision : str
        The name of the `config.DTypePolicy` that layers are made with.
    report, save, state : Path or None
        Folder for pictures; file for the trained model; folder for what an interrupted training goes on from.
    check_data : bool
        Whether to say how training and test data differ, before the training.
    quiet : bool
    ranks : Communicator or None
        The processes that share the training, where the example has ``DISTRIBUTES = True`` and the user wants
        that. Only rank 0 prints and writes.
    options : mapping
        Values of the example's ``OPTIONS``, by their names without dashes in front, with ``_`` for ``-``.
    written : list of Path
        Files that are complete.
    failed : list of OSError
        Why other files could not be written; the run goes on without them.
    compared : list of dict
        What `compare` found, each with the name of what was compared.
    """

    name: str
    data: Path | None = None
    quick: bool = False
    seed: int = 0
    device: str = "cpu"
    precision: str = "float32"
    report: Path | None = None
    save: Path | None = None
    state: Path | None = None
    check_data: bool = False
    quiet: bool = False
    ranks: Communicator | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    failed: list[OSError] = field(default_factory=list)
    compared: list[dict[str, Any]] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print a line, unless the user wants quiet."""
        if not self.quiet:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """Tell, even where the user wants quiet, what is wrong with the results."""
        warnings.warn(text, ResultWarning, stacklevel=2)

    def tell_divergence(self, loss: float, which: str) -> None:
        """Warn where a loss, of the test or the validation, is not finite."""
        if not math.isfinite(loss):
            self.warn(f"the training diverged: the {which} loss is {loss}. Try a smaller --learning-rate.")

    @property
    def verbose(self) -> str | int:
        """How much `fit` prints."""
        return 0 if self.quiet else "auto"

    @property
    def data_digest(self) -> str | None:
        """What tells the user's data from others: a file's bytes, or the sizes and times of a folder's files.

        None without data of the user's. Hidden files are no data: one of them may be what `--save` tries.
        """
        if self.data is None:
            return None
        if self.data.is_file():
            whole = hashlib.sha256()
            with self.data.open("rb") as file:
                while chunk := file.read(1 << 20):
                    whole.update(chunk)
            return whole.hexdigest()
        whole = hashlib.sha256(str(self.data.resolve()).encode())
        for path in sorted(path for path in self.data.iterdir() if not path.name.startswith(".")):
            status = path.stat()
            whole.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return whole.hexdigest()

    @property
    def rank(self) -> int:
        """The place of this process among `ranks`."""
        return 0 if self.ranks is None else self.ranks.rank

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let rank 0 do first what all of them do, as it may leave what the others take: a download."""
        if self.ranks is None:
            yield
        elif self.ranks.rank:
            self.ranks.bcast()
            yield
        else:
            try:
                yield
            finally:
                self.ranks.bcast()

    def backup(self, model: str = "model") -> list[Callback]:
        """Return the callbacks that let the training of a model go on where a run was interrupted.

        Parameters
        ----------
        model : str
            Tells the models of a job apart that are trained one after the other.
        """
        if self.state is None:
            return []
        # A complete training's backup stays, so that a second run does not repeat the first of two trainings.
        return [callbacks.BackupAndRestore(self.state / model, delete_checkpoint=False)]

    @contextmanager
    def alone_in(self, folder: Path) -> Iterator[None]:
        """Keep other runs out of a folder, which is made if it is missing; OSError if one is there."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder, "--state")
        try:
            yield
        finally:
            lock.release()

    def picture(self, name: str, figure: Any) -> None:
        """Write a figure of `fusedlstm.plots` into the report's folder; nothing without one."""
        from fusedlstm import plots

        if self.report is not None:
            path = self.report / name
            self._write(path, lambda: plots.save(figure, path))

    def save_model(self, model: Model, *, include_optimizer: bool = True) -> None:
        """Save the trained model if the user wants it.

        Parameters
        ----------
        model : Model
        include_optimizer : bool
            False where the loss is a function, which a file cannot hold; the model is for predictions then.
        """
        if self.save is not None:
            path = self.save
            self._write(path, lambda: model.save(path, include_optimizer=include_optimizer))

    def _write(self, path: Path, write: Callable[[], object]) -> None:
        """Write a file; one that fails keeps neither the others nor the numbers from being written."""
        try:
            write()
        except OSError as error:
            self.failed.append(error)
        else:
            self.written.append(path)

    @property
    def agree(self) -> bool:
        """False when training and test data were compared and differ."""
        return all(one["ok"] for one in self.compared)

    def compare(self, train: Any, test: Any, *, name: str = "", **options: Any) -> None:
        """Say how training and test data differ, if the user wants to know; see `fusedlstm.compare_data`.

        Parameters
        ----------
        train, test : array, or (x, y)
        name : str
            Tells what is compared from what else a job compares.
        **options
            As of `compare_data`.
        """
        if not self.check_data:
            return
        found = fusedlstm.compare_data(train, test, seed=self.seed, **options)
        self.compared.append({"name": name or self.name, **found.to_dict()})
        heading = f"{name}: " if name else ""
        if self.quiet and not (found.ok and found.tested):
            self.warn(heading + found.headline)  # Or the exit code would be all that a script gets.
        self.say(heading + str(found))

    def note(self, model: str, data: str) -> str:
        """Return the line under each picture: which model, data and seed it shows."""
        precision = "" if self.precision == "float32" else f"; {self.precision}"
        return f"{model}{precision}; {data}{' (quick)' if self.quick else ''}; seed {self.seed}"
