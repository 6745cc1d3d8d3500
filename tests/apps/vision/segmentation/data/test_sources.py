"""Every source on a few files of its layout; the shipped COCO sample as it is."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apps.vision.segmentation.data.ade20k import Ade20k
from apps.vision.segmentation.data.camvid import COLOURS, CamVid, CamVidColours
from apps.vision.segmentation.data.cityscapes import Cityscapes
from apps.vision.segmentation.data.coco_panoptic import CocoPanoptic, evaluate_files, segment_ids, write_predictions
from apps.vision.segmentation.data.folders import Folder, read_classes
from apps.vision.segmentation.data.items import semantic
from apps.vision.segmentation.data.masks import read_mask, voc_palette, write_mask
from apps.vision.segmentation.data.scenes import CLASSES, StreetScenes, street
from apps.vision.segmentation.data.statistics import Counts, count, enet_weights, median_frequency_weights, mild_weights
from apps.vision.segmentation.data.voc import PascalVoc
from apps.vision.segmentation.metrics.panoptic import Segment

COCO = Path(__file__).parents[4] / "golden" / "coco_panoptic"


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array), mode).save(path)
    return path


def picture(path, height=4, width=6):
    return save(path, np.full((height, width, 3), 90, np.uint8))


def test_camvid(tmp_path):
    labels = np.array([[0, 11, 10], [3, 255, 5]], np.uint8)
    picture(tmp_path / "train" / "a.webp", 2, 3)
    write_mask(tmp_path / "trainannot" / "a.png", labels)
    (tmp_path / "train.txt").write_text("a\n\n")
    source = CamVid("train", str(tmp_path))
    (item,) = source.items()
    scene = item.load()
    assert item.size() == (2, 3) and scene.image.shape == (3, 2, 3)
    assert scene.labels.tolist() == [[0, 255, 10], [3, 255, 5]]
    assert len(source.classes) == len(source.palette) == 11
    # SegNet's own lists.
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/train/a.webp /SegNet/CamVid/trainannot/a.png\n")
    assert torch.equal(CamVid("val", str(tmp_path)).items()[0].load().labels, scene.labels)


def test_camvid_in_colours(tmp_path):
    rgb = np.array([[COLOURS["Bicyclist"], COLOURS["Tree"], (128, 0, 192)]], np.uint8)
    picture(tmp_path / "images" / "x.png", 1, 3)
    save(tmp_path / "labels" / "x_L.png", rgb)
    (tmp_path / "test.txt").write_text("x.png\n")
    for part in (None, "test"):
        assert CamVidColours(part, str(tmp_path)).items()[0].load().labels.tolist() == [[0, 10, 255]]


def test_cityscapes(tmp_path):
    name = "bonn_000001_000019"
    picture(tmp_path / "leftImg8bit/val/bonn" / f"{name}_leftImg8bit.png", 2, 4)
    save(
        tmp_path / "gtFine/val/bonn" / f"{name}_gtFine_labelIds.png",
        np.array([[7, 26, 26, 0], [23, 29, 24, 33]], np.uint8),
    )
    ids = np.array([[7, 26000, 26001, 0], [23, 29, 24, 33002]], np.uint16)
    save(tmp_path / "gtFine/val/bonn" / f"{name}_gtFine_instanceIds.png", ids)
    (item,) = Cityscapes("val", path=str(tmp_path)).items()
    assert item.load().labels.tolist() == [[0, 13, 13, 255], [10, 255, 11, 18]]
    scene = Cityscapes("val", panoptic=True, path=str(tmp_path)).items()[0].load()
    kinds = scene.kinds.tolist()
    assert sorted(kinds) == [0, 10, 11, 13, 13, 18]
    assert [k for k, crowd in zip(kinds, scene.crowd.tolist(), strict=True) if crowd] == [11]
    assert semantic(scene.segments, scene.kinds).tolist() == item.load().labels.tolist()
    assert scene.segments[0, 1] != scene.segments[0, 2] and scene.segments[0, 3] == -1


def test_ade20k(tmp_path):
    picture(tmp_path / "images/training/ADE_train_00000001.jpg", 1, 3)
    save(tmp_path / "annotations/training/ADE_train_00000001.png", np.array([[0, 1, 150]], np.uint8))
    source = Ade20k("training", str(tmp_path))
    assert source.items()[0].load().labels.tolist() == [[255, 0, 149]]
    assert source.classes[0] == "class 1" and len(source.classes) == 150
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName", *(f"{n}\t.1\t9\t1\t0\tname{n}, other" for n in range(1, 151))]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows))
    assert source.classes[149] == "name150"


def test_voc_indices_are_read_not_colours(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg", 1, 3)
    (tmp_path / "SegmentationClass").mkdir()
    write_mask(tmp_path / "SegmentationClass/a.png", np.array([[0, 20, 255]]))
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    source = PascalVoc(path=str(tmp_path))
    assert source.items()[0].load().labels.tolist() == [[0, 20, 255]] and len(source.classes) == 21
    assert source.palette[15] == (192, 128, 128) and voc_palette()[255] == (224, 224, 192)


def test_coco(tmp_path):
    for number in ("000000142238", "000000439180"):
        ids = segment_ids(COCO / f"annotations/panoptic_val2017/{number}.png")
        picture(tmp_path / f"{number}.jpg", *ids.shape)
    source = CocoPanoptic(annotations=str(COCO / "annotations/panoptic_val2017.json"), images=str(tmp_path))
    assert len(source.classes) == 133 and len(source.things) == 80 and source.classes[0] == "person"
    assert source.numbers[200] == 132 and len(source.palette) == 133
    content = json.loads((COCO / "annotations/panoptic_val2017.json").read_text())
    crowds = 0
    for item, row in zip(source.items(), content["annotations"], strict=True):
        scene = item.load()
        for place, segment in enumerate(row["segments_info"]):
            assert int((scene.segments == place).sum()) == segment["area"]
            assert scene.kinds[place] == source.numbers[segment["category_id"]]
        crowds += int(scene.crowd.sum())
    assert crowds == 3


@pytest.mark.parametrize("name", ["pred_perfect", "pred_void_crowd"])
def test_official_evaluation_of_files(name, tmp_path):
    truth = COCO / "annotations/panoptic_val2017.json"
    expected = json.loads((COCO / f"{name}_expected.json").read_text())
    assert evaluate_files(truth, COCO / f"{name}.json").all.pq == pytest.approx(expected["All"]["pq"], abs=1e-12)
    # What is written here reads the same there.
    rows = []
    for row in json.loads((COCO / f"{name}.json").read_text())["annotations"]:
        segments = [Segment(s["id"], s["category_id"]) for s in row["segments_info"]]
        rows.append((row["image_id"], row["file_name"], segment_ids(COCO / name / row["file_name"]), segments))
    write_predictions(tmp_path / "mine.json", rows)
    assert evaluate_files(truth, tmp_path / "mine.json") == evaluate_files(truth, COCO / f"{name}.json")


YAML = """
classes:
  - {name: road, value: 1, colour: [128, 64, 128]}
  - {name: car, value: 7, colour: [0, 0, 142]}
ignore: [0, [0, 0, 0]]
"""


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "images/sub/a.jpg", 1, 3)
    picture(tmp_path / "images/sub/b.png", 1, 3)
    save(tmp_path / "masks/sub/a.png", np.array([[0, 1, 7]], np.uint8))
    save(tmp_path / "masks/sub/b.png", np.array([[(0, 0, 0), (128, 64, 128), (0, 0, 142)]], np.uint8))
    (tmp_path / "classes.yaml").write_text(YAML)
    return tmp_path


def test_a_folder_of_numbers_and_colours(folder):
    source = Folder(str(folder))
    assert source.classes == ("road", "car") and source.palette == ((128, 64, 128), (0, 0, 142))
    for item in source.items():
        assert item.load().labels.tolist() == [[255, 0, 1]]
    (folder / "few.txt").write_text("sub/b\n")
    assert [item.name for item in Folder(str(folder), part="few").items()] == ["sub/b"]


def test_what_is_not_listed_may_be_ignored(folder):
    save(folder / "masks/sub/a.png", np.array([[3, 1, 7]], np.uint8))
    (folder / "classes.yaml").write_text(YAML + "others: true\n")
    assert Folder(str(folder)).items()[0].load().labels.tolist() == [[255, 0, 1]]


def test_a_list_of_names(tmp_path):
    (tmp_path / "names.txt").write_text("road\ncar\n")
    found = read_classes(tmp_path / "names.txt")
    assert found.names == ("road", "car") and found.values == (0, 1) and found.ignore == (255,)


def test_names_of_a_list_are_found_with_capital_endings(folder):
    (folder / "images/sub/a.jpg").rename(folder / "images/sub/a.JPG")
    (folder / "one.txt").write_text("sub/a\n")
    (item,) = Folder(str(folder), part="one").items()
    assert item.name == "sub/a" and item.load().labels.tolist() == [[255, 0, 1]]


def test_masks_are_written_as_they_are_read(tmp_path):
    labels = np.arange(256).reshape(16, 16)
    write_mask(tmp_path / "a.png", labels, ((1, 2, 3),))
    assert np.array_equal(read_mask(tmp_path / "a.png"), labels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and image.getpalette()[:6] == [1, 2, 3, 128, 0, 0]


def test_streets_depend_on_seed_and_index_alone():
    a, b = street(3, 7, 32, 48), street(3, 7, 32, 48)
    assert all(torch.equal(x, y) for x, y in zip(a[:1] + a[2:5], b[:1] + b[2:5], strict=True))
    assert not torch.equal(a.image, street(3, 8, 32, 48).image)
    assert not torch.equal(a.image, street(4, 7, 32, 48).image)


def test_streets_have_what_they_promise():
    scenes = [item.load() for item in StreetScenes(20, (64, 96), 1).items()]
    counts = count(scenes, len(CLASSES))
    assert counts.void > 0 and not counts.never(CLASSES) and counts.images == 20
    several = 0
    for scene in scenes:
        assert scene.image.shape == (3, 64, 96) and scene.segments.shape == (64, 96)
        pixels = torch.bincount(scene.segments.flatten() + 1)[1:]
        assert len(pixels) == len(scene.kinds) and (pixels >= 16).all()
        stuff = [k for k in scene.kinds.tolist() if k not in StreetScenes.things]
        assert len(stuff) == len(set(stuff))
        several += int((scene.kinds == 8).sum() > 1)
    assert several > 5


def test_colour_alone_does_not_tell_the_classes():
    """A nearest mean colour fitted on the very scenes is far below what a network reaches."""
    scenes = [street(0, n) for n in range(6)]
    x = torch.cat([s.image.flatten(1).T.float() for s in scenes])
    y = torch.cat([semantic(s.segments, s.kinds).flatten() for s in scenes])
    x, y = x[y != 255], y[y != 255]
    means = torch.stack([x[y == k].mean(0) if (y == k).any() else torch.full((3,), 1e6) for k in range(10)])
    guess = torch.cdist(x, means).argmin(1)
    ious = [((guess == k) & (y == k)).sum() / ((guess == k) | (y == k)).sum() for k in range(10) if (y == k).any()]
    assert sum(ious) / len(ious) < 0.25


def test_class_weights():
    counts = Counts(4)
    counts.pixels, counts.present = np.array([60, 30, 10, 0]), np.array([100, 100, 50, 0])
    assert median_frequency_weights(counts) == pytest.approx([0.5, 1.0, 1.5, 0.0])
    assert enet_weights(counts)[0] == pytest.approx(1 / math.log(1.02 + 0.6))
    # CamVid's training set: counts of its labels, weights of SegNet and ENet.
    camvid = [10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859, 714595, 3719877, 405385, 184967]
    where = [
        63244800,
        63072000,
        63244800,
        63417600,
        60307200,
        55123200,
        60652800,
        29894400,
        62208000,
        54777600,
        34732800,
    ]
    counts = Counts(11)
    counts.pixels, counts.present = np.array(camvid), np.array(where)
    weights = median_frequency_weights(counts)
    published = [0.279, 0.202, 4.787, 0.149, 1.0, 0.422, 3.847, 1.974, 0.789, 6.375, 8.859]
    assert weights == pytest.approx(published, abs=1e-3)
    assert enet_weights(counts)[:3] == pytest.approx([5.60, 4.30, 33.57], abs=0.01)
    assert 10 < max(mild_weights(counts)) < 10.5
