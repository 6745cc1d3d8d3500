"""Detections in the terms of each evaluation: boxes of a frame, given back, are found."""

import json

import numpy as np
import pytest
import torch

from apps.pointcloud.boxes import heading_of, rotation_matrix, transform
from apps.pointcloud.data.items import Frame
from apps.pointcloud.data.scenes import Scenes
from apps.pointcloud.metrics import av2, kitti, nuscenes
from apps.pointcloud.results import like_truth, nuscenes_attribute, nuscenes_rows


@pytest.mark.filterwarnings("ignore:KITTI AP")
def test_kitti_finds_the_boxes_of_drawn_scenes():
    frames = [item.load() for item in Scenes(count=30).items()]
    found = [like_truth(f, f.boxes, f.names, torch.linspace(1, 0.5, len(f.names))) for f in frames]
    for row in kitti.evaluate([f.truth for f in frames], found, ["Car"]):
        assert row.objects[2] > 60 and row.r40[2] > 99.9, row.measure
    flipped = [like_truth(f, torch.cat([f.boxes[:, :6], f.boxes[:, 6:] + 3.14], 1), f.names, torch.ones(len(f.names)))
               for f in frames]  # fmt: skip
    rows = {row.measure: row for row in kitti.evaluate([f.truth for f in frames], flipped, ["Car"])}
    assert rows["3d"].r40[2] > 99 and rows["aos"].r40[2] < 1


def test_nuscenes_on_the_map():
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation_matrix(torch.tensor([0.9, 0, 0, 0.3], dtype=torch.float64))
    pose[:3, 3] = torch.tensor([400.0, 1100, 2])
    boxes = torch.tensor([[10.0, 2, 0, 4, 2, 1.5, 0.3, 5, 0], [20, -5, 0, 0.8, 0.7, 1.8, 1, 0, 0]])
    names = ("car", "pedestrian")
    there = transform(boxes.double(), pose).numpy()
    truth = nuscenes.NuscenesBoxes(
        there[:, :3], there[:, [4, 3, 5]], there[:, 6], there[:, 7:], np.array(names),
        np.array(["vehicle.moving", "pedestrian.standing"]), np.ones(2), np.zeros(2), pose[:2, 3].numpy(),
    )  # fmt: skip
    frame = Frame(torch.zeros(0, 5), boxes, names, pose=pose, truth=truth)
    found = like_truth(frame, boxes, names, torch.tensor([0.9, 0.8]))
    scores = nuscenes.evaluate([truth], [found])
    assert scores.mean_ap == pytest.approx(0.2) and scores.label_errors["car"]["attr_err"] == 0
    assert max(v for v in scores.label_errors["pedestrian"].values()) < 1e-6
    rows = json.loads(json.dumps(nuscenes_rows("token", found)))
    assert rows[0]["translation"] == pytest.approx(there[0, :3].tolist()) and rows[0]["size"] == [2, 4, 1.5]
    turned = heading_of(torch.tensor(rows[0]["rotation"], dtype=torch.float64)).item()
    assert turned == pytest.approx(there[0, 6]) and rows[1]["attribute_name"] == "pedestrian.standing"
    none = like_truth(frame, boxes[:0], (), torch.zeros(0))
    assert nuscenes.evaluate([truth], [none]).mean_ap == 0 and nuscenes_rows("token", none) == []


def test_argoverse_and_attributes():
    boxes = torch.tensor([[10.0, 2, 0, 4, 2, 1.5, 0.3]])
    values = boxes.double().numpy()
    truth = av2.Av2Boxes(values[:, :3], values[:, 3:6], values[:, 6], np.array(["BUS"]), np.ones(1), np.zeros(1))
    frame = Frame(torch.zeros(0, 4), boxes, ("BUS",), truth=truth)
    rows = av2.evaluate([truth], [like_truth(frame, boxes, ("BUS",), torch.ones(1))])
    assert next(row for row in rows if row.name == "BUS").cds == pytest.approx(1, abs=0.02)
    assert nuscenes_attribute("bus", 0) == "vehicle.stopped" and nuscenes_attribute("truck", 0.1) == "vehicle.parked"
    assert nuscenes_attribute("bicycle", 3) == "cycle.with_rider" and nuscenes_attribute("barrier", 3) == ""
