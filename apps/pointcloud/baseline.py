"""Detection without learning, to stand in every table: what rises from the ground, in clusters, takes the size it is
nearest to.

Ground is the lowest point of each metre, smoothed; points .3 to 2.6 m above it are rasterised in .25 m, connected cells
are a cluster (Klasing et al. 2008 and many before), its rectangle is the one of 90 headings whose sides the points lie
closest to, and its class that whose mean size it resembles most, if any. A sensor sees the near sides of a thing alone,
so the box has the class's mean size, moved away from the sensor. Scores fall with the misfit and rise with the number
of points.
"""

__all__ = ["ClusterDetector"]

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from apps.pointcloud.models.decode import Detections

Floats = NDArray[np.float64]
CELL, GROUND_CELL = 0.25, 1.0
LOW, HIGH = 0.3, 2.6
LEAST_POINTS = 5
SEARCHED, CLOSE = 200, 0.1


class ClusterDetector:
    """Clusters as boxes.

    Args:
        sizes: mean (dx, dy, dz) of each class, in metres.
        point_range: least x, y, z and greatest x, y, z.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], point_range: Sequence[float]):
        self.sizes = np.asarray(sizes, np.float64).reshape(-1, 3)
        self.low, self.high = np.asarray(point_range[:2], np.float64), np.asarray(point_range[3:5], np.float64)

    def __call__(self, points: Tensor) -> Detections:
        """Of the points (N, 3 or more) of one sweep."""
        xyz = points[:, :3].double().cpu().numpy()
        if not len(xyz) or not len(self.sizes):
            return _none()
        ground = self._ground(xyz)
        above = xyz[:, 2] - ground
        things, above = xyz[(above > LOW) & (above < HIGH)], above[(above > LOW) & (above < HIGH)]
        if not len(things):
            return _none()
        shape = np.ceil((self.high - self.low) / CELL).astype(int)
        cells = np.clip(((things[:, :2] - self.low) / CELL).astype(int), 0, shape - 1)
        occupied = np.zeros(shape, bool)
        occupied[tuple(cells.T)] = True
        numbers, count = ndimage.label(occupied, np.ones((3, 3)))
        own = numbers[tuple(cells.T)]
        order = np.argsort(own, kind="stable")
        ends = np.searchsorted(own[order], np.arange(1, count + 2))
        found = [self._box(things[rows], above[rows]) for rows in np.split(order, ends[:-1])[1:] if len(rows)]
        rows = [row for row in found if row is not None]
        if not rows:
            return _none()
        boxes, scores, labels = zip(*rows, strict=True)
        return Detections(torch.from_numpy(np.stack(boxes)).float(), torch.tensor(scores).float(), torch.tensor(labels))

    def _ground(self, xyz: Floats) -> Floats:
        """(N,) height of the ground below each point."""
        shape = np.ceil((self.high - self.low) / GROUND_CELL).astype(int)
        cells = np.clip(((xyz[:, :2] - self.low) / GROUND_CELL).astype(int), 0, shape - 1)
        lowest = np.full(shape, np.inf)
        np.minimum.at(lowest, tuple(cells.T), xyz[:, 2])
        usual = np.median(lowest[np.isfinite(lowest)])
        lowest = np.where(np.isfinite(lowest), lowest, usual)
        # A roof without ground below it is no ground: the lowest of the neighbours.
        return ndimage.minimum_filter(lowest, 5)[tuple(cells.T)]

    def _box(self, points: Floats, above: Floats) -> tuple[Floats, float, int] | None:
        """Box, score and label of a cluster; None if it is like none of the classes."""
        if len(points) < LEAST_POINTS:
            return None
        headings = np.deg2rad(np.arange(0, 90))
        axes = np.stack([np.cos(headings), np.sin(headings)], 1)
        along = points[:, :2] @ axes.T
        across = points[:, :2] @ np.stack([-axes[:, 1], axes[:, 0]])
        # The rectangle that points lie close to (Zhang et al. 2017): the one of least area may lie across a corner.
        some = slice(None, None, -(-len(points) // SEARCHED))
        gaps = [np.minimum(t[some] - t.min(0), t.max(0) - t[some]) for t in (along, across)]
        best = int((1 / np.maximum(np.minimum(*gaps), CLOSE)).sum(0).argmax())
        extent = np.array([np.ptp(along[:, best]), np.ptp(across[:, best])])
        heading = headings[best] + (np.pi / 2 if extent[1] > extent[0] else 0.0)
        seen = np.array([extent.max(), extent.min(), above.max()])
        # Less may be seen of a thing than there is, but hardly more.
        misfit = np.log(np.maximum(seen, 0.1) / self.sizes)
        cost = np.where(misfit > 0, 3 * misfit, -misfit * (1.0, 0.5, 1.0)).sum(1)
        label = int(cost.argmin())
        if cost[label] > 2.0:
            return None
        size = self.sizes[label]
        middle = np.array([along[:, best].min() + extent[0] / 2, across[:, best].min() + extent[1] / 2])
        centre = axes[best] * middle[0] + np.array([-axes[best][1], axes[best][0]]) * middle[1]
        # The near sides are what is seen: the rest lies behind, seen from the sensor.
        direction = np.array([np.cos(heading), np.sin(heading)])
        side = np.array([-direction[1], direction[0]])
        for axis, missing in ((direction, size[0] - seen[0]), (side, size[1] - seen[1])):
            centre = centre + axis * np.sign(axis @ centre) * max(missing, 0.0) / 2
        floor = float((points[:, 2] - above).mean())
        score = np.exp(-cost[label]) * len(points) / (len(points) + 20)
        return np.array([*centre, floor + size[2] / 2, *size, heading]), float(score), label


def _none() -> Detections:
    return Detections(torch.zeros(0, 7), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
