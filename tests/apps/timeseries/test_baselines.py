"""Naive forecasts and the ridge against slow and plain forms."""

import numpy as np
import pandas as pd
import pytest
import torch

from apps.timeseries.baselines import epf_naive, seasonal_naive
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.data.sources import Simulated
from apps.timeseries.forecasts import Forecasts
from apps.timeseries.ridge import Ridge


@pytest.fixture(scope="module")
def data():
    made = ForecastData(dataset=Simulated(series=2, days=60), context_length=168, prediction_length=24)
    made.setup()
    return made


@pytest.fixture(scope="module")
def truth(data):
    batch = data.part("test").__getitems__(list(range(len(data.part("test")))))
    target = batch["future_target"].clone()
    return Forecasts(target, target, batch["item"], batch["forecast_start"], data.panel, data.scaler)


def test_seasonal_naive_is_the_value_a_season_before(truth):
    made = seasonal_naive(truth, 24)
    for n in (0, len(truth) // 2, len(truth) - 1):
        past = truth.past(n, 24)
        np.testing.assert_allclose(truth.original(made.point[n : n + 1])[0], past, rtol=1e-5, atol=1e-4)


def test_a_short_season_is_repeated(truth):
    made = seasonal_naive(truth, 10)
    past = truth.past(3, 10)[:, 0]
    np.testing.assert_allclose(truth.original(made.point[3:4])[0, :, 0], np.tile(past, 3)[:24], rtol=1e-5, atol=1e-4)


def test_epf_naive_takes_yesterday_from_tuesday_to_friday(truth):
    made = epf_naive(truth)
    day, week = truth.lagged(24), truth.lagged(168)
    for n in range(0, len(truth), 37):
        for step, stamp in enumerate(truth.stamps(n)):
            expected = day if pd.Timestamp(stamp).day_name() in ("Tuesday", "Wednesday", "Thursday", "Friday") else week
            assert made.point[n, step] == expected[n, step]


def test_perfect_forecasts_have_no_error(truth):
    assert truth.scaled_errors() == {"MSE": 0.0, "MAE": 0.0}
    holes = truth.target.clone()
    holes[:, 0] = float("nan")
    shifted = Forecasts(truth.point + 2, holes, truth.item, truth.start, truth.panel, truth.scaler)
    assert shifted.scaled_errors() == pytest.approx({"MSE": 4.0, "MAE": 2.0}, rel=1e-5)


def test_ridge_solves_the_penalised_problem(data, truth):
    train, validation = data.part("train"), data.part("validation")
    ridge = Ridge(train, validation, lambdas=(10.0,))
    samples = [(x, y) for x, y, *_ in ridge._samples(train)]
    x, y = (torch.cat(part) for part in zip(*samples, strict=True))
    penalty = torch.full((x.shape[1],), 10.0, dtype=torch.float64)
    penalty[-1] = 0  # the constant is free
    gradient = x.mT @ (x @ ridge.weights - y) + penalty[:, None] * ridge.weights
    assert gradient.abs().max() < 1e-5 * (x.mT @ y).abs().max()
    errors = ridge(data.part("test"), truth).scaled_errors()
    assert errors["MAE"] < seasonal_naive(truth, 24).scaled_errors()["MAE"]


def test_ridge_chooses_the_penalty_by_validation(data, truth):
    train, validation = data.part("train"), data.part("validation")
    chosen = Ridge(train, validation, lambdas=(1e-3, 100.0, 1e9))
    assert chosen.penalty == 100.0
