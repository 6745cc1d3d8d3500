"""From maps to detections.

A centre head's best cells become boxes, scores may be mended by the predicted IoU, and overlapping boxes are removed:
by class with limits of each (`thresholds` has one a class), or whatever the class within a group (one threshold).

    score = heat^(1 - a) clamp((iou + 1) / 2, 0, 1)^a        a = rectify[class]; the threshold is for the raw heat

The release takes the best of each class and then the best of those, which are the best of all; here they are taken at
once. No 3 x 3 maximum picks peaks beforehand, in the release neither.
"""

__all__ = ["CenterDecoder", "Detections", "boxes_of_codes"]

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from apps.pointcloud.models.targets import BevGrid
from apps.pointcloud.nms import nms, nms_by_class


class Detections(NamedTuple):
    """Of one sample.

    Attributes:
        boxes: (K, 7 or 9).
        scores: (K,) in [0, 1].
        labels: (K,) int64 from 0.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def boxes_of_codes(codes: Tensor, cell: Tensor, grid: BevGrid) -> Tensor:
    """(..., 7 or 9) boxes of codes (..., 8 or 10) at cells (...,): y * X + x."""
    x = (cell % grid.size[0] + codes[..., 0]) * grid.cell[0] + grid.low[0]
    y = (cell // grid.size[0] + codes[..., 1]) * grid.cell[1] + grid.low[1]
    heading = torch.atan2(codes[..., 7], codes[..., 6])
    return torch.cat(
        [torch.stack([x, y, codes[..., 2]], -1), codes[..., 3:6].exp(), heading[..., None], codes[..., 8:]], -1
    )


class CenterDecoder:
    """Detections of a centre head's maps.

    Args:
        grid: of the map.
        groups: labels of each head's classes.
        thresholds: IoU above which a box is removed: one a class, or one number for all classes of a group together.
        limit: best cells that are looked at, a sample and group.
        least: smallest heat.
        centre_range: least x, y, z and greatest x, y, z of centres.
        rectify: exponent of the IoU for each class; without, scores are the heat.
        pre, post: boxes before and after the removal, of each class, of all classes alike or of the group.
    """

    def __init__(
        self,
        grid: BevGrid,
        groups: Sequence[Sequence[int]],
        thresholds: Sequence[float] | float = 0.7,
        limit: int = 500,
        least: float = 0.1,
        centre_range: Sequence[float] | None = None,
        rectify: Sequence[float] | None = None,
        pre: Sequence[int] | int = 4096,
        post: Sequence[int] | int = 500,
    ) -> None:
        self.grid, self.groups, self.thresholds = grid, [list(group) for group in groups], thresholds
        self.limit, self.least, self.centre_range, self.rectify = limit, least, centre_range, rectify
        self.pre, self.post = pre, post

    @torch.no_grad()
    def __call__(self, outputs: Sequence[dict[str, Tensor]]) -> list[Detections]:
        """One entry a sample, of the maps of every group (`CenterHead`); none are `Detections` of no boxes."""
        groups = [self._group(maps, group) for maps, group in zip(outputs, self.groups, strict=True)]
        return [
            Detections(*(torch.cat(parts) for parts in zip(*sample, strict=True)))
            for sample in zip(*groups, strict=True)
        ]

    def _group(self, maps: dict[str, Tensor], group: list[int]) -> list[Detections]:
        heat = maps["heat"].float() if maps["heat"].dtype != torch.float64 else maps["heat"]
        batch, classes = heat.shape[0], heat.shape[-1]
        best, place = heat.sigmoid().flatten(1).topk(min(self.limit, heat[0].numel()))
        cell = place // classes
        labels = torch.tensor(group, device=heat.device)[place % classes]
        codes = torch.cat([maps[name] for name in CODES if name in maps], -1).to(heat).flatten(1, 2)
        boxes = boxes_of_codes(codes.gather(1, cell[..., None].expand(-1, -1, codes.shape[-1])), cell, self.grid)
        scores = best
        if self.rectify is not None and "iou" in maps:
            iou = maps["iou"].to(heat).flatten(1).gather(1, cell)
            power = torch.tensor(self.rectify, dtype=heat.dtype, device=heat.device)[labels]
            scores = best.pow(1 - power) * ((iou + 1) / 2).clamp(0, 1).pow(power)
        keep = (best > self.least) & boxes.isfinite().all(-1)
        if self.centre_range is not None:
            low, high = (boxes.new_tensor(self.centre_range[n : n + 3]) for n in (0, 3))
            keep &= ((boxes[..., :3] >= low) & (boxes[..., :3] <= high)).all(-1)
        return [self._chosen(boxes[n][keep[n]], scores[n][keep[n]], labels[n][keep[n]]) for n in range(batch)]

    def _chosen(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
        if isinstance(self.thresholds, int | float):
            pre, post = (n if isinstance(n, int) else n[0] for n in (self.pre, self.post))
            kept = nms(boxes, scores, self.thresholds, pre=pre, post=post)
        else:
            kept = nms_by_class(boxes, scores, labels, self.thresholds, pre=self.pre, post=self.post)
        return Detections(boxes[kept], scores[kept], labels[kept])


CODES = ("offset", "height", "size", "turn", "velocity")
"""Maps whose channels, side by side, are a box's codes."""
