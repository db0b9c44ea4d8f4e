"""The study of the example `search`: all that was tried, in a journal file that several processes share.

The file is one of Optuna, which its own tools read too, such as ``optuna-dashboard study.journal``.
"""

from __future__ import annotations

import json
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from fusedlstm import callbacks
from fusedlstm.examples.job import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusedlstm.examples.job import Job
    from fusedlstm.examples.tuning import Range, Tuning

_RECORD = b'{"op_code":'  # what each line of a journal begins with
_CHOSEN = "hyper-parameters"  # attribute of trials that were not left to the sampler

# Optuna says of each trial what it was; the example has words of its own.
optuna.logging.set_verbosity(optuna.logging.WARNING)


def space(ranges: Sequence[Range]) -> dict[str, Any]:
    """Return the distributions that hyper-parameters are drawn from."""
    return {
        one.name: IntDistribution(int(one.low), int(one.high), log=one.log)
        if isinstance(one.default, int)
        else FloatDistribution(one.low, one.high, log=one.log)
        for one in ranges
    }


def storage(journal: Path) -> JournalStorage:
    """Return what a study is kept in, as each process opens it."""
    return JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))


@contextmanager
def opened(job: Job, of: str, tuning: Tuning) -> Iterator[tuple[optuna.Study, Path]]:
    """Give a study and its journal: in the job's state, or in a folder that goes with the run.

    No other run has it meanwhile, so that trials which are under way in the journal were interrupted.

    Raises
    ------
    ProblemError
        When the journal is damaged, or of another example, other data or hyper-parameters.
    OSError
        When another run has it, or it cannot be written.
    """
    with TemporaryDirectory(prefix="fusedlstm-search-") as temporary:
        folder = job.state or Path(temporary)
        with job.alone_in(folder):
            journal = folder / "study.journal"
            _mend(journal)
            study = _loaded(journal, of, tuning, job.data_digest)
            retry_interrupted(study, len(tuning.ranges))
            yield study, journal


def enqueue(study: optuna.Study, chosen: dict[str, Any]) -> None:
    """Let these hyper-parameters be those of a trial to come."""
    study.enqueue_trial(chosen, user_attrs={_CHOSEN: chosen})


def retry_interrupted(study: optuna.Study, count: int) -> None:
    """Mark the trials that were under way as failed, and let their hyper-parameters come next.

    They are written one by one: where there are less than ``count``, the sampler draws all of them again.
    """
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        chosen = trial.user_attrs.get(_CHOSEN, trial.params)
        if len(chosen) == count:
            enqueue(study, chosen)


class Sampler(optuna.samplers.BaseSampler):  # type: ignore[misc]
    """Draws hyper-parameters by TPE, with a seed for a trial's place among those that did not fail.

    So a study that was interrupted goes on as it would have, where one process makes the trials.

    Parameters
    ----------
    seed : int
    workers : int
        Processes that make trials. With several, those under way count as bad ones, so that two workers do
        not try the same at once.
    """

    def __init__(self, seed: int, workers: int) -> None:
        self._seed, self._workers = seed, workers

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Begin with the seed of a trial."""
        before = [one for one in study.get_trials(deepcopy=False) if one.number < trial.number]
        place = sum(one.state is not TrialState.FAIL for one in before)
        own = int(np.random.SeedSequence((self._seed, place)).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # in older versions
            self._tpe = optuna.samplers.TPESampler(
                n_startup_trials=8, seed=own, multivariate=True, constant_liar=self._workers > 1
            )
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(self, *trial: Any) -> Any:
        """Return what is drawn together; as of all samplers of Optuna."""
        return self._tpe.infer_relative_search_space(*trial)

    def sample_relative(self, *trial: Any) -> Any:
        """Draw hyper-parameters together; as of all samplers of Optuna."""
        return self._tpe.sample_relative(*trial)

    def sample_independent(self, *trial: Any) -> Any:
        """Draw one by itself; as of all samplers of Optuna."""
        return self._tpe.sample_independent(*trial)


class Pruning(callbacks.OptunaPruning):
    """Gives up trainings without a prospect, but none after its last epoch, when nothing would be saved.

    Parameters
    ----------
    trial : optuna.Trial
    monitor : str
        Key in the logs.
    epochs : int
        Of the training.
    """

    def __init__(self, trial: optuna.Trial, monitor: str, epochs: int) -> None:
        super().__init__(trial, monitor)
        self.epochs = epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Tell the trial, and end the training if it has no prospect, or diverged."""
        if epoch + 1 == self.epochs:
            self.interval = epoch + 2  # The pruner is not asked any more.
        super().on_epoch_end(epoch, logs)


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that came to their end, or were given up."""
    trials: list[optuna.trial.FrozenTrial] = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    return trials


def best_of(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """Return the best trial that came to its end."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise ProblemError("no trial came to its end: all of them diverged or were given up; more --trials")
    return study.best_trial


def importances(study: optuna.Study, seed: int) -> dict[str, float]:
    """Return how much of trials' differences each hyper-parameter makes, by fANOVA; none of few trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _mend(journal: Path) -> None:
    """Remove what a process that was killed has left: a lock, and the beginning of a line."""
    for left in journal.parent.glob(f"{journal.name}.lock*"):
        left.unlink(missing_ok=True)
    if not journal.exists():
        return
    *lines, last = journal.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            if not line.startswith(_RECORD):
                raise ValueError("another beginning")
            json.loads(line)
        except ValueError as error:
            raise _damaged(journal, f"line {number} is no record of Optuna's") from error
    if not (last.startswith(_RECORD) or _RECORD.startswith(last)):
        raise _damaged(journal, f"line {len(lines) + 1} is no record of Optuna's")
    if last:
        with journal.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines))


def _loaded(journal: Path, of: str, tuning: Tuning, digest: str | None) -> optuna.Study:
    """Return the study of a journal that is sound, or a new one, in which the defaults come first."""
    ranges = "; ".join(
        f"{one.name} {one.low:g} to {one.high:g}{' by factors' * one.log}, usually {one.default:g}"
        for one in tuning.ranges
    )
    about = {"data": tuning.data, "measure": tuning.watched, "hyper-parameters": ranges}
    about["content of the data"] = str(digest)
    try:
        kept = storage(journal)
        names = optuna.get_all_study_names(kept)
        if names not in ([], [of]):
            raise ProblemError(f"{journal}: expected a study of {of}, got one of {', '.join(names)}")
        make = optuna.load_study if names else optuna.create_study
        study = make(storage=kept, study_name=of)
        found, trials = study.user_attrs, study.get_trials()
    except (ProblemError, OSError):
        raise
    except Exception as error:  # Records that are not what they should be can make Optuna raise anything.
        raise _damaged(journal, f"{type(error).__name__}: {error}") from error
    for name, value in about.items():
        if name not in found:
            study.set_user_attr(name, value)
        elif found[name] != value:
            raise ProblemError(
                f"{journal}: expected a study with {name} {value!r}, got one with {found[name]!r}"
            )
    if not trials:
        enqueue(study, tuning.defaults)
    distributions = space(tuning.ranges)
    for trial in trials:
        if any(distributions.get(name) != one for name, one in trial.distributions.items()):
            raise ProblemError(f"{journal}: trial {trial.number} has other hyper-parameters than {of}")
    return study


def _damaged(journal: Path, how: str) -> ProblemError:
    return ProblemError(f"{journal}: damaged ({how})")
