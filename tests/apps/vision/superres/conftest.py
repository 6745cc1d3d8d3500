"""A tiny recipe that the command-line tests train in seconds."""

import pytest
import yaml

SOURCE = "apps.vision.superres.data.sources.Procedural"
TINY = {
    "model": {
        "network": {
            "class_path": "apps.vision.superres.models.ResidualSR",
            "init_args": {"dim": 4, "depth": 1},
        },
    },
    "data": {
        "train": {"class_path": SOURCE, "init_args": {"count": 3, "size": 64}},
        "test": {"class_path": SOURCE, "init_args": {"count": 2, "size": 64, "seed": 1}},
        "scale": 2,
        "patch": 16,
        "batch_size": 2,
        "steps": 3,
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
