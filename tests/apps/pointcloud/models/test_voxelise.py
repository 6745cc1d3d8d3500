"""Points into voxels: against a loop over points, in any order, with what sensors give."""

from importlib import import_module

import numpy as np
import pytest
import torch

from apps.pointcloud.models import VoxelGrid, hard_voxels, voxelise
from core.layout import Ragged

GRID = VoxelGrid((0.0, -2.0, -1.0), (4.0, 2.0, 1.0), (0.5, 0.25, 1.0))


def sweeps(*counts, seed=0):
    random = torch.Generator().manual_seed(seed)
    low, span = torch.tensor([-0.5, -2.5, -1.5, 0.0]), torch.tensor([5.0, 5.0, 3.0, 1.0])
    return Ragged.of([low + span * torch.rand(count, 4, generator=random) for count in counts])


def loop(points, grid):
    """{(sample, z, y, x): rows} as a dictionary."""
    found = {}
    for row, (sample, point) in enumerate(zip(points.segment_ids().tolist(), points.tokens.numpy(), strict=True)):
        place = np.floor((point[:3] - np.float32(grid.low)) / np.float32(grid.size))
        if np.isfinite(point).all() and (place >= 0).all() and (place < np.array(grid.grid[::-1])).all():
            found.setdefault((sample, *place[::-1].astype(int).tolist()), []).append(row)
    return found


@pytest.mark.parametrize("counts", [(200, 0, 90), (3,), (0, 0), (0, 500)])
def test_equals_a_loop(counts):
    points = sweeps(*counts)
    voxels, expected = voxelise(points, GRID), loop(points, GRID)
    assert [tuple(c) for c in voxels.sites.coords.tolist()] == sorted(expected)
    assert voxels.sites.grid == (2, 16, 8) and voxels.sites.batch_size == len(counts)
    rows = sorted(row for rows in expected.values() for row in rows)
    assert torch.equal(voxels.points, points.tokens[rows])
    for voxel, place in enumerate(sorted(expected)):
        mine = voxels.points[voxels.voxel == voxel]
        assert torch.equal(mine, points.tokens[expected[place]])
        torch.testing.assert_close(voxels.mean(voxels.points)[voxel], mine.mean(0))
        assert torch.equal(voxels.largest(voxels.points)[voxel], mine.amax(0))


def test_both_ways_to_find_occupied_voxels_agree(monkeypatch):
    points, found = sweeps(300, 0, 100), []
    for places in (0, 10**9):
        monkeypatch.setattr(import_module("apps.pointcloud.models.voxelise"), "_PLACES", places)
        voxels = voxelise(points, GRID)
        found.append((voxels.voxel, voxels.sites.coords))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_points_on_borders_fall_as_float32_says():
    # Multiples of a millimetre, as KITTI stores them, on borders of .05 m voxels: float64 puts many elsewhere.
    steps = torch.arange(0, 70400, 50, dtype=torch.float64) / 1000
    x = steps.float()
    points = Ragged.of([torch.stack([x, 0 * x, 0 * x], 1)])
    grid = VoxelGrid((0.0, -40.0, -3.0), (70.4, 40.0, 1.0), (0.05, 0.05, 0.1))
    voxels = voxelise(points, grid)
    expected = np.floor((x.numpy() - np.float32(0)) / np.float32(0.05)).astype(int)
    assert torch.equal(voxels.sites.coords[voxels.voxel][:, 3], torch.from_numpy(expected))
    in_double = torch.floor(x.double() / 0.05)
    assert bool((in_double != torch.from_numpy(expected)).any())


def test_the_order_of_the_points_does_not_matter():
    points = sweeps(400)
    shuffled = Ragged.of([points.tokens[torch.randperm(400, generator=torch.Generator().manual_seed(3))]])
    ours, theirs = voxelise(points, GRID), voxelise(shuffled, GRID)
    assert torch.equal(ours.sites.coords, theirs.sites.coords)
    assert torch.equal(ours.mean(ours.points), theirs.mean(theirs.points))
    assert torch.equal(ours.largest(ours.points), theirs.largest(theirs.points))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_unusable_points_are_dropped_and_counted(bad):
    points = sweeps(50)
    clean = voxelise(points, GRID)
    spoilt = points.tokens.clone()
    spoilt = torch.cat([spoilt, spoilt[:2]])
    spoilt[50, 1], spoilt[51, 3] = bad, bad
    voxels = voxelise(Ragged.of([spoilt]), GRID)
    assert int(voxels.unusable) == 2 and int(clean.unusable) == 0
    assert torch.equal(voxels.points, clean.points) and torch.equal(voxels.sites.coords, clean.sites.coords)


def test_points_far_outside_do_not_wrap_around():
    far = torch.tensor([[1e30, 0.0, 0.0], [0.1, -3e9, 0.0], [0.1, 0.1, 5.0], [0.1, 0.1, 0.1]])
    voxels = voxelise(Ragged.of([far]), GRID)
    assert voxels.sites.coords.tolist() == [[0, 1, 8, 0]]


def hard_loop(points, grid, max_points, max_voxels):
    """As the release does it: voxels by their first point, points in their order, both cut off."""
    found = {}
    for sample in range(points.batch):
        segment = points.segments()[sample]
        places = loop(Ragged.of([segment.tokens]), grid)
        first = sorted(places, key=lambda place: places[place][0])[:max_voxels]
        found |= {(sample, *place[1:]): segment.tokens[places[place][:max_points]] for place in first}
    return found


@pytest.mark.parametrize(("max_points", "max_voxels"), [(1, 1000), (3, 20), (100, 1000), (2, 1)])
def test_hard_voxels_equal_a_loop(max_points, max_voxels):
    points = sweeps(300, 0, 150)
    voxels = hard_voxels(points, GRID, max_points=max_points, max_voxels=max_voxels)
    expected = hard_loop(points, GRID, max_points, max_voxels)
    assert [tuple(c) for c in voxels.sites.coords.tolist()] == sorted(expected)
    assert voxels.points.shape[1] == max_points
    for row, place in enumerate(sorted(expected)):
        count = len(expected[place])
        assert int(voxels.counts[row]) == count
        assert torch.equal(voxels.points[row, :count], expected[place])
        assert not voxels.points[row, count:].any()
    flat = voxels.flat()
    assert len(flat.points) == int(voxels.counts.sum())
    torch.testing.assert_close(flat.mean(flat.points), voxels.points.sum(1) / voxels.counts[:, None])


@pytest.mark.parametrize("points", [sweeps(0), sweeps(0, 0), Ragged.of([torch.full((1, 4), 99.0)])])
def test_no_point_inside(points):
    for voxels in (voxelise(points, GRID), hard_voxels(points, GRID, max_points=4, max_voxels=9)):
        assert len(voxels.sites) == 0 and voxels.sites.batch_size == points.batch


def test_ranges_are_multiples_of_the_voxel():
    with pytest.raises(ValueError, match=r"y from 0 to 1\.1 is not a multiple"):
        VoxelGrid((0, 0, 0), (1, 1.1, 1), (0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="z from 0 to 0"):
        VoxelGrid((0, 0, 0), (1, 1, 0), (0.5, 0.5, 0.5))
    assert VoxelGrid((0.0, -40.0, -3.0), (70.4, 40.0, 1.0), (0.05, 0.05, 0.1)).grid == (40, 1600, 1408)
    middle = VoxelGrid((0, 0, 0), (4, 2, 1), (1, 0.5, 0.5)).centres(torch.tensor([[0, 1, 2, 3]]))
    assert middle.tolist() == [[3.5, 1.25, 0.75]]
