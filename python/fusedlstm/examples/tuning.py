"""What the example `search` asks of the others: their hyper-parameters, and how to try and to test them.

An example that can be searched has a function ``tuning(job)``, which reads the data and returns a `Tuning`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusedlstm.callbacks import Callback
    from fusedlstm.examples.job import Job
    from fusedlstm.models import Model

    Chosen = Mapping[str, Any]  # values of hyper-parameters by their names


class Range(NamedTuple):
    """A hyper-parameter: what it is by default, and between which values it may be.

    It is a whole number where the default is one. With ``log``, twice as much is as far everywhere.
    """

    name: str
    default: float
    low: float
    high: float
    log: bool = False


class Tuning(NamedTuple):
    """How an example's hyper-parameters are judged.

    Attributes
    ----------
    ranges : sequence of Range
    data : str
        What is learned from, in words.
    watched : str
        The log of an epoch of an attempt that is to become small. It is of data that are neither learned from
        nor tested with.
    epochs : int
        Passes of an attempt, as a rule.
    attempt : callable
        ``attempt(chosen, callbacks)`` trains a model with these hyper-parameters, on a part of what may be
        learned from and not for long, and returns what came of `watched`.
    verify : callable
        ``verify(job, chosen)`` trains one on all of it, with the job's seed and backups, as the example does,
        and tests it. It returns the model, and measures by their names; less of the first one is better.
    """

    ranges: Sequence[Range]
    data: str
    watched: str
    epochs: int
    attempt: Callable[[Chosen, list[Callback]], float]
    verify: Callable[[Job, Chosen], tuple[Model, dict[str, float]]]

    @property
    def defaults(self) -> dict[str, float]:
        """The hyper-parameters that the example has without a search."""
        return {one.name: one.default for one in self.ranges}
