"""What a centre head learns: heat around the centre of each box, and the box as numbers at its cell.

CenterPoint (Yin et al. 2021) as OpenPCDet has it. With c the centre in cells, i = floor(c), and the radius

    r = max(least, floor(min over three roots of (b + sqrt(b^2 - 4 a c)) / 2)),   see `gaussian_radius`

the heat of a class is the maximum over its boxes of exp(-(dx^2 + dy^2) / (2 s^2)), s = (2 r + 1) / 6, within r cells.
The codes of a box are (c - i, z, log sizes, cos heading, sin heading[, velocity]).

All boxes of a batch are drawn at once, as a list of their cells that is scattered by maximum; the release loops over
boxes on the host. Boxes stay a list, with the sample and the cell each belongs to, instead of 500 padded rows a sample.

Decided: a box whose centre is off the map is left out. The release moves it to the border, where the network then
learns an object that is not there, and centres in the outer half of the last cells to their middle; `official=True`
does so.
"""

__all__ = ["BevGrid", "CenterTargets", "center_targets", "gaussian_radius"]

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.layout import Ragged


class BevGrid(NamedTuple):
    """The map seen from above.

    Attributes:
        low: least x and y in metres.
        cell: extent of a cell along x and y in metres.
        size: cells along x and y.
    """

    low: tuple[float, float]
    cell: tuple[float, float]
    size: tuple[int, int]

    @classmethod
    def of(cls, point_range: Sequence[float], voxel: Sequence[float], stride: int) -> "BevGrid":
        """Of least x, y, z, greatest x, y, z, the size of a voxel and the map's stride against the voxels."""
        cell = (voxel[0] * stride, voxel[1] * stride)
        size = tuple(round((point_range[n + 3] - point_range[n]) / cell[n]) for n in range(2))
        return cls((point_range[0], point_range[1]), cell, (size[0], size[1]))


class CenterTargets(NamedTuple):
    """Of one group of classes; the K boxes of the batch that belong to it.

    Attributes:
        heat: (B, Y, X, classes of the group), 1 at centres.
        index: (K,) row of each box in the batch.
        sample: (K,) of each box.
        cell: (K,) y * X + x.
        codes: (K, 8 or 10).
        boxes: (K, 7 or 9).
    """

    heat: Tensor
    index: Tensor
    sample: Tensor
    cell: Tensor
    codes: Tensor
    boxes: Tensor


def gaussian_radius(dx: Tensor, dy: Tensor, overlap: float) -> Tensor:
    """(...,) how far, in cells, a corner pair may be off for the boxes (dx, dy in cells) still to overlap so much.

    The roots are those of three quadratic equations; as in the release the second and third are divided by 2 instead
    of 2 a, which makes radii larger than the derivation (Law and Deng 2018) has them.
    """
    total, area = dx + dy, dx * dy
    equations = (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    )
    roots = [(b + (b * b - 4 * a * c).sqrt()) / 2 for a, b, c in equations]
    return torch.minimum(torch.minimum(roots[0], roots[1]), roots[2])


@torch.no_grad()
def center_targets(
    boxes: Ragged,
    labels: Tensor,
    grid: BevGrid,
    classes: Sequence[int],
    *,
    overlap: float = 0.1,
    least: int = 2,
    official: bool = False,
) -> CenterTargets:
    """Of the boxes whose label is one of `classes`.

    Args:
        boxes: tokens (M, 7 or 9) of B samples; those with an extent of 0 or less are left out.
        labels: (M,) int64.
        grid: of the map.
        classes: labels of the group; heat has them in this order.
        overlap: of the radius.
        least: smallest radius in cells.
        official: boxes off the map are moved to its border.
    """
    tokens, sample = boxes.tokens, boxes.segment_ids()
    match = labels[:, None] == labels.new_tensor(list(classes))
    size = tokens.new_tensor(grid.size)
    centre = (tokens[:, :2] - tokens.new_tensor(grid.low)) / tokens.new_tensor(grid.cell)
    on_map = ((centre >= 0) & (centre < size)).all(1)
    if official:
        centre, on_map = torch.minimum(centre.clamp(min=0), size - 0.5), torch.ones_like(on_map)
    keep = (match.any(1) & on_map & (tokens[:, 3:6] > 0).all(1)).nonzero()[:, 0]
    tokens, sample, centre, local = tokens[keep], sample[keep], centre[keep], match[keep].int().argmax(1)
    corner = centre.long()
    codes = torch.cat(
        [
            centre - corner,
            tokens[:, 2:3],
            tokens[:, 3:6].log(),
            tokens[:, 6:7].cos(),
            tokens[:, 6:7].sin(),
            tokens[:, 7:],
        ],
        1,
    )
    extent = tokens[:, 3:5] / tokens.new_tensor(grid.cell)
    radius = gaussian_radius(extent[:, 0], extent[:, 1], overlap).long().clamp(min=least)
    heat = _heat(boxes.batch, grid.size, len(classes), sample, corner, local, radius, tokens.dtype)
    return CenterTargets(heat, keep, sample, corner[:, 1] * grid.size[0] + corner[:, 0], codes, tokens)


def _heat(
    batch: int,
    size: tuple[int, int],
    classes: int,
    sample: Tensor,
    corner: Tensor,
    label: Tensor,
    radius: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """(B, Y, X, classes): every box as the list of its (2 r + 1)^2 cells."""
    side = 2 * radius + 1
    number = side * side
    box = torch.repeat_interleave(number)
    place = torch.arange(len(box), device=box.device) - (number.cumsum(0) - number)[box]
    dy, dx = place // side[box] - radius[box], place % side[box] - radius[box]
    x, y = corner[box, 0] + dx, corner[box, 1] + dy
    deviation = side.to(dtype) / 6
    value = torch.exp(-(dx * dx + dy * dy).to(dtype) / (2 * deviation * deviation)[box])
    inside = (x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1])
    at = ((sample[box] * size[1] + y) * size[0] + x) * classes + label[box]
    heat = torch.zeros(batch * size[1] * size[0] * classes, dtype=dtype, device=box.device)
    heat.scatter_reduce_(0, at[inside], value[inside], "amax")
    return heat.view(batch, size[1], size[0], classes)
