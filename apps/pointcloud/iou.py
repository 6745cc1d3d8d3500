"""Overlap of oriented boxes in plain torch: exact, differentiable, and in single precision too.

The area of a rectangle that another one covers is a boundary integral. With the second rectangle at the origin, along
the axes and with half sides (a, b), and the first one's corners taken round,

    area = | sum over its edges of the integral of clamp(y, -b, b) dx over the part of the edge with |x| <= a |

Each integral is a sum of at most three trapezoids, so that a pair costs a few dozen operations, without sorting corners
and without cases: the sum is continuous in all numbers, parallel and coinciding edges included, where a clipped polygon
loses or doubles an edge by rounding. Coordinates are those of the pair, so boxes 100 km from the origin are as good as
boxes around it. Gradients are those of the area itself (edges that only touch have any of their one-sided ones).

    bev = area / (A + B - area)        3d = area * common height / (V + W - the same)

A box without area overlaps nothing: 0, never NaN. NaN in a box stays NaN.

`distance_iou` ignores the headings, as the release's regression loss does: the IoU of boxes along the axes minus the
squared distance of the centres over that of the outer corners. `nearest_bev_iou` turns every box to the nearer axis,
which is what SECOND's and PointPillars' anchors are assigned by.
"""

__all__ = ["bev_iou", "bev_overlap", "distance_iou", "iou_3d", "nearest_bev_iou", "pairwise_iou", "pairwise_overlap"]

import math

import torch
from torch import Tensor

from .boxes import wrap

CHUNK = 2**14
"""Pairs in one piece: what the operations pass on stays in the cache."""


def bev_overlap(a: Tensor, b: Tensor) -> Tensor:
    """(P,) common area seen from above of pairs a (P, 7 or 9), b (P, 7 or 9)."""
    return torch.cat([_overlap(*part) for part in zip(a.split(CHUNK), b.split(CHUNK), strict=True)])


def bev_iou(a: Tensor, b: Tensor) -> Tensor:
    """(P,) of pairs, seen from above."""
    return _ratio(bev_overlap(a, b), a[:, 3:5].clamp(min=0).prod(1), b[:, 3:5].clamp(min=0).prod(1))


def iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """(P,) of pairs."""
    shared = bev_overlap(a, b) * _common_height(a, b)
    return _ratio(shared, a[:, 3:6].clamp(min=0).prod(1), b[:, 3:6].clamp(min=0).prod(1))


def pairwise_overlap(a: Tensor, b: Tensor, *, height: bool = False) -> Tensor:
    """(M, K) common areas of boxes a (M, 7 or 9) and b (K, 7 or 9), volumes with `height`."""
    rows, columns = _candidates(a, b, height)
    first, second = a[rows], b[columns]
    shared = bev_overlap(first, second)
    if height:
        shared = shared * _common_height(first, second)
    return shared.new_zeros(len(a), len(b)).index_put((rows, columns), shared)


def pairwise_iou(a: Tensor, b: Tensor, *, height: bool = False) -> Tensor:
    """(M, K) of boxes a (M, 7 or 9) and b (K, 7 or 9): seen from above, or of volumes with `height`."""
    rows, columns = _candidates(a, b, height)
    values = (iou_3d if height else bev_iou)(a[rows], b[columns])
    return values.new_zeros(len(a), len(b)).index_put((rows, columns), values)


def _candidates(a: Tensor, b: Tensor, height: bool) -> tuple[Tensor, Tensor]:
    """Pairs whose circumscribed circles (and heights) meet; the others have nothing in common."""
    with torch.no_grad():
        reach = (a[:, 3:5].norm(dim=1)[:, None] + b[:, 3:5].norm(dim=1)) / 2
        dx, dy = a[:, None, 0] - b[:, 0], a[:, None, 1] - b[:, 1]
        # Written so that NaN counts as near: it must reach the result.
        apart = dx.square_().add_(dy.square_()) > reach.square_()
        if height:
            apart |= (a[:, None, 2] - b[:, 2]).abs_() > (a[:, None, 5] + b[:, 5]) / 2
        rows, columns = (~apart).nonzero(as_tuple=True)
    return rows, columns


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Of at most CHUNK pairs."""
    # Corners of a, seen from b. Only differences of coordinates occur.
    delta = a[:, :2] - b[:, :2]
    cos, sin = b[:, 6].cos(), b[:, 6].sin()
    x0, y0 = delta[:, 0] * cos + delta[:, 1] * sin, delta[:, 1] * cos - delta[:, 0] * sin
    turn = a[:, 6] - b[:, 6]
    cos, sin = turn.cos() / 2, turn.sin() / 2
    length, width = a[:, 3].clamp(min=0), a[:, 4].clamp(min=0)
    ux, uy, vx, vy = length * cos, length * sin, -width * sin, width * cos
    px = torch.stack([x0 + ux + vx, x0 + ux - vx, x0 - ux - vx, x0 - ux + vx])
    py = torch.stack([y0 + uy + vy, y0 + uy - vy, y0 - uy - vy, y0 - uy + vy])
    dx = -2 * torch.stack([vx, ux, -vx, -ux])
    dy = -2 * torch.stack([vy, uy, -vy, -uy])
    half_x, half_y = b[:, 3].clamp(min=0) / 2, b[:, 4].clamp(min=0) / 2
    begin, end = _within(px, dx, half_x)
    y_begin, y_end = py + begin * dy, py + end * dy
    # Where the edge enters and leaves |y| <= b does not change the integral to first order: constants.
    with torch.no_grad():
        enter, leave = _within(py, dy, half_y)
    enter = torch.minimum(torch.maximum(enter, begin), end)
    leave = torch.minimum(torch.maximum(leave, begin), end)
    middle = (leave - enter) * (py + (enter + leave) / 2 * dy)
    before = (enter - begin) * torch.minimum(torch.maximum(y_begin, -half_y), half_y)
    after = (end - leave) * torch.minimum(torch.maximum(y_end, -half_y), half_y)
    area = (dx * (before + middle + after)).sum(0).abs()
    # What rounding leaves of boxes that do not meet: NMS at a threshold of 0 must not see it.
    return torch.where(area < 4 * torch.finfo(area.dtype).eps * (length + width) * half_y, 0, area)


def _within(start: Tensor, step: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """The t in [0, 1] between which start + t step is in [-half, half]; an empty interval has both ends equal."""
    tiny = torch.finfo(step.dtype).tiny ** 0.5
    sure = torch.where(step.abs() < tiny, tiny, step)
    t, u = (-half - start) / sure, (half - start) / sure
    return torch.minimum(t, u).clamp(0, 1), torch.maximum(t, u).clamp(0, 1)


def _common_height(a: Tensor, b: Tensor) -> Tensor:
    return _common((a[:, 2] - b[:, 2]).abs(), a[:, 5].clamp(min=0), b[:, 5].clamp(min=0))


def _ratio(shared: Tensor, a: Tensor, b: Tensor) -> Tensor:
    shared = torch.minimum(shared, torch.minimum(a, b))
    union = a + b - shared
    return shared / torch.where(union <= 0, 1, union)


def distance_iou(a: Tensor, b: Tensor) -> Tensor:
    """(P,) in [-1, 1]: DIoU of pairs a (P, 7 or 9), b (P, 7 or 9) along the axes, whatever their headings."""
    delta = (a[:, :3] - b[:, :3]).abs()
    sides = a[:, 3:6].clamp(min=0), b[:, 3:6].clamp(min=0)
    common = _common(delta, *sides).prod(1)
    outer = torch.maximum(sum(sides) / 2 + delta, torch.maximum(*sides)).square().sum(1)
    return _ratio(common, *(s.prod(1) for s in sides)) - delta.square().sum(1) / torch.where(outer <= 0, 1, outer)


def nearest_bev_iou(a: Tensor, b: Tensor) -> Tensor:
    """(M, K) of boxes turned to the nearest multiple of 90 degrees, seen from above."""
    first, second = _upright(a)[:, None], _upright(b)
    common = _common((a[:, None, :2] - b[:, :2]).abs(), first, second)
    return _ratio(common.prod(2), first.prod(2), second.prod(1))


def _upright(boxes: Tensor) -> Tensor:
    """Extents (M, 2) along x and y."""
    along = wrap(boxes[:, 6], math.pi).abs() < math.pi / 4
    return torch.where(along[:, None], boxes[:, 3:5], boxes[:, [4, 3]]).clamp(min=0)


def _common(distance: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """What intervals of lengths a and b have in common; of one within the other its own length, to the last bit."""
    return torch.minimum((a + b) / 2 - distance, torch.minimum(a, b)).clamp(min=0)
