"""Windows of point clouds beside the releases' way: `python -m benchmarks pointcloud`, one thread.

    window_grouping         windows of 12 x 12 columns by one sort, against `unique` over rows
    window_attention        linear attention in these windows (4 heads of 32), against outer products added up
    window_backbones        ScatterFormer's 3-D backbone (4.2 M) and FlatFormer's encoder (1.1 M), everything from the
                            voxels on, against transcriptions of the releases' data movement with the same convolutions

On the same clouds as `benchmarks.pointcloud`; results are compared before anything is timed.
"""

__all__ = ["GROUPS"]

from collections.abc import Iterator

import torch

from apps.pointcloud.models import VoxelGrid, voxelise
from apps.pointcloud.models.flatformer import FlatFormer
from apps.pointcloud.models.scatterformer import ScatterFormer
from benchmarks.harness import Ratio, compare, train
from benchmarks.peers.windows import PeerFlatFormer, PeerStage, fresh, outer_products, rows_by_unique
from benchmarks.pointcloud import SCATTERFORMER, clouds
from core.layout import Ragged
from core.ops.segment_linear import segment_linear_attention
from core.sparse import Sites, SparseTensor, windows

Row = tuple[str, Ratio, float | None]
WINDOW, HEADS, WIDTH = 12, 4, 32
FLATFORMER = VoxelGrid((-74.88, -74.88, -2.0), (74.88, 74.88, 4.0), (0.32, 0.32, 6.0))


def frames(grid: VoxelGrid) -> Iterator[tuple[str, Sites]]:
    """Name and voxels of each cloud."""
    for name, points in clouds().items():
        yield name, voxelise(Ragged.of([points]), grid).sites


def agree(mine: torch.Tensor, theirs: torch.Tensor, most: float = 1e-5) -> None:
    error = ((mine - theirs).norm() / theirs.norm()).item()
    if not error < most:
        raise AssertionError(f"outputs differ by {error:.1e}")


def window_grouping(repeats: int) -> Iterator[Row]:
    for name, sites in frames(SCATTERFORMER):
        made = windows(sites, (None, WINDOW, WINDOW))
        order, counts = rows_by_unique(sites.coords, WINDOW)
        assert torch.equal(made.order, order) and torch.equal(made.offsets.diff(), counts)
        described = f"{name}, {len(sites)} voxels in {len(counts)} windows: unique over rows"

        def ours(sites: Sites = sites) -> object:
            return windows(fresh(sites), (None, WINDOW, WINDOW))

        def theirs(sites: Sites = sites) -> object:
            return rows_by_unique(sites.coords, WINDOW)

        yield described, compare(ours, theirs, repeats), 20.0


def window_attention(repeats: int) -> Iterator[Row]:
    for name, sites in frames(SCATTERFORMER):
        groups = windows(sites, (None, WINDOW, WINDOW))
        counts = groups.offsets.diff()
        q, k, v = (torch.randn(len(sites), HEADS, WIDTH).relu() for _ in range(3))

        def ours(q, k, v, groups=groups):
            return segment_linear_attention(q, k, v, groups.offsets, groups.offsets, eps=1e-6)

        def theirs(q, k, v, counts=counts):
            return outer_products(q, k, v, counts)

        agree(ours(q, k, v), theirs(q, k, v))
        turns = max(3, repeats // 3)
        with torch.no_grad():
            ratio = compare(lambda: ours(q, k, v), lambda: theirs(q, k, v), turns)  # noqa: B023
        yield f"{name}, {len(counts)} windows of up to {int(counts.max())}: outer products", ratio, 10.0
        leaves = [t.requires_grad_() for t in (q, k, v)]
        ratio = compare(train(ours, *leaves), train(theirs, *leaves), turns)
        yield f"{name}, forward and backward: outer products", ratio, None


@torch.no_grad()
def window_backbones(repeats: int) -> Iterator[Row]:
    turns = max(3, repeats // 5)
    torch.manual_seed(0)
    for name, sites in frames(SCATTERFORMER):
        x = torch.randn(len(sites), 64)
        ours = ScatterFormer(64, sites.grid[0]).eval()
        peer = ScatterFormer(64, sites.grid[0]).eval()
        peer.load_state_dict(ours.state_dict())
        peer.stages = torch.nn.ModuleList(PeerStage(stage) for stage in peer.stages)

        def run(network, x=x, sites=sites):
            return network(SparseTensor(x, fresh(sites))).features

        # Divided by normalisers, some of which are small: single precision leaves a little less.
        agree(run(ours), run(peer), 1e-4)
        ratio = compare(lambda: run(ours), lambda: run(peer), turns)  # noqa: B023
        yield f"{name}, {len(sites)} voxels, ScatterFormer: release's data movement", ratio, 3.0
    for name, sites in frames(FLATFORMER):
        plane = Sites(sites.coords[:, [0, 2, 3]], sites.grid[1:], sites.batch_size)
        x = torch.randn(len(plane), 128)
        encoder = FlatFormer().eval()
        other = PeerFlatFormer(encoder)

        def run(network, x=x, sites=plane):
            return network(SparseTensor(x, fresh(sites))).features

        agree(run(encoder), run(other))
        ratio = compare(lambda: run(encoder), lambda: run(other), turns)  # noqa: B023
        yield f"{name}, {len(plane)} pillars, FlatFormer: release's data movement", ratio, 1.4


GROUPS = {
    "window_grouping": window_grouping,
    "window_attention": window_attention,
    "window_backbones": window_backbones,
}
