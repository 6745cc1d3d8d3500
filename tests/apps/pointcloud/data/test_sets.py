"""nuScenes' tables, Argoverse 2's and your own folders, made small here."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.pointcloud.boxes import points_in_boxes
from apps.pointcloud.data.av2 import Av2Frame, Av2Sweeps
from apps.pointcloud.data.folders import Folder
from apps.pointcloud.data.nuscenes import VALIDATION, NuscenesFrame, NuscenesSweeps, scenes_of
from apps.pointcloud.metrics import av2, nuscenes
from core.errors import UserError

HALF = math.sqrt(0.5)


def nuscenes_folder(root: Path) -> Path:
    """Two key frames half a second apart and a sweep between them; the vehicle drives 2 m/s to the north of the map."""
    tables: dict[str, list[dict]] = {
        "scene": [{"token": "sc", "name": "scene-0061", "first_sample_token": "s0"}],
        "sample": [
            {"token": "s0", "timestamp": 0, "next": "s1", "prev": ""},
            {"token": "s1", "timestamp": 500000, "next": "", "prev": "s0"},
        ],
        # The sensor's y is the vehicle's x; it stands 1.8 m high.
        "calibrated_sensor": [{"token": "c", "translation": [0, 0, 1.8], "rotation": [HALF, 0, 0, -HALF]}],
        "category": [
            {"token": "car", "name": "vehicle.car"},
            {"token": "bike", "name": "vehicle.bicycle"},
            {"token": "rack", "name": "static_object.bicycle_rack"},
            {"token": "dog", "name": "animal"},
        ],
        "instance": [{"token": name, "category_token": name} for name in ("car", "bike", "rack", "dog")],
        "attribute": [{"token": "p", "name": "vehicle.parked"}],
        "sample_data": [],
        "ego_pose": [],
        "sample_annotation": [],
    }
    (root / "samples/LIDAR_TOP").mkdir(parents=True)
    (root / "sweeps/LIDAR_TOP").mkdir(parents=True)
    for n, (folder, sample) in enumerate((("samples", "s0"), ("sweeps", "s1"), ("samples", "s1"))):
        name = f"{folder}/LIDAR_TOP/{n}.pcd.bin"
        # One point 10 m ahead of the vehicle, one of itself.
        points = np.array([[0, 10 - n * 0.5, -1.8, 50, 3], [0.5, 0.5, 0, 1, 1]], np.float32)
        (root / name).write_bytes(points.tobytes())
        tables["sample_data"].append({
            "token": f"d{n}", "sample_token": sample, "ego_pose_token": f"e{n}", "calibrated_sensor_token": "c",
            "timestamp": n * 250000, "filename": name, "is_key_frame": folder == "samples",
            "prev": f"d{n - 1}" if n else "", "next": "",
        })  # fmt: skip
        # North is the map's y, so the vehicle is turned by a quarter.
        tables["ego_pose"].append({"token": f"e{n}", "translation": [100, n * 0.5, 0], "rotation": [HALF, 0, 0, HALF]})
    tables["sample_data"].append(dict(tables["sample_data"][0], token="cam", filename="samples/CAM_FRONT/0.jpg"))

    def annotate(token, sample, kind, place, previous="", following="", attribute=()):
        tables["sample_annotation"].append({
            "token": token, "sample_token": sample, "instance_token": kind, "translation": place, "size": [2, 4, 1.5],
            "rotation": [HALF, 0, 0, HALF], "prev": previous, "next": following, "num_lidar_pts": 1,
            "num_radar_pts": 0, "attribute_tokens": list(attribute),
        })  # fmt: skip

    annotate("a0", "s0", "car", [100, 10, 0], following="a1", attribute=("p",))
    annotate("a1", "s1", "car", [100, 11, 0], previous="a0", attribute=("p",))
    annotate("b1", "s1", "bike", [120, 10, 0])
    annotate("r1", "s1", "rack", [120, 10, 0])
    annotate("x1", "s1", "dog", [105, 5, 0])
    (root / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (root / f"v1.0-mini/{name}.json").write_text(json.dumps(rows))
    return root


def test_nuscenes_tables(tmp_path):
    source = NuscenesSweeps("mini_train", path=str(nuscenes_folder(tmp_path)), sweeps=3)
    first, second = (item.load() for item in source.items())
    # One sweep for the first key frame; for the second all three, of the same place on the map.
    assert first.points.tolist() == [[10, pytest.approx(0, abs=1e-5), pytest.approx(-1.8), 50, 0]]
    assert second.points[:, :3].sub(torch.tensor([9.0, 0, -1.8])).abs().max() < 1e-4
    assert second.points[:, 4].tolist() == [0, 0.25, 0.5]
    # The car: 10 m ahead, along the way the vehicle drives, at 2 m/s; the dog is left out.
    assert first.names == ("car",) and second.names == ("car", "bicycle")
    assert first.boxes[0].tolist() == pytest.approx([10, 0, -1.8, 4, 2, 1.5, 0, 2, 0], abs=1e-5)
    assert points_in_boxes(first.points, first.boxes).all()
    assert second.truth.centre[0].tolist() == [100, 11, 0] and second.truth.ego.tolist() == [100, 1]
    assert second.truth.velocity[0].tolist() == [0, 2] and second.truth.attributes.tolist() == ["vehicle.parked", ""]
    # The bicycle stands in a rack: neither it nor who finds it counts.
    perfect = second.truth._replace(score=np.ones(2))
    assert nuscenes.evaluate([second.truth], [perfect]).objects["bicycle"] == 0
    assert nuscenes.evaluate([second.truth._replace(racks=np.zeros((0, 7)))], [perfect]).objects["bicycle"] == 1
    assert len(NuscenesSweeps("mini_train", path=str(tmp_path), sweeps=1).items()[1].load().points) == 1


def test_nuscenes_parts_and_errors(tmp_path):
    assert sum(last - first + 1 for first, last in VALIDATION) == 150
    assert scenes_of("val", "scene-0003") and not scenes_of("train", "scene-0003") and scenes_of("train", "scene-0001")
    with pytest.raises(UserError, match="has no part nothing"):
        NuscenesSweeps("nothing")
    with pytest.raises(UserError, match=r"v1\.0-trainval: not found; get nuScenes from"):
        NuscenesSweeps("train", path=str(tmp_path)).items()
    nuscenes_folder(tmp_path)
    with pytest.raises(UserError, match="has no scenes of mini_val"):
        NuscenesSweeps("mini_val", path=str(tmp_path)).items()
    (tmp_path / "v1.0-mini/scene.json").write_text("{")
    with pytest.raises(UserError, match=r"scene\.json: is not a table of the devkit"):
        NuscenesSweeps("mini_train", path=str(tmp_path)).items()


def av2_folder(root: Path) -> Path:
    pyarrow, feather = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.feather")
    log = root / "val" / "log0"
    (log / "sensors/lidar").mkdir(parents=True)
    sweep = {"x": np.array([5, 1], np.float16), "y": np.zeros(2, np.float16), "z": np.ones(2, np.float16),
             "intensity": np.array([7, 9], np.uint8), "laser_number": np.zeros(2, np.uint8)}  # fmt: skip
    for time in (100, 200):
        feather.write_feather(pyarrow.table(sweep), log / f"sensors/lidar/{time}.feather")
    rows = {"timestamp_ns": [100], "category": ["BUS"], "length_m": [4.0], "width_m": [2.0], "height_m": [3.0],
            "qw": [HALF], "qx": [0.0], "qy": [0.0], "qz": [HALF], "tx_m": [5.0], "ty_m": [0.0], "tz_m": [1.0],
            "num_interior_pts": [1]}  # fmt: skip
    feather.write_feather(pyarrow.table(rows), log / "annotations.feather")
    return root


def test_argoverse_folders(tmp_path):
    first, second = Av2Sweeps("val", path=str(av2_folder(tmp_path))).items()
    frame = first.load()
    assert first.name == "log0/100" and frame.points.tolist() == [[5, 0, 1, 7], [1, 0, 1, 9]]
    assert frame.names == ("BUS",) and frame.boxes[0].tolist() == pytest.approx([5, 0, 1, 4, 2, 3, math.pi / 2])
    assert points_in_boxes(frame.points, frame.boxes).sum() == frame.truth.points[0]
    assert second.load().boxes.shape == (0, 7)
    assert len(Av2Sweeps("val", path=str(tmp_path), every=2).items()) == 1
    broken = tmp_path / "val/log0/sensors/lidar/100.feather"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(UserError, match=r"100\.feather: is not a table of the sensor set"):
        first.load()
    with pytest.raises(UserError, match="train: not found; get the Argoverse 2 sensor set"):
        Av2Sweeps("train", path=str(tmp_path)).items()


@pytest.mark.parametrize(("source", "least"), [(NuscenesFrame, 0.85), (Av2Frame, 1.0)])
def test_shipped_frames(source, least):
    if not source().path.is_dir():
        pytest.skip(f"{source().path} is not there; set OMNIMIX_DATA to the folder of public data")
    (item,) = source().items()
    frame = item.load()
    counts = points_in_boxes(frame.points, frame.boxes).sum(0).numpy()
    assert (counts == frame.truth.points).mean() >= least
    perfect = frame.truth._replace(score=np.ones(len(frame.names)))
    if source is Av2Frame:
        assert av2.evaluate([frame.truth], [perfect])[-1].ap > 0.3
    else:
        scores = nuscenes.evaluate([frame.truth], [perfect])
        assert scores.label_aps["car"][0.5] == pytest.approx(1) and scores.objects["car"] == 4


def own_folder(root: Path, names=("a", "b")) -> Path:
    (root / "points").mkdir(parents=True)
    (root / "labels").mkdir()
    for n, name in enumerate(names):
        (root / f"points/{name}.bin").write_bytes(np.full((n + 1, 4), 2.0, np.float32).tobytes())
        (root / f"labels/{name}.txt").write_text("2 2 2 4 2 1.5 0.5 Car\n" * n)
    return root


def test_own_folder(tmp_path):
    first, second = (item.load() for item in Folder(str(own_folder(tmp_path))).items())
    assert first.boxes.shape == (0, 7) and first.names == () and len(first.points) == 1
    assert second.boxes.tolist() == [[2, 2, 2, 4, 2, 1.5, 0.5]] and second.names == ("Car",)
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/val.txt").write_text("b\n")
    assert [item.name for item in Folder(str(tmp_path), "val").items()] == ["b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3 4 2 1.5 Car", "line 2: has 7 columns; a box is 'x y z dx dy dz heading class'"),
        ("1 2 3 4 2 1.5 Car 0.5", "line 2: could not convert string to float: 'Car'"),
        ("1 2 3 4 0 1.5 0 Car", "line 2: the box 1 2 3 4 0 1.5 0 must be finite and its dx dy dz above 0"),
        ("1 2 nan 4 2 1.5 0 Car", "line 2: the box .* must be finite"),
    ],
)
def test_broken_labels(tmp_path, line, message):
    own_folder(tmp_path)
    (tmp_path / "labels/b.txt").write_text(f"\n{line}\n")
    with pytest.raises(UserError, match=message):
        Folder(str(tmp_path)).items()[1].load()


def test_what_is_missing(tmp_path):
    own_folder(tmp_path)
    (tmp_path / "labels/b.txt").unlink()
    with pytest.raises(UserError, match=r"labels/b\.txt: not found, but .*b\.bin is there"):
        Folder(str(tmp_path)).items()[1].load()
    with pytest.raises(UserError, match=r"train\.txt: not found; write the names"):
        Folder(str(tmp_path), "train").items()
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/train.txt").write_text("a c")
    with pytest.raises(UserError, match=r"train\.txt: names c, of which there is no sweep"):
        Folder(str(tmp_path), "train").items()
