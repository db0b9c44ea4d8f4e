"""Time: gaps, overlaps, time that runs backwards, windows over one series."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusedlstm import compare_data

from .common import N, kinds, only, pair

TRAIN, TEST = pair()


def compared(ours: Any, theirs: Any) -> Any:
    return compare_data(TRAIN, TEST, time=(ours, theirs), classifier=False)


def test_times_that_go_on() -> None:
    assert compared(np.arange(N), N + np.arange(N)).ok


def test_a_gap_in_regular_times() -> None:
    found = compared(np.arange(N), N + 40 + np.arange(N))
    assert kinds(found) == {"time gap"}
    assert only(found, "time gap").text == "test begins 41 after train ends; times are usually 1 apart"


def test_a_gap_in_dates() -> None:
    days = np.datetime64("2020-01-01") + np.arange(2 * N)
    assert compared(days[:N], days[N:]).ok
    found = compared(days[:N], days[N:] + np.timedelta64(30, "D"))
    assert (
        "test begins 31 days after train ends; times are usually 24 hours apart"
        in only(found, "time gap").text
    )


def test_a_gap_in_irregular_times() -> None:
    """A distance that others reach is chance; one longer than 600 others is not."""
    times = np.cumsum(np.random.default_rng(0).exponential(size=2 * N))
    longest = np.diff(times).max()
    usual = times[N:] + np.median(np.diff(times)) - (times[N] - times[N - 1])
    assert compared(times[:N], usual).ok
    found = compared(times[:N], times[N:] + 1.1 * longest)
    gap = only(found, "time gap")
    assert gap.p_adjusted is not None
    assert gap.p_adjusted <= 0.01
    assert only(compared(times[:N], times[N:] + 11 * longest), "time gap").p_value is None


def test_an_overlap() -> None:
    found = compared(np.arange(N), N - 30 + np.arange(N))
    assert kinds(found) == {"time overlap"}
    assert "30 of 300 (10 %) test samples lie wholly within train's time" in only(found, "time overlap").text


def test_time_that_runs_backwards() -> None:
    ours = np.arange(N)
    ours[[17, 18]] = ours[[18, 17]]
    found = compared(ours, N + np.arange(N))
    assert kinds(found) == {"time order"}
    assert "backwards in train from sample 17 to the next" in only(found, "time order").text


def test_times_of_each_step() -> None:
    grid = np.arange(N)[:, None] * 5 + np.arange(5)
    assert compared(grid, grid + 5 * N).ok
    wrong = grid + 5 * N
    wrong[3] = wrong[3, ::-1]
    found = compared(grid, wrong)
    assert "within samples of test, first in sample 3 after step 0" in found.findings[0].text


def windows(series: Any, size: int = 10) -> Any:
    return np.lib.stride_tricks.sliding_window_view(series, size, axis=0).transpose(0, 2, 1)


def stationary(seed: int, length: int, features: int = 2) -> Any:
    """Return a series whose steps depend on those before: an autoregression."""
    noise = np.random.default_rng(seed).normal(size=(length, features))
    series = np.zeros_like(noise)
    for step in range(1, length):
        series[step] = 0.9 * series[step - 1] + noise[step]
    return series


def test_windows_are_taken_apart() -> None:
    series = stationary(0, 4000)
    found = compare_data(windows(series[:3000]), windows(series[3000:]), classifier=False)
    assert found.ok
    assert [one.kind for one in found.findings] == ["windows", "windows"]
    assert "windows over one series, 1 steps apart; tests took every" in found.findings[0].text


def test_windows_of_one_series_make_no_false_alarms() -> None:
    """All windows taken for independent samples, nearly each of these pairs would differ."""
    alarms = 0
    for seed in range(40):
        series = stationary(seed, 1200)
        alarms += not compare_data(windows(series[:800]), windows(series[800:]), classifier=False).ok
    assert alarms <= 4


def test_windows_that_overlap_where_the_sets_meet() -> None:
    series = stationary(0, 2000)
    every = windows(series)
    found = compare_data(every[:1500], every[1500:], classifier=False)
    assert kinds(found) == {"time overlap"}


def test_a_jump_between_windows() -> None:
    series = np.cumsum(stationary(0, 4000, 1) * 0.01, axis=0) + np.sin(np.arange(4000) / 30)[:, None]
    found = compare_data(windows(series[:2000]), windows(series[2400:]), classifier=False)
    assert "time gap" in kinds(found)
    assert "some time is missing" in only(found, "time gap").text
    near = compare_data(windows(series[:2000]), windows(series[2000:]), classifier=False)
    assert "time gap" not in kinds(near)
