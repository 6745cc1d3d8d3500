"""Targets of a centre head as OpenPCDet's release draws them: a transcription of its operations, one box at a time.

For each sample the boxes of the group are picked in a loop, and each box is drawn by a Gaussian patch made in numpy and
a maximum over a slice of the heat map, with numbers read back one by one.
"""

__all__ = ["loop_targets"]

import numpy as np
import torch
from torch import Tensor

from apps.pointcloud.models.targets import BevGrid, gaussian_radius
from core.layout import Ragged


def _patch(radius: int) -> Tensor:
    side = np.arange(-radius, radius + 1)
    sigma = (2 * radius + 1) / 6
    values = np.exp(-(side[None] * side[None] + side[:, None] * side[:, None]) / (2 * sigma * sigma))
    values[values < np.finfo(values.dtype).eps * values.max()] = 0
    return torch.from_numpy(values)


def loop_targets(
    boxes: Ragged, labels: Tensor, grid: BevGrid, classes: list[int], most: int = 500
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heat (B, classes, Y, X), padded codes (B, most, 8), cells (B, most) and mask (B, most)."""
    heats, codes, cells, masks = [], [], [], []
    for segment, label in zip(boxes.segments(), labels.split(boxes.lengths.tolist()), strict=True):
        own = []
        for n, name in enumerate(label.tolist()):
            if name in classes:
                own.append(torch.cat([segment.tokens[n], torch.tensor([classes.index(name)])])[None])
        gt = torch.cat(own) if own else torch.zeros(0, 8)
        heat = torch.zeros(len(classes), grid.size[1], grid.size[0])
        code, cell, mask = torch.zeros(most, 8), torch.zeros(most).long(), torch.zeros(most).long()
        x = torch.clamp((gt[:, 0] - grid.low[0]) / grid.cell[0], min=0, max=grid.size[0] - 0.5)
        y = torch.clamp((gt[:, 1] - grid.low[1]) / grid.cell[1], min=0, max=grid.size[1] - 0.5)
        centre = torch.stack([x, y], 1)
        corner = centre.int()
        dx, dy = gt[:, 3] / grid.cell[0], gt[:, 4] / grid.cell[1]
        radii = torch.clamp_min(gaussian_radius(dx, dy, 0.1).int(), min=2)
        for k in range(min(most, len(gt))):
            if dx[k] <= 0 or dy[k] <= 0:
                continue
            if not (0 <= corner[k][0] <= grid.size[0] and 0 <= corner[k][1] <= grid.size[1]):
                continue
            plane = heat[gt[k, -1].long()]
            radius, at_x, at_y = radii[k].item(), int(centre[k][0]), int(centre[k][1])
            left, right = min(at_x, radius), min(grid.size[0] - at_x, radius + 1)
            top, bottom = min(at_y, radius), min(grid.size[1] - at_y, radius + 1)
            part = plane[at_y - top : at_y + bottom, at_x - left : at_x + right]
            patch = _patch(radius)[radius - top : radius + bottom, radius - left : radius + right].float()
            torch.max(part, patch, out=part)
            cell[k] = corner[k, 1] * grid.size[0] + corner[k, 0]
            mask[k] = 1
            code[k, 0:2] = centre[k] - corner[k].float()
            code[k, 2] = gt[k, 2]
            code[k, 3:6] = gt[k, 3:6].log()
            code[k, 6] = torch.cos(gt[k, 6])
            code[k, 7] = torch.sin(gt[k, 6])
        for store, value in ((heats, heat), (codes, code), (cells, cell), (masks, mask)):
            store.append(value)
    return torch.stack(heats), torch.stack(codes), torch.stack(cells), torch.stack(masks)
