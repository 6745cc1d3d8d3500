"""Voxel features: padded and unpadded forms, few points, training."""

import copy

import pytest
import torch

from apps.pointcloud.models import DynamicVFE, MeanVFE, PillarVFE, VoxelGrid, hard_voxels, voxelise
from core.layout import Ragged

GRID = VoxelGrid((0.0, -2.0, -1.0), (4.0, 2.0, 1.0), (0.5, 0.5, 2.0))


def sweeps(*counts, seed=0):
    random = torch.Generator().manual_seed(seed)
    low, span = torch.tensor([0.0, -2.0, -1.0, 0.0]), torch.tensor([4.0, 4.0, 2.0, 1.0])
    return Ragged.of([low + span * torch.rand(count, 4, generator=random) for count in counts])


def encoders():
    torch.manual_seed(0)
    return [MeanVFE(4), DynamicVFE(GRID, 4, (8, 6)), DynamicVFE(GRID, 4, (8,), absolute=False, distance=True)]


@pytest.mark.parametrize("training", [True, False])
def test_padding_takes_no_part(training):
    """With a place for every point the padded form is the unpadded one, however many places there are."""
    points = sweeps(60, 0, 40)
    torch.manual_seed(0)
    pillar = PillarVFE(GRID, 4, (8, 6)).train(training)
    dynamic = DynamicVFE(GRID, 4, (8, 6)).train(training)
    dynamic.load_state_dict(pillar.state_dict())
    expected = dynamic(voxelise(points, GRID))
    for places in (20, 50):
        y = copy.deepcopy(pillar)(hard_voxels(points, GRID, max_points=places, max_voxels=1000))
        assert torch.equal(y.coords, expected.coords)
        torch.testing.assert_close(y.features, expected.features)


def test_the_releases_padding_shows():
    points = sweeps(60)
    torch.manual_seed(0)
    pillar = PillarVFE(GRID, 4, (8,), official=True)
    for norm in pillar.norms:
        torch.nn.init.normal_(norm.bias)
    few, many = (pillar(hard_voxels(points, GRID, max_points=m, max_voxels=1000)).features for m in (20, 50))
    assert not torch.allclose(few, many, atol=1e-3)


def test_every_point_counts_once():
    points = sweeps(80, 30)
    for encoder in encoders():
        encoder.eval()
        turn = torch.randperm(80)
        shuffled = Ragged.of([points.tokens[:80][turn], points.tokens[80:]])
        ours, theirs = encoder(voxelise(points, GRID)), encoder(voxelise(shuffled, GRID))
        assert torch.equal(ours.coords, theirs.coords)
        torch.testing.assert_close(ours.features, theirs.features)


@pytest.mark.parametrize("counts", [(0,), (1,), (0, 0), (5, 0, 1), (0, 1, 0)])
def test_few_points_pass_in_training(counts):
    points = sweeps(*counts)
    for encoder in [*encoders(), PillarVFE(GRID, 4), PillarVFE(GRID, 4, official=True)]:
        encoder.train()
        padded = isinstance(encoder, PillarVFE)
        voxels = hard_voxels(points, GRID, max_points=3, max_voxels=9) if padded else voxelise(points, GRID)
        y = encoder(voxels)
        assert y.features.shape == (len(voxels.sites), encoder.out_dim) and y.batch_size == len(counts)
        y.features.square().sum().backward() if y.features.requires_grad else None
        assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
        assert all(b.isfinite().all() for b in encoder.buffers())


def test_a_single_row_leaves_the_statistics_alone():
    encoder = DynamicVFE(GRID, 4, (8,)).train()
    before = copy.deepcopy(dict(encoder.named_buffers()))
    y = encoder(voxelise(sweeps(1), GRID))
    torch.testing.assert_close(dict(encoder.named_buffers()), before)
    torch.testing.assert_close(y.features, encoder.eval()(voxelise(sweeps(1), GRID)).features)


def test_autocast():
    points = sweeps(40)
    for encoder in encoders()[1:]:
        exact = copy.deepcopy(encoder).eval()(voxelise(points, GRID)).features
        with torch.autocast("cpu", torch.bfloat16):
            y = encoder.eval()(voxelise(points, GRID)).features
        assert (y.float() - exact).norm() < 2e-2 * exact.norm()
        y.float().sum().backward()
        assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_gradients_reach_the_points():
    points = sweeps(20)
    for encoder in encoders():
        tokens = points.tokens.double().requires_grad_()
        y = encoder.double().train()(voxelise(Ragged(tokens, points.offsets), GRID))
        y.features.square().sum().backward()
        assert tokens.grad.isfinite().all() and tokens.grad.abs().sum() > 0
