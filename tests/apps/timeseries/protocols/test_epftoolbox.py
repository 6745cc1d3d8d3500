"""epftoolbox' protocol: the numbers of the shipped forecasts, and refits that see the past alone."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.timeseries.data.epf import read_epf
from apps.timeseries.data.generator import simulate_prices
from apps.timeseries.protocols import epftoolbox
from apps.timeseries.protocols.epftoolbox import Refit
from apps.timeseries.protocols.training import Training
from core.errors import UserError

ROOT = Path(os.environ.get("OMNIMIX_DATA") or "data") / "timeseries"
needs_data = pytest.mark.skipif(
    not ((ROOT / "epf").is_dir() and (ROOT / "epf_forecasts").is_dir()),
    reason="the price sets or the shipped forecasts are not on this machine",
)

# MAE of the week before, MAE and rMAE of three shipped forecasts, p of the DNN ensemble against the LEAR ensemble.
REFERENCE = {
    "NP": (4.1347, (1.9898, 0.481), (1.7378, 0.420), (1.6834, 0.407), 0.0141),
    "PJM": (6.3265, (3.0955, 0.489), (3.0130, 0.476), (2.8622, 0.452), 2.16e-4),
    "BE": (10.1595, (6.6339, 0.653), (6.1401, 0.604), (5.8699, 0.578), 8.8e-6),
    "FR": (7.3316, (4.3781, 0.597), (3.9798, 0.543), (3.8658, 0.527), 0.0198),
    "DE": (9.1274, (3.9878, 0.437), (3.6091, 0.395), (3.4135, 0.374), 7.3e-4),
}


@pytest.fixture(scope="module")
def panel():
    return simulate_prices(1, 780, 0).panel


@needs_data
@pytest.mark.parametrize("name", REFERENCE)
def test_shipped_forecasts_have_their_numbers(name):
    panel = read_epf(name)
    table = epftoolbox.table(name, panel, {}, epftoolbox.shipped(name, panel))
    rows = {row.name: row.values for row in table.rows}
    naive, *scores, p = REFERENCE[name]
    assert rows["same hour a week before"]["MAE"] == pytest.approx(naive, abs=6e-5)
    for system, (mae, rmae) in zip(("LEAR 1456", "LEAR Ensemble", "DNN Ensemble"), scores, strict=True):
        assert rows[system]["MAE"] == pytest.approx(mae, abs=6e-5)
        assert rows[system]["rMAE"] == pytest.approx(rmae, abs=6e-4)
    assert rows["DNN Ensemble"]["p against LEAR Ensemble"] == pytest.approx(p, rel=6e-3)
    assert "p against LEAR Ensemble" not in rows["LEAR Ensemble"]


def test_missing_or_other_files_are_said(panel, tmp_path):
    with pytest.raises(UserError, match=r"not found; download XX\.csv from the folder forecasts of https"):
        epftoolbox.shipped("XX", panel, tmp_path)
    pd.DataFrame({"date": pd.date_range("2000-01-01", periods=48, freq="h"), "LEAR 56": 1.0}).to_csv(
        tmp_path / "XX.csv", index=False
    )
    with pytest.raises(UserError, match="has 48 hours from 2000-01-01 00:00:00, expected 17,472"):
        epftoolbox.shipped("XX", panel, tmp_path)


def test_table_of_own_forecasts(panel):
    real = panel.rows(0)[-728 * 24 :, 0].double().numpy().reshape(728, 24)
    noise = np.random.default_rng(0).normal(size=(3, *real.shape))
    rivals = {"LEAR Ensemble": real + 2 * noise[0]}
    table = epftoolbox.table("XX", panel, {"net": [real + noise[1], real + noise[2]]}, rivals)
    rows = {row.name: row for row in table.rows}
    ensemble, each = rows["net, mean of 2 seeds"], rows["net, each seed"]
    assert ensemble.values["MAE"] == pytest.approx(each.values["MAE"] / 2**0.5, rel=0.02)
    assert ensemble.values["p against LEAR Ensemble"] < 1e-9 and each.deviations["MAE"] < 0.02
    with pytest.raises(ValueError, match=r"must be \(728, 24\)"):
        epftoolbox.scores(panel, real[:-1])


@pytest.mark.parametrize("refit", [Refit(first=0, every=0), Refit(first=4, every=300, steps=3)])
def test_network_learns_from_the_past_alone(panel, tiny, refit):
    training = Training(tiny, ["--trainer.max_epochs", "1"])
    forecast, seconds = epftoolbox.network(panel, training, 0, refit)
    assert forecast.shape == (728, 24) and np.isfinite(forecast).all() and seconds > 0
    changed = simulate_prices(1, 780, 0).panel
    changed.values[-100 * 24 :, 0] += 500
    again, _ = epftoolbox.network(changed, training, 0, refit)
    assert (again[:629] == forecast[:629]).all() and (again[629:] != forecast[629:]).any()


def test_refits_change_what_comes_after_them(panel, tiny):
    training = Training(tiny, ["--trainer.max_epochs", "1"])
    once, _ = epftoolbox.network(panel, training, 0, Refit(first=0, every=0), validation_days=10)
    again, _ = epftoolbox.network(panel, training, 0, Refit(first=0, every=600, steps=3), validation_days=10)
    assert (once[:600] == again[:600]).all() and (once[600:] != again[600:]).all()
