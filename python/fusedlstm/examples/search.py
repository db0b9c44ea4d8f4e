"""Search for better hyper-parameters of another example, and test whether they are better.

Optuna proposes hyper-parameters, from what was good before. A trial is a short training on a part of the
training data; one that does worse than half of the others after as many epochs is given up. The defaults are
the first trial. The trials are shared by --workers processes, and all that is known of them is in a journal
file in --state: a search that was interrupted goes on, and a complete one goes on with more --trials. With
one worker, it comes to the same result to the bit, but for the numbers of trials.

The best trial may owe its place to luck. So its hyper-parameters and the defaults are trained anew, as the
example does, on all training data and with several seeds, and tested on data that no trial has seen.
"""

from __future__ import annotations

import importlib
import warnings
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optuna

from fusedlstm import mixed_precision, ops
from fusedlstm.datasets import SubsetWarning
from fusedlstm.examples import search_pictures as pictures
from fusedlstm.examples import study as studies
from fusedlstm.examples.job import Job, Option, defaults_of
from fusedlstm.examples.workers import outcomes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusedlstm import Model
    from fusedlstm.examples.tuning import Chosen, Tuning

    Tests = dict[str, dict[int, dict[str, float]]]  # measures by what was tested and by seed

PICTURES = ("history.png", "importance.png", "test.png")
SEARCHED = ("forecast", "anomaly", "mnist", "strips", "sound", "text")
OPTIONS = (
    Option("of", "forecast", "The example whose hyper-parameters are searched.", SEARCHED),
    Option("trials", 30, "Trials of the study, those of earlier runs included.", least=1, quick=6,
           keeps_state=True),
    Option("workers", 1, "Processes that share trials and threads.", least=1, keeps_state=True),
    Option("seeds", 3, "Trainings of the best and of the defaults for the test.", least=1, quick=1,
           keeps_state=True),
)  # fmt: skip


class Worker(NamedTuple):
    """What a process of its own is told: the searched example's job, and which kernels to use."""

    job: Job
    threads: int
    instruction_set: str

    def tuning(self) -> Tuning:
        """Read the data in this process."""
        ops.set_num_threads(self.threads)
        ops.set_instruction_set(self.instruction_set)
        mixed_precision.set_global_policy(self.job.precision)
        warnings.simplefilter("ignore", SubsetWarning)  # which the first process has told
        np.seterr(over="ignore", invalid="ignore")  # A training that diverges is given up.
        return tuning_of(self.job)


class Task(NamedTuple):
    """A training for the test."""

    name: str
    chosen: Chosen
    seed: int


def tuning_of(job: Job) -> Tuning:
    """Read an example's data, and return how its hyper-parameters are judged."""
    tuning: Tuning = importlib.import_module(f"fusedlstm.examples.{job.name}").tuning(job)
    return tuning


def begin_trials(worker: Worker, journal: Path, workers: int) -> Callable[[int], int]:
    """Return the function that makes a trial in this process, and returns its number."""
    tuning = worker.tuning()
    # What is ahead after the first epochs need not be so after the last.
    warm = max(1, tuning.epochs // 3)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warm)
    sampler = studies.Sampler(worker.job.seed, workers)
    kept = studies.storage(journal)
    study = optuna.load_study(study_name=worker.job.name, storage=kept, sampler=sampler, pruner=pruner)

    def make(_: int) -> int:
        trial = study.ask(studies.space(tuning.ranges))
        try:
            epochs = trial.params.get("epochs", tuning.epochs)
            value = tuning.attempt(trial.params, [studies.Pruning(trial, tuning.watched, epochs)])
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
        return int(trial.number)

    return make


def begin_tests(worker: Worker) -> Callable[[Task], tuple[Task, dict[str, float], Model]]:
    """Return the function that trains hyper-parameters with a seed in this process, and tests them."""
    tuning = worker.tuning()

    def test(task: Task) -> tuple[Task, dict[str, float], Model]:
        state = worker.job.state and worker.job.state / f"{task.name}-seed-{task.seed}".replace(" ", "-")
        model, measures = tuning.verify(replace(worker.job, seed=task.seed, state=state), task.chosen)
        return task, measures, model

    return test


def run(job: Job) -> dict[str, Any]:
    """Search, train the best hyper-parameters and the defaults anew, and test both."""
    of, workers = job.options["of"], job.options["workers"]
    count, seeds = job.options["trials"], job.options["seeds"]
    options = importlib.import_module(f"fusedlstm.examples.{of}").OPTIONS
    defaults = defaults_of(options, job.quick)
    searched = replace(job, name=of, options=defaults, report=None, save=None)
    tuning = tuning_of(searched)
    threads = max(1, ops.get_num_threads() // workers)
    worker = Worker(replace(searched, quiet=True, check_data=False), threads, ops.get_instruction_set())

    with studies.opened(job, of, tuning) as (study, journal):
        done = len(studies.finished(study))
        before = f", {done} of them in {journal}" if done else ""
        job.say(f"{of}: {tuning.data}; {max(count, done)} trial{'s' * (max(count, done) > 1)}{before}")
        begin = partial(begin_trials, worker, journal, workers)
        left = range(done, count)
        with closing(outcomes(begin, left, min(workers, len(left)))) as numbers:
            for number in numbers:
                job.say(f"  {pictures.in_words(study.trials[number], tuning.watched)}")
        trials, best = studies.finished(study), studies.best_of(study)
        usual = next(trial for trial in trials if trial.params == tuning.defaults)
        importances = studies.importances(study, job.seed)

        compared = {"defaults": tuning.defaults}
        if best.params != tuning.defaults:
            compared[f"trial {best.number}"] = best.params
        job.say(f"\nThe best is trial {best.number}. Trained anew and tested:")
        several = [(job.seed + more) % 2**32 for more in range(seeds)]
        tasks = [Task(*one, seed) for seed in several for one in compared.items()]
        tests: Tests = {name: {} for name in compared}
        with closing(outcomes(partial(begin_tests, worker), tasks, min(workers, len(tasks)))) as tested:
            for task, measures, model in tested:
                tests[task.name][task.seed] = measures
                found = ", ".join(f"{name} {pictures.measured(name, one)}" for name, one in measures.items())
                job.say(f"  {task.name}, seed {task.seed}: {found}")
                if task.chosen == best.params and task.seed == job.seed:
                    job.save_model(model, include_optimizer=False)

    note = job.note(f"{of}, {len(trials)} trial{'s' * (len(trials) > 1)}", tuning.data)
    if job.report is not None:
        job.picture(PICTURES[0], pictures.history(trials, best, usual, tuning, note))
        job.picture(PICTURES[1], pictures.importance(trials, best, usual, importances, tuning, note))
        job.picture(PICTURES[2], pictures.test(tests, verdict(tests), note))
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in importances.items())
    return {
        "best": pictures.in_words(best, tuning.watched),
        "defaults": pictures.in_words(usual, tuning.watched),
        "importance": shares or "unknown, of few trials",
        "test": verdict(tests),
        "trials": len(trials),
        "seeds": seeds,
        **({"study": str(journal)} if job.state else {}),
        "hyper-parameters": best.params,
        "importances": importances,
        "tests": tests,
        "all trials": [
            {
                "number": trial.number,
                "hyper-parameters": trial.params,
                "value": trial.value,
                "given up": trial.state is optuna.trial.TrialState.PRUNED,
                "epochs": list(trial.intermediate_values.values()),
            }
            for trial in trials
        ],
    }


def verdict(tests: Tests) -> str:
    """Return in words whether the best trial's hyper-parameters are better than the defaults."""
    if len(tests) == 1:
        return "no trial was better than the defaults"
    (usual, measured), (best, found) = tests.items()
    measure = next(iter(next(iter(found.values()))))
    ours, theirs = ([one[measure] for one in rows.values()] for rows in (found, measured))
    ends = [pictures.measured(measure, float(np.mean(values))) for values in (ours, theirs)]
    name = measure.replace("_", " ")
    seeds = f"with each of {len(ours)} seeds" if len(ours) > 1 else "with one seed"
    if max(ours) < min(theirs):
        return f"{best} is better than the {usual} {seeds}: {name} {ends[0]} against {ends[1]}"
    if min(ours) > max(theirs):
        return f"the {usual} are better than {best} {seeds}: {name} {ends[1]} against {ends[0]}"
    found_so = f"{name} {ends[0]} and {ends[1]}, and seeds differ"
    return f"no clear difference between {best} and the {usual}: {found_so}"
