"""A tiny recipe that the command-line tests train in seconds."""

import pytest
import yaml

SOURCE = "apps.vision.segmentation.data.scenes.StreetScenes"
MODELS = "apps.vision.segmentation.models"
TINY = {
    "model": {
        "network": {"class_path": f"{MODELS}.UNet", "init_args": {"dim": 4, "depth": 2}},
        "class_weights": "apps.vision.segmentation.data.statistics.mild_weights",
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
    },
    "data": {
        "train": {"class_path": SOURCE, "init_args": {"count": 11, "size": [32, 40]}},
        "test": {"class_path": SOURCE, "init_args": {"count": 3, "size": [32, 40], "seed": 1}},
        "crop": [24, 32],
        "batch_size": 4,
        "augmentation": {"class_path": "apps.vision.segmentation.data.transforms.Augmentation"},
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
