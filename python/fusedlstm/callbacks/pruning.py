"""`OptunaPruning`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fusedlstm.base import checks
from fusedlstm.callbacks.monitors import EpochMonitor

if TYPE_CHECKING:
    from fusedlstm.callbacks.base import Logs


class OptunaPruning(EpochMonitor):
    """Tells a trial of Optuna how good the model is after each epoch, and ends trainings without a prospect.

    `fit` raises ``optuna.TrialPruned`` where the study's pruner says so, or the value is not finite; an
    objective lets it pass, and Optuna notes that the trial was pruned.

    Parameters
    ----------
    trial : optuna.Trial
        What the objective is called with, or ``study.ask()`` returns.
    monitor : str
        Key in the logs. The study's direction says which values are better.
    interval : int
        Epochs from one question to the pruner to the next; the trial is told of each epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.
    """

    def __init__(self, trial: Any, monitor: str = "val_loss", interval: int = 1) -> None:
        super().__init__(monitor, "auto")
        if not (hasattr(trial, "report") and hasattr(trial, "should_prune")):
            raise TypeError(f"trial: expected a trial of Optuna, got {type(trial).__name__}")
        self.trial = trial
        self.interval = checks.positive_int(interval, "interval")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell the trial, and end the training if it has no prospect."""
        value = self.current(logs)
        if value is None:
            return
        self.trial.report(float(value), step=epoch)
        finite = math.isfinite(value)
        if not finite or ((epoch + 1) % self.interval == 0 and self.trial.should_prune()):
            from optuna import TrialPruned

            why = "is without a prospect" if finite else "diverged"
            raise TrialPruned(f"epoch {epoch + 1}: the training {why}, {self.monitor} is {value:g}")
