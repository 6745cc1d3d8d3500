"""A tiny recipe that the command-line tests train in seconds."""

import pytest
import yaml

TINY = {
    "model": {
        "network": {
            "class_path": "apps.timeseries.models.TimeXer",
            "init_args": {"dim": 8, "heads": 2, "depth": 1, "hidden": 8, "dropout": 0.2, "future_time_feat": True},
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "schedule": {"class_path": "core.training.schedules.OneCycle"},
    },
    "data": {
        "dataset": {
            "class_path": "apps.timeseries.data.sources.Simulated",
            "init_args": {"series": 2, "days": 30},
        },
        "context_length": 48,
        "time_features": "apps.timeseries.data.calendar.cyclic",
        "stride": 4,
        "test_stride": 24,
        "batch_size": 16,
    },
    "trainer": {"max_epochs": 2},
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The path of the recipe, the working directory being a fresh one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return str(path)
