"""Overlap of oriented boxes against polygons, the release's numbers, and itself elsewhere."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.autograd import gradcheck

from apps.pointcloud.boxes import footprint
from apps.pointcloud.iou import (
    bev_iou,
    bev_overlap,
    distance_iou,
    iou_3d,
    nearest_bev_iou,
    pairwise_iou,
    pairwise_overlap,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/openpcdet/boxes.json").read_text())


def some(count: int, seed: int, spread: float = 6.0) -> torch.Tensor:
    r = torch.rand(count, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    r[:, :2] = (r[:, :2] - 0.5) * spread
    r[:, 3:6] = r[:, 3:6] * 4 + 0.2
    r[:, 6] *= 2 * math.pi
    return r


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize(
    ("measure", "name"), [(bev_iou, "bev_iou"), (iou_3d, "iou3d"), (distance_iou, "diou")], ids=["bev", "3d", "diou"]
)
def test_goldens(measure, name, dtype, tolerance):
    a, b = (torch.tensor(GOLDEN[side], dtype=dtype) for side in "ab")
    expected = torch.tensor(GOLDEN[name], dtype=torch.float64)
    assert (measure(a, b).double() - expected).abs().max() < tolerance


def test_golden_of_boxes_turned_to_the_axes():
    a, b = (torch.tensor(GOLDEN[side]) for side in "ab")
    expected = torch.tensor(GOLDEN["nearest_bev_iou"])
    assert (nearest_bev_iou(a, b).diagonal() - expected).abs().max() < 1e-6


def test_equal_to_polygons():
    shapely = pytest.importorskip("shapely")
    a, b = some(60, 0), some(60, 1)
    first, second = ([shapely.Polygon(c) for c in footprint(boxes).tolist()] for boxes in (a, b))
    expected = torch.tensor([[p.intersection(q).area for q in second] for p in first], dtype=torch.float64)
    assert (expected > 0).sum() > 500
    assert (pairwise_overlap(a, b) - expected).abs().max() < 1e-12
    single = pairwise_overlap(a.float(), b.float())
    assert (single - expected).abs().max() < 5e-6


def test_matrix_is_that_of_the_pairs():
    a, b = some(30, 2), some(40, 3)
    rows, columns = torch.meshgrid(torch.arange(30), torch.arange(40), indexing="ij")
    first, second = a[rows.flatten()], b[columns.flatten()]
    assert torch.equal(pairwise_iou(a, b).flatten(), bev_iou(first, second))
    assert torch.equal(pairwise_iou(a, b, height=True).flatten(), iou_3d(first, second))
    high = a.clone()
    high[:, 2] += 50
    assert not pairwise_iou(high, b, height=True).any() and pairwise_iou(high, b).any()


@pytest.mark.parametrize("measure", [bev_iou, iou_3d, distance_iou])
def test_gradients(measure):
    a, b = some(30, 4, 3), some(30, 5, 3)
    meet = bev_overlap(a, b) > 0
    assert meet.sum() > 10
    assert gradcheck(measure, (a[meet].requires_grad_(), b[meet].requires_grad_()))


def test_gradients_of_the_matrix():
    a, b = some(4, 6, 3).requires_grad_(), some(3, 7, 3).requires_grad_()
    assert gradcheck(lambda p, q: pairwise_iou(p, q, height=True), (a, b))


def test_the_same_far_away_in_single_precision():
    # A position of 1e5 m is known to 8 mm; multiples of 1/64 m are exact there.
    a, b = (boxes.mul(64).round().div(64).float() for boxes in (some(200, 8), some(200, 9)))
    near = pairwise_iou(a, b)
    for boxes in (a, b):
        boxes[:, :2] += 1e5
    assert torch.equal(pairwise_iou(a, b), near)


def test_parallel_and_coinciding_edges():
    angles = torch.linspace(0, 6, 97)
    a = torch.stack([torch.tensor([70.0, -40, 0, 3.9, 1.6, 1.5, angle]) for angle in angles.tolist()])
    assert (bev_iou(a, a) - 1).abs().max() < 1e-6 and (iou_3d(a, a) - 1).abs().max() < 1e-6
    turned = a.clone()
    turned[:, 6] += math.pi
    assert (bev_iou(a, turned) - 1).abs().max() < 1e-5
    beside = a.clone()
    beside[:, 0] += 1.6 * -angles.sin()
    beside[:, 1] += 1.6 * angles.cos()
    assert bev_iou(a, beside).abs().max() < 1e-5
    half = a.clone()
    half[:, 0] += 0.8 * -angles.sin()
    half[:, 1] += 0.8 * angles.cos()
    assert (bev_iou(a, half) - 1 / 3).abs().max() < 1e-5


def test_boxes_without_area_and_empty_sets():
    flat = torch.tensor([[0.0, 0, 0, 0, 2, 1, 0.3], [0, 0, 0, 0, 0, 0, 0], [0, 0, 0, -1, 2, 1, 0]])
    boxes = torch.cat([flat, torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]])])
    for found in (pairwise_iou(boxes, boxes), pairwise_iou(boxes, boxes, height=True), nearest_bev_iou(boxes, boxes)):
        assert found[:3].eq(0).all() and found[:, :3].eq(0).all() and found[3, 3] == 1
    assert pairwise_iou(boxes[:0], boxes).shape == (0, 4) and bev_iou(boxes[:0], boxes[:0]).shape == (0,)
    boxes = boxes.requires_grad_()
    grad = torch.autograd.grad(pairwise_iou(boxes, boxes, height=True).sum(), boxes)[0]
    assert grad.isfinite().all()


def test_nan_stays():
    a = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]])
    b = a.clone()
    b[0, 6] = math.nan
    assert pairwise_iou(a, b).isnan().all()
    b = a.clone()
    b[0, 0] = math.nan
    assert pairwise_iou(a, b, height=True).isnan().all()
