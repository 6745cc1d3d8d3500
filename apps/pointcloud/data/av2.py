"""Argoverse 2, sensor set (Wilson et al. 2021): feather tables of sweeps and cuboids, and one sweep of it.

    <part>/<log>/sensors/lidar/<timestamp>.feather   x, y, z (half precision), intensity, laser_number, ...
    <part>/<log>/annotations.feather   a row a cuboid: timestamp_ns, category, length_m, width_m, height_m,
                                       qw, qx, qy, qz, tx_m, ty_m, tz_m, num_interior_pts

Everything is in the vehicle's axes, x forward; the sensor stands about 1.6 m above their origin. Objects of the 26
evaluated categories and of the four that are not (ANIMAL, ...) keep their names.
"""

__all__ = ["CLASSES", "Av2Frame", "Av2Sweeps"]

from pathlib import Path
from typing import Any

import numpy as np
import torch

from apps.pointcloud.boxes import heading_of
from apps.pointcloud.metrics.av2 import CATEGORIES, Av2Boxes
from core.errors import UserError

from .items import Frame, Item, Source
from .public import data_folder, must_exist, read_arrays

RECORD = "the Argoverse 2 sensor set from https://www.argoverse.org/av2.html"
CLASSES = (*CATEGORIES, "ANIMAL", "OFFICIAL_SIGNALER", "RAILED_VEHICLE", "TRAFFIC_LIGHT_TRAILER")
STORED = ("xyz", "intensity", "center", "size", "quaternion_wxyz", "category", "num_interior_pts")
CUBOID = ("category", "length_m", "width_m", "height_m", "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")


class Av2Sweeps(Source):
    """Sweeps of the official folders.

    Args:
        part: train, val or test (without labels).
        path: folder of the set; `pointcloud/av2_sensor` below $OMNIMIX_DATA or `data` by default.
        every: take each n-th sweep of a log only.
    """

    features = ("intensity",)
    classes = CLASSES

    def __init__(self, part: str = "train", path: str | None = None, every: int = 1):
        if every < 1:
            raise UserError(f"Av2Sweeps: every {every} must be at least 1.")
        self.part, self.path, self.every = part, data_folder("av2_sensor", path), every
        self.label = f"Argoverse 2 {part}"

    def items(self) -> list[Item]:
        folder = must_exist(self.path / self.part, RECORD)
        items: list[Item] = []
        for log in sorted(path for path in folder.iterdir() if path.is_dir()):
            sweeps = sorted((log / "sensors" / "lidar").glob("*.feather"))
            cuboids = _Cuboids(log / "annotations.feather") if self.part != "test" else None
            items += [_Sweep(path, log.name, cuboids) for path in sweeps[:: self.every]]
        if not items:
            raise UserError(f"{folder}: holds no <log>/sensors/lidar/*.feather; get {RECORD}.")
        return items


class _Cuboids:
    """Annotations of a log, read when the first of its sweeps is."""

    def __init__(self, path: Path):
        self.path = path
        self.columns: dict[str, Any] | None = None

    def at(self, timestamp: int) -> dict[str, np.ndarray]:
        if self.columns is None:
            self.columns = _read(self.path, ("timestamp_ns", *CUBOID, "num_interior_pts"))
        rows = self.columns["timestamp_ns"] == timestamp
        return {name: column[rows] for name, column in self.columns.items()}


class _Sweep(Item):
    def __init__(self, path: Path, log: str, cuboids: _Cuboids | None):
        self.path, self.cuboids, self.name = path, cuboids, f"{log}/{path.stem}"

    def load(self) -> Frame:
        columns = _read(self.path, ("x", "y", "z", "intensity"))
        points = torch.from_numpy(np.stack([column.astype(np.float32) for column in columns.values()], 1))
        if self.cuboids is None:
            return Frame(points, torch.zeros(0, 7), ())
        rows = self.cuboids.at(int(self.path.stem))
        number = [np.stack([rows[name].astype(np.float64) for name in names], 1) for names in (
            ("tx_m", "ty_m", "tz_m"), ("length_m", "width_m", "height_m"), ("qw", "qx", "qy", "qz"))]  # fmt: skip
        return _frame(points, *number, rows["category"], rows["num_interior_pts"], str(self.cuboids.path))


class Av2Frame(Source):
    """One sweep of the validation part with 81 cuboids.

    Args:
        path: its folder; `pointcloud/av2` below $OMNIMIX_DATA or `data` by default.
    """

    features = ("intensity",)
    classes = CLASSES
    label = "one Argoverse 2 sweep"

    def __init__(self, path: str | None = None):
        self.path = data_folder("av2", path)

    def items(self) -> list[Item]:
        found = sorted(must_exist(self.path, "the sweep").glob("*.npz"))
        if not found:
            raise UserError(f"{self.path}: holds no .npz; copy the folder again.")
        return [_Stored(path) for path in found]


class _Stored(Item):
    def __init__(self, path: Path):
        self.path, self.name = path, path.stem

    def load(self) -> Frame:
        data = read_arrays(self.path, STORED)
        points = np.concatenate([data["xyz"].T.astype(np.float32), data["intensity"].astype(np.float32)[:, None]], 1)
        return _frame(
            torch.from_numpy(points),
            data["center"],
            data["size"],
            data["quaternion_wxyz"],
            data["category"],
            data["num_interior_pts"],
            str(self.path),
        )


def _frame(
    points: torch.Tensor,
    centre: np.ndarray,
    size: np.ndarray,
    quaternion: np.ndarray,
    names: np.ndarray,
    inside: np.ndarray,
    where: str,
) -> Frame:
    heading = heading_of(torch.from_numpy(quaternion)).numpy()
    names = names.astype(np.str_)
    truth = Av2Boxes(centre, size, heading, names, inside.astype(np.float64), np.zeros(len(names)))
    boxes = torch.from_numpy(np.concatenate([centre, size, heading[:, None]], 1)).float().view(-1, 7)
    return Frame(points, boxes, tuple(names.tolist()), truth=truth, where=where)


def _read(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of a feather table.

    Raises:
        UserError: it is not there, broken, or lacks a column.
    """
    import pyarrow
    from pyarrow import feather

    must_exist(path, RECORD)
    try:
        table = feather.read_table(path, columns=list(names))
    except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError, OSError) as error:
        raise UserError(f"{path}: is not a table of the sensor set ({' '.join(str(error).split())[:120]}).") from None
    return {name: table[name].to_numpy(zero_copy_only=False) for name in names}
