"""Series of numbers in time: those that statsmodels brings, and a user's CSV file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusedlstm.examples.job import ProblemError
from fusedlstm.examples.tables import column, rows

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]

_TIMES = ("time", "date", "datetime", "timestamp", "ds", "day", "week", "month", "year")
_ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?)?)?")
_DAY = 86_400
# Steps that a calendar makes unequal: their shortest and longest in days, and their months.
_CALENDAR = ((28, 31, 1), (90, 92, 3), (365, 366, 12))


class Series(NamedTuple):
    """A series without gaps.

    ``times`` (N,) are seconds, ``values`` (N,) float64. Where ``known`` (N,) is false, no value was measured,
    and the last one before stands in: a value from between its neighbours would know the later one.
    ``season`` is the number of steps after which it repeats itself, more or less.
    """

    name: str
    unit: str
    times: Times
    values: NDArray[np.float64]
    known: NDArray[np.bool_]
    season: int

    @property
    def measured(self) -> NDArray[np.float64]:
        """The values, NaN where none was measured."""
        return np.where(self.known, self.values, np.nan)

    def moment(self, index: int) -> str:
        """Return a time in words, with the hour where not all of the times are midnight."""
        days = self.times == self.times.astype("datetime64[D]")
        return str(self.times[index])[: 10 if days.all() else 16].replace("T", " ")


def bundled() -> list[Series]:
    """Return the series of statsmodels: weekly CO2, its monthly means, and a monthly index of production."""
    from statsmodels.datasets import co2, elec_equip

    table = co2.load_pandas().data["co2"]
    monthly = table.resample("MS").mean()
    equipment = elec_equip.load_pandas().data.iloc[:, 0]
    known = [
        ("weekly CO2", "CO2 in air at Mauna Loa, ppm", table, 52),
        ("monthly CO2", "CO2 in air at Mauna Loa, ppm", monthly, 12),
        ("electrical equipment", "production in the euro area, index", equipment, 12),
    ]
    return [
        _filled(name, unit, data.index.to_numpy().astype("datetime64[s]"), data.to_numpy(), season)
        for name, unit, data, season in known
    ]


def _filled(name: str, unit: str, times: Times, values: NDArray[np.float64], season: int) -> Series:
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    return Series(name, unit, times, values[last].astype(np.float64), known, season)


def read_csv(path: Path, time: str, value: str, season: int) -> Series:
    """Return a column of a CSV file as a series.

    Parameters
    ----------
    path : Path
        Has a header, a column of times in ISO 8601 (``2024``, ``2024-01``, ``2024-01-31 10:00``), in order,
        and one of numbers, in which empty fields are values that are not known.
    time, value : str
        The columns; when empty the first with a usual name of times, or simply the first, and the first other
        one that begins with a number.
    season : int
        Steps of a season, or 0: a day of steps of up to an hour, 7 days, 52 weeks, 12 months, 4 quarters.

    Raises
    ------
    ProblemError
        When a column is missing, a field is no time or number, times run backwards or leave gaps, or the
        steps do not say what a season is.
    """
    table = rows(path)
    _, header = next(table)
    numbered = list(table)
    if not numbered:
        raise ProblemError(f"{path}: expected rows below the header, got none")
    if time:
        at = column(path, header, time)
    else:
        at = next((i for i, name in enumerate(header) if name.lower() in _TIMES), 0)
    if value:
        what = column(path, header, value)
    else:
        firsts = [next((fields[i] for _, fields in numbered if fields[i]), "") for i in range(len(header))]
        numeric = [i for i, field in enumerate(firsts) if i != at and np.isfinite(_number(field))]
        if not numeric:
            raise ProblemError(
                f"{path}: expected a column of numbers beside {header[at]!r}; name it by --value"
            )
        what = numeric[0]
    times, values = [], []
    for line, fields in numbered:
        stamp = re.sub(r"(Z|\+00:00)$", "", fields[at])
        number = _number(fields[what]) if fields[what] else np.nan
        if not _ISO.fullmatch(stamp):
            raise ProblemError(
                f"{path}, line {line}, column {header[at]!r}: expected a time such as 2024-01-31 10:00, "
                f"in UTC or without a word of the zone, got {fields[at]!r:.40}"
            )
        if fields[what].lower() not in ("", "nan", "na") and not np.isfinite(number):
            raise ProblemError(
                f"{path}, line {line}, column {header[what]!r}: expected a number, got {fields[what]!r:.40}"
            )
        try:
            times.append(np.datetime64(stamp, "s"))
        except ValueError as error:
            raise ProblemError(f"{path}, line {line}, column {header[at]!r}: {error}") from error
        values.append(number)
    if np.isnan(values[0]):
        raise ProblemError(f"{path}, line {numbered[0][0]}: expected a number in the first row, got none")
    if len(values) < 2:
        raise ProblemError(f"{path}: expected a series of several rows below the header, got one")
    stamps = np.array(times)
    _check_order(path, stamps, [line for line, _ in numbered])
    return _filled(path.name, header[what], stamps, np.array(values), season or _season(path, stamps))


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return np.nan


def _check_order(path: Path, times: Times, lines: list[int]) -> None:
    """Check that times go forward in steps of one length, or of one of the calendar's."""
    steps = np.diff(times).astype(np.int64)
    for index in np.flatnonzero(steps <= 0)[:1]:
        raise ProblemError(
            f"{path}, line {lines[index + 1]}: time runs backwards or stands still, {times[index + 1]} comes "
            f"after {times[index]}"
        )
    usual = int(np.median(steps))
    for index in np.flatnonzero((steps > 1.5 * usual) | (steps < 0.5 * usual))[:1]:
        raise ProblemError(
            f"{path}, line {lines[index + 1]}: expected a step of {_words(usual)} like most others, got "
            f"{_words(int(steps[index]))}; rows that are missing may be there with an empty value"
        )


def _words(seconds: int) -> str:
    return f"{seconds / _DAY:g} days" if seconds >= _DAY else f"{seconds:,} seconds"


def _season(path: Path, times: Times) -> int:
    step = int(np.median(np.diff(times).astype(np.int64)))
    days = step / _DAY
    if step <= 3600 and _DAY % step == 0:
        return _DAY // step
    for shortest, longest, season in ((1, 1, 7), (7, 7, 52), (28, 31, 12), (90, 92, 4)):
        if shortest <= days <= longest:
            return season
    raise ProblemError(
        f"{path}: steps of {_words(step)} do not say how long a season is: --season STEPS does"
    )


def later(times: Times, count: int) -> Times:
    """Return the times of the next ``count`` steps, months by the calendar."""
    step = np.median(np.diff(times).astype(np.int64))
    ahead = np.arange(1, count + 1)
    for shortest, longest, months in _CALENDAR:
        if shortest <= step / _DAY <= longest:
            month = times[-1].astype("datetime64[M]")
            firsts = month + months * ahead
            longest_wait = (firsts + 1).astype("datetime64[D]") - firsts - np.timedelta64(1, "D")
            return np.asarray(firsts.astype("datetime64[s]") + np.minimum(times[-1] - month, longest_wait))
    return np.asarray(times[-1] + (step * ahead).astype("timedelta64[s]"))
