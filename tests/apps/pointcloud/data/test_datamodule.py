"""Batches: what networks get, the same after an interruption, with every kind of empty frame among them."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device

from apps.pointcloud.data.augment import Augmentation
from apps.pointcloud.data.datamodule import DetectionData, collate
from apps.pointcloud.data.items import Frame, Item, Source
from apps.pointcloud.data.kitti import CLASSES
from apps.pointcloud.data.scenes import Scenes
from core.errors import UserError

CAR = [10.0, 0, 0, 4, 2, 1.5, 4.0]


class Few(Source):
    """Frames given by hand."""

    label = "by hand"
    classes = CLASSES

    def __init__(self, *frames: Frame):
        self.frames = frames

    def items(self):
        return [One(frame, n) for n, frame in enumerate(self.frames)]


class One(Item):
    def __init__(self, frame: Frame, number: int):
        self.frame, self.name = frame, str(number)

    def load(self) -> Frame:
        return self.frame


def frame(points, boxes=(), names=()) -> Frame:
    return Frame(
        torch.tensor(points, dtype=torch.float32).reshape(len(points), -1 if len(points) else 4),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 7),
        tuple(names),
        where="labels.txt",
    )


VAN, FAR_CAR = [*CAR[:6], 0.0], [99.0, *CAR[1:]]
FULL = frame([[10.0, 0, 0, 0.5], [200, 0, 0, 0.5]], [CAR, VAN, FAR_CAR], ["Car", "Van", "Car"])
EMPTY = frame([])
BROKEN = frame([[math.nan, 0, 0, 0], [5, 0, 0, math.inf]])
SINGLE = frame([[5.0, 1, 0, 0.25]])
FAR = frame([[500.0, 0, 0, 0]])


def batches(data: DetectionData, name: str = "validation"):
    return list(data.loader(data.part(name)))


def test_a_batch_with_all_kinds_of_frames():
    data = DetectionData(validation=Few(FULL, EMPTY, BROKEN, SINGLE, FAR), batch_size=5)
    (batch,) = batches(data)
    assert batch["points"].lengths.tolist() == [1, 0, 0, 1, 0] and batch["points"].tokens.shape == (2, 4)
    # The van is not a class that is asked for, the second car is out of range; headings are within half a turn.
    assert batch["boxes"].lengths.tolist() == [1, 0, 0, 0, 0] and batch["labels"].tolist() == [0]
    assert batch["boxes"].tokens[0].tolist() == pytest.approx([*CAR[:6], 4 - 2 * math.pi])
    assert batch["index"] == [0, 1, 2, 3, 4] and batch["frames"][0].names == ("Car", "Van", "Car")
    assert not len(batch["frames"][0].points)
    batch["points"].check()


def test_boxes_without_points_are_not_trained_on():
    hollow = frame([[30.0, 0, 0, 0]], [CAR], ["Car"])
    data = DetectionData(train=Few(hollow, FULL), validation=Few(hollow), batch_size=2)
    (batch,) = data.train_dataloader()
    assert batch["boxes"].lengths.sum() == 1 and batch["index"][int(batch["boxes"].lengths.argmax())] == 1
    assert batches(data)[0]["boxes"].lengths.tolist() == [1]
    kept = DetectionData(train=Few(hollow, FULL), validation=Few(hollow), least_points=0)
    assert next(iter(kept.train_dataloader()))["boxes"].lengths.tolist() == [1, 1]


def test_velocity_and_features():
    data = DetectionData(validation=Few(FULL), velocity=True, features=0)
    (batch,) = batches(data)
    assert batch["points"].tokens.shape[1] == 3
    assert batch["boxes"].tokens.shape == (1, 9) and batch["boxes"].tokens[0, 7:].isnan().all()
    with pytest.raises(UserError, match=r"0: its points have 1 features beside x, y and z, --data\.features is 2"):
        batches(DetectionData(validation=Few(FULL), features=2))


def test_held_out_frames():
    data = DetectionData(train=Scenes(count=21))
    train, validation = ([item.name for item in data.part(name).items] for name in ("train", "validation"))
    assert validation == ["0-000000", "0-000010", "0-000020"] and len(train) == 18 and not set(train) & set(validation)
    assert data.part("test").items[0].name == validation[0]
    assert data.describe() == "21 drawn scenes, 18 frames; validation 3, test 3 frames; Car, Pedestrian, Cyclist"


def drawn(repeats: int = 1) -> DetectionData:
    torch.manual_seed(5)
    augmentation = Augmentation(paste={"Cyclist": 4})
    return DetectionData(
        train=Scenes(count=5), validation=Scenes(count=1, seed=1), augmentation=augmentation, repeats=repeats
    )


def tokens(batch) -> torch.Tensor:
    return batch["points"].tokens


def test_epochs_differ_and_every_frame_comes_once():
    loader = drawn().train_dataloader()
    first = list(loader)
    loader.sampler.set_epoch(1)
    second = list(loader)
    for epoch in (first, second):
        assert sorted(n for batch in epoch for n in batch["index"]) == [0, 1, 2, 3, 4]
    assert [b["index"] for b in first] != [b["index"] for b in second] or not torch.equal(
        tokens(first[0]), tokens(second[0])
    )
    again = list(drawn().train_dataloader())
    assert all(torch.equal(tokens(a), tokens(b)) for a, b in zip(first, again, strict=True))
    assert len(list(drawn(repeats=2).train_dataloader())) == 5


def test_goes_on_after_an_interruption():
    loader = drawn().train_dataloader()
    whole = list(loader)
    interrupted = drawn().train_dataloader()
    iterator = iter(interrupted)
    next(iterator)
    resumed = drawn().train_dataloader()
    resumed.load_state_dict(interrupted.state_dict())
    rest = list(resumed)
    assert len(rest) == len(whole) - 1
    assert all(torch.equal(tokens(a), tokens(b)) for a, b in zip(whole[1:], rest, strict=True))


def test_the_last_epochs_go_without_pasting():
    data = drawn()
    data.augmentation.last = 1
    samples = data.training(0, epochs=2)
    still = DetectionData(train=Scenes(count=5), validation=Scenes(count=1), augmentation=Augmentation())
    plain = still.training(0, epochs=2)
    assert any(len(samples[n]["boxes"]) > len(plain[n]["boxes"]) for n in range(5))
    assert all(torch.equal(samples[n]["points"], plain[n]["points"]) for n in range(5, 10))


def test_workers_give_the_same_batches():
    alone = list(drawn().train_dataloader())
    data = drawn()
    data.workers = 1
    other = list(data.train_dataloader())
    assert all(torch.equal(tokens(a), tokens(b)) for a, b in zip(alone, other, strict=True))
    assert pickle.loads(pickle.dumps(Scenes(count=2))).items()[0].load().points.shape[1] == 4


def test_own_folder_and_files(tmp_path):
    for n in range(3):
        (tmp_path / "points").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        points = np.array([[10, 0, 0, 0.5, 7]] * 4, np.float32)
        (tmp_path / f"points/{n}.bin").write_bytes(points.tobytes())
        (tmp_path / f"labels/{n}.txt").write_text("10 0 0 4 2 1.5 0 Car\n")
    data = DetectionData(path=str(tmp_path), columns=5, features=2, classes=("Car",))
    assert len(data.part("train")) == 2 and batches(data)[0]["points"].tokens.tolist() == [[10, 0, 0, 0.5, 7]] * 4
    assert data.survey(show=iter).boxes == {"Car": 2}
    (tmp_path / "labels/0.txt").write_text("10 0 0 4 2 1.5 0 car\n")
    fresh = DetectionData(path=str(tmp_path), columns=5, classes=("Car",))
    with pytest.raises(UserError, match=r"labels/0\.txt: has a box of the class car, which is none of Car"):
        batches(fresh)
    data = DetectionData(files=[str(tmp_path / "points"), str(tmp_path / "points/1.bin")], columns=5)
    assert [item.name for item in data.sweeps()] == ["0", "1", "2", "1"]
    assert data.sweeps()[0].load().points.shape == (4, 5) and data.describe() == "2 files or folders"
    assert Path(data.sweeps()[0].path).suffix == ".bin"
    (batch,) = data.loader(DetectionData(files=[str(tmp_path / "points/1.bin")], columns=5).part("files"))
    assert batch["points"].tokens.shape == (4, 4) and batch["boxes"].tokens.shape == (0, 7)


def test_memory_keeps_frames_while_there_is_room():
    data = DetectionData(validation=Few(FULL, SINGLE), memory_mb=0)
    assert batches(data) and not data.part("validation")._kept
    data = DetectionData(validation=Few(FULL, SINGLE))
    batches(data)
    assert len(data.part("validation")._kept) == 2
    # What is kept is not what is handed out.
    first, second = batches(data), batches(data)
    first[0]["points"].tokens.zero_()
    assert second[0]["points"].tokens.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name a folder of sweeps"),
        ({"files": ["a.bin"], "batch_size": 0}, "batch_size 0 and repeats 1 must be at least 1"),
        ({"files": ["a.bin"], "classes": ("Car", "Car")}, "must be one or more different names"),
        ({"files": ["a.bin"], "point_range": (0, 0, 0, 1, 1, 0)}, "must be six numbers"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message):
        DetectionData(**options)


def test_parts_that_are_not_there():
    with pytest.raises(UserError, match=r"there are no train frames; name them with --data\.train"):
        DetectionData(test=Few(FULL)).part("train")
    with pytest.raises(UserError, match="holds one frame; add more"):
        DetectionData(train=Few(FULL)).part("train")
    with pytest.raises(UserError, match=r"paste: Tram is not one of Car"):
        DetectionData(train=Scenes(count=2), augmentation=Augmentation(paste={"Tram": 1})).training(0, 1)
    with pytest.raises(ValueError, match="'tests' is not one of"):
        DetectionData(train=Few(FULL)).part("tests")
    assert collate([DetectionData(test=Few(EMPTY)).part("test")[0]])["points"].tokens.shape == (0, 4)


def test_a_batch_moves_to_a_device_and_is_surveyed_as_it_is():
    data = DetectionData(validation=Few(FULL, BROKEN, *(item.load() for item in Scenes(count=1).items())), batch_size=3)
    (batch,) = batches(data)
    moved = move_data_to_device(batch, torch.device("meta"))
    assert moved["points"].tokens.is_meta and isinstance(moved["frames"][2], Frame)
    assert moved["frames"][2].truth.count == batch["frames"][2].truth.count
    found = data.survey("validation", show=iter)
    assert found.frames == 3 and found.broken == 2 and found.boxes["Car"] >= 2
