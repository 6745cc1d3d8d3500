"""ScatterFormer and FlatFormer: equal to their releases, and no sample sees another."""

from pathlib import Path

import pytest
import torch

from apps.pointcloud.models.flatformer import FlatFormer, plane_positions
from apps.pointcloud.models.goldens import GOLDENS
from apps.pointcloud.models.scatterformer import ColumnPool, CrossWindow, ScatterFormer, ScatterFormerStage
from core.sparse import Sites, SparseTensor
from core.verify import read, verify

FOLDER = Path(__file__).parents[3] / "golden"
FILES = [path for name in ("scatterformer", "flatformer") for path in sorted((FOLDER / name).glob("*.safetensors"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_equals_the_release(path):
    results = verify(path, GOLDENS[path.parent.name][read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_published_sizes():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    waymo = ScatterFormer(64, 32)
    assert count(waymo) == 4_241_856 and count(waymo.pool) == 67_328
    assert count(waymo.enter) + count(waymo.blocks) + count(waymo.flatten) == 2_927_360
    assert ScatterFormer(64, 40, window=20).pool.height == 10
    assert count(FlatFormer()) == 1_059_840


def cloud(counts, grid, channels, seed=0):
    made = torch.Generator().manual_seed(seed)
    places = torch.tensor(grid).prod()
    samples = []
    for count in counts:
        cells = torch.randperm(int(places), generator=made)[:count]
        coords = torch.stack(torch.unravel_index(cells, grid), 1)
        samples.append((coords, torch.randn(count, channels, generator=made, dtype=torch.float64)))
    return samples


def together(samples, grid, order):
    coords = torch.cat(
        [torch.cat([torch.full((len(samples[n][0]), 1), place), samples[n][0]], 1) for place, n in enumerate(order)]
    )
    return SparseTensor.of(torch.cat([samples[n][1] for n in order]), coords, grid, len(order))


def networks():
    torch.manual_seed(0)
    return {
        "scatterformer": (ScatterFormer(3, 6, dim=16, heads=2, depths=(1, 1), window=4, entry_depth=1), (6, 13, 11)),
        "flatformer": (FlatFormer(16, 2, 1, window=(5, 5), size=8), (13, 11)),
    }


@pytest.mark.parametrize("name", ["scatterformer", "flatformer"])
def test_no_sample_sees_another_one(name):
    """Alone, in a batch with an empty sample and one of a single voxel, and in another order: the same."""
    network, grid = networks()[name]
    network = network.double().eval()
    samples = cloud([40, 0, 1, 23], grid, 3 if name == "scatterformer" else 16)
    whole = network(together(samples, grid, range(4))).dense()
    moved = network(together(samples, grid, [2, 3, 0, 1])).dense()
    torch.testing.assert_close(moved[[2, 3, 0, 1]], whole, rtol=1e-9, atol=1e-10)
    for number in range(4):
        alone = network(together(samples, grid, [number])).dense()[0]
        torch.testing.assert_close(alone, whole[number], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["scatterformer", "flatformer"])
@pytest.mark.parametrize("counts", [[0], [1], [0, 2]])
def test_hardly_any_voxels_train(name, counts):
    network, grid = networks()[name]
    network = network.double().train()
    samples = cloud(counts, grid, 3 if name == "scatterformer" else 16)
    y = network(together(samples, grid, range(len(counts)))).dense()
    (y.square().sum() + sum(p.sum() for p in network.parameters()) * 0).backward()
    assert y.isfinite().all() and all(p.grad.isfinite().all() for p in network.parameters())


def test_few_pillars_attend_to_all_of_theirs():
    """A sample smaller than a group: full attention among its pillars."""
    network, grid = networks()["flatformer"]
    network = network.double().eval()
    samples = cloud([5], grid, 16)
    larger = FlatFormer(16, 2, 1, window=(5, 5), size=5).double().eval()
    larger.load_state_dict(network.state_dict())
    x = together(samples, grid, [0])
    torch.testing.assert_close(network(x).features, larger(x).features)


def test_positions_are_places_on_the_map():
    sites = Sites(torch.tensor([[0, 2, 5], [0, 3, 5]]), (8, 8), 1)
    made = plane_positions(sites, 8)
    assert torch.equal(made[0, :4], made[1, :4]) and not torch.equal(made[0, 4:], made[1, 4:])
    place = torch.tensor(5.0)
    torch.testing.assert_close(made[0, :2], torch.stack([place.sin(), place.cos()]))


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="must be even"):
        ScatterFormerStage(16, window=5)
    with pytest.raises(ValueError, match="quarters"):
        CrossWindow(10, 3)
    with pytest.raises(ValueError, match="build it with that height"):
        ColumnPool(16, 2)(SparseTensor.of(torch.zeros(1, 16), torch.tensor([[0, 3, 0, 0]]), (4, 2, 2), 1))
    with pytest.raises(ValueError, match="heads do not divide"):
        FlatFormer(12, 5)
