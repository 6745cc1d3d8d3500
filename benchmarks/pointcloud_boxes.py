"""Oriented boxes beside their peers, one thread.

    rotated_iou     500 x 500 IoU seen from above beside shapely, polygons built within the time
    center_targets  what a centre head learns, beside the release's loop over boxes (a transcription)

shapely gets all pairs in one vectorised call, 2 to 4 times faster than a loop over its polygons. In a street of 100 m
few pairs meet; `at one place` all do, so that nothing is left out beforehand.
"""

__all__ = ["GROUPS", "some_boxes"]

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import shapely
import torch
from torch import Tensor

from apps.pointcloud.boxes import footprint
from apps.pointcloud.iou import pairwise_iou
from apps.pointcloud.models.targets import BevGrid, center_targets
from benchmarks.harness import Ratio, compare
from benchmarks.peers.center_targets import loop_targets
from core.layout import Ragged

Row = tuple[str, Ratio, float | None]


def some_boxes(count: int, spread: float, seed: int) -> Tensor:
    """(count, 7) boxes 0.5 to 4.5 m long within `spread` metres."""
    r = torch.rand(count, 7, generator=torch.Generator().manual_seed(seed))
    low = r.new_tensor([-spread / 2, -spread / 2, 0, 0.5, 0.5, 1, 0])
    size = r.new_tensor([spread, spread, 1, 4, 2, 1, 2 * math.pi])
    return low + r * size


def polygons(a: Tensor, b: Tensor) -> Tensor:
    """(M, K) IoU by shapely."""
    first, second = (shapely.polygons(footprint(boxes.double()).numpy()) for boxes in (a, b))
    shared = shapely.area(shapely.intersection(first[:, None], second[None]))
    return torch.from_numpy(shared / (shapely.area(first)[:, None] + shapely.area(second) - shared))


def rotated_iou(repeats: int) -> Iterator[Row]:
    for name, spread in (("in a street of 100 m", 100.0), ("in 40 m", 40.0), ("at one place", 1.0)):
        a, b = some_boxes(500, spread, 0), some_boxes(500, spread, 1)
        error = np.abs((pairwise_iou(a, b) - polygons(a, b)).numpy()).max()
        if not error < 1e-5:
            raise AssertionError(f"results differ by {error:.1e}")
        ratio = compare(partial(pairwise_iou, a, b), partial(polygons, a, b), max(3, repeats // 3))
        yield f"rotated IoU 500 x 500 {name} (error {error:.0e}): shapely", ratio, 100.0


def targets(repeats: int) -> Iterator[Row]:
    """Three classes, on a map of 0.64 m cells as Waymo's, or of 0.32 m cells as KITTI's, whose few boxes take less time
    than setting the map to 0, which both sides must."""
    cases = (
        ("240 x 240 cells, 4 samples of 60 boxes", BevGrid((-76.8, -76.8), (0.64, 0.64), (240, 240)), 4, 60, 10.0),
        ("216 x 248 cells, 4 samples of 8 boxes", BevGrid((0.0, -39.68), (0.32, 0.32), (216, 248)), 4, 8, None),
    )
    for name, grid, batch, number, demand in cases:
        extent = grid.size[0] * grid.cell[0], grid.size[1] * grid.cell[1]
        boxes = some_boxes(batch * number, 1.0, 0)
        for axis in range(2):
            boxes[:, axis] = (boxes[:, axis] + 0.5) * extent[axis] + grid.low[axis]
        ragged = Ragged(boxes, torch.arange(0, batch * number + 1, number))
        labels = torch.arange(len(boxes)) % 3
        run = partial(center_targets, ragged, labels, grid, [0, 1, 2], official=True)
        ours, theirs = run(), loop_targets(ragged, labels, grid, [0, 1, 2])
        error = (ours.heat.permute(0, 3, 1, 2) - theirs[0]).abs().max().item()
        error = max(error, (ours.codes - theirs[1][theirs[3] > 0]).abs().max().item())
        if not error < 1e-5:
            raise AssertionError(f"targets differ by {error:.1e}")
        ratio = compare(run, partial(loop_targets, ragged, labels, grid, [0, 1, 2]), repeats)
        yield f"centre targets, {name}: the release's loop", ratio, demand


GROUPS = {"rotated_iou": rotated_iou, "center_targets": targets}
