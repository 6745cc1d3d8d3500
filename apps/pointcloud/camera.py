"""KITTI's camera: its axes, the boxes of its labels, and what a LiDAR box covers of the image.

Rectified camera axes are x right, y down, z forward. A label names the centre of the BOTTOM face there, the dimensions
(h, w, l) and rotation_y, the angle about the camera's y from its x. With R0 and Tr padded to 4 x 4,

    lidar = (R0 Tr)^-1 camera,     heading = -rotation_y - pi/2,     z of the centre = z of the bottom + h/2,
    alpha = rotation_y - atan2(x, z) of the label's location, in [-pi, pi)

Pixels are P2 R0 Tr (x, y, z, 1), divided by the third number; `official=True` divides by the camera's z as OpenPCDet
does, which differs by P2[2, 3], about 3 mm, and moves an image box by up to half a pixel at 8 m.

A box stands upright in camera axes, as it was annotated; in LiDAR axes, tilted by a degree against them, it is upright
too. Image boxes are of the former, which is what KITTI's evaluation has seen.

What is behind the camera has no pixel: an image box is that of the part at least 0.1 m in front of it, and empty,
(0, 0, 0, 0), where there is none. The release projects corners behind the camera through its centre.
"""

__all__ = ["Calibration", "alpha", "camera_boxes", "image_boxes", "in_view", "lidar_boxes", "pinhole", "project"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .boxes import corners, wrap

NEAREST = 0.1
EDGES = [[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3], [1, 2, 3, 0, 5, 6, 7, 4, 4, 5, 6, 7]]
"""The corners that the twelve edges of a box join, in the order of `boxes.corners`."""


class Calibration(NamedTuple):
    """Of one sweep, float64.

    Attributes:
        p2: (3, 4) rectified camera axes to pixels of the left colour camera.
        to_camera: (4, 4) LiDAR to rectified camera axes, R0 Tr.
        image_size: (width, height) in pixels.
    """

    p2: Tensor
    to_camera: Tensor
    image_size: tuple[int, int] = (1242, 375)


def pinhole(height: float = 0.0) -> Calibration:
    """KITTI's left colour camera as an ideal one: focal length 721.5, centre (609.6, 172.9), 1242 x 375 pixels.

    Args:
        height: of the camera above the LiDAR's origin, in metres.
    """
    p2 = torch.tensor([[721.5, 0, 609.6, 0], [0, 721.5, 172.9, 0], [0, 0, 1, 0]], dtype=torch.float64)
    axes = torch.tensor([[0, -1, 0, 0], [0, 0, -1, height], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
    return Calibration(p2, axes)


def lidar_boxes(location: Tensor, hwl: Tensor, rotation_y: Tensor, calibration: Calibration) -> Tensor:
    """(M, 7) of a label's columns: location (M, 3), dimensions in file order (M, 3), rotation_y (M,)."""
    back = torch.linalg.inv(calibration.to_camera).to(location)
    centre = location @ back[:3, :3].T + back[:3, 3]
    h, w, length = hwl.unbind(-1)
    x, y, z = centre.unbind(-1)
    return torch.stack([x, y, z + h / 2, length, w, h, -rotation_y - math.pi / 2], -1)


def camera_boxes(boxes: Tensor, calibration: Calibration) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse: location (M, 3), hwl (M, 3) and rotation_y (M,) in [-pi, pi)."""
    to = calibration.to_camera.to(boxes)
    bottom = torch.cat([boxes[:, :2], boxes[:, 2:3] - boxes[:, 5:6] / 2], 1)
    return bottom @ to[:3, :3].T + to[:3, 3], boxes[:, [5, 4, 3]], wrap(-boxes[:, 6] - math.pi / 2)


def alpha(location: Tensor, rotation_y: Tensor) -> Tensor:
    """(M,) angle of a box against the ray that it is seen along, in [-pi, pi)."""
    return wrap(rotation_y - torch.atan2(location[..., 0], location[..., 2]))


def project(points: Tensor, calibration: Calibration) -> tuple[Tensor, Tensor]:
    """Pixels (..., 2) and depth (...,) in metres of points (..., 3) in LiDAR axes."""
    to = calibration.to_camera.to(points)
    return _pixels(points @ to[:3, :3].T + to[:3, 3], calibration, official=False)


def _pixels(camera: Tensor, calibration: Calibration, official: bool) -> tuple[Tensor, Tensor]:
    p2 = calibration.p2.to(camera)
    pixel = camera @ p2[:, :3].T + p2[:, 3]
    return pixel[..., :2] / (camera if official else pixel)[..., 2:], camera[..., 2]


def image_boxes(boxes: Tensor, calibration: Calibration, *, official: bool = False) -> Tensor:
    """(M, 4) x1, y1, x2, y2 of LiDAR boxes (M, 7 or 9), cut to the image."""
    location, hwl, rotation_y = camera_boxes(boxes, calibration)
    h, w, length = hwl.unbind(1)
    # Seen with x right, z forward and y up the box is an upright one again.
    upright = torch.stack([location[:, 0], location[:, 2], h / 2 - location[:, 1], length, w, h, -rotation_y], 1)
    camera = corners(upright)[..., [0, 2, 1]] * boxes.new_tensor([1, -1, 1])
    if official:
        pixels, _ = _pixels(camera, calibration, official)
        seen = torch.ones_like(pixels[..., 0], dtype=torch.bool)
    else:
        camera, seen = _in_front(camera)
        pixels, _ = _pixels(camera, calibration, official)
    low = pixels.masked_fill(~seen[..., None], math.inf).amin(1)
    high = pixels.masked_fill(~seen[..., None], -math.inf).amax(1)
    width, height = calibration.image_size
    limit = boxes.new_tensor([width - 1, height - 1])
    cut = torch.cat([low.clamp(min=0).minimum(limit), high.clamp(min=0).minimum(limit)], -1)
    return torch.where(seen.any(1)[:, None], cut, 0)


def _in_front(camera: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (M, 8, 3) and the places where edges cross the plane NEAREST before the camera: (M, 20, 3), and which of
    them are there (M, 20)."""
    first, second = camera[:, EDGES[0]], camera[:, EDGES[1]]
    start, step = first[..., 2], second[..., 2] - first[..., 2]
    crosses = (start < NEAREST) != (start + step < NEAREST)
    t = (NEAREST - start) / torch.where(crosses, step, 1)
    return (
        torch.cat([camera, first + t[..., None] * (second - first)], 1),
        torch.cat([camera[..., 2] >= NEAREST, crosses], 1),
    )


def in_view(points: Tensor, calibration: Calibration) -> Tensor:
    """(N,) bool: a point of `points` (N, 3 + F) is in front of the camera and its pixel inside the image."""
    pixels, depth = project(points[:, :3].double(), calibration)
    width, height = calibration.image_size
    x, y = pixels.unbind(-1)
    return (depth >= 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
