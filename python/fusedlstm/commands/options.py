"""Command-line options and their checks: everything wrong with them is found before any work.

The checks are click callbacks: they return the option's value or raise a usage error that names it.
"""

from __future__ import annotations

import importlib.util
import math
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusedlstm import ops
from fusedlstm.base import devices
from fusedlstm.io.destinations import Destinations
from fusedlstm.io.endings import MODELS, check_ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# What writes models of each ending, and the extra that brings it.
_PACKAGES = {".safetensors": ("safetensors", "io"), ".keras": ("h5py", "keras")}


def device(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Return the device that will compute, ``cpu`` or ``cuda``; refuse one that is not there, and say why."""
    try:
        return devices.find(value).kind
    except (ImportError, RuntimeError) as error:
        raise click.BadParameter(str(error).removeprefix("device: ")) from error


def finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    """Refuse NaN and infinity, which click's ranges let through."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"expected a finite number, got {value}")
    return value


def _ranks(ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    """Return the communicator of a name. Rank 0 alone writes, which other options then know."""
    if value is None:
        from fusedlstm.distributed import mpi

        variable, started = mpi.launched()
        if started > 1:
            raise click.BadParameter(
                f"{variable} says that {started} processes were started, which would all do the same: add "
                "--distribute mpi"
            )
        return None
    from fusedlstm import distributed

    try:
        communicator = distributed.get(value)
    except (ImportError, RuntimeError) as error:
        raise click.BadParameter(str(error).removeprefix("distribute: ")) from error
    ctx.meta[_RANK] = communicator.rank
    return communicator


_RANK = "fusedlstm.rank"


def distribute_option() -> Decorator:
    """Return the option for the ranks that share a training."""
    return click.option(
        "--distribute",
        type=click.Choice(["mpi", "nccl"]),
        callback=_ranks,
        is_eager=True,
        help="Share the training with the other processes that mpiexec or srun has started.",
    )


def _needs(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise click.BadParameter(f'needs {module}: pip install "fusedlstm[{extra}]"')


def _check_file(ctx: click.Context, path: Path) -> None:
    try:
        ctx.with_resource(Destinations("file")).check(path)
    except (OSError, ValueError) as error:
        raise click.BadParameter(str(error).removeprefix("file: ")) from error


def _output_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Check that a file can be written where the option says, and that a model's has an ending for models."""
    if value is None or ctx.meta.get(_RANK):
        return None
    if param.name == "save":
        try:
            ending = check_ending(value, MODELS, "file")
        except ValueError as error:
            raise click.BadParameter(str(error).removeprefix("file: ")) from error
        _needs(*_PACKAGES[ending])
    _check_file(ctx, value)
    return value


def file_option(name: str, text: str) -> Decorator:
    """Return an option for a file that the command writes, with its help text."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, type=kind, callback=_output_file, help=text)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def pictures_option(name: str, pictures: Callable[[], Iterable[str]]) -> Decorator:
    """Return an option for the folder that the command's pictures go to, whose names a function returns."""

    def folder(ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
        """Make the folder and check that the pictures can be written into it."""
        if value is None or ctx.meta.get(_RANK):
            return None
        _needs("matplotlib", "report")
        made = [one for one in (value, *value.parents) if not one.exists()]
        # A run that failed leaves nothing; folders with pictures stay, as they are not empty.
        ctx.call_on_close(lambda: _remove_empty(made))
        try:
            value.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.BadParameter(f"cannot make the folder {value}: {error.strerror}") from error
        for picture in pictures():
            _check_file(ctx, value / picture)
        return value

    kind = click.Path(file_okay=False, path_type=Path)
    return click.option(name, type=kind, callback=folder, help="Write pictures (PNG) into this folder.")


def _instruction_set(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Refuse an instruction set that this build or this processor does not have."""
    if value is not None and value not in ops.instruction_sets():
        usable = ", ".join(ops.instruction_sets())
        raise click.BadParameter(f"expected one that this processor has ({usable}), got {value!r}")
    return value


def instruction_set_option(use: str) -> Decorator:
    """Return the option for the kernels' instruction set; ``use`` begins its help text."""
    return click.option(
        "--instruction-set",
        metavar="NAME",
        callback=_instruction_set,
        show_default="the best one",
        help=f"{use}: avx512, avx2, neon or scalar.",
    )


@contextmanager
def kernels_as(options: dict[str, Any]) -> Iterator[None]:
    """Use the threads and the instruction set of the options, which then say what is really used."""
    before = ops.get_num_threads(), ops.get_instruction_set()
    try:
        if options["threads"] is not None:
            ops.set_num_threads(options["threads"])
        if options["instruction_set"] is not None:
            ops.set_instruction_set(options["instruction_set"])
        options.update(threads=ops.get_num_threads(), instruction_set=ops.get_instruction_set())
        yield
    finally:
        ops.set_num_threads(before[0])
        ops.set_instruction_set(before[1])


class Outputs:
    """Files that a command writes at its end: one that fails does not keep the others from being written.

    Attributes
    ----------
    written : list of Path
        The complete ones.
    """

    def __init__(self) -> None:
        self.written: list[Path] = []
        self._first: OSError | None = None

    def attempt(self, write: Callable[[], Iterable[Path]]) -> None:
        """Write files, as a function does that returns them, or keep its error for the end."""
        try:
            self.written += write()
        except OSError as error:
            self.fail(error)

    def fail(self, error: OSError) -> None:
        """Tell why a file was not written, and keep the error for the end."""
        click.secho(f"WARNING: not written: {error}", fg="yellow", bold=True, err=True)
        self._first = self._first or error

    def finish(self) -> None:
        """Raise a click error with the first cause, if anything failed."""
        if self._first is not None:
            raise click.ClickException(f"the results could not be written: {self._first}") from self._first
