"""KITTI's axes and image boxes."""

import json
import math
from pathlib import Path

import pytest
import torch

from apps.pointcloud.camera import Calibration, alpha, camera_boxes, image_boxes, in_view, lidar_boxes, pinhole, project

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/openpcdet/boxes.json").read_text())


def calibration() -> Calibration:
    """Of frame 000008, and of all others taken that day."""
    r0 = torch.tensor([
        [9.999239e-01, 9.837760e-03, -7.445048e-03],
        [-9.869795e-03, 9.999421e-01, -4.278459e-03],
        [7.402527e-03, 4.351614e-03, 9.999631e-01],
    ], dtype=torch.float64)  # fmt: skip
    tr = torch.tensor([
        [7.533745e-03, -9.999714e-01, -6.166020e-04, -4.069766e-03],
        [1.480249e-02, 7.280733e-04, -9.998902e-01, -7.631618e-02],
        [9.998621e-01, 7.523790e-03, 1.480755e-02, -2.717806e-01],
    ], dtype=torch.float64)  # fmt: skip
    p2 = torch.tensor([
        [7.215377e02, 0, 6.095593e02, 4.485728e01],
        [0, 7.215377e02, 1.728540e02, 2.163791e-01],
        [0, 0, 1, 2.745884e-03],
    ], dtype=torch.float64)  # fmt: skip
    to = torch.eye(4, dtype=torch.float64)
    to[:3] = r0 @ tr
    return Calibration(p2, to)


def frame() -> dict:
    return next(entry for entry in GOLDEN["kitti"] if entry["frame"] == "000008")


def test_first_label_of_frame_000008():
    found = lidar_boxes(
        torch.tensor([[-2.70, 1.74, 3.68]], dtype=torch.float64),
        torch.tensor([[1.60, 1.57, 3.23]], dtype=torch.float64),
        torch.tensor([-1.29], dtype=torch.float64),
        calibration(),
    )
    assert (found - torch.tensor(frame()["lidar"][:1], dtype=torch.float64)).abs().max() < 1e-4


def test_image_boxes_of_the_release_and_the_homogeneous_ones():
    boxes = torch.tensor(frame()["lidar"], dtype=torch.float64)
    expected = torch.tensor(frame()["image_boxes"], dtype=torch.float64)
    assert (image_boxes(boxes, calibration(), official=True) - expected).abs().max() < 1e-3
    right = image_boxes(boxes, calibration())
    assert 0.1 < (right - expected).abs().max() < 0.5
    # By hand: the leftmost corner of the second box.
    location, hwl, ry = camera_boxes(boxes[1:2], calibration())
    (x, y, z), (h, w, length), ry = location[0].tolist(), hwl[0].tolist(), ry.item()
    pixels = []
    for along in (-length / 2, length / 2):
        for across in (-w / 2, w / 2):
            for up in (0, -h):
                cx = x + along * math.cos(ry) + across * math.sin(ry)
                cz = z - along * math.sin(ry) + across * math.cos(ry)
                p = calibration().p2 @ torch.tensor([cx, y + up, cz, 1], dtype=torch.float64)
                pixels.append((p[:2] / p[2]).tolist())
    assert right[1, 0].item() == pytest.approx(min(p[0] for p in pixels), abs=1e-9)
    assert right[1, 1].item() == pytest.approx(min(p[1] for p in pixels), abs=1e-9)


def test_there_and_back():
    boxes = torch.tensor(frame()["lidar"], dtype=torch.float64)
    location, hwl, ry = camera_boxes(boxes, calibration())
    assert torch.allclose(lidar_boxes(location, hwl, ry, calibration())[:, :6], boxes[:, :6], atol=1e-12)
    # Seen straight ahead alpha is rotation_y; to the right of it, it is less.
    assert alpha(torch.tensor([[0.0, 1, 10], [10, 1, 10]]), torch.tensor([0.3, 0.3])).tolist() == pytest.approx(
        [0.3, 0.3 - math.pi / 4]
    )


def test_what_is_behind_the_camera_has_no_pixels():
    boxes = torch.tensor([[-10.0, 0, 0, 4, 2, 1.5, 0], [1.0, 0, 0, 6, 2, 1.5, 0.2], [15, 0, -1, 4, 2, 1.5, 0]])
    found = image_boxes(boxes, pinhole())
    assert found[0].eq(0).all()
    # The second reaches behind the camera: both sides of the image and finite.
    assert found.isfinite().all() and found[1, 0] == 0 and found[1, 2] == 1241
    assert image_boxes(boxes[:0], pinhole()).shape == (0, 4)
    view = in_view(torch.tensor([[10.0, 0, 0, 9], [-10, 0, 0, 9], [10, 30, 0, 9]]), pinhole())
    assert view.tolist() == [True, False, False]


def test_pinhole():
    pixel, depth = project(torch.tensor([[10.0, 1, -0.5]], dtype=torch.float64), pinhole())
    assert pixel[0].tolist() == pytest.approx([609.6 - 72.15, 172.9 + 36.075]) and depth.item() == 10
