"""What evaluation keeps of each image, what it shows, and the same numbers from several processes."""

import io
import json
import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader, DistributedSampler

from apps.vision.segmentation.data.datamodule import SegmentationData, Views
from apps.vision.segmentation.data.items import Item, Scene
from apps.vision.segmentation.data.scenes import StreetScenes
from apps.vision.segmentation.evaluate import compressed
from apps.vision.segmentation.metrics.confusion import confusion
from apps.vision.segmentation.pictures import Sample, strip, sum_of
from apps.vision.segmentation.task import repeated
from core.training.launch import main


def sample(labels, found, classes=150):
    return Sample(0, "a", confusion(labels, found, classes).to_sparse(), compressed(found))


def test_many_classes_take_little_memory_and_sum_to_the_same():
    torch.manual_seed(0)
    pairs = [(torch.randint(0, 150, (9, 9)), torch.randint(0, 3, (9, 9))) for _ in range(3)]
    samples = [sample(*pair) for pair in pairs]
    assert all(one.counts.values().numel() <= 81 for one in samples)
    assert torch.equal(sum_of(samples), sum(confusion(*pair, 150) for pair in pairs))
    assert samples[0].accuracy == (pairs[0][0] == pairs[0][1]).double().mean().item()


class Labelled(Item):
    def __init__(self, labels):
        self.name, self.labels = "a", labels

    def load(self):
        return Scene(torch.zeros(3, *self.labels.shape, dtype=torch.uint8), self.labels)


@pytest.mark.parametrize("size, shown", [((30, 40), (240, 1292)), ((400, 1), (640, 20)), ((1, 400), (1, 1292))])
def test_pictures_of_any_shape_have_a_size_that_can_be_shown(size, shown):
    labels = torch.zeros(size, dtype=torch.uint8)
    made = strip(sample(labels.long(), labels.long(), 2), Views([Labelled(labels)]), [(0, 0, 0), (9, 9, 9)])
    data = b64decode(made.source.split("base64,")[1])
    assert np.asarray(Image.open(io.BytesIO(data))).shape[:2] == shown


def test_what_is_held_out_is_not_called_the_set():
    streets = StreetScenes(12, (16, 16))
    assert SegmentationData(streets).label == f"a tenth of {streets.label}"
    assert SegmentationData(streets, streets).label == SegmentationData(streets, test=streets).label == streets.label


def omnimix(*words):
    with pytest.raises(SystemExit) as end:
        main(["segmentation", *map(str, words)])
    return end.value.code


def test_nothing_labelled_is_said(tiny, capsys):
    for n in range(11):
        for part, pixels in (("images", np.zeros((8, 9, 3))), ("masks", np.full((8, 9), 255))):
            path = Path(f"void/{part}/{n}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    Path("void/classes.txt").write_text("\n".join(StreetScenes.classes))
    assert (
        omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1", "--data.test", "Folder", "--data.test.path=void")
        == 2
    )
    assert "void has no labelled pixel in its 11 test images" in capsys.readouterr().err


def test_images_that_fill_up_the_shares_of_processes_count_once():
    seen = []
    for rank in range(4):
        loader = DataLoader(range(9), sampler=DistributedSampler(range(9), 4, rank, shuffle=False))
        batches = [{"index": [int(index)]} for index in loader]
        seen += [b["index"][0] for n, b in enumerate(batches) if not repeated(b, n, loader)]
    assert len(batches) == 3 and sorted(seen) == list(range(9))
    assert not repeated({"index": [5]}, 0, DataLoader(range(9)))


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tiny):
    """Of three images, with segments: uneven shares, and sums of counts in place of means of means."""
    recipe = yaml.safe_load(Path(tiny).read_text())
    model, data = recipe["model"], recipe["data"]
    model["network"] = "apps.vision.segmentation.models.kmax_small"
    model["criterion"] = {"class_path": "apps.vision.segmentation.kmax_criterion.KMaXCriterion"}
    del model["class_weights"]
    data["train"]["init_args"]["count"] = 4
    recipe["trainer"]["max_epochs"] = 1
    Path(tiny).write_text(yaml.safe_dump(recipe))
    assert omnimix("fit", "--config", tiny) == 0
    results = Path("runs/tiny/0/results.json")
    one = json.loads(results.read_text())["metrics"]
    assert {"mIoU", "PQ", "mask AP"} <= one.keys()
    results.unlink()
    command = [sys.executable, "-m", "apps.vision.segmentation", "evaluate", "--config", tiny, "--ckpt_path", "best"]
    command += ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=env, check=True, timeout=300)
    assert json.loads(results.read_text())["metrics"] == pytest.approx(one, rel=1e-6)
