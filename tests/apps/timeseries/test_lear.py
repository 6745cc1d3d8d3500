"""LEAR and the ridge on its inputs: their definitions written out, no look into the future, published numbers."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LassoLarsIC

from apps.timeseries import lear
from apps.timeseries.data.epf import SETS, read_epf
from apps.timeseries.data.generator import simulate_prices
from apps.timeseries.lear import Days, lear_forecasts, ridge_forecasts, ridge_quantiles
from apps.timeseries.metrics import naive_weekly
from core.errors import UserError

FOLDER = Path(os.environ.get("OMNIMIX_DATA") or "data") / "timeseries" / "epf"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="the five price sets are not on this machine")


@pytest.fixture(scope="module")
def days():
    """Prices of a year and their load and wind forecasts."""
    return Days.of(simulate_prices(1, 365, 0).panel)


def test_inputs_of_a_day(days):
    x = days.inputs(10, 12)
    assert x.shape == (2, 96 + 2 * 72)
    d, load = days.prices, days.covariates[0]
    assert (x[1, :96] == np.concatenate([d[10], d[9], d[8], d[4]])).all()
    assert (x[1, 96:168] == np.concatenate([load[11], load[10], load[4]])).all()
    assert (days.weekdays(10, 12).argmax(1) == [(days.weekday[0] + n) % 7 for n in (10, 11)]).all()


def test_lasso_is_the_textbook_one_hour_by_hour():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 12)) * rng.uniform(0.3, 3, 12) + 1
    z = x[:, :4] @ rng.normal(size=(4, 3)) + rng.normal(size=(80, 3))
    weights, constant = lear._lasso(x, z)
    length = np.linalg.norm(x - x.mean(0), axis=0)
    for n in range(3):
        path = LassoLarsIC(criterion="aic", noise_variance=z[:, n].var()).fit((x - x.mean(0)) / length, z[:, n])
        model = Lasso(alpha=path.alpha_).fit(x, z[:, n])
        assert (model.coef_ == 0).any()
        np.testing.assert_allclose(weights[:, n], model.coef_, atol=1e-3)
        np.testing.assert_allclose(constant[n], model.intercept_, atol=1e-3)


def forecasts(days):
    return {
        "lear": lear_forecasts(days, 100, 101, windows=(24,))[0],
        "ridge": ridge_forecasts(days, 100, 101, windows=(None, 56)),
        "quantiles": ridge_quantiles(days, 100, (0.1, 0.5, 0.9), windows=(None, 56), residual_days=40)[None],
    }


def test_a_forecast_sees_the_covariates_of_its_day_and_no_price_of_it(days):
    now = forecasts(days)
    later = Days(days.prices.copy(), days.covariates.copy(), days.weekday)
    later.prices[100:] += 1000
    later.covariates[:, 101:] += 1000
    for name, forecast in forecasts(later).items():
        assert (forecast == now[name]).all(), name
    later.covariates[:, 100] += 1
    for name, forecast in forecasts(later).items():
        assert (forecast != now[name]).any(), name
    assert (np.diff(now["quantiles"], axis=-1) > 0).all()


def test_shorter_window_forgets(days):
    changed = Days(days.prices.copy(), days.covariates, days.weekday)
    changed.prices[: 100 - 24] += 5
    assert (lear_forecasts(days, 100, 101, windows=(24,)) == lear_forecasts(changed, 100, 101, windows=(24,))).all()
    assert (lear_forecasts(days, 100, 101, windows=(28,)) != lear_forecasts(changed, 100, 101, windows=(28,))).any()


def test_linear_forecasts_beat_the_week_before(days):
    real, first = days.prices[300:314], 300
    naive = np.abs(naive_weekly(days.prices)[300:314] - real).mean()
    assert np.abs(ridge_forecasts(days, first, 314, windows=(None, 182)) - real).mean() < 0.7 * naive
    assert np.abs(lear_forecasts(days, first, 302, windows=(84,)).mean(0) - real[:2]).mean() < 0.8 * naive


def test_ridge_is_least_squares_with_added_rows(days):
    fit = lear._RidgeFit(days, 200, 100, penalty=30.0, weekday_penalty=3.0)
    rows = np.diag(np.sqrt(np.r_[np.full(fit.x.shape[1] - 7, 30.0), np.full(7, 3.0)]))
    stacked = np.concatenate([fit.x, rows]), np.concatenate([fit.z, np.zeros((len(rows), 24))])
    np.testing.assert_allclose(fit.weights, np.linalg.lstsq(*stacked, rcond=None)[0], atol=1e-9)


def test_residuals_leave_their_own_day_out(days):
    """By refitting without that day: a single residual is every quantile."""
    fit = lear._RidgeFit(days, 200, 100, penalty=30.0, weekday_penalty=3.0)
    penalty = np.diag(np.r_[np.full(fit.x.shape[1] - 7, 30.0), np.full(7, 3.0)])
    x, z = fit.x[:-1], fit.z[:-1]
    without = fit.z[-1] - fit.x[-1] @ np.linalg.solve(x.T @ x + penalty, x.T @ z)
    expected = fit.prices.back(fit.inputs(200, 201) @ fit.weights + without)
    np.testing.assert_allclose(fit.quantiles(200, 201, (0.3,), 1)[..., 0], expected, rtol=1e-9)


def test_what_cannot_be_used_is_said(days):
    with pytest.raises(ValueError, match="calibration window of 101 days before day 100"):
        lear_forecasts(days, 100, 101, windows=(56, 101))
    with pytest.raises(ValueError, match="longer than 8 days"):
        ridge_forecasts(days, 100, 101, windows=(7,))
    with pytest.raises(UserError, match="one hourly series"):
        Days.of(simulate_prices(2, 30, 0).panel)
    panel = simulate_prices(1, 30, 0).panel
    panel.values[50, -1] = torch.nan
    with pytest.raises(UserError, match="every price and covariate"):
        Days.of(panel)


@needs_data
@pytest.mark.parametrize("name, expected", zip(SETS, (2.016, 3.052, 6.405, 4.134, 4.113), strict=True))
def test_ridge_on_the_five_sets(name, expected):
    """MAE over the last 728 days, refitted weekly on 1092 days."""
    days = Days.of(read_epf(name))
    last = len(days.prices)
    forecast = ridge_forecasts(days, last - 728, last, windows=(1092,))
    assert np.abs(forecast - days.prices[-728:]).mean() == pytest.approx(expected, rel=2e-3)
