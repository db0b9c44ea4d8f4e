"""The example ``forecast``: its quick run, what it knows at an origin, and CSV files, good and bad ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("statsmodels")

from fusedlstm import load_model
from fusedlstm.examples import forecast, forecast_pictures
from fusedlstm.examples.job import Job, ProblemError
from fusedlstm.examples.series import Series, bundled, later, read_csv
from fusedlstm.examples.tables import rows
from tests.examples.common import PNG, results, run, words, written

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = {option.name.replace("-", "_"): option.default for option in forecast.OPTIONS}


def job(**options: Any) -> Job:
    return Job("forecast", quick=True, quiet=True, options={**OPTIONS, **options})


def test_a_quick_run_forecasts_and_draws(tmp_path: Path) -> None:
    report, numbers, model = tmp_path / "report", tmp_path / "a.json", tmp_path / "a.safetensors"
    targets = ("--report", report, "--json", numbers, "--save", model)
    result = run("forecast", "--quick", "--threads", 1, *targets)
    assert result.exit_code == 0, result.output
    assert "electrical equipment: LSTM" in result.output
    for name in forecast.PICTURES:
        assert (report / name).read_bytes().startswith(PNG)
    content = results(numbers)
    scores = content["scores"]["electrical equipment"]
    assert set(scores) == {"LSTM", "ETS", "seasonal naive"}
    for row in scores.values():
        assert 0.1 < row["MASE"] < 1  # all of them do better than values of a season before did in the past
        assert row["coverage_80"] <= row["coverage_95"] <= 1
    assert scores["LSTM"]["coverage_95"] > 0.7
    assert load_model(model).predict(np.zeros((1, 12, 2)), verbose=0).shape == (1, 60)
    assert len(content["next"]) == 12
    first = content["next"][0]
    assert first["time"] == "2016-06-01T00:00:00"
    assert first["0.025"] <= first["0.1"] <= first["0.5"] <= first["0.9"] <= first["0.975"]


def test_the_loss_has_its_gradient() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.normal(size=(3, 2)), rng.normal(size=(3, 2 * len(forecast.LEVELS)))
    losses, gradients = forecast.quantile_loss(truth, said)
    assert losses.shape == (3,)
    step = 1e-6
    for index in np.ndindex(said.shape):
        moved = said.copy()
        moved[index] += step
        slope = (forecast.quantile_loss(truth, moved)[0].sum() - losses.sum()) / step
        assert slope == pytest.approx(gradients[index], abs=1e-6)


def test_the_loss_is_least_at_the_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=(4000, 1))
    at = np.quantile(values, forecast.LEVELS)
    least = forecast.quantile_loss(values, np.tile(at, (4000, 1)))[0].mean()
    for move in (-0.1, 0.1):
        assert forecast.quantile_loss(values, np.tile(at + move, (4000, 1)))[0].mean() > least


def test_a_forecast_knows_nothing_of_what_follows_its_origin() -> None:
    series = bundled()[2]
    origin = len(series.values) - 24
    other = series.values.copy()
    other[origin:] = 1e6
    made = [
        forecast.backtest(job(), series._replace(values=values), 12, [origin])
        for values in (series.values, other)
    ]
    for name, quantiles in made[0].items():
        np.testing.assert_array_equal(quantiles, made[1][name])
        assert quantiles.shape == (1, 12, len(forecast.LEVELS))


def test_values_that_were_not_measured_are_those_before_and_count_for_no_score() -> None:
    weekly = bundled()[0]
    assert (~weekly.known).sum() == 59
    gap = int(np.flatnonzero(~weekly.known)[0])
    assert weekly.values[gap] == weekly.values[gap - 1]
    known = np.ones(40, bool)
    known[35] = False
    values = np.arange(40.0)
    series = Series("a", "", np.arange(40).astype("datetime64[s]"), values, known, 4)
    quantiles = np.tile(values[34:38, None], (1, 5))[None]
    quantiles[0, 1] = 1000  # where nothing was measured
    assert forecast.scores(series, [34], quantiles) == {
        "MASE": 0,
        "coverage_80": 1,
        "coverage_95": 1,
        "quantile_loss": 0,
    }
    # A median that is off by a season's growth has the error of values of a season before.
    assert forecast.scores(series, [34], quantiles - 4)["MASE"] == 1


def test_windows_give_back_what_they_were_made_of() -> None:
    past = np.sin(np.arange(60) * np.pi / 3) + np.arange(60) / 20
    windows = forecast.Windows(past, 6, 4)
    assert windows.growth == 1
    assert windows.x.shape == (45, 6, 2)
    assert windows.y.shape == (45, 4)
    rows = np.lib.stride_tricks.sliding_window_view(past, 16)
    says = np.repeat(windows.y, len(forecast.LEVELS), axis=1)
    given = windows.values(rows[:, :12], says)
    np.testing.assert_allclose(given, np.repeat(rows[:, 12:, None], 5, axis=2), rtol=0, atol=1e-6)


def test_seasons_to_compare_are_before_and_after_the_first_origin() -> None:
    series = bundled()[2]
    for horizon, origin in ((12, 200), (3, len(series.values) - 3)):
        before, after = forecast.seasons(series, origin, horizon)
        assert before.shape[1:] == after.shape[1:] == (12, 2)
        assert len(after) >= 1
    windows = forecast.Windows(series.values[:200], 12, 12)
    first = windows.inputs(series.values[None, 188:212])
    np.testing.assert_array_equal(forecast.seasons(series, 200, 12)[1][:1], first)


def csv(path: Path, times: Any, values: Any, header: str = "date,sales") -> Path:
    lines = [header, *(f"{time},{value}" for time, value in zip(times, values, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def months(count: int) -> list[str]:
    return [str(month) for month in np.datetime64("2001-01") + np.arange(count)]


def test_a_csv_file_is_forecast(tmp_path: Path) -> None:
    steps = np.arange(120)
    values = 100 + 10 * np.sin(steps * np.pi / 6) + np.random.default_rng(0).normal(size=120)
    texts = [f"{value:.2f}" for value in values]
    texts[7] = ""
    path = csv(tmp_path / "sales.csv", months(120), texts)
    numbers = tmp_path / "a.json"
    result = run(
        "forecast",
        "--quick",
        "--data",
        path,
        "--horizon",
        6,
        "--epochs",
        5,
        "--json",
        numbers,
        "--threads",
        1,
    )
    assert result.exit_code == 0, result.output
    content = results(numbers)
    assert len(content["next"]) == 6
    assert content["next"][0]["time"].startswith("2011-01-01")
    assert content["forecast_from"]["sales.csv"] == [
        "2010-01-01T00:00:00",
        "2010-04-01T00:00:00",
        "2010-07-01T00:00:00",
    ]


def test_columns_and_seasons_of_csv_files(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x;When;y\n1;2020-01-01 00:00;5\n2;2020-01-01 01:00;\n3;2020-01-01 02:00Z;7\n", "utf-8")
    series = read_csv(path, "when", "y", 0)
    assert series.season == 24
    assert series.values.tolist() == [5, 5, 7]
    assert series.known.tolist() == [True, False, True]
    assert series.unit == "y"
    assert read_csv(path, "when", "", 3).values.tolist() == [1, 2, 3]
    for step, season in (("D", 7), ("W", 52), ("M", 12)):
        times = np.arange(40).astype(f"datetime64[{step}]")
        days = [str(time) for time in times.astype("datetime64[D]")]
        assert read_csv(csv(path, days, range(40)), "", "", 0).season == season


def test_months_after_the_last() -> None:
    times = np.array(["2019-11-30", "2019-12-31"], "datetime64[s]")
    assert [str(time)[:10] for time in later(times, 3)] == ["2020-01-31", "2020-02-29", "2020-03-31"]
    times = np.array(["2020-01-01T10", "2020-01-01T11"], "datetime64[s]")
    assert str(later(times, 2)[-1]) == "2020-01-01T13:00:00"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "a.csv: expected a header and rows, got an empty file"),
        ("date,y\n", "a.csv: expected rows below the header, got none"),
        ("date,y\n2020-01-01,1\n2020-01-03,2\n2020-01-02,3\n", "a.csv, line 4: time runs backwards"),
        (
            "date,y\n2020-01-01,1\n2020-01-02,2\n2020-01-02,3\n",
            "a.csv, line 4: time runs backwards or stands",
        ),
        (
            "date,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,2\n2020-01-06,3\n",
            "a.csv, line 5: expected a step of 1 days like most others, got 3 days",
        ),
        (
            "date,y\n2020-01-01,1\n2020-01-02,many\n",
            "a.csv, line 3, column 'y': expected a number, got 'many'",
        ),
        ("date,y\n01/02/2020,1\n", "a.csv, line 2, column 'date': expected a time such as"),
        ("date,y\n2020-13-01,1\n", "a.csv, line 2, column 'date'"),
        ("date,y\n2020-01-01,\n2020-01-02,1\n", "a.csv, line 2: expected a number in the first row"),
        ("date,y\n2020-01-01,x\n", "a.csv: expected a column of numbers beside 'date'"),
        ("date,y\n2020-01-01,1,2\n", "a.csv, line 2: expected 2 fields as in the first line, got 3"),
        ("date,y\n2020-01-01,1\n2020-01-06,2\n", "a.csv: steps of 5 days do not say how long a season is"),
        ("date,y\n2020-01-01,1\n", "a.csv: expected a series of several rows below the header, got one"),
        (
            "date,y\n2020-01-01T00:00+02:00,1\n",
            "expected a time such as 2024-01-31 10:00, in UTC or without a word of the zone, got",
        ),
        ("date,y\n2020-01-01,1\n2020-01-02,2\n", "a.csv: 2 rows are too few for a season of 7"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    result = run("forecast", "--quick", "--data", path, "--report", tmp_path / "report")
    assert result.exit_code == 1
    assert error in words(result.output).replace(f"{tmp_path}/", "")
    assert not (tmp_path / "report").exists()


def test_columns_that_are_missing_and_other_encodings(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", months(3), range(3))
    with pytest.raises(ProblemError, match="expected a column 'price', got date, sales"):
        read_csv(path, "", "price", 0)
    with pytest.raises(ProblemError, match="expected a column 'when', got date, sales"):
        read_csv(path, "when", "", 0)
    for text, encoding, line, byte in (
        ("date,größe\n2020-01,1\n", "latin-1", 1, "0xf6"),
        ("date,y\n" + "2020-01,1\n" * 3000 + "2020-01,é\n", "latin-1", 3002, "0xe9"),
        ("date,y\n2020-01,1\n", "utf-16", 1, "0xff"),
    ):
        path.write_bytes(text.encode(encoding))
        with pytest.raises(ProblemError, match=f"line {line}: expected text in UTF-8, got the byte {byte}"):
            list(rows(path))
    with pytest.raises(ProblemError, match="expected a file, got a folder"):
        read_csv(tmp_path, "", "", 0)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(b"no gzip")
    with pytest.raises(ProblemError, match=r"a\.csv\.gz: damaged"):
        read_csv(packed, "", "", 0)


@pytest.mark.parametrize("option", ["--epochs", "--units", "--origins"])
def test_options_that_make_no_sense(option: str) -> None:
    result = run("forecast", "--quick", option, 0)
    assert result.exit_code == 1
    assert "expected at least 1 each" in words(result.output)


def test_a_horizon_is_at_most_a_season() -> None:
    with pytest.raises(ProblemError, match="a horizon of 1 to a season, got 12 and 13"):
        forecast.plan(job(horizon=13), bundled()[2])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([5.0] * 120, r"nothing to forecast: until .* each value is that of the season of 12 steps before"),
        ([float(k % 12) for k in range(120)], r"nothing to forecast"),
        ([1.0] + [None] * 119, r"expected values to forecast from .* on, got none"),
        ([0.0] * 120, r"nothing to forecast"),
        (
            [(-1.0) ** k * 1e308 for k in range(120)],
            r"numbers from 1e-30 to 1e\+30 in size, got at most 1e\+308",
        ),
        (
            [(-1.0) ** k * 1e-40 for k in range(120)],
            r"numbers from 1e-30 to 1e\+30 in size, got at most 1e-40",
        ),
    ],
    ids=["constant", "periodic", "one value", "zero", "huge", "tiny"],
)
def test_series_that_cannot_be_judged(tmp_path: Path, values: list[float | None], said: str) -> None:
    path = csv(tmp_path / "a.csv", months(120), ["" if one is None else f"{one!r}" for one in values])
    result = run("forecast", "--quick", "--data", path, "--report", tmp_path / "report")
    assert result.exit_code == 1
    assert re.search(said, result.output.replace("\n", " ")), result.output
    assert not list((tmp_path / "report").glob("*"))


@pytest.mark.parametrize("factor", [1e-12, 2.0**-90, 1e12])
def test_forecasts_have_the_unit_of_the_numbers(factor: float) -> None:
    """Of very small and of very large numbers they are what they are of others, times as much."""
    past = 100 + 10 * np.sin(np.arange(120) * np.pi / 6) + np.random.default_rng(0).normal(size=120)
    usual, other = (forecast.Windows(values, 12, 12) for values in (past, factor * past))
    np.testing.assert_allclose(other.x, usual.x, atol=1e-5)
    np.testing.assert_allclose(other.y, usual.y, atol=1e-5)
    for model in (forecast.by_ets, forecast.by_season):
        # The fit of ETS ends near its optimum, here or there; naive forecasts are exact.
        np.testing.assert_allclose(
            model(factor * past, 12, 12) / factor, model(past, 12, 12), rtol=0.02, err_msg=model.__name__
        )


def test_what_was_not_measured_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels of one day are told apart by the hour, and a long name of a column is cut."""
    hours = [str(time).replace("T", " ") for time in np.datetime64("2010-01-01T00:00") + np.arange(300) * 60]
    values = 5 + np.sin(np.arange(300) * np.pi / 12) + np.random.default_rng(0).normal(size=300) / 9
    texts = [f"{value:.3f}" for value in values]
    texts[280:290] = [""] * 10
    header = "time," + "column " * 20
    series = read_csv(csv(tmp_path / "a.csv", hours, texts, header), "", "", 0)
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(Job, "picture", lambda _, name, figure: drawn.update({name: figure}))
    origins = [240, 252, 264, 276]
    quantiles = np.repeat(values[np.array(origins)[:, None] + np.arange(24)][..., None], 5, axis=2)
    table = {series.name: {"LSTM": {"MASE": 1.0}}}
    forecast_pictures.draw_backtest(job(), series, origins, {"LSTM": quantiles}, table, "note")
    panels = drawn["backtest.png"].axes
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == [f"from 2010-01-{day}" for day in ("11 00:00", "11 12:00", "12 00:00", "12 12:00")]
    followed = next(line for line in panels[3].lines if line.get_color() == "black").get_ydata()
    assert np.isnan(followed).tolist() == [4 <= step < 14 for step in range(24)]
    assert len(panels[0].get_ylabel()) <= 40
    forecast_pictures.draw_next(job(), series, later(series.times, 24), quantiles[0], "note")
    (axes,) = drawn["next.png"].axes
    assert np.isnan(axes.lines[0].get_ydata()).sum() == 10
    assert bundled()[2].moment(0) == "1995-01-01"


def test_options_go_before_quick(tmp_path: Path) -> None:
    """The numbers say what was used: the user's values, or those of --quick."""
    values = 100 + np.random.default_rng(0).normal(size=120)
    path = csv(tmp_path / "a.csv", months(120), [f"{value:.2f}" for value in values])
    for given, origins in ((["--origins", 2], 2), ([], 3)):
        result = run(
            "forecast", "--quick", "--data", path, "--epochs", 1, *given, "--json", tmp_path / "a.json"
        )
        assert result.exit_code == 0, result.output
        chosen = written(tmp_path / "a.json")["options"]
        assert (chosen["origins"], chosen["epochs"]) == (origins, 1)
        content = results(tmp_path / "a.json")
        assert len(content["forecast_from"]["a.csv"]) == origins
