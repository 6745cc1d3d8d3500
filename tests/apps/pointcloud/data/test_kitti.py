"""KITTI's folders, labels and calibrations."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.pointcloud.boxes import points_in_boxes
from apps.pointcloud.camera import pinhole
from apps.pointcloud.data.kitti import Kitti, KittiFrames, read_calibration
from apps.pointcloud.labels import labels_of_boxes, parse_labels, write_labels
from core.errors import UserError

CALIBRATION = """P0: 7.215377e+02 0 6.095593e+02 0 0 7.215377e+02 1.728540e+02 0 0 0 1 0
P2: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 0 0 1 2.745884e-03
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 -0.27

"""
LABELS = """Car 0.00 0 1.55 614.24 181.78 727.31 284.77 1.57 1.73 4.15 1.00 1.75 13.22 1.62
Pedestrian 0.00 2 0.21 423.17 173.67 433.17 224.03 1.60 0.38 0.30 -5.87 1.63 23.11 -0.03
DontCare -1 -1 -10 5.00 229.89 214.12 367.61 -1 -1 -1 -1000 -1000 -1000 -10
"""


def official(root: Path) -> Path:
    for name in ("ImageSets", "training/velodyne", "training/label_2", "training/calib"):
        (root / name).mkdir(parents=True)
    (root / "ImageSets/train.txt").write_text("000003\n")
    (root / "ImageSets/val.txt").write_text("000001\n")
    points = np.array([[13.5, -1.0, -1.0, 0.25], [-20, 0, 0, 0.5], [20, 30, 0, 0.5]], np.float32)
    (root / "training/velodyne/000003.bin").write_bytes(points.tobytes())
    (root / "training/label_2/000003.txt").write_text(LABELS)
    (root / "training/calib/000003.txt").write_text(CALIBRATION)
    return root


def test_official_folders(tmp_path):
    (item,) = Kitti(path=str(official(tmp_path))).items()
    frame = item.load()
    assert item.name == "000003" and frame.names == ("Car", "Pedestrian") and frame.truth.count == 3
    # The camera does not see what is behind it or far aside.
    assert frame.points.tolist() == [[13.5, -1.0, -1.0, 0.25]]
    assert frame.boxes[0].tolist() == pytest.approx(
        [13.49, -1.0, -1.75 + 1.57 / 2, 4.15, 1.73, 1.57, -1.62 - np.pi / 2]
    )
    assert points_in_boxes(frame.points, frame.boxes).tolist() == [[True, False]]
    assert frame.calibration.image_size == (1242, 375)
    assert len(Kitti(path=str(tmp_path), camera_view=False).items()[0].load().points) == 3


def test_size_of_the_image_itself(tmp_path):
    official(tmp_path)
    (tmp_path / "training/image_2").mkdir()
    head = (
        b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + b"IHDR" + (800).to_bytes(4, "big") + (200).to_bytes(4, "big")
    )
    (tmp_path / "training/image_2/000003.png").write_bytes(head)
    assert Kitti(path=str(tmp_path)).items()[0].load().calibration.image_size == (800, 200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "training/velodyne/000003.bin").write_bytes(b"12345"), r"000003\.bin: has 5 bytes.*truncated"),
        (lambda r: (r / "training/velodyne/000003.bin").unlink(), r"000003\.bin: not found"),
        (lambda r: (r / "training/calib/000003.txt").unlink(), r"calib.*not found; labels in camera axes need"),
        (lambda r: (r / "training/calib/000003.txt").write_text("P2: 1 2 3"), "line P2 does not hold 3 x 4 numbers"),
        (lambda r: (r / "training/calib/000003.txt").write_text("P0: 1"), "has no line P2; it is not a KITTI calib"),
        (lambda r: (r / "training/label_2/000003.txt").unlink(), r"label_2.*not found; every sweep needs"),
        (lambda r: (r / "training/label_2/000003.txt").write_text("Car 1 2"), r"000003\.txt line 1: has 3 columns"),
        (
            lambda r: (r / "training/label_2/000003.txt").write_text(LABELS.replace("1.62", "x")),
            "line 1: could not conv",
        ),
        (
            lambda r: (r / "training/label_2/000003.txt").write_text(LABELS.replace("1.62", "nan")),
            "line 1: .*not finite",
        ),
        (
            lambda r: (r / "training/label_2/000003.txt").write_text(LABELS.replace("0.38", "0")),
            "line 2: Pedestrian has",
        ),
    ],
)
def test_what_is_broken_is_one_sentence(tmp_path, change, message):
    official(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        Kitti(path=str(tmp_path)).items()[0].load()


def test_missing_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIMIX_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"ImageSets: not found; get the KITTI object set from https"):
        Kitti().items()
    with pytest.raises(UserError, match=r"has no list vall\.txt; it has train, val\. Did you mean val"):
        Kitti("vall", path=str(official(tmp_path / "k"))).items()
    with pytest.raises(UserError, match="kitti: not found; get the ten frames"):
        KittiFrames().items()
    (tmp_path / "pointcloud/kitti").mkdir(parents=True)
    with pytest.raises(UserError, match=r"000000\.npz: not found; get the shipped frames"):
        KittiFrames().items()[0].load()
    (tmp_path / "pointcloud/kitti/000000.npz").write_bytes(b"PK broken")
    with pytest.raises(UserError, match=r"000000\.npz: is broken or another file"):
        KittiFrames().items()[0].load()
    with pytest.raises(UserError, match="has no part test"):
        KittiFrames("test")


def test_ten_frames():
    folder = Path(os.environ.get("OMNIMIX_DATA") or "data") / "pointcloud" / "kitti"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set OMNIMIX_DATA to the folder of public data")
    frames = {item.name: item.load() for item in KittiFrames().items()}
    counts = points_in_boxes(frames["000134"].points, frames["000134"].boxes).sum(0).tolist()
    assert counts == [570, 160, 81, 92, 36, 31, 40, 48, 46, 155, 54, 91, 64, 11, 3]
    assert [len(KittiFrames(part).items()) for part in ("train", "val", "all")] == [3, 7, 10]
    whole = KittiFrames(camera_view=False).items()[0].load()
    assert whole.points.shape == (115384, 4) and len(frames["000000"].points) < 30000


def test_labels_there_and_back():
    labels = parse_labels(LABELS, "a.txt")
    again = parse_labels(write_labels(labels), "b.txt")
    assert again.names.tolist() == labels.names.tolist() and again.score.tolist() == [1, 1, 1]
    assert np.abs(again.location - labels.location).max() < 1e-4
    calibration = pinhole()
    kept = labels.select(labels.names != "DontCare")
    written = labels_of_boxes(kept.boxes(calibration), kept.names, calibration, torch.tensor([0.5, 0.25]))
    assert np.abs(written.location - kept.location).max() < 1e-5 and written.score.tolist() == [0.5, 0.25]
    assert np.abs(written.rotation_y - kept.rotation_y).max() < 1e-6
    assert parse_labels("", "c.txt").count == 0 and write_labels(parse_labels("", "c.txt")) == ""
    assert labels_of_boxes(torch.zeros(0, 7), [], calibration).count == 0


def test_calibration_of_another_day(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text(CALIBRATION.replace("7.215377e+02", "7.070493e+02"))
    assert read_calibration(path).image_size == (1224, 370)
