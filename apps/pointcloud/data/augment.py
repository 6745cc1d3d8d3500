"""Scenes made different: objects of other scenes pasted in, then mirrored, turned, scaled and moved as a whole.

Pasting (Yan et al. 2018, "GT sampling") fills a scene up to a number of objects of each class with ones cut out of the
training frames, points and all, at the place where they were measured, if their box meets no other. It shows rare
classes often, and scenes that cannot be; the last epochs go without it ("fade-out", Wang et al. 2021).

Every draw is a function of (seed, number of the sample), whatever worker or rank makes it.
"""

__all__ = ["Augmentation", "Database", "database_of"]

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from apps.pointcloud import boxes as geometry
from apps.pointcloud.boxes import points_in_boxes
from apps.pointcloud.iou import pairwise_overlap
from core.errors import UserError

from .items import Frame


class Cutout(NamedTuple):
    """An object: its box (7 or 9,) and its points (n, 3 + F), where they were."""

    box: Tensor
    points: Tensor


class Database:
    """Objects cut out of frames, by class.

    Args:
        frames: of the training part; each is looked at once.
        least: points an object needs, for each class that is wanted.
    """

    def __init__(self, frames: Iterable[Frame], least: dict[str, int]):
        self.objects: dict[str, list[Cutout]] = {name: [] for name in least}
        for frame in frames:
            wanted = [n for n, name in enumerate(frame.names) if name in least]
            if not wanted or not len(frame.points):
                continue
            inside = points_in_boxes(frame.points, frame.boxes[wanted])
            for column, n in enumerate(wanted):
                own = inside[:, column]
                if int(own.sum()) >= least[frame.names[n]]:
                    self.objects[frame.names[n]].append(Cutout(frame.boxes[n].clone(), frame.points[own].clone()))

    def counts(self) -> dict[str, int]:
        """Objects of each class."""
        return {name: len(found) for name, found in self.objects.items()}


class Augmentation:
    """What happens to a training frame.

    Args:
        paste: class -> number of objects to fill a frame up to; none by default.
        least: class -> points an object needs to be pasted, 5 for those not named.
        last: epochs at the end that go without pasting.
        flip_x, flip_y: mirror at the x (y) axis in half of the cases.
        rotation: largest turn to either side, in degrees.
        scale: smallest and largest factor.
        shift: deviation of the move along each axis, in metres.
    """

    def __init__(
        self,
        paste: dict[str, int] | None = None,
        least: dict[str, int] | None = None,
        last: int = 4,
        flip_x: bool = True,
        flip_y: bool = False,
        rotation: float = 45.0,
        scale: tuple[float, float] = (0.95, 1.05),
        shift: float = 0.0,
    ):
        if not 0 < scale[0] <= scale[1] or rotation < 0 or shift < 0 or last < 0:
            raise UserError(
                f"--data.augmentation: scale {scale} must rise from above 0, rotation {rotation:g}, shift {shift:g} "
                f"and last {last} must not be negative."
            )
        self.paste, self.last = paste or {}, last
        self.least = {name: (least or {}).get(name, 5) for name in self.paste}
        self.flip_x, self.flip_y, self.rotation, self.scale, self.shift = flip_x, flip_y, rotation, scale, shift

    def __call__(self, frame: Frame, rng: np.random.Generator, database: Database | None = None) -> Frame:
        """Another frame; calibration, pose and truth do not hold any more and are left out."""
        points, boxes, names = frame.points, frame.boxes, frame.names
        if database is not None:
            points, boxes, names = self._pasted(points, boxes, names, rng, database)
        for wanted, move, axis in ((self.flip_x, geometry.flip_x, 1), (self.flip_y, geometry.flip_y, 0)):
            if wanted and rng.random() < 0.5:
                points, boxes = points.clone(), move(boxes)
                points[:, axis] *= -1
        if self.rotation:
            angle = math.radians(rng.uniform(-self.rotation, self.rotation))
            turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            points = torch.cat([points[:, :2] @ turn, points[:, 2:]], 1)
            boxes = geometry.rotate(boxes, angle)
        if self.scale != (1.0, 1.0):
            factor = float(rng.uniform(*self.scale))
            points = torch.cat([points[:, :3] * factor, points[:, 3:]], 1)
            boxes = geometry.scale(boxes, factor)
        if self.shift:
            move = torch.from_numpy(rng.normal(0, self.shift, 3)).float()
            points = torch.cat([points[:, :3] + move, points[:, 3:]], 1)
            boxes = geometry.translate(boxes, move)
        return Frame(points, boxes, names, where=frame.where)

    def _pasted(
        self, points: Tensor, boxes: Tensor, names: tuple[str, ...], rng: np.random.Generator, database: Database
    ) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        chosen: list[tuple[str, Cutout]] = []
        for name, number in self.paste.items():
            pool = database.objects.get(name, [])
            missing = min(number - names.count(name), len(pool))
            if missing > 0:
                chosen += [(name, pool[n]) for n in rng.choice(len(pool), missing, replace=False)]
        if not chosen:
            return points, boxes, names
        offered = torch.stack([cutout.box for _, cutout in chosen]).to(boxes)
        everything = torch.cat([boxes, offered])
        meets = (pairwise_overlap(everything, everything) > 0).numpy()
        kept = list(range(len(boxes)))
        for n in range(len(boxes), len(everything)):
            if not meets[n, kept].any():
                kept.append(n)
        added = [chosen[n - len(boxes)] for n in kept[len(boxes) :]]
        if not added:
            return points, boxes, names
        new = torch.stack([cutout.box for _, cutout in added]).to(boxes)
        room = new.clone()
        room[:, 3:6] += 0.2  # what stood there would be seen through the new object
        points = points[~points_in_boxes(points, room).any(1)]
        points = torch.cat([points, *(cutout.points.to(points) for _, cutout in added)])
        return points, torch.cat([boxes, new]), (*names, *(name for name, _ in added))


def database_of(frames: Iterable[Frame], augmentation: Augmentation | None) -> Database | None:
    """Of what an augmentation pastes; None where it pastes nothing."""
    return Database(frames, augmentation.least) if augmentation is not None and augmentation.paste else None
