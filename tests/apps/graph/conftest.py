"""A tiny recipe that the command-line tests train in seconds."""

import pytest
import yaml

TINY = {
    "model": {
        "network": {
            "class_path": "apps.graph.models.TunedGNN",
            "init_args": {"hidden": 8, "depth": 2, "dropout": 0.2},
        },
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.02}},
    },
    "data": {
        "source": {"class_path": "apps.graph.data.generators.ContextualSbm", "init_args": {"nodes": 300, "train": 0.3}},
        "self_loops": True,
        "loading": {"class_path": "apps.graph.data.loaders.FullBatch", "init_args": {"steps": 5}},
    },
    "trainer": {"max_epochs": 4},
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The path of the recipe, the working directory being a fresh one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return str(path)
