"""Sparse and bird's-eye-view backbones: shapes, few sites, training, maps of any size."""

import copy

import pytest
import torch

from apps.pointcloud.models import (
    AddingLevel,
    BEVBackbone,
    CascadeDED,
    PlainLevel,
    ResidualLevel,
    VoxelBackbone8x,
    VoxelResBackbone8x,
    height_to_channels,
    load_openpcdet,
)
from apps.pointcloud.models.layers import RowNorm
from core.errors import UserError
from core.sparse import SparseTensor
from core.testing.sparse import cloud

GRID = (40, 24, 16)


def backbone(cls):
    torch.manual_seed(0)
    return cls(4, (4, 6, 8, 8), 10)


@pytest.mark.parametrize("cls", [VoxelBackbone8x, VoxelResBackbone8x])
def test_grids_shrink_as_published(cls):
    x, _ = cloud([60, 0, 40], GRID, 4, dtype=torch.float32)
    network = backbone(cls)
    y = network(x)
    assert y.grid == (2, 3, 2) and y.batch_size == 3
    assert height_to_channels(y).shape == (3, 3, 2, 20)
    assert not height_to_channels(y)[1].any()


@pytest.mark.parametrize("cls", [VoxelBackbone8x, VoxelResBackbone8x])
@pytest.mark.parametrize("counts", [(0,), (1,), (0, 0), (30, 0, 1)])
def test_few_sites_train(cls, counts):
    network = backbone(cls).train()
    x, features = cloud(counts, GRID, 4, dtype=torch.float32)
    network(x).features.square().sum().backward()
    assert features.grad is None or features.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert all(b.isfinite().all() for b in network.buffers())


def test_samples_do_not_see_each_other():
    network = backbone(VoxelBackbone8x).double().eval()
    x, _ = cloud([60, 0, 40], GRID, 4)
    whole = height_to_channels(network(x))
    for sample in range(3):
        mine = x.coords[:, 0] == sample
        coords = x.coords[mine] * torch.tensor([0, 1, 1, 1])
        alone = height_to_channels(network(SparseTensor.of(x.features[mine], coords, GRID, 1)))
        torch.testing.assert_close(alone[0], whole[sample])


def test_channels_of_the_map_count_heights_fastest():
    coords = torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2], [0, 2, 0, 0]])
    x = SparseTensor.of(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), coords, (3, 2, 3), 1)
    y = height_to_channels(x)
    assert y.shape == (1, 2, 3, 6)
    assert y[0, 1, 2].tolist() == [1, 3, 0, 2, 4, 0]
    assert y[0, 0, 0].tolist() == [0, 0, 5, 0, 0, 6]


@pytest.mark.parametrize("level", [PlainLevel, AddingLevel, ResidualLevel])
@pytest.mark.parametrize("size", [(8, 12), (9, 7), (4, 4)])
def test_levels_come_back_to_one_extent(level, size):
    network = BEVBackbone(6, (4, 8, 8), (1, 0, 1), (2, 2, 1), (3, 5, 4), (1, 2, 2), level)
    y = network(torch.randn(2, *size, 6))
    assert y.shape == (2, -(-size[0] // 2), -(-size[1] // 2), network.out_dim) and network.out_dim == 12


def test_factors_below_one_shrink():
    network = BEVBackbone(6, (4, 8), (1, 1), (1, 2), (3, 5), (0.5, 1))
    assert network(torch.randn(1, 8, 8, 6)).shape == (1, 4, 4, 8)


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="one number a level"):
        BEVBackbone(6, (4, 8), (1,), (1, 2), (3, 5), (1, 2))


@pytest.mark.parametrize("size", [(8, 12), (9, 7), (1, 1)])
def test_cascades_keep_any_extent(size):
    network = CascadeDED(6, 4, depth=2).eval()
    assert network(torch.randn(2, *size, 6)).shape == (2, *size, 4)


def test_published_size():
    assert sum(p.numel() for p in CascadeDED(128).parameters()) == 7_751_680


def test_norm_of_rows():
    norm, plain = RowNorm(3), torch.nn.BatchNorm1d(3, eps=1e-3, momentum=0.01)
    x = torch.randn(7, 3)
    assert torch.equal(norm(x), plain(x)) and torch.equal(norm.running_var, plain.running_var)
    before = copy.deepcopy(norm.state_dict())
    for rows in (0, 1):
        assert torch.equal(norm(x[:rows]), plain.eval()(x[:rows]))
    torch.testing.assert_close(norm.state_dict(), before)


@pytest.mark.parametrize("old", [False, True])
def test_checkpoints_of_both_layouts_load(tmp_path, old):
    """Official names from our own weights, kernels laid out as spconv 1 or 2 does."""
    source, bev = backbone(VoxelResBackbone8x), BEVBackbone(6, (4, 8), (1, 2), (1, 2), (3, 5), (1, 2))
    names = {"enter": "conv_input", "leave": "conv_out", **{f"stages.{n}": f"conv{n + 1}" for n in range(4)}}
    official = {"global_step": torch.zeros(1)}
    for key, value in source.state_dict().items():
        for mine, theirs in names.items():
            if key.startswith(f"{mine}."):
                key = f"backbone_3d.{theirs}.{key.removeprefix(f'{mine}.')}"
        key = key.replace(".conv.", ".0.").replace(".norm.", ".1.")
        for n in (0, 1):
            key = key.replace(f".convs.{n}.", f".conv{n + 1}.").replace(f".norms.{n}.", f".bn{n + 1}.")
        official[key] = value.movedim(0, -1) if old and value.ndim == 5 else value
    for key, value in bev.state_dict().items():
        parts = key.split(".")
        if parts[0] == "levels":
            parts = ["blocks", parts[1], str(3 * int(parts[2]) + 1 + int(parts[3])), *parts[4:]]
        official[".".join(["backbone_2d", *parts]).replace("ups", "deblocks")] = value
    torch.save({"state_dict": official}, tmp_path / "centerpoint.pth")
    torch.manual_seed(1)
    target, map_part = VoxelResBackbone8x(4, (4, 6, 8, 8), 10), BEVBackbone(6, (4, 8), (1, 2), (1, 2), (3, 5), (1, 2))
    load_openpcdet({"backbone_3d": target, "backbone_2d": map_part}, tmp_path / "centerpoint.pth")
    torch.testing.assert_close(dict(target.named_parameters()), dict(source.named_parameters()))
    torch.testing.assert_close(dict(map_part.named_parameters()), dict(bev.named_parameters()))
    with pytest.raises(UserError, match="part backbone_3d, does not fit"):
        load_openpcdet({"backbone_3d": VoxelBackbone8x(4)}, tmp_path / "centerpoint.pth")
    with pytest.raises(UserError, match="no release of it is known"):
        load_openpcdet({"backbone_3d": torch.nn.Linear(1, 1)}, tmp_path / "centerpoint.pth")
