"""LEAR, the linear forecast of day-ahead prices that every other method is held against, and a ridge on its inputs.

Lago et al., "Forecasting day-ahead electricity prices", Applied Energy 2021; jeslago/epftoolbox a93dee7.  The 24 prices
of day D are 24 linear models on the same inputs: the prices of D-1, D-2, D-3 and D-7 (96), each covariate of D, D-1 and
D-7 (72), seven weekday indicators.  Inputs but the indicators, and the prices, are transformed column by column to
z = arcsinh((x - median) / MAD), MAD = median|x - median| / 0.6745, statistics over the calibration window.  Each hour
is a LASSO (1 / 2n ||z - Xw||^2 + alpha |w|_1 by coordinate descent) whose alpha is the one of the LARS path with the
least AIC = n MSE / var(z) + 2 df.  It is fitted anew for every day on the last 56, 84, 1092 and 1456 days (the first 7
serve as lags only); the mean of the four forecasts is the LEAR ensemble.

The path runs on columns of unit length, the descent on columns as they are, with the alpha found there.  That makes
its penalty about sqrt(n) smaller than the one AIC chose; it is what gave the published forecasts (the default of
scikit-learn at that time): those of 1456 days are reproduced to 0.01 EUR/MWh on average, those of 56 and 84 days, where
samples are fewer than inputs, to 0.1 to 0.7.  Choosing alpha on the very columns it is used on is worse: NP, MAE of 19
days with 84 days 2.64 instead of 1.93, of 4 days with 1456 days 2.65 instead of 2.36.

The inputs are the same for all hours, so one Gram matrix serves 24 paths and 24 descents.  The ridge replaces the
LASSO by one multi-output solve in closed form; its statistics are one set per hour of the day and series, for all lags.
"""

__all__ = ["Days", "lear_forecasts", "ridge_forecasts", "ridge_quantiles"]

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from apps.timeseries.data.series import Panel
from core.errors import UserError

Array = NDArray[np.float64]
PRICE_LAGS, COVARIATE_LAGS = (1, 2, 3, 7), (0, 1, 7)
LONGEST_LAG = 7
ITERATIONS = 2500
# Median absolute deviation of a standard normal variable.
NORMAL_MAD = 0.6744897501960817


@dataclass(frozen=True)
class Days:
    """Whole days of one hourly series.

    Args:
        prices: `(D, 24)`.
        covariates: `(C, D, 24)`, known for the day to be forecast.
        weekday: `(D,)`, 0 for Monday.
    """

    prices: Array
    covariates: Array
    weekday: NDArray[np.int64]

    @classmethod
    def of(cls, panel: Panel) -> "Days":
        """The days of a panel's only series.

        Raises:
            UserError: not one hourly series of one target, without gaps, from a midnight on.
        """
        stamps = panel.stamps(0)
        if len(panel) != 1 or len(panel.target) != 1 or panel.freq != "h" or stamps[0].hour:
            raise UserError(f"{panel.source}: LEAR needs one hourly series of one target that begins at 00:00.")
        whole = int(panel.history[0]) // 24 * 24
        columns = (0, *range(1 + len(panel.past_only), len(panel.columns)))
        values = panel.rows(0)[:whole].double().numpy()[:, columns]
        if np.isnan(values).any():
            raise UserError(f"{panel.source}: LEAR needs every price and covariate; fill the missing values.")
        series = values.T.reshape(len(columns), -1, 24)
        return cls(series[0], series[1:], stamps[:whole:24].weekday.to_numpy().astype(np.int64))

    def inputs(self, first: int, last: int) -> Array:
        """Inputs of the forecasts of days [first, last), `(days, 96 + 72 C)`; the indicators are `weekdays`."""
        rows = np.arange(first, last)
        return _lags(self.prices, self.covariates, rows)

    def weekdays(self, first: int, last: int) -> Array:
        """Weekday indicators `(days, 7)`."""
        return np.eye(7)[self.weekday[first:last]]


def _lags(prices: Array, covariates: Array, rows: NDArray[np.int64]) -> Array:
    parts = [prices[rows - lag] for lag in PRICE_LAGS]
    parts += [series[rows - lag] for series in covariates for lag in COVARIATE_LAGS]
    return np.concatenate(parts, 1)


@dataclass(frozen=True)
class Invariant:
    """z = arcsinh((x - median) / MAD) of every column; a column whose MAD is 0 is divided by 1."""

    median: Array
    mad: Array

    @classmethod
    def fit(cls, x: Array) -> "Invariant":
        median = np.median(x, axis=0)
        mad = np.median(np.abs(x - median), axis=0) / NORMAL_MAD
        return cls(median, np.where(mad > 0, mad, 1.0))

    def __call__(self, x: Array) -> Array:
        return np.arcsinh((x - self.median) / self.mad)

    def back(self, z: Array) -> Array:
        return np.sinh(z) * self.mad + self.median


def _alphas(gram: Array, cross: Array, power: Array, count: int) -> Array:
    """Of each output, the penalty on its LARS path with the least AIC.

    Args:
        gram, cross: X'X `(inputs, inputs)` and X'z `(inputs, outputs)`, both centred.
        power: z'z of each output.
        count: samples.
    """
    from sklearn.linear_model import lars_path_gram

    chosen = np.empty(len(power))
    for n, total in enumerate(power):
        alphas, _, path = lars_path_gram(cross[:, n], gram, n_samples=count, method="lasso", max_iter=ITERATIONS)
        rest = total - 2 * cross[:, n] @ path + (path * (gram @ path)).sum(0)
        freedom = (np.abs(path) > np.finfo(float).eps).sum(0)
        chosen[n] = alphas[np.argmin(rest / (total / count) + 2 * freedom)]
    return chosen


def _lasso(x: Array, z: Array) -> tuple[Array, Array]:
    """Weights `(inputs, outputs)` and constants `(outputs,)`."""
    from sklearn.linear_model import Lasso

    mean, level = x.mean(0), z.mean(0)
    x, z = x - mean, z - level
    gram, cross = x.T @ x, x.T @ z
    length = np.sqrt(np.diag(gram))
    length = np.where(length > 0, length, 1.0)
    alphas = _alphas(gram / np.outer(length, length), cross / length[:, None], (z**2).sum(0), len(x))
    weights = np.empty_like(cross)
    for n, alpha in enumerate(alphas):
        # The path's end has alpha 0: least squares, which coordinate descent does not promise to reach.
        model = Lasso(alpha=max(alpha, 1e-12), fit_intercept=False, precompute=gram, max_iter=ITERATIONS)
        weights[:, n] = model.fit(x, z[:, n]).coef_
    return weights, level - mean @ weights


def _lear_day(days: Days, day: int, window: int) -> Array:
    first = day - window + LONGEST_LAG
    x, z = days.inputs(first, day), days.prices[first:day]
    scale, prices = Invariant.fit(x), Invariant.fit(z)
    weights, constant = _lasso(np.concatenate([scale(x), days.weekdays(first, day)], 1), prices(z))
    now = np.concatenate([scale(days.inputs(day, day + 1)), days.weekdays(day, day + 1)], 1)
    return prices.back(now @ weights + constant)[0]


def lear_forecasts(
    days: Days,
    first: int,
    last: int,
    *,
    windows: Sequence[int] = (56, 84, 1092, 1456),
) -> Array:
    """LEAR forecasts of days [first, last), each fitted on what came before it.

    Args:
        days: the series.
        first, last: days to forecast.
        windows: calibration windows in days.

    Returns:
        `(windows, days, 24)` in the unit of the prices; the mean over windows is the ensemble.

    Raises:
        ValueError: a window is not longer than the lags or reaches before the series.
    """
    _check(windows, first)
    with warnings.catch_warnings():
        # Both stop after ITERATIONS by definition, and rounding ends some paths early.
        warnings.filterwarnings("ignore", module="sklearn")
        return np.array([[_lear_day(days, day, w) for day in range(first, last)] for w in windows])


def _check(windows: Sequence[int | None], first: int) -> None:
    for window in windows:
        if not LONGEST_LAG + 1 < (first if window is None else window) <= first:
            raise ValueError(
                f"calibration window of {first if window is None else window} days before day {first}: must be longer "
                f"than {LONGEST_LAG + 1} days and lie inside the series."
            )


class _RidgeFit:
    """One closed-form fit on the days [day - window, day).

    Args:
        days: the series.
        day: the first day that is not seen.
        window: in days, None for all.
        penalty, weekday_penalty: of the squared weights.
    """

    def __init__(self, days: Days, day: int, window: int | None, penalty: float, weekday_penalty: float):
        begin = 0 if window is None else day - window
        self.days, self.prices = days, Invariant.fit(days.prices[begin:day])
        self.covariates = [Invariant.fit(series[begin:day]) for series in days.covariates]
        self.first, self.last = begin + LONGEST_LAG, day
        self.x, self.z = self.inputs(self.first, day), self.prices(days.prices[self.first : day])
        diagonal = np.full(self.x.shape[1], penalty)
        diagonal[-7:] = weekday_penalty
        self.factor = cho_factor(self.x.T @ self.x + np.diag(diagonal))
        self.weights = cho_solve(self.factor, self.x.T @ self.z)

    def inputs(self, first: int, last: int) -> Array:
        reach = slice(first - LONGEST_LAG, last)
        prices = self.prices(self.days.prices[reach])
        covariates = np.array([f(s[reach]) for f, s in zip(self.covariates, self.days.covariates, strict=True)])
        rows = np.arange(LONGEST_LAG, LONGEST_LAG + last - first)
        return np.concatenate([_lags(prices, covariates, rows), self.days.weekdays(first, last)], 1)

    def forecast(self, first: int, last: int) -> Array:
        """Prices of days [first, last), `(days, 24)`."""
        return self.prices.back(self.inputs(first, last) @ self.weights)

    def quantiles(self, first: int, last: int, levels: Sequence[float], count: int) -> Array:
        """Of the prices of days [first, last), `(days, 24, Q)`.

        Residuals are those of the last `count` days, each forecast without itself, and are added before the way back
        from z: where prices are far from their median the spread is wider.
        """
        x, z = self.x[-count:], self.z[-count:]
        leverage = (x * cho_solve(self.factor, x.T).T).sum(1, keepdims=True)
        residuals = (z - x @ self.weights) / (1 - leverage)
        forecast = self.inputs(first, last) @ self.weights
        shifts = np.quantile(residuals, levels, axis=0)
        return np.stack([self.prices.back(forecast + shift) for shift in shifts], axis=-1)


def ridge_forecasts(
    days: Days,
    first: int,
    last: int,
    *,
    windows: Sequence[int | None] = (None, 1092, 364, 182),
    every: int = 7,
    penalty: float = 30.0,
    weekday_penalty: float = 3.0,
) -> Array:
    """Ridge forecasts of days [first, last), the mean over calibration windows, `(days, 24)`.

    Args:
        days: the series.
        first, last: days to forecast.
        windows: calibration windows in days, None for all the past.
        every: days between fits.
        penalty, weekday_penalty: of the squared weights, and of those of the weekday indicators.

    Raises:
        ValueError: a window is not longer than the lags or reaches before the series.
    """
    _check(windows, first)
    out = []
    for day in range(first, last, every):
        fits = [_RidgeFit(days, day, window, penalty, weekday_penalty) for window in windows]
        out.append(np.mean([fit.forecast(day, min(day + every, last)) for fit in fits], axis=0))
    return np.concatenate(out)


def ridge_quantiles(
    days: Days,
    day: int,
    levels: Sequence[float],
    *,
    windows: Sequence[int | None] = (None, 728, 364, 182),
    residual_days: int = 182,
    penalty: float = 30.0,
    weekday_penalty: float = 3.0,
) -> Array:
    """Quantiles of one day's prices, `(24, Q)`, from each hour's leave-one-out residuals.

    Args:
        days: the series.
        day: to forecast, from all days before it.
        levels: probabilities, Q of them.
        windows: calibration windows in days, None for all the past; their quantiles are averaged.
        residual_days: how many of the last residuals count.
        penalty, weekday_penalty: as in `ridge_forecasts`.

    Raises:
        ValueError: a window is not longer than the lags or reaches before the series.
    """
    _check(windows, day)
    fits = [_RidgeFit(days, day, window, penalty, weekday_penalty) for window in windows]
    return np.mean([fit.quantiles(day, day + 1, levels, residual_days)[0] for fit in fits], axis=0)
