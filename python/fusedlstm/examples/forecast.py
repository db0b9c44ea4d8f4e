"""Forecast a series many steps ahead, with intervals, and test the forecasts on what came after.

An LSTM reads the last season of a series and says five quantiles for each step of the next one. It is trained
with the quantile loss, so its intervals come from the data and from no assumed distribution. A backtest goes
back to several moments of the past: at each, scales and model are made anew from what was known by then, and
the forecast is compared with what followed. Beside it stand the seasonal naive forecast, which repeats the
last season, and exponential smoothing (ETS) of statsmodels, after STL where a season has more than 24 steps.

\b
MASE is the mean error over that of one-season-old values in the past;
coverage is the share of values in the 80 % and in the 95 % intervals.

Data are series that statsmodels brings: CO2 in the air at Mauna Loa, week by week and as monthly means, and
the euro area's monthly production of electrical equipment. A file for --data is a CSV with a column of times,
such as 2024-01-31 10:00, and one of numbers.
"""  # noqa: D301 (click's mark of a paragraph that keeps its lines)

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fusedlstm import Input, Sequential, layers, optimizers, utils
from fusedlstm.examples import forecast_pictures as pictures
from fusedlstm.examples.job import Job, Option, ProblemError
from fusedlstm.examples.series import Series, bundled, later, read_csv
from fusedlstm.examples.tuning import Range, Tuning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusedlstm.callbacks import Callback, History
    from fusedlstm.examples.tuning import Chosen

    Array = NDArray[Any]

PICTURES = ("backtest.png", "scores.png", "next.png")
OPTIONS = (
    Option(
        "time",
        "",
        "The CSV's column of times; by default one with a usual name, or the first.",
        with_data=True,
    ),
    Option("value", "", "The CSV's column of numbers; by default the first of numbers.", with_data=True),
    Option("season", 0, "Steps of a season in the CSV; 0 tells by the times.", with_data=True),
    Option("horizon", 0, "Steps to forecast, at most a season, which 0 means."),
    Option("origins", 12, "Moments of the past from which to forecast.", quick=3),
    Option("epochs", 20, "Passes over the windows of each training.", quick=5),
    Option("units", 32, "Units of the LSTM."),
)
LARGEST = 1e30  # of a series, and 1e-30 the least that counts; so squares of all numbers are float64s
LEVELS = np.array([0.025, 0.1, 0.5, 0.9, 0.975], np.float32)  # the median, and the ends of 80 % and 95 %


def quantile_loss(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Return each sample's quantile loss and its gradient, for y_true (B, H) and y_pred (B, H * levels).

    A forecast that is too low costs its level for each unit of error, and one that is too high the rest to 1.
    The least sum of these is where a share of the values that equals the level lies below.
    """
    error = np.repeat(y_true, len(LEVELS), axis=-1) - y_pred
    level = np.tile(LEVELS, y_true.shape[-1])
    slope = np.where(error > 0, level, level - 1)
    return (slope * error).mean(axis=-1), -slope / y_pred.shape[-1]


class Windows:
    """What the LSTM is given of a series, and what it says, in units of the past that is known.

    It reads a season: how far each value is from the last one, and its difference from a season before. It
    says how far the next values are from an anchor, the values a season before; the anchor takes the last
    difference in where that was nearer in the past, as for a series that grows.
    """

    def __init__(self, past: Array, season: int, horizon: int) -> None:
        self.season, self.horizon = season, horizon
        differences = past[season:] - past[:-season]
        self.usual = float(np.median(differences))
        self.unit = max(float(np.abs(differences - self.usual).mean()), 1e-9 * float(np.abs(past).max()))
        self.growth = 0.0
        rows = sliding_window_view(past, 2 * season + horizon)
        errors = [np.abs(rows[:, 2 * season :] - self._anchor(rows, growth)).mean() for growth in (0.0, 1.0)]
        self.growth = float(np.argmin(errors))
        self.x, self.y = self.pairs(past)

    def pairs(self, values: Array) -> tuple[Array, Array]:
        """Return inputs (B, season, 2), and what to say (B, horizon), for all windows of some values (N,)."""
        rows = sliding_window_view(values, 2 * self.season + self.horizon)
        says = (rows[:, 2 * self.season :] - self._anchor(rows, self.growth)) / self.unit
        return self.inputs(rows[:, : 2 * self.season]), says.astype(np.float32)

    def inputs(self, seasons: Array) -> Array:
        """Return the model's input (B, season, 2) for the last two seasons (B, 2 * season)."""
        before, now = seasons[:, : self.season], seasons[:, self.season :]
        steps = np.stack([now - now[:, -1:], now - before - self.usual], axis=-1)
        return np.asarray(steps / self.unit, np.float32)

    def values(self, seasons: Array, says: Array) -> Array:
        """Return quantiles (B, horizon, levels) of values for what the model says (B, horizon * levels)."""
        spread = says.reshape(len(says), self.horizon, len(LEVELS)) * self.unit
        # Quantiles of a step are learned one by one; in order they are better, never worse.
        return np.asarray(np.sort(self._anchor(seasons, self.growth)[..., None] + spread, axis=-1))

    def _anchor(self, rows: Array, growth: float) -> Array:
        last, before = rows[:, 2 * self.season - 1, None], rows[:, self.season - 1, None]
        return np.asarray(rows[:, self.season : self.season + self.horizon] + growth * (last - before))


def train(
    job: Job, windows: Windows, chosen: Chosen, watching: list[Callback], **options: Any
) -> tuple[Sequential, History]:
    """Train a model on some windows; return it, and the history of its losses."""
    utils.set_random_seed(job.seed)
    model = Sequential(
        [
            Input((windows.season, 2)),
            layers.LSTM(chosen["units"]),
            layers.Dropout(chosen["dropout"]),
            layers.Dense(windows.horizon * len(LEVELS)),
        ]
    )
    updates = chosen["epochs"] * -(-len(windows.x) // chosen["batch_size"])
    rate = optimizers.schedules.CosineDecay(chosen["learning_rate"], updates)
    model.compile(optimizers.Adam(rate), loss=quantile_loss)
    history = model.fit(
        windows.x,
        windows.y,
        batch_size=chosen["batch_size"],
        epochs=chosen["epochs"],
        verbose=0,
        callbacks=watching,
        device=job.device,
        **options,
    )
    return model, history


def defaults(job: Job) -> dict[str, Any]:
    """Return the hyper-parameters without a search."""
    epochs = job.options["epochs"]
    return {
        "units": job.options["units"],
        "dropout": 0.2,
        "learning_rate": 5e-3,
        "batch_size": 32,
        "epochs": epochs,
    }


def by_lstm(
    job: Job, past: Array, season: int, horizon: int, name: str, chosen: Chosen | None = None
) -> tuple[Array, Sequential]:
    """Train an LSTM on the past alone; return its quantiles (horizon, levels) of what follows, and itself."""
    windows = Windows(past, season, horizon)
    model, _ = train(job, windows, chosen or defaults(job), job.backup(name))
    now = past[None, -2 * season :]
    return windows.values(now, model.predict(windows.inputs(now), verbose=0))[0], model


def by_season(past: Array, season: int, horizon: int) -> Array:
    """Return the last season again, with intervals as wide as such forecasts were wrong in the past."""
    from scipy.stats import norm

    wrong = np.std(past[season:] - past[:-season])
    return np.asarray(past[-season:][:horizon, None] + norm.ppf(LEVELS) * wrong)


def by_ets(past: Array, season: int, horizon: int) -> Array:
    """Return the quantiles of exponential smoothing with a damped trend.

    Its states of a season are too many to be fitted where a season is long, so STL takes the season out
    there, and its last course is added again. How well it is fitted depends on the numbers' size, so that
    they are brought to hundreds; powers of two change no other digit.
    """
    import pandas as pd
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel
    from statsmodels.tsa.seasonal import STL

    unit = 16.0 ** np.floor(np.log(np.abs(past).max() / 64) / np.log(16))
    past, seasonal = past / unit, np.zeros(season)
    options: dict[str, Any] = {"seasonal": "add", "seasonal_periods": season}
    if season > 24:
        parts = STL(past, period=season).fit()
        past, seasonal, options = past - parts.seasonal, parts.seasonal[-season:], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that stop at their limit of steps; their forecasts serve
        fitted = ETSModel(pd.Series(past), error="add", trend="add", damped_trend=True, **options).fit(
            disp=False
        )
        ahead = fitted.get_prediction(start=len(past), end=len(past) + horizon - 1)
        low, high = (np.asarray(ahead.pred_int(alpha=alpha)) for alpha in (0.05, 0.2))
    columns = [low[:, 0], high[:, 0], np.asarray(ahead.predicted_mean), high[:, 1], low[:, 1]]
    return np.asarray((np.stack(columns, axis=-1) + seasonal[:horizon, None]) * unit)


def backtest(job: Job, series: Series, horizon: int, origins: list[int]) -> dict[str, Array]:
    """Return each model's quantiles (origins, horizon, levels), made from what came before each origin."""
    forecasts: dict[str, list[Array]] = {name: [] for name in pictures.COLOURS}
    for origin in origins:
        job.say(f"  {series.name}: forecast from {series.moment(origin)}")
        past = series.values[:origin]
        forecasts["LSTM"].append(by_lstm(job, past, series.season, horizon, backup_of(series, origin))[0])
        forecasts["ETS"].append(by_ets(past, series.season, horizon))
        forecasts["seasonal naive"].append(by_season(past, series.season, horizon))
    return {name: np.stack(made) for name, made in forecasts.items()}


def backup_of(series: Series, origin: int) -> str:
    """Return the name of the training from an origin."""
    return f"{series.name.replace(' ', '-')}-{origin}"


def seasons(series: Series, origin: int, horizon: int) -> tuple[Array, Array]:
    """Return the model's inputs for seasons before the first origin and from it on, none over another."""
    windows = Windows(series.values[:origin], series.season, horizon)
    start = min(origin - series.season, len(series.values) - 2 * series.season)
    later_on = sliding_window_view(series.values[start:], 2 * series.season)
    return windows.x[:: series.season], windows.inputs(later_on)[:: series.season]


def scores(series: Series, origins: list[int], quantiles: Array) -> dict[str, float]:
    """Return MASE, coverages and scaled quantile loss of one model, over values that were measured."""
    season, horizon = series.season, quantiles.shape[1]
    steps = np.array(origins)[:, None] + np.arange(horizon)
    truth, known = series.values[steps], series.known[steps]
    usual = [np.abs(series.values[season:o] - series.values[: o - season]).mean() for o in origins]
    error = truth[..., None] - quantiles
    loss = np.where(error > 0, LEVELS, LEVELS - 1) * error / np.array(usual)[:, None, None]
    inside = [(truth >= quantiles[..., i]) & (truth <= quantiles[..., -1 - i]) for i in (1, 0)]
    return {
        "MASE": float((np.abs(error[..., 2]) / np.array(usual)[:, None])[known].mean()),
        "coverage_80": float(inside[0][known].mean()),
        "coverage_95": float(inside[1][known].mean()),
        "quantile_loss": float(loss[known].mean()),
    }


def load(job: Job) -> list[Series]:
    """Return the series that the options say."""
    if job.data is not None:
        return [read_csv(job.data, job.options["time"], job.options["value"], job.options["season"])]
    return bundled()[-1:] if job.quick else bundled()


def plan(job: Job, series: Series) -> tuple[int, list[int]]:
    """Return the horizon and the origins: a horizon ends with the series, the others begin halfway before."""
    season, count = series.season, len(series.values)
    horizon, wanted = job.options["horizon"] or season, job.options["origins"]
    if not season >= 2 or not 1 <= horizon <= season:
        raise ProblemError(
            f"--season and --horizon: expected a season of 2 steps or more and a horizon of 1 to a season, "
            f"got {season} and {horizon}"
        )
    earliest = max(5 * season + horizon, 50 + 2 * season + horizon)
    last = count - horizon
    if last < earliest:
        raise ProblemError(
            f"{series.name}: {count} rows are too few for a season of {season} and a horizon of {horizon}: "
            f"expected at least {earliest + horizon}"
        )
    step = max(1, horizon // 2)
    origins = [o for o in range(last - step * (wanted - 1), last + 1, step) if o >= earliest]
    if not series.known[origins[0] : origins[-1] + horizon].any():
        raise ProblemError(
            f"{series.name}: expected values to forecast from {series.times[origins[0]]} on, got none"
        )
    largest = np.abs(series.values).max()
    if not 1 / LARGEST < largest < LARGEST and largest:
        raise ProblemError(
            f"{series.name}: expected numbers from {1 / LARGEST:g} to {LARGEST:g} in size, got at most "
            f"{largest:g}"
        )
    past = series.values[: origins[0]]
    if not np.abs(past[season:] - past[:-season]).max() > 0:
        raise ProblemError(
            f"{series.name}: nothing to forecast: until {series.times[origins[0]]} each value is that of the "
            f"season of {season} steps before"
        )
    return horizon, origins


def run(job: Job) -> dict[str, Any]:
    """Backtest the LSTM and its peers on each series, then forecast what follows the last one."""
    if min(job.options[name] for name in ("origins", "epochs", "units")) < 1:
        raise ProblemError("--origins, --epochs and --units: expected at least 1 each")
    every = load(job)
    results: dict[str, Any] = {}
    for series in every:
        horizon, origins = plan(job, series)
        job.compare(*seasons(series, origins[0], horizon), name=series.name, features=("value", "difference"))
        quantiles = backtest(job, series, horizon, origins)
        table = {name: scores(series, origins, made) for name, made in quantiles.items()}
        for name, row in table.items():
            inside = " and ".join(f"{100 * row[f'coverage_{share}']:.0f} %" for share in (80, 95))
            results[f"{series.name}: {name}"] = f"MASE {row['MASE']:.3f}, coverage {inside}"
        results.setdefault("scores", {})[series.name] = table
        results.setdefault("forecast_from", {})[series.name] = [str(series.times[o])[:19] for o in origins]
        if series is every[0]:
            shown = series, origins, quantiles
    series, origins, quantiles = shown
    horizon = quantiles["LSTM"].shape[1]
    ahead, model = by_lstm(job, series.values, series.season, horizon, "whole")
    times = later(series.times, horizon)
    results["next"] = [
        {"time": str(time)[:19], **{f"{level:g}": float(v) for level, v in zip(LEVELS, row, strict=True)}}
        for time, row in zip(times, ahead, strict=True)
    ]
    job.save_model(model, include_optimizer=False)
    if job.report is not None:
        what = f"LSTM of {job.options['units']} units, trained anew at each origin"
        pictures.draw_backtest(
            job, series, origins, quantiles, results["scores"], job.note(what, series.name)
        )
        note = job.note(
            what, ", ".join(f"{s.name}, {len(results['forecast_from'][s.name])} origins" for s in every)
        )
        pictures.draw_scores(job, results["scores"], note)
        pictures.draw_next(job, series, times, ahead, job.note("LSTM trained on all of it", series.name))
    return results


# For the example `search`.


def tuning(job: Job) -> Tuning:
    """Let `search` choose for the first series: the last fifth before the first origin validates attempts."""
    series = load(job)[0]
    horizon, origins = plan(job, series)
    job.compare(*seasons(series, origins[0], horizon), name=series.name, features=("value", "difference"))
    known = series.values[: origins[0]]
    cut = min(4 * len(known) // 5, len(known) - horizon)
    windows = Windows(known[:cut], series.season, horizon)
    later_ones = windows.pairs(known[cut - 2 * series.season :])

    def attempt(chosen: Chosen, watching: list[Callback]) -> float:
        _, history = train(job, windows, chosen, watching, validation_data=later_ones)
        return history.history["val_loss"][-1]

    def verify(job: Job, chosen: Chosen) -> tuple[Sequential, dict[str, float]]:
        made = [
            by_lstm(job, series.values[:o], series.season, horizon, backup_of(series, o), chosen)[0]
            for o in origins
        ]
        _, model = by_lstm(job, series.values, series.season, horizon, "whole", chosen)
        found = scores(series, origins, np.stack(made))
        return model, {name: found[name] for name in ("quantile_loss", "MASE", "coverage_80", "coverage_95")}

    usual = defaults(job)
    ranges = (
        Range("units", usual["units"], 8, 128, log=True),
        Range("dropout", usual["dropout"], 0.0, 0.5),
        Range("learning_rate", usual["learning_rate"], 5e-4, 3e-2, log=True),
        Range("batch_size", usual["batch_size"], 8, 128, log=True),
        Range("epochs", usual["epochs"], 2 if job.quick else 5, 2 * usual["epochs"], log=True),
    )
    data = f"{series.name}, {len(windows.x):,} windows"
    return Tuning(ranges, data, "val_loss", usual["epochs"], attempt, verify)
