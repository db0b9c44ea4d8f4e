"""The study of the example ``search``: its journal, sound and damaged ones, and interrupted trials."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("optuna")

import optuna

from fusedlstm.examples import study as studies
from fusedlstm.examples.job import Job, ProblemError
from fusedlstm.examples.tuning import Range, Tuning

if TYPE_CHECKING:
    from pathlib import Path

RANGES = (Range("units", 32, 8, 128, log=True), Range("dropout", 0.2, 0.0, 0.5))


def tuning(**changes: Any) -> Tuning:
    def unused(*_: Any) -> Any:
        raise AssertionError("no training is needed")

    return Tuning(RANGES, "digits", "val_loss", 5, unused, unused)._replace(**changes)


def job(folder: Path | None) -> Job:
    return Job("search", state=folder)


def attempt(study: Any, value: float | None, seed: int = 0, workers: int = 1) -> Any:
    """Make a trial with some value; None leaves it under way."""
    study.sampler = studies.Sampler(seed, workers)
    trial = study.ask(studies.space(RANGES))
    trial.report(1.0, step=0)
    if value is not None:
        study.tell(trial, value)
    return trial


def made(folder: Path, values: tuple[float | None, ...] = (3.0, 1.0, 2.0)) -> Path:
    """Return the journal of a study with trials of these values."""
    with studies.opened(job(folder), "forecast", tuning()) as (study, journal):
        for value in values:
            attempt(study, value)
    return journal


def test_the_space_is_that_of_the_ranges() -> None:
    space = studies.space((*RANGES, Range("learning_rate", 1e-3, 1e-4, 1e-2, log=True)))
    assert space["units"] == optuna.distributions.IntDistribution(8, 128, log=True)
    assert space["dropout"] == optuna.distributions.FloatDistribution(0.0, 0.5)
    assert space["learning_rate"] == optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)


def test_the_defaults_come_first_and_once(tmp_path: Path) -> None:
    for _ in range(2):
        journal = made(tmp_path, (1.0,))
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, again):
        assert again == journal
        first, second = studies.finished(study)
    assert first.params == tuning().defaults == {"units": 32, "dropout": 0.2}
    assert second.params != first.params


def test_a_study_without_state_leaves_nothing() -> None:
    with studies.opened(job(None), "forecast", tuning()) as (study, journal):
        attempt(study, 1.0)
        assert journal.exists()
    assert not journal.parent.exists()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        studies.opened(job(tmp_path), "forecast", tuning()),
        pytest.raises(OSError, match="--state: expected a folder that no other training uses"),
        studies.opened(job(tmp_path), "forecast", tuning()),
    ):
        pass
    made(tmp_path)


def test_interrupted_trials_failed_and_come_next(tmp_path: Path) -> None:
    made(tmp_path, (3.0, None, 2.0, None))
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
        states = [trial.state.name for trial in study.trials]
        assert states == ["COMPLETE", "FAIL", "COMPLETE", "FAIL", "WAITING", "WAITING"]
        again = [attempt(study, 1.0) for _ in range(3)]
        assert [trial.number for trial in again] == [4, 5, 6]
        assert [trial.params for trial in again[:2]] == [study.trials[1].params, study.trials[3].params]
        assert again[2].params not in [study.trials[1].params, study.trials[3].params]
        assert len(studies.finished(study)) == 5


def test_an_interrupted_study_goes_on_as_it_would_have(tmp_path: Path) -> None:
    def value(trial: Any) -> float:
        return float(trial.params["dropout"] + trial.params["units"] / 100)

    def study_of(name: str, interrupts: tuple[int, ...]) -> list[Any]:
        left = list(interrupts)
        while True:
            with studies.opened(job(tmp_path / name), "forecast", tuning()) as (study, _):
                while (done := len(studies.finished(study))) < 14:
                    if done in left:
                        left.remove(done)
                        attempt(study, None)
                        break
                    study.tell(trial := attempt(study, None), value(trial))
                else:
                    return [trial.params for trial in studies.finished(study)]

    assert study_of("interrupted", (0, 3, 3, 12)) == study_of("whole", ())


@pytest.mark.parametrize("place", range(4))
def test_an_interrupt_while_a_trial_begins(tmp_path: Path, place: int) -> None:
    """Hyper-parameters are written one by one: whatever is there, the next trial is the same."""
    whole = made(tmp_path / "whole").read_text().splitlines(keepends=True)
    begins = [number for number, line in enumerate(whole) if line.startswith('{"op_code":4')]
    for trial, begin in ((0, begins[0]), (2, begins[2])):
        folder = tmp_path / f"cut-{trial}"
        folder.mkdir(exist_ok=True)
        (folder / "study.journal").write_text("".join(whole[: begin + 1 + place]))
        with studies.opened(job(folder), "forecast", tuning()) as (study, _):
            found = attempt(study, 1.0).params
        with studies.opened(job(tmp_path / "whole"), "forecast", tuning()) as (study, _):
            assert found == study.trials[trial].params


def test_several_workers_never_repeat_each_other(tmp_path: Path) -> None:
    """Not after an interrupt either, whichever of them makes which trial again."""
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
        _, one, two = (attempt(study, None, workers=2) for _ in range(3))
        study.tell(one, 1.0)
        study.tell(two, 2.0)
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
        for value in range(5):
            attempt(study, float(value), workers=2)
        assert len({str(trial.params) for trial in studies.finished(study)}) == 7


def test_several_workers_try_different_things(tmp_path: Path) -> None:
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
        for value in range(12):
            attempt(study, float(value), workers=2)
        one, other = (attempt(study, None, workers=2) for _ in range(2))
        assert one.params != other.params


def test_what_a_killed_process_leaves_is_mended(tmp_path: Path) -> None:
    journal = made(tmp_path)
    whole = journal.read_bytes()
    locks = [tmp_path / "study.journal.lock", tmp_path / "study.journal.lock1b2c.rename"]
    for torn in (b'{"op_code":4,"worker_id":"a', b'{"op_', b"{"):
        journal.write_bytes(whole + torn)
        for lock in locks:
            lock.touch()
        with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
            assert not any(lock.exists() for lock in locks)
            assert [trial.value for trial in studies.finished(study)] == [3.0, 1.0, 2.0]
        assert journal.read_bytes() == whole
    journal.write_bytes(whole.splitlines()[0][:20])  # killed with its first line
    assert len(made(tmp_path, ()).read_bytes().splitlines()) > 3
    journal.write_bytes(b"")
    made(tmp_path, ())


def test_another_study_is_refused(tmp_path: Path) -> None:
    journal = made(tmp_path)
    before = journal.read_bytes()
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("strips", {}, "expected a study of strips, got one of forecast"),
        ("forecast", {"data": "others"}, "expected a study with data 'others', got one with 'digits'"),
        ("forecast", {"watched": "loss"}, "expected a study with measure 'loss', got one with 'val_loss'"),
        (
            "forecast",
            {"ranges": (RANGES[0], Range("dropout", 0.2, 0.0, 0.4))},
            "expected a study with hyper-parameters 'units 8 to 128 by factors, usually 32; dropout 0 to 0.4",
        ),
        ("forecast", {"ranges": RANGES[:1]}, "expected a study with hyper-parameters"),
    ]
    for of, changes, told in cases:
        with pytest.raises(ProblemError) as caught, studies.opened(job(tmp_path), of, tuning(**changes)):
            pass
        assert str(caught.value).startswith(f"{journal}: {told}")
        assert journal.read_bytes() == before
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
        assert len(studies.finished(study)) == 3


def test_trials_of_other_hyper_parameters_are_refused(tmp_path: Path) -> None:
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
        study.tell(study.ask(studies.space(RANGES[:1])), 1.0)
        study.tell(study.ask({"layers": optuna.distributions.IntDistribution(1, 3)}), 1.0)
    with (
        pytest.raises(ProblemError, match="trial 1 has other hyper-parameters than forecast"),
        studies.opened(job(tmp_path), "forecast", tuning()),
    ):
        pass


def damaged(journal: Path) -> str:
    """Return what is said of a damaged journal, which stays as it is."""
    before = journal.read_bytes()
    with pytest.raises(ProblemError) as caught, studies.opened(job(journal.parent), "forecast", tuning()):
        pass
    assert journal.read_bytes() == before
    told = str(caught.value)
    assert told.startswith(f"{journal}: damaged (")
    assert "\n" not in told
    return told


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\x00\x00", b"no journal", b"[1, 2]\n", b'{"op_code":0\n', b"\xff\n{}\n", b"\n"],
)
def test_another_file_is_no_journal(tmp_path: Path, content: bytes) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(content)
    assert damaged(journal).endswith("line 1 is no record of Optuna's)")


def test_a_damaged_journal_is_told_with_its_line(tmp_path: Path) -> None:
    journal = made(tmp_path)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:5], lines[5][:-9] + b"\n", *lines[6:]]))
    assert "line 6 is no record of Optuna's" in damaged(journal)
    journal.write_bytes(b"".join([*lines, b'op_code":3}']))
    assert f"line {len(lines) + 1} is no record of Optuna's" in damaged(journal)


def test_no_change_of_a_record_is_a_traceback(tmp_path: Path) -> None:
    """A record may be one of JSON and yet none of a study: it is refused, or means the same as before."""
    journal = made(tmp_path, (1.0,))
    lines = journal.read_bytes().splitlines()
    refused = 0
    for place, line in enumerate(lines):
        record = json.loads(line)
        for key in record:
            others: list[Any] = ["?", -1, 99, None, []]
            for other in others:
                if key == "op_code":
                    text = b'{"op_code":' + json.dumps({**record, key: other})[12:].encode()
                else:
                    text = json.dumps({**record, key: other}, separators=(",", ":")).encode()
                journal.write_bytes(b"\n".join([*lines[:place], text, *lines[place + 1 :]]) + b"\n")
                try:
                    with studies.opened(job(tmp_path), "forecast", tuning()):
                        pass
                except ProblemError as error:
                    refused += 1
                    assert str(error).startswith(f"{journal}: ")  # noqa: PT017 (not all are refused)
    assert refused > 30


def test_the_best_is_one_that_came_to_its_end(tmp_path: Path) -> None:
    with studies.opened(job(tmp_path), "forecast", tuning()) as (study, _):
        with pytest.raises(ProblemError, match="no trial came to its end"):
            studies.best_of(study)
        trial = attempt(study, None)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        with pytest.raises(ProblemError, match="no trial came to its end"):
            studies.best_of(study)
        for value in (3.0, 2.0, 4.0):
            attempt(study, value)
        assert studies.best_of(study).value == 2.0


def test_importances() -> None:
    with studies.opened(job(None), "forecast", tuning()) as (study, _):
        for _ in range(3):
            attempt(study, 1.0)
        assert studies.importances(study, 0) == {}
        for _ in range(3):
            attempt(study, 1.0)
        assert studies.importances(study, 0) == {}  # They do not differ.
        for _ in range(12):
            trial = attempt(study, None)
            study.tell(trial, (trial.params["dropout"] - 0.3) ** 2 + 1e-6 * trial.params["units"])
        found = studies.importances(study, 0)
        assert found == studies.importances(study, 0)
        assert next(iter(found)) == "dropout"
        assert found["dropout"] > 0.5
        assert sum(found.values()) == pytest.approx(1)
