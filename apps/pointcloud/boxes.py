"""Oriented boxes in LiDAR axes: corners, points inside, and how boxes turn, mirror and grow with the scene.

A box is (x, y, z, dx, dy, dz, heading[, vx, vy]): the centre, the extents along its own axes and the angle of its x
axis, counter-clockwise about +z from +x. Axes are x forward, y left, z up; metres, radians. Boxes are tensors (..., 7
or 9) of any floating type; nothing is changed in place.

Corners come in the order bottom (+,+), (+,-), (-,-), (-,+), then the same at the top. A point on a face is inside.
Other sets have other axes: nuScenes names (width, length, height) and a quaternion (w, x, y, z), Argoverse 2 (length,
width, height) and the same quaternion; `heading_of` and `quaternion_of` translate. KITTI's camera is in `camera.py`.
"""

__all__ = [
    "box_of_points",
    "corners",
    "flip_x",
    "flip_y",
    "footprint",
    "heading_of",
    "points_in_boxes",
    "quaternion_of",
    "rotate",
    "rotation_matrix",
    "scale",
    "transform",
    "translate",
    "wrap",
]

import math

import torch
from torch import Tensor


def wrap(angle: Tensor, period: float = 2 * math.pi, offset: float = 0.5) -> Tensor:
    """Angles in [-offset * period, (1 - offset) * period)."""
    return angle - torch.floor(angle / period + offset) * period


def footprint(boxes: Tensor) -> Tensor:
    """(..., 4, 2) corners seen from above, clockwise: (+,+), (+,-), (-,-), (-,+)."""
    signs = boxes.new_tensor([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2
    local = boxes[..., None, 3:5] * signs
    cos, sin = boxes[..., 6, None].cos(), boxes[..., 6, None].sin()
    x, y = local[..., 0], local[..., 1]
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1) + boxes[..., None, :2]


def corners(boxes: Tensor) -> Tensor:
    """(..., 8, 3)."""
    flat = footprint(boxes)
    half = boxes[..., 5, None, None] / 2
    middle = boxes[..., 2, None, None]
    bottom, top = ((middle + side * half).expand(*flat.shape[:-1], 1) for side in (-1, 1))
    return torch.cat([torch.cat([flat, bottom], -1), torch.cat([flat, top], -1)], -2)


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """(N, M) bool: point n, of `points` (N, 3 + F), lies in box m of `boxes` (M, 7 or 9). NaN is outside."""
    inside = torch.zeros(len(points), len(boxes), dtype=torch.bool, device=points.device)
    for m, near in _near(points, boxes):
        inside[near, m] = _inside(points[near], boxes[m])
    return inside


def box_of_points(points: Tensor, boxes: Tensor) -> Tensor:
    """(N,) int64: the first box that a point lies in, -1 where there is none."""
    owner = torch.full((len(points),), -1, device=points.device)
    for m, near in _near(points, boxes):
        hit = near[_inside(points[near], boxes[m]) & (owner[near] < 0)]
        owner[hit] = m
    return owner


def _near(points: Tensor, boxes: Tensor):
    """Each box's number, and the points within its circumscribed square: one comparison a point and box is all that
    most of them need."""
    x, y = points[:, 0].contiguous(), points[:, 1].contiguous()
    reach = boxes[:, 3:5].norm(dim=1) / 2
    reach = reach * 1.001 + 1e-3
    for m, (low, high, left, right) in enumerate(
        torch.stack([boxes[:, 0] - reach, boxes[:, 0] + reach, boxes[:, 1] - reach, boxes[:, 1] + reach], 1).tolist()
    ):
        yield m, ((x > low) & (x < high) & (y > left) & (y < right)).nonzero()[:, 0]


def _inside(points: Tensor, box: Tensor) -> Tensor:
    delta = points[:, :3] - box[:3]
    cos, sin = box[6].cos(), box[6].sin()
    x = delta[:, 0] * cos + delta[:, 1] * sin
    y = delta[:, 1] * cos - delta[:, 0] * sin
    half = box[3:6] / 2
    return (x.abs() <= half[0]) & (y.abs() <= half[1]) & (delta[:, 2].abs() <= half[2])


def flip_x(boxes: Tensor) -> Tensor:
    """Mirrored at the x axis: y changes sign."""
    return _mirror(boxes, 1, -boxes[..., 6])


def flip_y(boxes: Tensor) -> Tensor:
    """Mirrored at the y axis: x changes sign."""
    return _mirror(boxes, 0, math.pi - boxes[..., 6])


def _mirror(boxes: Tensor, axis: int, heading: Tensor) -> Tensor:
    out = boxes.clone()
    out[..., axis] *= -1
    out[..., 6] = wrap(heading)
    if boxes.shape[-1] == 9:
        out[..., 7 + axis] *= -1
    return out


def rotate(boxes: Tensor, angle: float) -> Tensor:
    """Turned about the z axis through the origin, counter-clockwise."""
    out = boxes.clone()
    cos, sin = math.cos(angle), math.sin(angle)
    for at in (0, 7) if boxes.shape[-1] == 9 else (0,):
        x, y = boxes[..., at], boxes[..., at + 1]
        out[..., at], out[..., at + 1] = x * cos - y * sin, x * sin + y * cos
    out[..., 6] = wrap(boxes[..., 6] + angle)
    return out


def scale(boxes: Tensor, factor: float) -> Tensor:
    """Everything but the heading times `factor`."""
    out = boxes * factor
    out[..., 6] = boxes[..., 6]
    return out


def translate(boxes: Tensor, shift: Tensor) -> Tensor:
    """Moved by `shift` (3,)."""
    out = boxes.clone()
    out[..., :3] += shift.to(boxes)
    return out


def transform(boxes: Tensor, pose: Tensor) -> Tensor:
    """Into other axes: `pose` (4, 4) takes points there. The heading is that of the turned x axis, seen from above.

    Exact where the new z axis is the old one; a tilt of a few degrees is left out of the extents, as everywhere.
    """
    pose = pose.to(boxes)
    turn = pose[:3, :3]
    out = boxes.clone()
    out[..., :3] = boxes[..., :3] @ turn.T + pose[:3, 3]
    heading = boxes[..., 6]
    front = torch.stack([heading.cos(), heading.sin(), torch.zeros_like(heading)], -1) @ turn.T
    out[..., 6] = torch.atan2(front[..., 1], front[..., 0])
    if boxes.shape[-1] == 9:
        speed = torch.cat([boxes[..., 7:9], torch.zeros_like(boxes[..., :1])], -1) @ turn.T
        out[..., 7:9] = speed[..., :2]
    return out


def rotation_matrix(quaternion: Tensor) -> Tensor:
    """(..., 3, 3) of quaternions (..., 4) in the order w, x, y, z; they need not have length 1."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def heading_of(quaternion: Tensor) -> Tensor:
    """(...,) angle of the turned x axis, seen from above."""
    turn = rotation_matrix(quaternion)
    return torch.atan2(turn[..., 1, 0], turn[..., 0, 0])


def quaternion_of(heading: Tensor) -> Tensor:
    """(..., 4) w, x, y, z of a turn about z."""
    zero = torch.zeros_like(heading)
    return torch.stack([(heading / 2).cos(), zero, zero, (heading / 2).sin()], -1)
