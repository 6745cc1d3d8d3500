"""Detections in the terms of each set's own evaluation, and as its result files.

`like_truth` turns the boxes found in a frame into what the frame's `truth` is, in the truth's axes: KITTI labels in
camera axes, nuScenes boxes on the map, Argoverse 2 boxes at the vehicle. nuScenes wants an attribute of every box; as
OpenPCDet does, it follows from class and speed: moving above .2 m/s, else parked, standing, or without rider.
"""

__all__ = ["like_truth", "nuscenes_attribute", "nuscenes_rows"]

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apps.pointcloud.boxes import quaternion_of, transform
from apps.pointcloud.camera import pinhole
from apps.pointcloud.data.items import Frame
from apps.pointcloud.labels import KittiLabels, labels_of_boxes
from apps.pointcloud.metrics.av2 import Av2Boxes
from apps.pointcloud.metrics.nuscenes import NuscenesBoxes

MOVING = 0.2
VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")


def like_truth(
    frame: Frame, boxes: Tensor, names: Sequence[str], scores: Tensor
) -> KittiLabels | NuscenesBoxes | Av2Boxes:
    """Of a frame with `truth`; KITTI labels with an ideal camera where the frame has neither truth nor calibration.

    Args:
        frame: whose truth, pose and calibration say the terms.
        boxes: (K, 7 or 9) in the frame's axes.
        names: their K classes.
        scores: (K,).
    """
    found = boxes.detach().cpu().double()
    text = np.array(list(names), dtype=np.str_).reshape(len(found))
    values = scores.detach().cpu().double().numpy()
    if isinstance(frame.truth, NuscenesBoxes):
        if frame.pose is not None:
            found = transform(found, frame.pose)
        rows = found.numpy()
        speed = rows[:, 7:9] if rows.shape[1] == 9 else np.zeros((len(rows), 2))
        attributes = [nuscenes_attribute(name, math.hypot(*v)) for name, v in zip(text.tolist(), speed, strict=True)]
        return NuscenesBoxes(
            rows[:, :3],
            rows[:, [4, 3, 5]],
            rows[:, 6],
            speed,
            text,
            np.array(attributes, dtype=np.str_),
            np.zeros(len(rows)),
            values,
            frame.truth.ego,
        )
    if isinstance(frame.truth, Av2Boxes):
        rows = found.numpy()
        return Av2Boxes(rows[:, :3], rows[:, 3:6], rows[:, 6], text, np.zeros(len(rows)), values)
    return labels_of_boxes(found, text.tolist(), frame.calibration or pinhole(), scores)


def nuscenes_attribute(name: str, speed: float) -> str:
    """Of a class at a speed in m/s; "" where the class has none."""
    if name in VEHICLES:
        if speed > MOVING:
            return "vehicle.moving"
        return "vehicle.stopped" if name == "bus" else "vehicle.parked"
    if name in ("bicycle", "motorcycle"):
        return "cycle.with_rider" if speed > MOVING else "cycle.without_rider"
    if name == "pedestrian":
        return "pedestrian.moving" if speed > MOVING else "pedestrian.standing"
    return ""


def nuscenes_rows(sample: str, found: NuscenesBoxes) -> list[dict[str, Any]]:
    """Entries of `results` in nuScenes' result file, of one sample; boxes must be on the map."""
    turns = quaternion_of(torch.from_numpy(found.heading)).tolist()
    return [
        {
            "sample_token": sample,
            "translation": found.centre[n].tolist(),
            "size": found.size[n].tolist(),
            "rotation": turns[n],
            "velocity": np.nan_to_num(found.velocity[n]).tolist(),
            "detection_name": str(found.names[n]),
            "detection_score": float(found.score[n]),
            "attribute_name": str(found.attributes[n]),
        }
        for n in range(len(found.names))
    ]
