"""`Comparison`: all that was found, as words, JSON and a picture."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusedlstm.comparison.findings import SEVERITIES, Finding
from fusedlstm.io.atomic import write_text

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# Findings of one kind and field that are printed in full.
_SHOWN = 3
# Letters of a finding that are in the headline.
_HEADLINE = 120
_HEADINGS = {"error": "Wrong", "warning": "Different", "note": "Worth knowing"}


@dataclass(frozen=True)
class Distances:
    """Kolmogorov and Smirnov's distances of one field, for the picture.

    Attributes
    ----------
    field : str
    features : tuple of str
    edges : list of int
        Borders of the steps that were taken together.
    values : ndarray, shape (F, bins)
        In [0, 1].
    differs : ndarray of bool, shape (F,)
        Features in which a test found a difference.
    train, test : ndarray, shape (3, bins)
        Quantiles 0.1, 0.5 and 0.9 of the feature that differs most, step by step; of single steps NaN.
    samples : pair of ndarray
        Some of that feature's numbers in either set.
    shown : int
        That feature's number.
    """

    field: str
    features: tuple[str, ...]
    edges: list[int]
    values: NDArray[np.float64]
    differs: NDArray[np.bool_]
    train: NDArray[np.float64]
    test: NDArray[np.float64]
    samples: tuple[NDArray[np.float64], NDArray[np.float64]]
    shown: int


@dataclass(frozen=True)
class Shares:
    """How often classes of labels, or ids, come in either set, for the picture.

    Attributes
    ----------
    field : str
    title, what : str
        What is shown, and the name of its axis.
    names : tuple of str
        The classes or ids.
    train, test : ndarray, shape (K,)
        Shares in [0, 1].
    """

    field: str
    title: str
    what: str
    names: tuple[str, ...]
    train: NDArray[np.float64]
    test: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare_data` found.

    Attributes
    ----------
    findings : tuple of Finding
        The worst first.
    alpha : float
        Chance that any of the tests finds something in sets that were drawn alike.
    seed : int
    samples : pair of int
        Sizes of train and test.
    tests : dict of str to int
        How many tests of each family share ``alpha``.
    auc : float or None
        Of the classifier on rows that it had not seen; None without one.
    tested : bool
        False where so few samples came that no test of distributions could have found anything.
    """

    findings: tuple[Finding, ...]
    alpha: float
    seed: int
    samples: tuple[int, int]
    tests: dict[str, int]
    auc: float | None = None
    distances: tuple[Distances, ...] = field(default=(), repr=False)
    shares: tuple[Shares, ...] = field(default=(), repr=False)
    scores: tuple[NDArray[np.float64], NDArray[np.float64]] | None = field(default=None, repr=False)
    tested: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing was found but notes; `tested` says whether anything could have been."""
        return all(one.severity == "note" for one in self.findings)

    @property
    def exit_code(self) -> int:
        """0 if ``ok``, else 1, as a command ends with."""
        return 0 if self.ok else 1

    @property
    def headline(self) -> str:
        """The first finding, or that there is none, in a sentence."""
        if self.ok:
            few = "Train and test have too few samples to test whether they agree"
            return "Train and test agree" if self.tested else few
        others = sum(one.severity != "note" for one in self.findings) - 1
        more = f" (and {others} more)" if others else ""
        text = self.findings[0].text
        if len(text) > _HEADLINE:
            text = text[: _HEADLINE - 1].rsplit(" ", 1)[0] + " …"
        return f"Train and test disagree: {text}{more}"

    def __str__(self) -> str:
        """Return the report: sentences, the worst first, and how it was tested."""
        lines = [f"{self.headline}." if self.ok else "Train and test disagree."]
        for severity in SEVERITIES:
            some = [one for one in self.findings if one.severity == severity]
            if some:
                lines += ["", f"{_HEADINGS[severity]}:", *_lines(some)]
        lines += ["", *self._how()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays of the picture, as JSON takes it."""
        return {
            "ok": self.ok,
            "tested": self.tested,
            "findings": [one.to_dict() for one in self.findings],
            "alpha": self.alpha,
            "seed": self.seed,
            "samples": {"train": self.samples[0], "test": self.samples[1]},
            "tests": dict(self.tests),
            "auc": self.auc,
        }

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return `to_dict` as JSON, and write it to a file if there is a path.

        Raises
        ------
        OSError
            If the file cannot be written; it is as it was then.
        """
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            write_text(path, text + "\n")
        return text

    def figure(self) -> Any:
        """Return the picture as a figure of matplotlib; see `plot`."""
        from fusedlstm.comparison.picture import draw

        return draw(self)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw how far apart features and steps are, the worst feature in both sets, and what the LSTM saw.

        Parameters
        ----------
        path : path-like
            The file, whose name ends in ``.png``.

        Raises
        ------
        ImportError
            If matplotlib (the extra ``report``) is not installed.
        OSError, TypeError, ValueError
            If the file cannot be written, or has another ending.
        """
        from fusedlstm import plots
        from fusedlstm.io.endings import PICTURES, check_ending

        check_ending(path, PICTURES)
        return plots.save(self.figure(), path)

    def _how(self) -> list[str]:
        count = sum(self.tests.values())
        lines = [
            f"{self.samples[0]:,} samples in train, {self.samples[1]:,} in test; {count:,} tests, of which "
            f"any errs with a chance of {100 * self.alpha:g} % in sets drawn alike; seed {self.seed}"
        ]
        if self.auc is not None:
            lines.append(f"AUC of the LSTM that tells train from test: {self.auc:.3f} (0.5 is chance)")
        return lines


def _lines(findings: list[Finding]) -> list[str]:
    counts = Counter((one.kind, one.field) for one in findings)
    shown: Counter[tuple[str, str | None]] = Counter()
    lines = []
    for one in findings:
        key = (one.kind, one.field)
        shown[key] += 1
        if shown[key] <= _SHOWN:
            lines.append(f"- {one.text}{_chance(one)}")
        elif shown[key] == _SHOWN + 1:
            left = counts[key] - _SHOWN
            lines.append(f"- and {left} more of this kind ({one.kind}) in {one.field}")
    return lines


def _chance(finding: Finding) -> str:
    if finding.p_adjusted is None:
        return ""
    p = finding.p_adjusted
    return " [p < 1e-6]" if p < 1e-6 else f" [p = {p:.2g}]"
