"""Checks of command-line options: everything wrong with them is found before any work.

The functions are click callbacks: they return the option's value or raise a usage error that names it.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import click

from fusedlstm import devices, ops
from fusedlstm.io.atomic import check_target

__all__ = ["FILE", "FOLDER", "device", "finite", "instruction_set", "output_file", "output_folder"]

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def device(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Return the device that will compute, ``cpu`` or ``cuda``; refuse one that is not there, and say why."""
    try:
        return devices.name_of(devices.find(value))
    except (ImportError, RuntimeError) as error:
        raise click.BadParameter(str(error).removeprefix("device: ")) from error


def finite(_ctx: click.Context, _param: click.Parameter, value: float) -> float:
    """Refuse NaN and infinity, which click's ranges let through."""
    if not math.isfinite(value):
        raise click.BadParameter(f"expected a finite number, got {value}")
    return value


def _needs(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise click.BadParameter(f'needs {module}: pip install "fusedlstm[{extra}]"')


def _check_target(path: Path) -> None:
    try:
        check_target(path)
    except OSError as error:
        raise click.BadParameter(f"cannot write {path}: {error.strerror} ({error.filename})") from error


def output_file(_ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Check that a file can be written where the option says; a model's must be a safetensors file."""
    if value is None:
        return None
    if param.name == "save":
        _needs("safetensors", "io")
        if value.suffix != ".safetensors":
            raise click.BadParameter(f"expected a file name that ends in .safetensors, got {str(value)!r}")
    _check_target(value)
    return value


def output_folder(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    """Make the folder for pictures and check that files can be written into it."""
    if value is None:
        return None
    _needs("matplotlib", "report")
    try:
        value.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"cannot make the folder {value}: {error.strerror}") from error
    for picture in (value / "new.png", *value.glob("*.png")):
        _check_target(picture)
    return value


def instruction_set(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Refuse an instruction set that this build or this processor does not have."""
    if value is not None and value not in ops.instruction_sets():
        usable = ", ".join(ops.instruction_sets())
        raise click.BadParameter(f"expected one that this processor has ({usable}), got {value!r}")
    return value
