"""KITTI's label lines: what a frame's objects are in camera axes, read, written and turned to LiDAR boxes.

A line is: name, truncated (0 to 1), occluded (0 to 3), alpha, the image box x1 y1 x2 y2, the dimensions h w l, the
location x y z of the bottom's centre in camera axes, rotation_y and, of detections, the score. Unknown values are -1
(truncated, occluded), -10 (alpha) and -1000 (location), as the benchmark writes them. Lines of `DontCare` mark regions
of the image that were not annotated.
"""

__all__ = ["DONT_CARE", "KittiLabels", "labels_of_boxes", "parse_labels", "read_labels", "write_labels"]

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError

from .camera import Calibration, alpha, camera_boxes, image_boxes, lidar_boxes

Numbers = NDArray[np.float64]
DONT_CARE = "DontCare"


class KittiLabels(NamedTuple):
    """The M objects or detections of a frame.

    names (M,) text, truncated, occluded, alpha (M,), bbox (M, 4), hwl (M, 3), location (M, 3), rotation_y (M,),
    score (M,), 1 for annotations.
    """

    names: NDArray[np.str_]
    truncated: Numbers
    occluded: Numbers
    alpha: Numbers
    bbox: Numbers
    hwl: Numbers
    location: Numbers
    rotation_y: Numbers
    score: Numbers

    @property
    def count(self) -> int:
        """M."""
        return len(self.names)

    def select(self, which: NDArray) -> "KittiLabels":
        """Some of them, by a mask or by their numbers."""
        return KittiLabels(*(getattr(self, name)[which] for name in self._fields))

    def boxes(self, calibration: Calibration) -> Tensor:
        """(M, 7) float32 in LiDAR axes; those of DontCare mean nothing."""
        columns = (torch.from_numpy(column) for column in (self.location, self.hwl, self.rotation_y))
        return lidar_boxes(*columns, calibration).float()


def parse_labels(text: str, where: str | Path) -> KittiLabels:
    """Lines of a label file.

    Args:
        text: 15 columns a line, 16 with scores.
        where: name of the file, for errors.

    Raises:
        UserError: a line of another form; the sentence names file and line.
    """
    names, rows = [], []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (15, 16):
            raise UserError(
                f"{where} line {number}: has {len(fields)} columns; a KITTI label has 15, or 16 with a score."
            )
        try:
            values = [float(field) for field in fields[1:]]
        except ValueError as error:
            raise UserError(f"{where} line {number}: {error}; all columns but the first are numbers.") from None
        if not np.isfinite(values).all():
            raise UserError(f"{where} line {number}: holds a number that is not finite; remove the line.")
        if fields[0] != DONT_CARE and min(values[7:10]) <= 0:
            raise UserError(
                f"{where} line {number}: {fields[0]} has the dimensions {' '.join(fields[8:11])}; they must be above 0."
            )
        names.append(fields[0])
        rows.append([*values, 1.0][:15])
    table = np.array(rows, dtype=np.float64).reshape(-1, 15)
    return KittiLabels(
        np.array(names, dtype=np.str_),
        *table[:, :3].T.copy(),
        table[:, 3:7],
        table[:, 7:10],
        table[:, 10:13],
        *table[:, 13:].T.copy(),
    )


def read_labels(path: str | Path) -> KittiLabels:
    """Of a label file.

    Raises:
        UserError: it is not there or not a label file.
    """
    try:
        return parse_labels(Path(path).read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; every sweep needs its label file.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text; a label file has a line an object.") from None


def write_labels(labels: KittiLabels) -> str:
    """Lines with scores, two decimals of pixels and four of the others."""
    lines = []
    for n, name in enumerate(labels.names):
        bbox = " ".join(f"{v:.2f}" for v in labels.bbox[n])
        others = (*labels.hwl[n], *labels.location[n], labels.rotation_y[n], labels.score[n])
        lines.append(
            f"{name} {labels.truncated[n]:g} {labels.occluded[n]:g} {labels.alpha[n]:.4f} {bbox} "
            + " ".join(f"{v:.4f}" for v in others)
        )
    return "".join(line + "\n" for line in lines)


def labels_of_boxes(
    boxes: Tensor, names: Sequence[str], calibration: Calibration, scores: Tensor | None = None
) -> KittiLabels:
    """LiDAR boxes (M, 7 or 9) as labels, as the benchmark wants detections: truncated and occluded are unknown, -1."""
    boxes = boxes.detach().cpu().double()
    location, hwl, rotation_y = camera_boxes(boxes, calibration)
    unknown = np.full(len(boxes), -1.0)
    return KittiLabels(
        np.array(names, dtype=np.str_).reshape(len(boxes)),
        unknown,
        unknown.copy(),
        alpha(location, rotation_y).numpy(),
        image_boxes(boxes, calibration).numpy(),
        hwl.numpy(),
        location.numpy(),
        rotation_y.numpy(),
        np.ones(len(boxes)) if scores is None else scores.detach().cpu().double().numpy(),
    )
