"""A tiny recipe that the command-line tests train in seconds."""

import pytest
import yaml

SCENES = "apps.pointcloud.data.scenes.Scenes"


def scenes(count, seed):
    return {"class_path": SCENES, "init_args": {"count": count, "seed": seed, "azimuth_step": 1.0}}


TINY = {
    "model": {
        "network": {
            "class_path": "apps.pointcloud.models.CenterPointPillar",
            "init_args": {
                "pillar": [0.64, 0.64],
                "dim": 8,
                "dims": [8, 8],
                "depths": [1, 1],
                "strides": [1, 2],
                "up_dim": 8,
                "shared_dim": 8,
                "momentum": 0.1,
            },
        },
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
    },
    "data": {
        "train": scenes(4, 0),
        "validation": scenes(2, 1),
        "test": scenes(3, 2),
        "point_range": [0.0, -25.6, -3.0, 51.2, 25.6, 1.0],
        "augmentation": {"class_path": "apps.pointcloud.data.augment.Augmentation", "init_args": {"paste": {"Car": 6}}},
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
