"""As a gluonts model: gluonts' own evaluation, covariates, missing values, several targets, saving."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from gluonts.dataset.artificial import constant_dataset
from gluonts.dataset.common import ListDataset
from gluonts.dataset.split import split
from gluonts.ev.metrics import MAE, MASE, MSE, MeanWeightedSumQuantileLoss
from gluonts.model import evaluate_model
from gluonts.model.predictor import Predictor
from gluonts.model.seasonal_naive import SeasonalNaivePredictor
from torch.optim import AdamW

from apps.timeseries.data.calendar import cyclic
from apps.timeseries.data.entries import to_entries
from apps.timeseries.data.generator import simulate_prices
from apps.timeseries.gluonts_face import FIELDS, OmnimixEstimator
from apps.timeseries.heads import Quantiles
from apps.timeseries.models import DLinear, TimeXer
from core.errors import UserError

H = 24
NETWORK = partial(
    TimeXer, dim=16, heads=2, depth=1, hidden=16, patch_length=24, future_time_feat=True, linear_skip=True
)


def estimator(network, **arguments):
    chosen = {"prediction_length": H, "context_length": 48, "epochs": 3, "batch_size": 64, "stride": 2}
    return OmnimixEstimator(network, **(chosen | arguments))


@pytest.fixture(scope="module")
def prices():
    """Two series with past, known and static features."""
    return ListDataset(to_entries(simulate_prices(2, 60, 0).panel), freq="h")


@pytest.fixture(scope="module")
def predictor(prices):
    training, _ = split(prices, offset=-7 * H)
    network = partial(NETWORK, head=Quantiles())
    return estimator(network, time_features=cyclic, optimizer=partial(AdamW, lr=5e-3), epochs=8).train(training)


def test_gluonts_evaluates_it(prices, predictor):
    _, template = split(prices, offset=-7 * H)
    test = template.generate_instances(H, windows=7, distance=H)
    metrics = [MASE(), MeanWeightedSumQuantileLoss([0.1, 0.5, 0.9])]
    naive = SeasonalNaivePredictor(prediction_length=H, season_length=H)
    ours, theirs = (
        evaluate_model(model, test_data=test, metrics=metrics, seasonality=H).iloc[0] for model in (predictor, naive)
    )
    assert ours.notna().all() and (ours < 0.8 * theirs).all()


def test_forecast_follows_the_target_of_each_entry(prices, predictor):
    entry = dict(next(iter(prices)))
    length = len(entry["target"]) - H
    entry["target"] = entry["target"][:length].copy()
    entry["past_feat_dynamic_real"] = entry["past_feat_dynamic_real"][:, :length]
    whole = next(predictor.predict([entry]))
    assert whole.start_date == entry["start"] + length and whole.item_id == entry["item_id"]
    assert whole.forecast_array.shape == (9, H) and (np.diff(whole.forecast_array, axis=0) >= 0).all()
    # A target that ends with missing values is still forecast from its end.
    entry["target"][-5:] = np.nan
    gappy = next(predictor.predict([entry]))
    assert gappy.start_date == whole.start_date and np.isfinite(gappy.forecast_array).all()
    assert (gappy.forecast_array != whole.forecast_array).any()
    # Without the known future there is no forecast.
    entry["feat_dynamic_real"] = entry["feat_dynamic_real"][:, :length]
    with pytest.raises(UserError, match="known-future columns"):
        next(predictor.predict([entry]))


def test_saved_and_loaded(prices, predictor, tmp_path):
    predictor.serialize(tmp_path)
    loaded = Predictor.deserialize(tmp_path, network=partial(NETWORK, head=Quantiles()), time_features=cyclic)
    _, template = split(prices, offset=-H)
    instances = template.generate_instances(H).input
    for one, two in zip(predictor.predict(instances), loaded.predict(instances), strict=True):
        assert (one.forecast_array == two.forecast_array).all() and one.forecast_keys == two.forecast_keys


def test_constant_series_are_forecast_as_constants():
    """gluonts' own set: ten constant series with static and dynamic features, 24 steps each."""
    _, training, test = constant_dataset()
    small = {"prediction_length": 6, "context_length": 12}
    made = estimator(partial(NETWORK, patch_length=6, future_time_feat=False), **small).train(training)
    instances = split(test, offset=-6)[1].generate_instances(6)
    for n, forecast in enumerate(made.predict(instances.input)):
        assert forecast.mean == pytest.approx(np.full(6, n), abs=0.05)
        assert (forecast.quantile(0.5) == forecast.mean).all()
    assert evaluate_model(made, test_data=instances, metrics=[MSE(), MAE()]).iloc[0].max() < 0.05
    with pytest.raises(UserError, match="DLinear cannot use"):
        estimator(DLinear, **small).train(training)
    entry = next(iter(training)) | {"feat_static_cat": [10], "feat_dynamic_real": np.zeros((1, 30))}
    with pytest.raises(UserError, match="has the code 10"):
        next(made.predict([entry]))
    with pytest.raises(UserError, match="feat_dynamic_cat is not read"):
        next(made.predict([entry | {"feat_dynamic_cat": np.zeros((1, 30))}]))


def test_validation_data_calibrate_a_point_forecast(prices):
    training, _ = split(prices, offset=-10 * H)
    made = estimator(NETWORK, time_features=cyclic).train(training, prices)
    forecast = next(made.predict([next(iter(prices)) | {"feat_dynamic_real": np.zeros((2, 60 * 24 + H))}]))
    assert forecast.forecast_keys[0] == "mean" and (np.diff(forecast.forecast_array[1:], axis=0) >= 0).all()
    with pytest.raises(UserError, match="validation_data"):
        estimator(NETWORK, time_features=cyclic).train(prices, training)


def test_several_targets():
    rng = np.random.default_rng(0)
    entries = [{"start": pd.Period("2024-01-01", "h"), "target": rng.normal(size=(2, 200))} for _ in range(2)]
    made = estimator(DLinear, prediction_length=5, context_length=20, fields=FIELDS[:1]).train(entries)
    forecasts = list(made.predict(entries))
    assert [f.forecast_array.shape for f in forecasts] == [(2, 5, 2)] * 2
