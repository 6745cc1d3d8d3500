"""Metrics: equal to fev and epftoolbox, and to their definitions where the goldens do not reach."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from apps.timeseries import metrics
from apps.timeseries.models.goldens_metrics import FORECAST_METRICS
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[2] / "golden" / "forecast_metrics").glob("*.safetensors"))
LEVELS = (0.1, 0.5, 0.9)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_releases(path):
    results = verify(path, FORECAST_METRICS[read(path)[0].cls])
    assert len(results) >= 11 and [r for r in results if not r.ok] == []


def example(seed=0, windows=3, steps=5, targets=2):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(windows, steps, targets)) + 5
    forecast = y + rng.normal(size=y.shape)
    quantiles = np.sort(y[..., None] + rng.normal(size=(*y.shape, len(LEVELS))), -1)
    return y, forecast, quantiles, [rng.normal(size=(30 + n, targets)) for n in range(windows)]


def test_what_is_missing_does_not_count():
    y, forecast, quantiles, pasts = example()
    y[1] = np.nan
    rest = [0, 2]
    whole = metrics.fev_metrics(y, forecast, quantiles, LEVELS, pasts, 7)
    kept = metrics.fev_metrics(y[rest], forecast[rest], quantiles[rest], LEVELS, [pasts[n] for n in rest], 7)
    assert whole == pytest.approx(kept, rel=1e-12)


@pytest.mark.parametrize("past", [np.zeros((5, 2)), np.ones((40, 2)), np.full((40, 2), np.nan)])
def test_series_without_a_seasonal_error_count_in_unscaled_metrics_only(past):
    y, forecast, quantiles, pasts = example()
    changed = metrics.fev_metrics(y, forecast, quantiles, LEVELS, [past, *pasts[1:]], 7)
    whole = metrics.fev_metrics(y, forecast, quantiles, LEVELS, pasts, 7)
    rest = metrics.fev_metrics(y[1:], forecast[1:], quantiles[1:], LEVELS, pasts[1:], 7)
    for name in ("MASE", "RMSSE", "SQL"):
        assert changed[name] == pytest.approx(rest[name], rel=1e-12)
    assert changed["MAE"] == whole["MAE"] and changed["WQL"] == whole["WQL"]


def test_an_infinite_forecast_is_not_overlooked():
    y, forecast, quantiles, pasts = example()
    forecast[0, 0, 0] = np.inf
    scores = metrics.fev_metrics(y, forecast, quantiles, LEVELS, pasts, 7)
    assert scores["MAE"] == scores["RMSE"] == scores["WAPE"] == np.inf


def test_targets_are_averaged_after_their_own_metric():
    y, forecast, quantiles, pasts = example()
    both = metrics.fev_metrics(y, forecast, quantiles, LEVELS, pasts, 7)
    each = [
        metrics.fev_metrics(*(a[:, :, [k]] for a in (y, forecast, quantiles)), LEVELS, [p[:, [k]] for p in pasts], 7)
        for k in range(2)
    ]
    assert both == pytest.approx({name: np.mean([one[name] for one in each]) for name in both}, rel=1e-12)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"seasonality": 0}, "seasonality 0"),
        ({"forecast": np.zeros((3, 5, 1))}, "forecast (3, 5, 1)"),
        ({"levels": (0.5,)}, "(N, H, D, 1)"),
        ({"pasts": []}, "3 arrays (T, 2)"),
    ],
)
def test_shapes_that_do_not_fit_are_said(change, said):
    y, forecast, quantiles, pasts = example()
    arguments = {"forecast": forecast, "quantiles": quantiles, "levels": LEVELS, "pasts": pasts, "seasonality": 7}
    with pytest.raises(ValueError) as error:
        metrics.fev_metrics(y, **(arguments | change))
    assert said in str(error.value)


def test_naive_prices_follow_the_calendar():
    real = np.arange(21.0)[:, None].repeat(24, 1)
    forecast = metrics.naive_epf(real, weekday=2)  # a Wednesday
    assert np.isnan(forecast[:7]).all()
    lag = (real - forecast)[7:, 0]
    assert lag.tolist() == [1, 1, 1, 7, 7, 7, 1, 1, 1, 1, 7, 7, 7, 1]  # Wednesday to Friday, Saturday ...
    assert np.isnan(metrics.naive_daily(real)).sum() == 24 and np.isnan(metrics.naive_weekly(real)).sum() == 7 * 24
    # The forecast's errors count from the first day, those of the naive one from the eighth.
    assert metrics.rmae(real, real + np.eye(21, 24), metrics.naive_weekly(real)) == pytest.approx(1 / 24 / 7)


def test_tests_between_forecasts():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(60, 24))
    better, worse = real + 0.5 * rng.normal(size=real.shape), real + rng.normal(size=real.shape)
    assert metrics.dm(real, worse, better) < 1e-6 < 1 - 1e-6 < metrics.dm(real, better, worse)
    assert metrics.gw(real, worse, better) < 1e-6 and metrics.gw(real, better, worse) == 1
    assert metrics.dm(real, worse, worse) == 0.5 and (metrics.dm_hourly(real, worse, worse) == 0.5).all()
    # The definition, written out.
    d = np.abs(worse - real).mean(1) - np.abs(better - real).mean(1)
    close = pytest.approx(1 - norm.cdf(d.mean() / np.sqrt(((d - d.mean()) ** 2).mean() / 60)), abs=1e-15)
    assert metrics.dm(real, worse, better) == close
    hourly = metrics.gw_hourly(real, worse, better)
    assert hourly.shape == (24,) and hourly[3] == metrics.gw(real[:, [3]], worse[:, [3]], better[:, [3]])
