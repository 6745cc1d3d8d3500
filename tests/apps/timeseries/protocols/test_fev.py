"""fev-bench's price tasks: the published numbers of what can be computed here, and no look into the windows."""

import os
from pathlib import Path

import numpy as np
import pytest

from apps.timeseries.data.epf import SETS, read_epf
from apps.timeseries.data.generator import simulate_prices
from apps.timeseries.heads import Quantiles
from apps.timeseries.protocols import fev
from apps.timeseries.protocols.training import Training

FOLDER = Path(os.environ.get("OMNIMIX_DATA") or "data") / "timeseries" / "epf"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="the five price sets are not on this machine")


@pytest.fixture(scope="module")
def panel():
    return simulate_prices(1, 760, 0).panel


@needs_data
def test_seasonal_naive_and_ridge_have_the_published_numbers():
    found = {"seasonal naive": {}, "ridge": {}}
    for name in SETS:
        panel = read_epf(name)
        found["seasonal naive"][name] = [fev.scores(panel, fev.seasonal_naive(panel))]
        found["ridge"][name] = [fev.scores(panel, fev.ridge(panel))]
    naive = found["seasonal naive"]
    published = {"BE": 1.0271, "DE": 1.7086, "FR": 0.8501, "NP": 1.7613, "PJM": 0.5812}
    assert {name: round(naive[name][0]["MASE"], 4) for name in SETS} == published
    sql = dict(zip(fev.ORDER, fev.PUBLISHED["seasonal naive, their run"], strict=False))
    assert {name: naive[name][0]["SQL"] for name in SETS} == pytest.approx(sql, abs=6e-4)
    table, errors = fev.table(found)
    rows = {row.name: row.values for row in table.rows}
    assert rows["ridge"]["SQL, all five"] == pytest.approx(0.5087, abs=1e-4)
    assert rows["ridge"]["MASE, all five"] == pytest.approx(0.6389, abs=1e-4)
    assert rows["seasonal naive"]["SQL, all five"] == pytest.approx(1.094, abs=5e-4)
    assert rows["Chronos-2"]["SQL, all five"] == 0.4680 and table.columns[:5] == list(fev.ORDER)
    assert [row.name for row in errors.rows] == list(found)


def test_published_means_are_those_of_the_published_tasks():
    for name, values in fev.PUBLISHED.items():
        assert np.exp(np.mean(np.log(values[:5]))) == pytest.approx(values[5], abs=3e-3), name


def test_scores_are_means_over_windows_with_their_own_past(panel):
    prices = panel.rows(0)[:, 0].double().numpy()
    quantiles = np.zeros((20, 24, 9))
    expected = []
    for n in range(20):
        start = len(prices) - (20 - n) * 24
        scale = np.abs(prices[24:start] - prices[: start - 24]).mean()
        expected.append(np.abs(prices[start : start + 24]).mean() / scale)
    found = fev.scores(panel, quantiles)
    assert found["MASE"] == pytest.approx(np.mean(expected), rel=1e-12)
    # With q = 0 a level's loss is 2 tau y, or 2 (1 - tau) |y| for y < 0, and the mean tau is one half.
    assert found["SQL"] == pytest.approx(found["MASE"], rel=1e-12)
    with pytest.raises(ValueError, match=r"must be \(20, 24, 9\) finite"):
        fev.scores(panel, quantiles[:19])
    with pytest.raises(ValueError, match="finite"):
        fev.scores(panel, np.full((20, 24, 9), np.nan))


@pytest.mark.parametrize("validation_days", [0, 10])
def test_network_is_trained_before_the_windows(panel, tiny, validation_days):
    training = Training(tiny, ["--trainer.max_epochs", "1", "--data.stride", "60"], Quantiles)
    quantiles, seconds = fev.network(panel, training, 0, validation_days)
    assert quantiles.shape == (20, 24, 9) and (np.diff(quantiles, axis=-1) >= 0).all() and seconds > 0
    changed = simulate_prices(1, 760, 0).panel
    changed.values[-240:, 0] += 500
    again, _ = fev.network(changed, training, 0, validation_days)
    assert (again[:11] == quantiles[:11]).all() and (again[11:] != quantiles[11:]).any()
    assert fev.scores(panel, quantiles)["SQL"] < fev.scores(panel, np.zeros_like(quantiles))["SQL"]
