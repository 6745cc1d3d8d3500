"""What goes wrong with own data, said before training: boxes out of range, without points, of unknown classes."""

__all__ = ["Survey", "check_names", "clean", "inside_range", "survey"]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from apps.pointcloud.boxes import points_in_boxes
from core.errors import UserError, nearest

from .items import Frame


def check_names(frame: Frame, classes: Sequence[str], known: Sequence[str] | None, ignored: Sequence[str]) -> None:
    """Raises UserError for a box of a class that is neither trained on, nor the source's, nor ignored."""
    for name in frame.names:
        if name not in classes and name not in ignored and name not in (known or ()):
            raise UserError(
                f"{frame.where}: has a box of the class {name}, which is none of {', '.join(classes)}; rename it, or "
                f"name it in --data.classes or --data.ignored.{nearest(name, classes)}"
            )


def clean(points: Tensor) -> Tensor:
    """Without points that hold a number that is not finite."""
    finite = points.isfinite().all(1)
    return points if finite.all() else points[finite]


def inside_range(xyz: Tensor, point_range: Sequence[float]) -> Tensor:
    """(N,) bool: x, y, z in [least, greatest) of `xyz` (N, 3 or more)."""
    low, high = xyz.new_tensor(point_range[:3]), xyz.new_tensor(point_range[3:])
    return ((xyz[:, :3] >= low) & (xyz[:, :3] < high)).all(1)


class Survey(NamedTuple):
    """Counts over frames.

    Attributes:
        frames, empty: how many there are, and how many have no points within the range.
        points, outside, broken: of all points; outside the range; with a number that is not finite.
        boxes: class -> boxes.
        boxes_outside: class -> boxes whose centre is outside the range.
        boxes_empty: class -> boxes inside without a point.
        others: other classes -> boxes, which are not trained on.
    """

    frames: int
    empty: int
    points: int
    outside: int
    broken: int
    boxes: dict[str, int]
    boxes_outside: dict[str, int]
    boxes_empty: dict[str, int]
    others: dict[str, int]

    def lines(self) -> list[str]:
        """Sentences: the counts, and what to do about those that stand out."""
        share = self.outside / max(1, self.points)
        result = [
            f"{self.frames} sweeps ({self.empty} without points in the range), {self.points:,} points "
            f"({share:.0%} outside the range, {self.broken:,} not finite)"
        ]
        for name, number in self.boxes.items():
            result.append(
                f"{name}: {number} boxes, {self.boxes_outside[name]} with a centre outside the range, "
                f"{self.boxes_empty[name]} without points"
            )
        if self.others:
            listed = ", ".join(f"{name} {number}" for name, number in sorted(self.others.items()))
            result.append(f"not trained on: {listed}")
        for name, number in self.boxes.items():
            if not number:
                found = nearest(name, self.others)
                result.append(f"There is no box of {name}; check the names of --data.classes.{found}")
            elif 2 * self.boxes_outside[name] > number:
                result.append(
                    f"More than half of {name} is outside the range; widen --data.point_range, or check that z is that "
                    "of the centre."
                )
            elif 2 * self.boxes_empty[name] > number:
                result.append(
                    f"More than half of {name} has no points; check that labels and sweeps have the same axes, and "
                    "that dx is the length along the heading."
                )
        return result


def survey(frames: Iterable[Frame], classes: Sequence[str], point_range: Sequence[float]) -> Survey:
    """Counts over frames, as their sources give them."""
    number = empty = points = outside = broken = 0
    boxes, far, hollow = ({name: 0 for name in classes} for _ in range(3))
    others: dict[str, int] = {}
    for frame in frames:
        number += 1
        kept = clean(frame.points)
        inside = inside_range(kept, point_range)
        points += len(frame.points)
        broken += len(frame.points) - len(kept)
        outside += int((~inside).sum())
        empty += not inside.any()
        counts = points_in_boxes(kept, frame.boxes).sum(0)
        near = inside_range(frame.boxes, point_range)
        for n, name in enumerate(frame.names):
            if name not in boxes:
                others[name] = others.get(name, 0) + 1
                continue
            boxes[name] += 1
            far[name] += not near[n]
            hollow[name] += bool(near[n]) and not counts[n]
    return Survey(number, empty, points, outside, broken, boxes, far, hollow, others)
