"""Metrics of the two public forecasting benchmarks on plain arrays, in float64.

fev-bench (autogluon/fev 1bc95fd) scores N windows of H steps and D targets against the series' whole past; a metric
is taken per target over windows and steps pooled, then averaged over targets.  With e = forecast - y, the season m,
s_n = mean over the past of window n of |y_t - y_(t-m)| and s2_n the same of squares:

    MAE, MSE, RMSE  mean |e|, mean e^2, its root     MASE, RMSSE  mean |e| / s_n, root of mean e^2 / s2_n
    MAPE, SMAPE     mean |e| / |y|, mean 2 |e| / (|y| + |forecast|): fractions, not per cent
    WAPE            mean |e| / mean |y|              MQL          mean over steps and levels of the quantile loss
    WQL             MQL / mean |y|                   SQL          mean of quantile loss / s_n

where the quantile loss is 2 |(y - q)(1[y <= q] - tau)|.  A denominator is at least `epsilon`; NaN in y is missing, and
terms with a denominator of 0 or a past too short for s_n are left out.

epftoolbox (jeslago/epftoolbox a93dee7) scores one hourly forecast over days: MAE, RMSE, sMAPE as above, rMAE = MAE over
all hours / MAE of a naive forecast over the hours that have one, and two tests of whether a second forecast is better
(Diebold & Mariano 1995, Giacomini & White 2006; Lago et al. 2021) with no correction for autocorrelation.

Decided differently: two equal forecasts have p = 1/2 in the Diebold-Mariano test (the release divides 0 by 0), and
sMAPE leaves out hours where price and forecast are both 0, as fev-bench does (epftoolbox gives NaN).
"""

__all__ = [
    "dm",
    "dm_hourly",
    "fev_metrics",
    "gw",
    "gw_hourly",
    "mae",
    "mape",
    "mase",
    "mql",
    "mse",
    "naive_daily",
    "naive_epf",
    "naive_weekly",
    "quantile_loss",
    "rmae",
    "rmse",
    "rmsse",
    "seasonal_error",
    "smape",
    "sql",
    "wape",
    "wql",
]

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, norm

Array = NDArray[np.float64]


def _mean_over(values: Array, counted: NDArray[np.bool_]) -> Array:
    with np.errstate(invalid="ignore"):
        return np.where(counted, values, 0).sum((0, 1)) / counted.sum((0, 1))


def _observed_mean(values: Array) -> Array:
    """Mean over windows and steps `(N, H, ...)` without NaN, which is a missing y; infinite terms count."""
    return _mean_over(values, ~np.isnan(values))


def _finite_mean(values: Array) -> Array:
    """Mean over windows and steps of the finite terms alone, for ratios whose denominator may be 0."""
    return _mean_over(values, np.isfinite(values))


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Their ratio, infinite or NaN without a warning where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(numerator / denominator)


def _number(per_target: Array) -> float:
    return float(np.mean(per_target))


def seasonal_error(pasts: Sequence[Array], seasonality: int, power: int = 1) -> Array:
    """Mean |y_t - y_(t-m)|^power over each past `(T_n, D)`, as `(N, 1, D)`; NaN for pasts of m steps or fewer."""
    out = []
    for past in pasts:
        change = np.abs(past[seasonality:] - past[:-seasonality])[None] ** power
        out.append(_finite_mean(change) if change.size else np.full(past.shape[1], np.nan))
    return np.stack(out)[:, None]


def mae(y: Array, forecast: Array) -> float:
    """Mean absolute error of `(N, H, D)` arrays."""
    return _number(_observed_mean(np.abs(forecast - y)))


def mse(y: Array, forecast: Array) -> float:
    """Mean squared error of `(N, H, D)` arrays."""
    return _number(_observed_mean((forecast - y) ** 2))


def rmse(y: Array, forecast: Array) -> float:
    """Root of each target's mean squared error, averaged over targets."""
    return _number(np.sqrt(_observed_mean((forecast - y) ** 2)))


def mape(y: Array, forecast: Array) -> float:
    """Mean |e| / |y|, a fraction; steps with y = 0 are left out."""
    return _number(_finite_mean(_ratio(np.abs(forecast - y), np.abs(y))))


def smape(y: Array, forecast: Array) -> float:
    """Mean 2 |e| / (|y| + |forecast|), a fraction; steps where both are 0 are left out."""
    return _number(_finite_mean(_ratio(2 * np.abs(forecast - y), np.abs(y) + np.abs(forecast))))


def wape(y: Array, forecast: Array, epsilon: float = 0.0) -> float:
    """Mean |e| / mean |y| of each target, averaged over targets."""
    return _number(_ratio(_observed_mean(np.abs(forecast - y)), np.maximum(_observed_mean(np.abs(y)), epsilon)))


def mase(y: Array, forecast: Array, scale: Array, epsilon: float = 0.0) -> float:
    """Mean |e| / s_n, with `scale` from `seasonal_error`."""
    return _number(_finite_mean(_ratio(np.abs(forecast - y), np.maximum(scale, epsilon))))


def rmsse(y: Array, forecast: Array, scale: Array, epsilon: float = 0.0) -> float:
    """Root of the mean e^2 / s2_n, with `scale` from `seasonal_error(..., power=2)`."""
    return _number(np.sqrt(_finite_mean(_ratio((forecast - y) ** 2, np.maximum(scale, epsilon)))))


def quantile_loss(y: Array, quantiles: Array, levels: ArrayLike) -> Array:
    """2 |(y - q)(1[y <= q] - tau)| of `quantiles (N, H, D, Q)`, NaN where y is missing."""
    y = y[..., None]
    return 2 * np.abs((y - quantiles) * ((y <= quantiles) - np.asarray(levels, dtype=np.float64)))


def mql(y: Array, quantiles: Array, levels: ArrayLike) -> float:
    """Mean quantile loss."""
    return _number(_observed_mean(quantile_loss(y, quantiles, levels)))


def wql(y: Array, quantiles: Array, levels: ArrayLike, epsilon: float = 0.0) -> float:
    """Mean quantile loss / mean |y| of each target, averaged over targets."""
    loss = _observed_mean(quantile_loss(y, quantiles, levels)).mean(-1)
    return _number(_ratio(loss, np.maximum(_observed_mean(np.abs(y)), epsilon)))


def sql(y: Array, quantiles: Array, levels: ArrayLike, scale: Array, epsilon: float = 0.0) -> float:
    """Mean quantile loss / s_n, with `scale` from `seasonal_error`."""
    loss = quantile_loss(y, quantiles, levels)
    return _number(_finite_mean(_ratio(loss, np.maximum(scale, epsilon)[..., None])))


def fev_metrics(
    y: ArrayLike,
    forecast: ArrayLike,
    quantiles: ArrayLike,
    levels: Sequence[float],
    pasts: Sequence[ArrayLike],
    seasonality: int,
    epsilon: float = 0.0,
) -> dict[str, float]:
    """All eleven metrics of fev-bench under their names there.

    Args:
        y: `(N, H, D)` in original units, NaN where missing.
        forecast: `(N, H, D)` point forecasts.
        quantiles: `(N, H, D, Q)` at `levels`.
        levels: probabilities of the quantiles.
        pasts: N arrays `(T_n, D)`, everything before each window.
        seasonality: m in steps.
        epsilon: least denominator of WAPE, WQL, MASE, RMSSE and SQL; the five price tasks take 1 for WAPE and WQL.

    Raises:
        ValueError: shapes that do not fit, or a seasonality below 1.
    """
    y, forecast, quantiles = (np.asarray(a, dtype=np.float64) for a in (y, forecast, quantiles))
    before = [np.asarray(past, dtype=np.float64) for past in pasts]
    if seasonality < 1:
        raise ValueError(f"fev_metrics: seasonality {seasonality} must be at least 1.")
    if y.ndim != 3 or forecast.shape != y.shape or quantiles.shape != (*y.shape, len(levels)):
        raise ValueError(
            f"fev_metrics: y {y.shape}, forecast {forecast.shape} and quantiles {quantiles.shape} must be (N, H, D), "
            f"(N, H, D) and (N, H, D, {len(levels)})."
        )
    if len(before) != len(y) or any(past.ndim != 2 or past.shape[1] != y.shape[2] for past in before):
        raise ValueError(f"fev_metrics: pasts must be {len(y)} arrays (T, {y.shape[2]}), one for each window.")
    scale, squared = (seasonal_error(before, seasonality, power) for power in (1, 2))
    return {
        "MAE": mae(y, forecast),
        "MSE": mse(y, forecast),
        "RMSE": rmse(y, forecast),
        "MAPE": mape(y, forecast),
        "SMAPE": smape(y, forecast),
        "WAPE": wape(y, forecast, epsilon),
        "MASE": mase(y, forecast, scale, epsilon),
        "RMSSE": rmsse(y, forecast, squared, epsilon),
        "MQL": mql(y, quantiles, levels),
        "WQL": wql(y, quantiles, levels, epsilon),
        "SQL": sql(y, quantiles, levels, scale, epsilon),
    }


def _lagged(real: Array, days: int) -> Array:
    out = np.full(real.shape, np.nan)
    out[days:] = real[:-days]
    return out


def naive_daily(real: Array) -> Array:
    """The prices of the day before, `(days, 24)`; NaN on the first day."""
    return _lagged(real, 1)


def naive_weekly(real: Array) -> Array:
    """The prices of the same hour a week before, `(days, 24)`; NaN on the first seven days."""
    return _lagged(real, 7)


def naive_epf(real: Array, weekday: int) -> Array:
    """The day before from Tuesday to Friday, the week before on other days; NaN on the first seven days.

    Args:
        real: `(days, 24)`.
        weekday: of the first day, 0 for Monday.
    """
    day = (weekday + np.arange(len(real))) % 7
    out = np.where(((day >= 1) & (day <= 4))[:, None], _lagged(real, 1), _lagged(real, 7))
    out[:7] = np.nan
    return out


def rmae(real: Array, forecast: Array, naive: Array) -> float:
    """MAE over all hours / MAE of a naive forecast over the hours where it is not NaN; all `(days, 24)`."""
    return float(np.abs(forecast - real).mean() / np.nanmean(np.abs(naive - real)))


def _loss_difference(real: Array, first: Array, second: Array, power: int) -> Array:
    return np.abs(first - real) ** power - np.abs(second - real) ** power


def _dm(difference: Array) -> Array:
    # 1 - cdf as the release has it: a p-value below 1e-16 is 0.
    statistic = _ratio(difference.mean(0), np.sqrt(difference.var(0) / len(difference)))
    return 1 - norm.cdf(np.where((difference == 0).all(0), 0.0, statistic))


def dm(real: Array, first: Array, second: Array, power: int = 1) -> float:
    """Diebold-Mariano test over whole days: a small p-value says that `second` is better than `first`.

    d_t = mean_h |e1|^power - mean_h |e2|^power, p = 1 - Phi(mean d / sqrt(var d / days)).

    Args:
        real, first, second: `(days, 24)`.
        power: 1 for absolute, 2 for squared errors.
    """
    return float(_dm(_loss_difference(real, first, second, power).mean(1)))


def dm_hourly(real: Array, first: Array, second: Array, power: int = 1) -> Array:
    """The test for each hour of the day on its own, `(24,)`; arguments as in `dm`."""
    return _dm(_loss_difference(real, first, second, power))


def _gw(difference: Array, sign: float) -> float:
    instruments = np.stack([np.ones(len(difference) - 1), difference[:-1]], 1) * difference[1:, None]
    ones = np.ones(len(instruments))
    residual = ones - instruments @ np.linalg.lstsq(instruments, ones, rcond=None)[0]
    return float(1 - chi2.cdf(sign * len(ones) * (1 - np.mean(residual**2)), 2))


def gw(real: Array, first: Array, second: Array, power: int = 1) -> float:
    """Giacomini-White test over whole days: does yesterday's difference tell which forecast is better today?

    Rows z_t = d_t (1, d_(t-1)) from the second day on, the constant 1 regressed on z without intercept,
    R = rows (1 - mean squared residual), p = 1 - chi2_2(R) and 1 where `first` is better on average.
    Arguments as in `dm`.
    """
    difference = _loss_difference(real, first, second, power).mean(1)
    return _gw(difference, np.sign(difference[1:].mean()))


def gw_hourly(real: Array, first: Array, second: Array, power: int = 1) -> Array:
    """The test for each hour of the day on its own, `(24,)`, the sign of the mean being that of all days."""
    difference = _loss_difference(real, first, second, power)
    return np.array([_gw(column, np.sign(column.mean())) for column in difference.T])
