"""Augmentation moves points and boxes together; pasted objects bring their points."""

import numpy as np
import torch

from apps.pointcloud.boxes import points_in_boxes
from apps.pointcloud.data.augment import Augmentation, Database, database_of
from apps.pointcloud.data.items import Frame, empty_boxes
from apps.pointcloud.data.scenes import Scenes
from apps.pointcloud.iou import pairwise_iou
from core.training.draws import generator

STILL = {"flip_x": False, "rotation": 0.0, "scale": (1.0, 1.0)}


def frames(count: int = 6) -> list[Frame]:
    return [item.load() for item in Scenes(count=count).items()]


def test_points_stay_in_their_boxes():
    augmentation = Augmentation(flip_y=True, shift=0.5, rotation=180)
    for number, frame in enumerate(frames()):
        before = points_in_boxes(frame.points.double(), frame.boxes.double()).sum(0)
        points, boxes = frame.points.clone(), frame.boxes.clone()
        moved = augmentation(frame, generator(0, number))
        after = points_in_boxes(moved.points.double(), moved.boxes.double()).sum(0)
        # Points on a face may fall to either side.
        assert ((after - before).abs() <= 1 + before // 50).all() and not torch.equal(moved.points, frame.points)
        assert torch.equal(frame.points, points) and torch.equal(frame.boxes, boxes)
        assert moved.truth is None and moved.calibration is None


def test_a_draw_depends_on_its_number_alone():
    augmentation, frame = Augmentation(), frames(1)[0]
    first, again = (augmentation(frame, generator(3, 7)) for _ in range(2))
    assert torch.equal(first.points, again.points) and torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.points, augmentation(frame, generator(3, 8)).points)


def test_pasting_fills_up_and_nothing_overlaps():
    database = Database(frames(12), {"Cyclist": 5, "Pedestrian": 5})
    assert min(database.counts().values()) > 5
    augmentation = Augmentation(paste={"Cyclist": 4, "Pedestrian": 6}, **STILL)
    added = 0
    for number, frame in enumerate(frames()):
        new = augmentation(frame, generator(1, number), database)
        assert torch.equal(new.boxes[: len(frame.boxes)], frame.boxes) and len(new.names) == len(new.boxes)
        fresh = new.boxes[len(frame.boxes) :]
        added += len(fresh)
        overlaps = pairwise_iou(new.boxes, new.boxes).fill_diagonal_(0)
        assert not overlaps[len(frame.boxes) :].any()
        for name, most in augmentation.paste.items():
            assert new.names.count(name) <= max(most, frame.names.count(name))
        if len(fresh):
            # All of the object's points, and none of what stood there.
            known = {tuple(c.box.tolist()): len(c.points) for pool in database.objects.values() for c in pool}
            counts = points_in_boxes(new.points, fresh).sum(0).tolist()
            for box, count in zip(fresh.tolist(), counts, strict=True):
                assert count == known[tuple(box)]
    assert added > 10


def test_few_points_are_not_pasted_and_empty_frames_pass():
    frame = Frame(torch.zeros(3, 4), torch.tensor([[0.0, 0, 0, 2, 2, 2, 0]]), ("Car",))
    assert Database([frame], {"Car": 4}).counts() == {"Car": 0} and Database([frame], {"Car": 3}).counts() == {"Car": 1}
    empty = Frame(torch.zeros(0, 4), empty_boxes(), ())
    assert Database([empty], {"Car": 1}).counts() == {"Car": 0}
    augmentation = Augmentation(paste={"Car": 2}, flip_y=True, shift=1.0)
    moved = augmentation(empty, np.random.default_rng(0), Database([empty], {"Car": 1}))
    assert moved.points.shape == (0, 4) and moved.boxes.shape == (0, 7)
    pasted = augmentation(empty, np.random.default_rng(0), Database([frame], {"Car": 1}))
    assert len(pasted.points) == 3 and pasted.names == ("Car",)
    assert database_of([frame], Augmentation()) is None and database_of([frame], None) is None
