import time

import numpy as np
import pytest
import torch

from apps.timeseries.data.calendar import cyclic
from apps.timeseries.data.generator import simulate_prices
from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.splits import proportions
from apps.timeseries.data.windows import WindowDataset


def test_seeded_and_fast():
    begin = time.process_time()
    one = simulate_prices()
    assert time.process_time() - begin < 1.0
    two = simulate_prices()
    assert torch.equal(one.panel.values, two.panel.values) and torch.equal(one.mean, two.mean)
    assert not torch.equal(one.panel.values[:, 0], simulate_prices(seed=1).panel.values[:, 0])


def test_looks_like_a_market():
    simulation = simulate_prices()
    panel, price = simulation.panel, simulation.panel.values[:, 0]
    assert panel.lengths.tolist() == [24 * (730 - 7 * k) for k in range(5)]
    assert panel.known_future == ("load_forecast", "wind_forecast") and panel.past_only == ("fuel",)
    assert (
        panel.values.isfinite().all()
        and panel.reals.shape == (5, 2)
        and panel.categories.tolist() == [[0], [1], [2], [0], [1]]
    )
    assert 0.002 < (price < 0).float().mean() < 0.05, "occasional negative prices"
    assert price.max() > 8 * price.median(), "spikes"
    first = panel.rows(0).numpy()
    weekday = first[: 24 * 700, 2].reshape(-1, 7, 24).mean((0, 2))  # the first day is a Friday
    assert weekday[[1, 2]].max() < weekday[[0, 3, 4, 5, 6]].min() - 0.02, "less load at the weekend"


def test_the_mean_is_the_conditional_mean():
    simulation = simulate_prices()
    noise = (simulation.panel.values[:, 0] - simulation.mean).double()
    # No bias within four standard errors, overall and where the market is tight or flooded.
    order = simulation.mean.argsort()
    for part in (order, *order.chunk(5)):
        error = noise[part]
        assert error.mean().abs() < 4 * error.std() / len(error) ** 0.5
    lag = (noise[1:] * noise[:-1]).mean() / noise.var()
    assert lag.abs() < 0.02, "what is left cannot be foretold from the past"


def test_future_covariates_and_nonlinearity_pay():
    """Ridge with past covariates, ridge with future ones, ridge with squares and products of these, and the truth."""
    simulation = simulate_prices(3, 365)
    panel = simulation.panel
    parts = proportions(panel)
    scaler = Scaler.fit(panel, parts.train)

    def windows(part, stride):
        data = WindowDataset(
            panel, part, scaler, context_length=48, prediction_length=24, time_features=cyclic, stride=stride
        )
        return data.__getitems__(range(len(data)))

    train, test = windows(parts.train, 5), windows(parts.test, 7)

    def features(batch, kind):
        past = batch["past_target"].flatten(1), batch["feat_dynamic_real"][:, :48].flatten(1)
        calendar = batch["time_feat"][:, 48::6].flatten(1), batch["feat_static_real"]
        future = batch["feat_dynamic_real"][:, 48:].flatten(1)
        residual = future[:, 0::2] - 0.8 * future[:, 1::2]
        curved = torch.cat([residual**2, residual**3, torch.exp(residual.clamp(max=2.5))], 1)
        blocks = {"past": (), "future": (future,), "curved": (future, curved)}[kind]
        return torch.cat([*past, *calendar, *blocks, torch.ones(len(past[0]), 1)], 1).double()

    def error(kind):
        x, y = features(train, kind), train["future_target"][..., 0].double()
        weights = torch.linalg.solve(x.T @ x + 100 * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)
        return float(((features(test, kind) @ weights - test["future_target"][..., 0]) ** 2).mean())

    rows = (panel.offsets[test["item"]] + test["forecast_start"])[:, None] + torch.arange(24)
    best = (simulation.mean[rows] - scaler.loc[0]) / scaler.scale[0]
    least = float(((best - test["future_target"][..., 0]) ** 2).mean())
    past, future, curved = error("past"), error("future"), error("curved")
    assert future < 0.6 * past and curved < 0.9 * future and least < 0.6 * curved, (past, future, curved, least)


def test_too_short_is_refused():
    for arguments in ({"series": 0}, {"series": 5, "days": 40}):
        with pytest.raises(ValueError, match="at least 14 days"):
            simulate_prices(**arguments)
    assert np.isfinite(simulate_prices(1, 14).mean.numpy()).all()
