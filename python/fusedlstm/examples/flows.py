"""Flows of a network: a part of KDD Cup 99, which is bundled, all of it, and CSV files of three families."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusedlstm.examples.job import ProblemError
from fusedlstm.examples.tables import rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

BUNDLED = Path(__file__).with_name("kddcup99") / "flows.csv.xz"


class Flows(NamedTuple):
    """Flows in the order of their ends.

    ``numbers`` (N, F) float64 and ``kinds`` (N, K) texts hold a row for each flow, ``where`` (N,) its line in
    the file or its end in seconds since the first. ``labels`` (N,) name the attacks, and are empty for normal
    flows; None where nothing is labelled. ``unknown`` numbers were missing or not finite, and are 0.
    """

    name: str
    number_names: list[str]
    numbers: NDArray[np.float64]
    kind_names: list[str]
    kinds: NDArray[np.str_]
    labels: NDArray[np.str_] | None
    where: NDArray[np.float64]
    unknown: int = 0


class _Family(NamedTuple):
    """How the columns of a kind of file are named, in small letters and without spaces around them."""

    name: str
    marks: frozenset[str]  # by which it is recognised
    kinds: tuple[str, ...]
    labels: tuple[str, ...]  # the first that is there counts
    ignored: tuple[str, ...]


_KDD = (
    "duration protocol_type service flag src_bytes dst_bytes land wrong_fragment urgent hot "
    "num_failed_logins logged_in num_compromised root_shell su_attempted num_root num_file_creations "
    "num_shells num_access_files num_outbound_cmds is_host_login is_guest_login count srv_count "
    "serror_rate srv_serror_rate rerror_rate srv_rerror_rate same_srv_rate diff_srv_rate "
    "srv_diff_host_rate dst_host_count dst_host_srv_count dst_host_same_srv_rate dst_host_diff_srv_rate "
    "dst_host_same_src_port_rate dst_host_srv_diff_host_rate dst_host_serror_rate "
    "dst_host_srv_serror_rate dst_host_rerror_rate dst_host_srv_rerror_rate"
)
KDD_COLUMNS = _KDD.split()
_FAMILIES = (
    _Family(
        "NSL-KDD",
        frozenset(("protocol_type", "src_bytes", "dst_bytes", "srv_count")),
        ("protocol_type", "service", "flag"),
        ("label", "labels", "class", "attack", "outcome"),
        ("difficulty", "difficulty_level", "level"),
    ),
    _Family(
        "UNSW-NB15",
        frozenset(("proto", "state", "dur", "sbytes", "dbytes", "sload")),
        ("proto", "service", "state"),
        ("attack_cat", "label"),
        ("id", "srcip", "sport", "dstip", "dsport", "stime", "ltime", "label", "attack_cat"),
    ),
    _Family(
        "CIC-IDS",
        frozenset(("flow duration", "flow iat mean")),
        ("protocol", "destination port", "dst port"),
        ("label",),
        (
            "flow id",
            "source ip",
            "src ip",
            "source port",
            "src port",
            "destination ip",
            "dst ip",
            "timestamp",
        ),
    ),
)
_NORMAL = ("", "-", "0", "normal", "benign")
FEWEST = 500  # flows that a file has at least


def bundled() -> Flows:
    """Return 24,859 flows of KDD Cup 99, whose README says how they were chosen."""
    return read_csv(BUNDLED)._replace(name="KDD Cup 99 (a part of it)")


def kdd_cup_99() -> Flows:
    """Return the 494,021 flows that scikit-learn downloads or has downloaded before.

    Raises
    ------
    ProblemError
        When there is neither a copy nor a network; it takes some seconds to know that.
    """
    from sklearn.datasets import fetch_kddcup99

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        data = fetch_kddcup99(n_retries=1)
    except OSError as error:
        raise ProblemError(f"KDD Cup 99 is not at hand and could not be downloaded: {error}") from error
    finally:
        socket.setdefaulttimeout(patience)
    texts = (
        [_text(value) for value in (*row, label)] for row, label in zip(data.data, data.target, strict=True)
    )
    return _table("KDD Cup 99", [*KDD_COLUMNS, "label"], enumerate(texts, 1))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def read_csv(path: Path) -> Flows:
    """Return the flows of a CSV file, whose header says of which family it is.

    NSL-KDD's files come without a header: they are known by the number of their columns.

    Raises
    ------
    ProblemError
        When it is of no known family, a field is no number, or there are too few flows.
    """
    table = rows(path, errors="replace")  # labels of CIC-IDS-2017 have dashes of another encoding
    line, first = next(table)
    if len(first) in (42, 43) and first[1] in ("tcp", "udp", "icmp"):
        header = [*KDD_COLUMNS, "label", "difficulty"][: len(first)]
        return _table(str(path), header, _after((line, first), table))
    return _table(str(path), [name.lower() for name in first], table)


def _after(
    first: tuple[int, list[str]], table: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from table


def _table(name: str, header: list[str], table: Iterable[tuple[int, list[str]]]) -> Flows:
    """Return the flows of a table by the names of its columns."""
    family = next((family for family in _FAMILIES if family.marks <= set(header)), None)
    if family is None:
        marks = "; ".join(f"{f.name} {', '.join(sorted(f.marks))}" for f in _FAMILIES)
        raise ProblemError(f"{name}: expected a header with the columns of one of these: {marks}")
    label = next((header.index(label) for label in family.labels if label in header), None)
    kinds = [index for index, title in enumerate(header) if title in family.kinds]
    left_out = {*family.ignored, *family.labels}
    numbers = [i for i, title in enumerate(header) if i not in kinds and title not in left_out]
    values, texts, labels, lines = [], [], [], []
    for line, fields in table:
        if fields == header or [field.lower() for field in fields] == header:
            continue  # CIC-IDS-2018 repeats its header in the middle of files
        try:
            values.append([float(fields[index] or "nan") for index in numbers])
        except ValueError:
            wrong = next(i for i in numbers if not _is_number(fields[i] or "nan"))
            raise ProblemError(
                f"{name}, line {line}, column {header[wrong]!r}: expected a number, got {fields[wrong]!r:.40}"
            ) from None
        texts.append(
            [port_kind(fields[i]) if header[i].endswith("port") else fields[i].lower() for i in kinds]
        )
        lines.append(line)
        if label is not None:
            said = fields[label].strip(". ").lower()
            labels.append("" if said in _NORMAL else said)
    if len(values) < FEWEST:
        raise ProblemError(f"{name}: expected at least {FEWEST} flows, got {len(values)}")
    table_of_numbers = np.array(values)
    known = np.isfinite(table_of_numbers)
    return Flows(
        name,
        [header[index] for index in numbers],
        # CIC-IDS writes Infinity and NaN for rates of flows that take no time.
        np.where(known, table_of_numbers, 0.0),
        [header[index] for index in kinds],
        np.array(texts, dtype=str),
        None if label is None else np.array(labels),
        np.array(lines, dtype=np.float64),
        int((~known).sum()),
    )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def port_kind(field: str) -> str:
    """Return a server's port; those above 1023 are one kind."""
    return field if field.isascii() and field.isdigit() and int(field) < 1024 else "high"
