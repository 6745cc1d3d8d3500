"""A tiny recipe that the command-line tests train in seconds."""

import pytest
import yaml

VOICES = "apps.audio.data.speech.Voices"
TINY = {
    "model": {
        "network": {
            "class_path": "apps.audio.models.MossFormer2",
            "init_args": {
                "dim": 8,
                "depth": 1,
                "channels": 16,
                "kernel": 64,
                "hidden": 16,
                "key_dim": 8,
                "group": 16,
                "inner": 8,
                "order": 2,
            },
        },
        "schedule": {"class_path": "core.training.schedules.Plateau", "init_args": {"patience": 0}},
    },
    "data": {
        "train": {"class_path": VOICES, "init_args": {"speakers": 8, "utterances": 1, "seconds": 1.0}},
        "test": {"class_path": VOICES, "init_args": {"speakers": 4, "utterances": 1, "seconds": 1.0, "seed": 1}},
        "seconds": 0.5,
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
