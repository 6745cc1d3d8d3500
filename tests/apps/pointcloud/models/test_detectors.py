"""Whole detectors on a few points: train, detect, and stand what sweeps may hold."""

import pytest
import torch

from apps.pointcloud.models import (
    CenterPointPillar,
    CenterPointVoxel,
    FlatFormerDetector,
    PointPillars,
    ScatterFormerDetector,
    Second,
)
from core.errors import UserError
from core.layout import Ragged

RANGE = (0.0, -6.4, -2.0, 12.8, 6.4, 2.0)
KINDS = {
    "pillar": (
        CenterPointPillar,
        {
            "pillar": (0.4, 0.4),
            "dim": 8,
            "dims": (8, 8),
            "depths": (1, 1),
            "strides": (1, 2),
            "up_dim": 8,
            "shared_dim": 8,
        },
    ),
    "voxel": (
        CenterPointVoxel,
        {
            "voxel": (0.2, 0.2, 0.1),
            "dims": (4, 4, 4, 4),
            "bev_dims": (8, 8),
            "depths": (1, 1),
            "up_dim": 8,
            "shared_dim": 8,
        },
    ),
    "scatterformer": (
        ScatterFormerDetector,
        {
            "voxel": (0.4, 0.4, 0.5),
            "dim": 16,
            "heads": 2,
            "depths": (1, 1),
            "window": 4,
            "entry_depth": 1,
            "bev_dim": 8,
            "bev_depth": 1,
            "shared_dim": 8,
        },
    ),
    "flatformer": (
        FlatFormerDetector,
        {
            "pillar": (0.4, 0.4),
            "dim": 16,
            "heads": 2,
            "depth": 1,
            "window": (5, 5),
            "size": 16,
            "bev_dims": (8, 8),
            "bev_depths": (1, 1),
            "up_dim": 8,
            "shared_dim": 8,
        },
    ),
    "pointpillars": (
        PointPillars,
        {"pillar": (0.4, 0.4), "dim": 8, "dims": (8, 8, 8), "depths": (1, 1, 1), "up_dim": 8},
    ),
    "second": (
        Second,
        {"voxel": (0.2, 0.2, 0.1), "dims": (4, 4, 4, 4), "bev_dims": (8, 8), "depths": (1, 1), "up_dim": 8},
    ),
}


def make(kind, **options):
    torch.manual_seed(0)
    cls, sizes = KINDS[kind]
    return cls(3, RANGE, features=1, **sizes, **options)


def points(*counts, seed=0):
    made = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([*RANGE[:3], 0.0]), torch.tensor([*RANGE[3:], 1.0])
    return [low + (high - low) * torch.rand(count, 4, generator=made) for count in counts]


BOX = [6.0, 1.0, -0.5, 4.0, 1.8, 1.6, 0.3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_with_an_empty_sample_and_one_without_boxes_trains(kind):
    network = make(kind).train()
    given = Ragged.of(points(80, 0, 60, 1))
    boxes = Ragged(torch.tensor([BOX, BOX]), torch.tensor([0, 1, 1, 1, 2]))
    outputs = network(given)
    parts = network.loss(outputs, boxes, torch.tensor([0, 2]))
    assert parts["loss"].isfinite()
    parts["loss"].backward()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert grads and all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_do_not_see_each_other(kind):
    network = make(kind).double().eval()
    clouds = [cloud.double() for cloud in points(70, 0, 90)]
    with torch.no_grad():
        whole = network.features(Ragged.of(clouds))
        turned = network.features(Ragged.of(clouds[::-1]))
        torch.testing.assert_close(turned.flip(0), whole)
        # Points in another order are the same voxels.
        mixed = [cloud.flip(0) for cloud in clouds]
        torch.testing.assert_close(network.features(Ragged.of(mixed)), whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [(0,), (1,), (0, 0)])
def test_hardly_any_points(kind, counts):
    network = make(kind).eval()
    with torch.no_grad():
        found = network.detect(network(Ragged.of(points(*counts))))
    assert len(found) == len(counts) and all(d.boxes.shape[1] == 7 for d in found)


def test_points_that_are_not_finite_change_nothing():
    network = make("pillar").eval()
    (cloud,) = points(50)
    broken = torch.cat([cloud, torch.full((3, 4), float("nan")), torch.full((2, 4), float("inf"))])
    with torch.no_grad():
        torch.testing.assert_close(network.features(Ragged.of([broken])), network.features(Ragged.of([cloud])))


@pytest.mark.parametrize("kind", ["pillar", "scatterformer"])
def test_a_box_can_be_learnt(kind):
    """A hundred steps on one sweep: the box is found where it stands."""
    network = make(kind, momentum=0.1)
    (cloud,) = points(300)
    cloud = cloud.clone()
    # A block of points where the box is, so that there is something to see.
    cloud[:200, :3] = torch.tensor(BOX[:3]) + (torch.rand(200, 3) - 0.5) * torch.tensor([3.0, 1.5, 1.5])
    given, boxes = Ragged.of([cloud]), Ragged(torch.tensor([BOX]), torch.tensor([0, 1]))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(100):
        loss = network.loss(network(given), boxes, torch.tensor([0]))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = network.eval().detect(network(given))[0]
    best = found.boxes[found.scores.argmax()]
    torch.testing.assert_close(best, torch.tensor(BOX), atol=0.2, rtol=0.1)


def test_ranges_that_do_not_fit_are_said_with_one_that_does():
    with pytest.raises(UserError, match=r"end at"):
        CenterPointPillar(3, (0.0, -6.4, -2.0, 12.9, 6.4, 2.0), pillar=(0.4, 0.4))
    with pytest.raises(UserError, match="multiple of the network's stride 8"):
        Second(3, (0.0, -6.4, -2.0, 12.0, 6.4, 2.0), voxel=(0.2, 0.2, 0.1))


def test_anchors_and_velocity():
    with pytest.raises(ValueError, match="no velocity"):
        PointPillars(3, RANGE, velocity=True, pillar=(0.4, 0.4))
    with pytest.raises(ValueError, match="one entry a class"):
        PointPillars(2, RANGE, pillar=(0.4, 0.4))


def test_published_sizes():
    """ScatterFormer's release counts 4,241,856 for the sparse part and 7,751,680 for CascadeDED."""
    network = ScatterFormerDetector(3, (-76.8, -76.8, -2.0, 76.8, 76.8, 4.0))
    assert sum(p.numel() for p in network.backbone.parameters()) == 4_241_856
    assert sum(p.numel() for p in network.bev.parameters()) == 7_751_680
