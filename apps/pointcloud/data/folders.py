"""Your own sweeps, with labels as OpenPCDet's custom data sets have them.

A folder of .bin, .npy, .ply or .pcd files, or one with the folders

    points/NAME.bin      the sweeps (or directly in the folder)
    labels/NAME.txt      a line a box: x y z dx dy dz heading class
    ImageSets/PART.txt   names of a part, a line each; without, the data module holds some out itself

Boxes are in the axes of the sweep, z is that of the CENTRE, the heading counter-clockwise from +x in radians. A label
file without lines is a sweep without objects; a sweep without a label file is an error where labels are wanted.
"""

__all__ = ["Folder", "parse_boxes"]

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError, nearest

from .clouds import list_clouds, read_cloud
from .items import Frame, Item, Source


class Folder(Source):
    """A folder of sweeps with labels.

    Args:
        path: the folder.
        part: a list in ImageSets, without its ending; all sweeps by default.
        columns: float32 numbers a point in .bin files.
        classes: every name that may occur; by default those that the data module trains on.
    """

    features = ("intensity",)

    def __init__(self, path: str, part: str | None = None, columns: int = 4, classes: tuple[str, ...] | None = None):
        if columns < 3:
            raise UserError(f"{path}: columns {columns} must be at least 3, for x, y and z.")
        self.path, self.part, self.columns = Path(path), part, columns
        self.classes = tuple(classes) if classes else None
        self.features = ("intensity", *(f"column {n}" for n in range(5, columns + 1)))[: columns - 3]
        self.label = self.path.name + (f" {part}" if part else "")

    def items(self) -> list[Item]:
        points = self.path / "points"
        paths = {path.stem: path for path in list_clouds(points if points.is_dir() else self.path)}
        names = list(paths)
        if self.part is not None:
            lists = self.path / "ImageSets" / f"{self.part}.txt"
            if not lists.is_file():
                there = [path.stem for path in sorted(lists.parent.glob("*.txt"))]
                raise UserError(f"{lists}: not found; write the names of its sweeps there.{nearest(self.part, there)}")
            names = lists.read_text(encoding="utf-8").split()
            missing = [name for name in names if name not in paths]
            if missing:
                raise UserError(f"{lists}: names {missing[0]}, of which there is no sweep in {self.path}.")
        return [_Labelled(paths[name], self.path / "labels" / f"{name}.txt", self.columns) for name in names]


class _Labelled(Item):
    def __init__(self, path: Path, labels: Path, columns: int):
        self.path, self.labels, self.columns, self.name = path, labels, columns, path.stem

    def load(self) -> Frame:
        if not self.labels.is_file():
            raise UserError(
                f"{self.labels}: not found, but {self.path} is there; a sweep without objects has an empty file."
            )
        boxes, names = parse_boxes(self.labels.read_text(encoding="utf-8", errors="replace"), self.labels)
        return Frame(read_cloud(self.path, self.columns), boxes, names, where=str(self.labels))


def parse_boxes(text: str, where: str | Path) -> tuple[Tensor, tuple[str, ...]]:
    """Boxes (M, 7) float32 and their classes.

    Raises:
        UserError: a line of another form; the sentence names file and line.
    """
    rows, names = [], []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 8:
            raise UserError(
                f"{where} line {number}: has {len(fields)} columns; a box is 'x y z dx dy dz heading class'."
            )
        try:
            values = [float(field) for field in fields[:7]]
        except ValueError as error:
            raise UserError(f"{where} line {number}: {error}; a box is 'x y z dx dy dz heading class'.") from None
        if not np.isfinite(values).all() or min(values[3:6]) <= 0:
            raise UserError(
                f"{where} line {number}: the box {' '.join(fields[:7])} must be finite and its dx dy dz above 0."
            )
        rows.append(values)
        names.append(fields[7])
    return torch.tensor(rows, dtype=torch.float32).view(-1, 7), tuple(names)
