"""What the sources of data list: sweeps with their boxes, in one convention.

**Axes.** x forward, y left, z up at the sensor, metres; boxes as in `apps.pointcloud.boxes`. Sources whose files have
other axes (nuScenes: x right) turn them when they read.

**Points** are (N, 3 + F) float32: x, y, z and the F features that the source names in `features`. A sweep may have no
points. Points with a number that is not finite are left out when a frame enters a batch (organised clouds mark missing
returns so); `checks.survey` counts them.

**Classes** are the source's own names, unchanged (`Car`, `pedestrian`, `REGULAR_VEHICLE`). Their numbers are given by
the data module alone: position in its `classes`, from 0. Boxes of other classes that the source knows are not trained
on; a name that neither knows is an error that names the file, as it is mostly a typing mistake.

**Truth** is what the source's own evaluation compares with, in its own terms (DontCare regions, occlusion, attributes):
`KittiLabels`, `NuscenesBoxes` or `Av2Boxes`, the first two possibly with objects that `boxes` leaves out.
"""

__all__ = ["FileItem", "Frame", "Item", "Source", "empty_boxes"]

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from apps.pointcloud.camera import Calibration
from apps.pointcloud.labels import KittiLabels
from apps.pointcloud.metrics.av2 import Av2Boxes
from apps.pointcloud.metrics.nuscenes import NuscenesBoxes

from .clouds import read_cloud


class Frame(NamedTuple):
    """One sweep.

    Attributes:
        points: (N, 3 + F) float32.
        boxes: (M, 7), or (M, 9) with velocity (NaN where unknown), float32.
        names: (M,) classes of the boxes.
        calibration: of the camera, where there is one.
        pose: (4, 4) float64, these axes to those of `truth`, where they are others than the camera's.
        truth: for the source's own evaluation; None where it has none.
        where: the label file, for errors.
    """

    points: Tensor
    boxes: Tensor
    names: tuple[str, ...]
    calibration: Calibration | None = None
    pose: Tensor | None = None
    truth: KittiLabels | NuscenesBoxes | Av2Boxes | None = None
    where: str = ""


class Item:
    """Base class: one sweep of a source.

    Attributes:
        name: unique within the source.
    """

    name: str

    def load(self) -> Frame:
        """Everything that is known of it."""
        raise TypeError(f"{type(self).__name__} must define load")


class Source:
    """Base class of what can be named as data.

    Attributes:
        label: for tables and first lines.
        features: names of what a point has beside x, y, z.
        classes: every name that can occur, or None where any can.
        velocity: boxes have 9 columns.
    """

    label: str = "sweeps"
    features: tuple[str, ...] = ("reflectance",)
    classes: tuple[str, ...] | None = None
    velocity: bool = False

    def items(self) -> list[Item]:
        """One entry a sweep, in a fixed order. Nothing is decoded before `load`."""
        raise TypeError(f"{type(self).__name__} must define items")


class FileItem(Item):
    """A sweep without labels.

    Args:
        path: of the sweep.
        columns: float32 numbers a point, of a .bin file.
    """

    def __init__(self, path: Path, columns: int = 4):
        self.path, self.columns, self.name = path, columns, path.stem

    def load(self) -> Frame:
        return Frame(read_cloud(self.path, self.columns), empty_boxes(), ())


def empty_boxes(columns: int = 7) -> Tensor:
    """(0, columns)."""
    return torch.zeros(0, columns)
