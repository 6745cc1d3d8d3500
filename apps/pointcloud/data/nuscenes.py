"""nuScenes (Caesar et al. 2020): the devkit's JSON tables with several sweeps, and one key frame of it.

The tables lie in `<version>/*.json` below the folder of the set, the sweeps in `samples/LIDAR_TOP` and
`sweeps/LIDAR_TOP`. A frame is a key frame of a scene of the part, in time; up to `sweeps` - 1 earlier sweeps are moved
into its axes by the poses of the vehicle, their points carrying the time since they were measured, in seconds. Returns
of the vehicle itself (within 1 m along both axes) are left out.

The files' axes are x right, y forward; here everything is turned by a quarter so that x is forward, as everywhere.
Categories become the ten classes of the detection task, other objects are left out. Velocities are differences of
positions of the same object at most 1.5 s away (3 s if both neighbours are there), NaN where there is none.
`truth` is in the axes of the map, `pose` leads there; bicycles in racks are annotated like others, the evaluation
leaves them out.
"""

__all__ = ["CATEGORIES", "NuscenesFrame", "NuscenesSweeps", "scenes_of"]

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apps.pointcloud.boxes import heading_of, rotation_matrix, transform
from apps.pointcloud.metrics.nuscenes import CLASSES, NuscenesBoxes
from core.errors import UserError

from .clouds import read_cloud
from .items import Frame, Item, Source
from .public import data_folder, must_exist, read_arrays

RECORD = "nuScenes from https://www.nuscenes.org/nuscenes#download"
CATEGORIES = {
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
RACK = "static_object.bicycle_rack"
VALIDATION = (
    (3, 3), (12, 18), (35, 36), (38, 39), (92, 110), (221, 221), (268, 278), (329, 332), (344, 346), (519, 524),
    (552, 565), (625, 627), (629, 630), (632, 638), (770, 771), (775, 775), (777, 778), (780, 784), (794, 800),
    (802, 802), (904, 917), (919, 931), (962, 963), (966, 969), (971, 972), (1059, 1073),
)  # fmt: skip
"""Scenes of the official validation part, first and last of each run; the others of trainval are for training."""
MINI = {"mini_train": (61, 553, 655, 757, 796, 1077, 1094, 1100), "mini_val": (103, 916)}
# x right, y forward to x forward, y left.
TURN = torch.tensor([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
EGO = 1.0
STORED = (
    "xyz", "intensity", "boxes", "velocity", "label", "num_lidar_pts", "class_names", "lidar2ego", "ego2global",
)  # fmt: skip


class NuscenesSweeps(Source):
    """Key frames of the devkit's folders.

    Args:
        part: train, val, mini_train, mini_val, or test (without labels).
        path: folder of the set; `pointcloud/nuscenes_full` below $OMNIMIX_DATA or `data` by default.
        sweeps: put together into a frame, itself included; 10 is what published results use.
    """

    features = ("intensity", "seconds ago")
    classes = CLASSES
    velocity = True

    def __init__(self, part: str = "train", path: str | None = None, sweeps: int = 10):
        if part not in ("train", "val", "test", *MINI):
            raise UserError(f"NuscenesSweeps: has no part {part}; choose train, val, test, mini_train or mini_val.")
        if sweeps < 1:
            raise UserError(f"NuscenesSweeps: sweeps {sweeps} must be at least 1.")
        self.part, self.path, self.sweeps = part, data_folder("nuscenes_full", path), sweeps
        self.label = f"nuScenes {part}, {sweeps} sweeps"

    def items(self) -> list[Item]:
        version = {"test": "v1.0-test"}.get(self.part, "v1.0-mini" if self.part in MINI else "v1.0-trainval")
        tables = _Tables(must_exist(self.path / version, RECORD))
        scenes = sorted((s for s in tables.scene.values() if scenes_of(self.part, s["name"])), key=lambda s: s["name"])
        items: list[Item] = []
        for scene in scenes:
            token = scene["first_sample_token"]
            while token:
                items.append(_KeyFrame(self.path, tables, token, self.sweeps))
                token = tables.sample[token]["next"]
        if not items:
            raise UserError(f"{self.path / version}: has no scenes of {self.part}; get {RECORD}.")
        return items


def scenes_of(part: str, name: str) -> bool:
    """Whether a scene, "scene-0061", belongs to a part."""
    number = int(name.rsplit("-", 1)[-1])
    if part in MINI:
        return number in MINI[part]
    held = any(first <= number <= last for first, last in VALIDATION)
    return part == "test" or held == (part == "val")


class _Tables:
    """The tables by token, of the LiDAR alone where they are large."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.scene, self.sample = self._read("scene"), self._read("sample")
        self.sweep = self._read("sample_data", lambda row: "/LIDAR_TOP/" in row["filename"])
        poses = {row["ego_pose_token"] for row in self.sweep.values()}
        self.pose = self._read("ego_pose", lambda row: row["token"] in poses)
        sensors = {row["calibrated_sensor_token"] for row in self.sweep.values()}
        self.sensor = self._read("calibrated_sensor", lambda row: row["token"] in sensors)
        category, instance = self._read("category"), self._read("instance")
        self.attribute = {token: row["name"] for token, row in self._read("attribute").items()}
        self.annotation = self._read("sample_annotation")
        self.of_sample: dict[str, list[dict[str, Any]]] = {}
        for row in self.annotation.values():
            row["category"] = category[instance[row["instance_token"]]["category_token"]]["name"]
            self.of_sample.setdefault(row["sample_token"], []).append(row)
        self.key = {row["sample_token"]: row for row in self.sweep.values() if row["is_key_frame"]}

    def _read(self, name: str, keep: Any = None) -> dict[str, dict[str, Any]]:
        path = must_exist(self.folder / f"{name}.json", RECORD)
        try:
            rows = json.loads(path.read_text())
            return {row["token"]: row for row in rows if keep is None or keep(row)}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path}: is not a table of the devkit ({error}); get {RECORD}.") from None

    def velocity(self, row: dict[str, Any]) -> list[float]:
        """Metres a second in the axes of the map, (vx, vy)."""
        first = self.annotation.get(row["prev"], row)
        last = self.annotation.get(row["next"], row)
        times = [self.sample[a["sample_token"]]["timestamp"] / 1e6 for a in (first, last)]
        lag = times[1] - times[0]
        both = bool(row["prev"]) and bool(row["next"])
        if lag <= 0 or lag > (3.0 if both else 1.5):
            return [math.nan, math.nan]
        return [(last["translation"][n] - first["translation"][n]) / lag for n in range(2)]


class _KeyFrame(Item):
    def __init__(self, folder: Path, tables: _Tables, token: str, sweeps: int):
        self.folder, self.tables, self.token, self.sweeps = folder, tables, token, sweeps
        self.name = token

    def load(self) -> Frame:
        tables = self.tables
        if self.token not in tables.key:
            raise UserError(f"{tables.folder}: sample {self.token} has no LiDAR key frame; get {RECORD}.")
        key = tables.key[self.token]
        pose = self._pose(key)
        to_key = torch.linalg.inv(pose)
        parts, row = [], key
        for n in range(self.sweeps):
            points = read_cloud(self.folder / row["filename"], columns=5).double()
            points = points[~((points[:, 0].abs() < EGO) & (points[:, 1].abs() < EGO))]
            if n:
                move = to_key @ self._pose(row) @ TURN
            else:
                move = TURN
            xyz = points[:, :3] @ move[:3, :3].T + move[:3, 3]
            lag = torch.full((len(points), 1), (key["timestamp"] - row["timestamp"]) / 1e6, dtype=torch.float64)
            parts.append(torch.cat([xyz, points[:, 3:4], lag], 1))
            if row["prev"] not in tables.sweep:
                break
            row = tables.sweep[row["prev"]]
        rows = tables.of_sample.get(self.token, [])
        truth, boxes = self._annotations(rows, pose)
        names = tuple(truth.names.tolist())
        return Frame(torch.cat(parts).float(), boxes, names, None, pose, truth, str(tables.folder))

    def _pose(self, row: dict[str, Any]) -> Tensor:
        """(4, 4) our axes at this sweep to those of the map."""
        sensor = _matrix(self.tables.sensor[row["calibrated_sensor_token"]])
        return _matrix(self.tables.pose[row["ego_pose_token"]]) @ sensor @ torch.linalg.inv(TURN)

    def _annotations(self, rows: list[dict[str, Any]], pose: Tensor) -> tuple[NuscenesBoxes, Tensor]:
        racks = _map_boxes([row for row in rows if row["category"] == RACK], self.tables)
        rows = [row for row in rows if row["category"] in CATEGORIES]
        on_map = _map_boxes(rows, self.tables)
        names = [CATEGORIES[row["category"]] for row in rows]
        attributes = [
            self.tables.attribute[row["attribute_tokens"][0]] if row["attribute_tokens"] else "" for row in rows
        ]
        points = np.array([row["num_lidar_pts"] + row["num_radar_pts"] for row in rows], dtype=np.float64)
        ego = self.tables.pose[self.tables.key[self.token]["ego_pose_token"]]["translation"][:2]
        truth = _truth(on_map, names, attributes, points, np.array(ego, dtype=np.float64))
        truth = truth._replace(racks=racks[:, :7].numpy())
        return truth, transform(on_map, torch.linalg.inv(pose)).float()


class NuscenesFrame(Source):
    """One key frame with one sweep and 69 boxes.

    Args:
        path: its folder; `pointcloud/nuscenes` below $OMNIMIX_DATA or `data` by default.
    """

    features = ("intensity", "seconds ago")
    classes = CLASSES
    velocity = True
    label = "one nuScenes frame"

    def __init__(self, path: str | None = None):
        self.path = data_folder("nuscenes", path)

    def items(self) -> list[Item]:
        found = sorted(must_exist(self.path, "the key frame").glob("*.npz"))
        if not found:
            raise UserError(f"{self.path}: holds no .npz; copy the folder again.")
        return [_Stored(path) for path in found]


class _Stored(Item):
    def __init__(self, path: Path):
        self.path, self.name = path, path.stem

    def load(self) -> Frame:
        data = read_arrays(self.path, STORED)
        xyz = torch.from_numpy(data["xyz"].T.astype(np.float64))
        keep = ~((xyz[:, 0].abs() < EGO) & (xyz[:, 1].abs() < EGO))
        intensity = torch.from_numpy(data["intensity"].astype(np.float64))[:, None]
        points = torch.cat([xyz @ TURN[:3, :3].T, intensity, torch.zeros_like(intensity)], 1)[keep]
        speed = torch.from_numpy(data["velocity"])
        boxes = transform(torch.cat([torch.from_numpy(data["boxes"]), speed], 1), TURN)
        pose = torch.from_numpy(data["ego2global"] @ data["lidar2ego"]) @ torch.linalg.inv(TURN)
        names = [str(data["class_names"][label]) for label in data["label"]]
        truth = _truth(
            transform(boxes, pose),
            names,
            [""] * len(names),
            data["num_lidar_pts"].astype(np.float64),
            data["ego2global"][:2, 3].copy(),
        )
        return Frame(points.float(), boxes.float(), tuple(names), None, pose, truth, str(self.path))


def _matrix(row: dict[str, Any]) -> Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation_matrix(torch.tensor(row["rotation"], dtype=torch.float64))
    pose[:3, 3] = torch.tensor(row["translation"], dtype=torch.float64)
    return pose


def _map_boxes(rows: list[dict[str, Any]], tables: _Tables) -> Tensor:
    """(M, 9) float64 in the axes of the map."""
    if not rows:
        return torch.zeros(0, 9, dtype=torch.float64)
    width, length, height = torch.tensor([row["size"] for row in rows], dtype=torch.float64).unbind(1)
    heading = heading_of(torch.tensor([row["rotation"] for row in rows], dtype=torch.float64))
    speed = torch.tensor([tables.velocity(row) for row in rows], dtype=torch.float64)
    centre = torch.tensor([row["translation"] for row in rows], dtype=torch.float64)
    return torch.cat([centre, torch.stack([length, width, height, heading], 1), speed], 1)


def _truth(
    boxes: Tensor, names: list[str], attributes: list[str], points: np.ndarray, ego: np.ndarray
) -> NuscenesBoxes:
    values = boxes.numpy()
    return NuscenesBoxes(
        values[:, :3],
        values[:, [4, 3, 5]],
        values[:, 6],
        values[:, 7:9],
        np.array(names, dtype=np.str_),
        np.array(attributes, dtype=np.str_),
        points,
        np.zeros(len(values)),
        ego,
    )
