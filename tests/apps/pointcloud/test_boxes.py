"""Corners, points inside, and boxes that move with the scene."""

import json
import math
from pathlib import Path

import pytest
import torch

from apps.pointcloud import boxes as b

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/openpcdet/boxes.json").read_text())


def some(count: int, seed: int = 0, columns: int = 7) -> torch.Tensor:
    """Boxes (count, columns) of all sizes and headings, float64."""
    r = torch.rand(count, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    r[:, :3] = (r[:, :3] - 0.5) * 20
    r[:, 3:6] = r[:, 3:6] * 4 + 0.3
    r[:, 6:] = (r[:, 6:] - 0.5) * 2 * math.pi
    return r


def same_angle(a: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((b.wrap(a - other).abs() < 1e-9).all())


def test_corners_are_those_of_the_release():
    found = b.corners(torch.tensor(GOLDEN["a"][:3], dtype=torch.float64))
    # The release computes in single precision.
    assert (found - torch.tensor(GOLDEN["corners"])).abs().max() < 1e-6


def test_points_in_boxes_by_the_definition():
    boxes = some(12)
    points = (torch.rand(3000, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5) * 24
    expected = torch.zeros(3000, 12, dtype=torch.bool)
    for m, box in enumerate(boxes.tolist()):
        x, y, z, dx, dy, dz, heading = box
        for n, (px, py, pz, _) in enumerate(points.tolist()):
            along = (px - x) * math.cos(heading) + (py - y) * math.sin(heading)
            across = (py - y) * math.cos(heading) - (px - x) * math.sin(heading)
            expected[n, m] = abs(along) <= dx / 2 and abs(across) <= dy / 2 and abs(pz - z) <= dz / 2
    found = b.points_in_boxes(points, boxes)
    assert expected.any() and torch.equal(found, expected)
    first = torch.where(expected.any(1), expected.int().argmax(1), -1)
    assert torch.equal(b.box_of_points(points, boxes), first)


def test_faces_are_inside_and_nan_is_not():
    box = torch.tensor([[1.0, 2, 0, 4, 2, 1, 0]])
    points = torch.tensor([[3.0, 2, 0], [1, 3, 0.5], [3.001, 2, 0], [math.nan, 2, 0]])
    assert b.points_in_boxes(points, box)[:, 0].tolist() == [True, True, False, False]


def test_no_points_and_no_boxes():
    assert b.points_in_boxes(torch.zeros(0, 4), some(2)).shape == (0, 2)
    assert b.points_in_boxes(torch.zeros(5, 4), torch.zeros(0, 7)).shape == (5, 0)
    assert b.box_of_points(torch.zeros(5, 4), torch.zeros(0, 7)).tolist() == [-1] * 5


@pytest.mark.parametrize("columns", [7, 9])
def test_boxes_move_with_their_points(columns):
    boxes = some(6, columns=columns)
    local = torch.tensor([[0.45, 0.2, 0.1], [-0.45, 0.4, -0.3]], dtype=torch.float64) * boxes[:, None, 3:6]
    cos, sin = boxes[:, 6, None].cos(), boxes[:, 6, None].sin()
    x, y = local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos
    points = torch.stack([x, y, local[..., 2]], -1) + boxes[:, None, :3]
    turn = b.rotation_matrix(torch.tensor([math.cos(0.35), 0, 0, math.sin(0.35)], dtype=torch.float64))
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = turn, torch.tensor([3.0, -2, 1])
    moves = {
        "flip x": (lambda t: b.flip_x(t), lambda p: p * torch.tensor([1, -1, 1])),
        "flip y": (lambda t: b.flip_y(t), lambda p: p * torch.tensor([-1, 1, 1])),
        "rotate": (lambda t: b.rotate(t, 0.7), lambda p: p @ turn.T),
        "scale": (lambda t: b.scale(t, 1.3), lambda p: p * 1.3),
        "translate": (lambda t: b.translate(t, pose[:3, 3]), lambda p: p + pose[:3, 3]),
        "transform": (lambda t: b.transform(t, pose), lambda p: p @ turn.T + pose[:3, 3]),
    }
    for name, (of_boxes, of_points) in moves.items():
        before = boxes.clone()
        moved, there = of_boxes(boxes), of_points(points)
        assert torch.equal(boxes, before), name
        for n in range(len(boxes)):
            assert b.points_in_boxes(there[n], moved[n : n + 1]).all(), name
        # A front that lies on the heading stays there, which a box turned by half a turn would not show.
        front = boxes[:, :3].clone()
        front[:, :2] += torch.stack([boxes[:, 6].cos(), boxes[:, 6].sin()], 1)
        step = of_points(front) - moved[:, :3]
        assert same_angle(torch.atan2(step[:, 1], step[:, 0]), moved[:, 6]), name
        if columns == 9:
            later = boxes[:, :3].clone()
            later[:, :2] += boxes[:, 7:]
            assert torch.allclose((of_points(later) - moved[:, :3])[:, :2], moved[:, 7:]), name


def test_quaternions_and_headings():
    heading = torch.linspace(-3.1, 3.1, 13, dtype=torch.float64)
    assert torch.allclose(b.heading_of(b.quaternion_of(heading) * 3), heading)
    tilted = torch.tensor([0.7, 0.1, -0.2, 0.5], dtype=torch.float64)
    turn = b.rotation_matrix(tilted)
    assert torch.allclose(turn @ turn.T, torch.eye(3, dtype=torch.float64)) and torch.linalg.det(turn) > 0
    assert torch.allclose(turn @ torch.tensor([1.0, -2, 5], dtype=torch.float64) * 0.5, turn @ torch.tensor(
        [0.5, -1, 2.5], dtype=torch.float64))  # fmt: skip


def test_wrap():
    angles = torch.tensor([math.pi, -math.pi, 3 * math.pi + 0.1, 0.2])
    assert torch.allclose(b.wrap(angles), torch.tensor([-math.pi, -math.pi, -math.pi + 0.1, 0.2]), atol=1e-6)
    assert torch.allclose(b.wrap(angles, math.pi, 0), torch.tensor([0, 0, 0.1, 0.2]), atol=1e-5)
