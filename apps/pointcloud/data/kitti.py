"""KITTI's object benchmark (Geiger, Lenz and Urtasun 2012), and ten frames of it in a small form.

    Kitti        the official folders: training/{velodyne,label_2,calib}/NNNNNN.*, image_2 for the sizes of the images
                 where it is there, ImageSets/{train,val,trainval,test}.txt with the numbers of each part
    KittiFrames  NNNNNN.npz (xyz as differences of millimetres, reflectance in hundredths), NNNNNN.label.txt and
                 NNNNNN.calib.txt; exactly the original numbers

Models are trained and evaluated on the points that the camera sees, as only those are annotated; `camera_view=False`
keeps the full turn. `boxes` leave DontCare out, `truth` holds every line.

The size of the images says where image boxes are cut. Without the images it follows from the focal length, which tells
the five recording days apart.
"""

__all__ = ["CLASSES", "Kitti", "KittiFrames", "read_calibration"]

import struct
from pathlib import Path

import numpy as np
import torch

from apps.pointcloud.camera import Calibration, in_view
from apps.pointcloud.labels import DONT_CARE, KittiLabels, read_labels
from core.errors import UserError, nearest

from .clouds import read_cloud
from .items import Frame, Item, Source
from .public import data_folder, must_exist, read_arrays

CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", DONT_CARE)
RECORD = "the KITTI object set from https://www.cvlibs.net/datasets/kitti/eval_object.php?obj_benchmark=3d"
SIZES = {
    721.5377: (1242, 375),
    707.0493: (1224, 370),
    718.3351: (1238, 374),
    707.0912: (1226, 370),
    718.856: (1241, 376),
}
SPLIT = {"train": ("000000", "000003", "000007"), "val": ("000001", "000002", "000004", "000005", "000006", "000008",
         "000134")}  # fmt: skip
"""Of the ten frames, as in the official lists."""


class Kitti(Source):
    """The official folders.

    Args:
        part: train, val, trainval or test: a list in ImageSets. The test part has no labels.
        path: folder of the set; `pointcloud/kitti_object` below $OMNIMIX_DATA or `data` by default.
        camera_view: keep only points that the camera sees.
    """

    classes = CLASSES

    def __init__(self, part: str = "train", path: str | None = None, camera_view: bool = True):
        self.part, self.path, self.camera_view = part, data_folder("kitti_object", path), camera_view
        self.label = f"KITTI {part}"

    def items(self) -> list[Item]:
        lists = must_exist(self.path / "ImageSets", f"{RECORD}, and the lists of its parts")
        names = [path.stem for path in sorted(lists.glob("*.txt"))]
        if self.part not in names:
            raise UserError(
                f"{lists}: has no list {self.part}.txt; it has {', '.join(names)}.{nearest(self.part, names)}"
            )
        folder = must_exist(self.path / ("testing" if self.part == "test" else "training"), RECORD)
        numbers = (lists / f"{self.part}.txt").read_text().split()
        return [_Official(folder, number, self.part != "test", self.camera_view) for number in numbers]


class _Official(Item):
    def __init__(self, folder: Path, name: str, labelled: bool, camera_view: bool):
        self.folder, self.name, self.labelled, self.camera_view = folder, name, labelled, camera_view

    def load(self) -> Frame:
        points = read_cloud(self.folder / "velodyne" / f"{self.name}.bin")
        calibration = read_calibration(self.folder / "calib" / f"{self.name}.txt")
        image = self.folder / "image_2" / f"{self.name}.png"
        if image.is_file():
            calibration = calibration._replace(image_size=_png_size(image))
        where = self.folder / "label_2" / f"{self.name}.txt"
        return _frame(points, calibration, read_labels(where) if self.labelled else None, str(where), self.camera_view)


class KittiFrames(Source):
    """Ten frames: the first nine of the training part, and 000134 with its many cyclists.

    Args:
        part: train (3 frames), val (7) or all, by the official split.
        path: their folder; `pointcloud/kitti` below $OMNIMIX_DATA or `data` by default.
        camera_view: keep only points that the camera sees; three of the frames hold the full turn.
    """

    classes = CLASSES

    def __init__(self, part: str = "all", path: str | None = None, camera_view: bool = True):
        parts = {**SPLIT, "all": tuple(sorted(SPLIT["train"] + SPLIT["val"]))}
        if part not in parts:
            raise UserError(f"KittiFrames: has no part {part}; choose train, val or all.")
        self.names, self.path, self.camera_view = parts[part], data_folder("kitti", path), camera_view
        self.label = f"{len(self.names)} KITTI frames"

    def items(self) -> list[Item]:
        must_exist(self.path, "the ten frames")
        return [_Small(self.path, name, self.camera_view) for name in self.names]


class _Small(Item):
    def __init__(self, folder: Path, name: str, camera_view: bool):
        self.folder, self.name, self.camera_view = folder, name, camera_view

    def load(self) -> Frame:
        stored = read_arrays(self.folder / f"{self.name}.npz", ("xyz_mm_delta", "reflectance_pct"))
        xyz = (stored["xyz_mm_delta"].cumsum(1) / 1000).astype(np.float32)
        reflectance = (stored["reflectance_pct"] / 100).astype(np.float32)
        points = torch.from_numpy(np.concatenate([xyz, reflectance[None]]).T.copy())
        calibration = read_calibration(self.folder / f"{self.name}.calib.txt")
        where = self.folder / f"{self.name}.label.txt"
        return _frame(points, calibration, read_labels(where), str(where), self.camera_view)


def _frame(
    points: torch.Tensor, calibration: Calibration, labels: KittiLabels | None, where: str, camera_view: bool
) -> Frame:
    if camera_view:
        points = points[in_view(points, calibration)]
    if labels is None:
        return Frame(points, torch.zeros(0, 7), (), calibration)
    known = labels.select(labels.names != DONT_CARE)
    return Frame(points, known.boxes(calibration), tuple(known.names.tolist()), calibration, None, labels, where)


def read_calibration(path: str | Path) -> Calibration:
    """Of a calib file: P2, R0_rect and Tr_velo_to_cam (or R_rect and Tr_velo_cam, as the tracking set names them).

    Raises:
        UserError: it is not there, or a matrix is missing or broken.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; labels in camera axes need the calibration of their sweep.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text; a calibration has lines 'P2: ...', 'R0_rect: ...'.") from None
    found = {}
    for line in lines:
        name, *words = line.replace(":", " ", 1).split() or [""]
        found[name] = words

    def matrix(names: tuple[str, ...], rows: int, columns: int) -> torch.Tensor:
        words = next((found[name] for name in names if name in found), None)
        if words is None:
            raise UserError(f"{path}: has no line {names[0]}; it is not a KITTI calibration.")
        try:
            return torch.tensor([float(word) for word in words], dtype=torch.float64).view(rows, columns)
        except (ValueError, RuntimeError):
            raise UserError(f"{path}: its line {names[0]} does not hold {rows} x {columns} numbers.") from None

    rectify, to_camera = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    p2 = matrix(("P2",), 3, 4)
    rectify[:3, :3] = matrix(("R0_rect", "R_rect"), 3, 3)
    to_camera[:3] = matrix(("Tr_velo_to_cam", "Tr_velo_cam"), 3, 4)
    focal = min(SIZES, key=lambda known: abs(known - p2[0, 0].item()))
    return Calibration(p2, rectify @ to_camera, SIZES[focal])


def _png_size(path: Path) -> tuple[int, int]:
    """From the header: signature, length, IHDR, width, height."""
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[12:16] != b"IHDR":
        raise UserError(f"{path}: is not a PNG image; copy it again.")
    width, height = struct.unpack(">II", head[16:24])
    return width, height
