"""A recipe in a protocol is the recipe of the command line; finished runs are kept by all their settings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.timeseries.data.sources import Simulated
from apps.timeseries.heads import Quantiles
from apps.timeseries.protocols import paper
from apps.timeseries.protocols.training import Training
from core.errors import UserError
from core.training.launch import main
from core.training.store import Store, seeds_row


def test_same_numbers_as_the_command_line(tiny):
    words = ["--data.test_stride", "1"]
    with pytest.raises(SystemExit):
        main(["timeseries", "fit", "--config", tiny, *words])
    expected = json.loads(Path("runs/tiny/0/results.json").read_text())
    scores, _ = paper.network(Simulated(series=2, days=30), Training(tiny, words), seed=0)
    assert scores[paper.NETWORK] == expected["metrics"]
    assert scores["seasonal naive, lag 24"]["MAE"] in expected["baselines"]["seasonal naive, lag 24"].values()


def test_words_and_head_override_the_recipe(tiny):
    training = Training(tiny, ["--trainer.max_epochs", "1", "--model.network.dim", "4"], Quantiles)
    fitted = training.fit_to(Simulated(series=1, days=30), seed=0, select=False)
    assert fitted.trainer.current_epoch == 1
    assert isinstance(fitted.task.net.head, Quantiles) and training.label == "TimeXer"
    assert "dim: 4" in json.dumps(training.settings).replace('"', "")
    with pytest.raises(UserError, match="max_epoch: there is no such option"):
        Training(tiny, ["--trainer.max_epoch", "1"])


def test_refit_draws_windows_of_its_hour_from_the_past_recent_ones_first(tiny):
    training = Training(tiny)
    fitted = training.fit_to(Simulated(series=1, days=60), seed=0, select=False)
    seen = []
    step = fitted.task.training_step

    def watched(batch, batch_idx):
        seen.append(batch["forecast_start"])
        return step(batch, batch_idx)

    fitted.task.training_step = watched
    windows = fitted.data.cut(torch.tensor([[0, 60 * 24]]))
    before = 50 * 24 + 5
    rates = []
    optimizer = fitted.task.optimizer

    def observed(groups):
        made = optimizer(groups)
        rates.append(made.param_groups[0]["lr"])
        return made

    fitted.task.optimizer = observed
    training.refit(fitted, windows, before, 0, steps=5, half_life=2.0, rate=0.1)
    drawn = torch.cat(seen)
    assert fitted.task.optimizer is observed and rates == [0.01]
    assert len(drawn) == 5 * fitted.data.batch_size and int(drawn.max()) + 24 <= before
    assert (drawn % 24 == 5).all()
    assert drawn.float().median() > before - 24 * 8  # of days drawn alike it is 22 back
    seen.clear()
    training.refit(fitted, windows, before, 0, steps=5, rate=0.1)
    assert torch.cat(seen).float().median() < before - 24 * 12


def test_store_tells_settings_apart(tmp_path):
    store = Store(tmp_path, "fev_x", {"rate": 1})
    assert store.get("NP", 0) is None
    store.put("NP", 0, {"forecast": np.arange(3.0), "seconds": np.array(2.0)})
    assert store.get("NP", 0)["forecast"].tolist() == [0, 1, 2]
    assert store.get("NP", 1) is None and store.get("DE", 0) is None
    assert Store(tmp_path, "fev_x", {"rate": 2}).get("NP", 0) is None
    assert json.loads(store.write({"tables": {}}).read_text())["settings"] == {"rate": 1}


def test_row_over_seeds():
    row = seeds_row("net", [{"MAE": 1.0}, {"MAE": 3.0}])
    assert row.values == {"MAE": 2.0} and row.deviations == {"MAE": pytest.approx(2**0.5)} and row.note == "2 seeds"
    assert seeds_row("net", [{"MAE": 1.0}]).deviations == {}
