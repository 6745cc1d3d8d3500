"""Sparse convolutions beside their peers: `python -m benchmarks pointcloud`, one thread.

    sparse_pairs        making the pairs of a 3 x 3 x 3 submanifold convolution, against spconv's CPU code
    sparse_convolution  the convolution over pairs made before, 64 channels, against spconv's CPU code
    sparse_training     forward and backward, 16 channels, against a dense convolution (spconv has no backward on a CPU)
    sparse_depthwise    ScatterFormer's three kernels over pairs, 32 channels, against a masked table of neighbours

On KITTI's frames 000008 (camera's view, voxels of SECOND: .05 x .05 x .1 m) and 000000 (full turn, voxels of
ScatterFormer: .32 x .32 x .1875 m) where they lie below `OMNIMIX_DATA`, otherwise on two drawn scenes seen by the same
sensor. spconv gets its voxels in the same order. Results are compared before anything is timed.
"""

__all__ = ["GROUPS", "clouds"]

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from apps.pointcloud.data.kitti import KittiFrames
from apps.pointcloud.data.scenes import Scenes
from apps.pointcloud.models import VoxelGrid, voxelise
from benchmarks.harness import Ratio, compare, train
from benchmarks.peers.sparse import SpconvPairs, dense, masked_table, table_by_taps, table_of
from core.errors import UserError
from core.layout import Ragged
from core.sparse import Sites, SparseTensor, SubmanifoldConv, SubmanifoldDepthwiseConv
from core.sparse.rulebook import submanifold_pairs

Row = tuple[str, Ratio, float | None]
CUBE = (3, 3, 3)
SECOND = VoxelGrid((0.0, -40.0, -3.0), (70.4, 40.0, 1.0), (0.05, 0.05, 0.1))
SCATTERFORMER = VoxelGrid((-76.8, -76.8, -2.0), (76.8, 76.8, 4.0), (0.32, 0.32, 0.1875))
# What spconv's time is multiplied with at most.
PARITY = 1 / 1.2


def clouds() -> dict[str, Tensor]:
    """Name -> points, of the camera's view and of the full turn."""
    try:
        items = {item.name: item for item in KittiFrames(camera_view=False).items()}
        return {name: items[name].load().points for name in ("000008", "000000")}
    except UserError:
        views = {"drawn view": True, "drawn turn": False}
        return {name: Scenes(1, azimuth_step=None, camera_view=view).draw(0).points for name, view in views.items()}


def voxels() -> Iterator[tuple[str, Sites]]:
    """Each cloud's voxels, on a grid of one more plane as the releases have it."""
    for (name, points), grid in zip(clouds().items(), (SECOND, SCATTERFORMER), strict=True):
        sites = voxelise(Ragged.of([points]), grid).sites
        yield name, _fresh(sites)


def _fresh(sites: Sites) -> Sites:
    depth, height, width = sites.grid
    return Sites(sites.coords, (depth + 1, height, width), sites.batch_size)


def _agree(mine: Tensor, theirs: Tensor) -> None:
    error = ((mine - theirs).norm() / theirs.norm()).item()
    if not error < 1e-5:
        raise AssertionError(f"outputs differ by {error:.1e}")


def _installed() -> bool:
    if find_spec("spconv") is None:
        print("Left out: spconv is not installed.\n")
        return False
    return True


def sparse_pairs(repeats: int) -> Iterator[Row]:
    if not _installed():
        return
    for name, sites in voxels():

        def ours(sites: Sites = sites) -> object:
            return submanifold_pairs(Sites(sites.coords, sites.grid, 1), CUBE, (1, 1, 1))

        def sorting(sites: Sites = sites) -> object:
            return submanifold_pairs(Sites.of(sites.coords, sites.grid, 1), CUBE, (1, 1, 1))

        theirs = SpconvPairs(sites, CUBE)
        yield f"{name}, {len(sites)} voxels, pairs: spconv", compare(ours, theirs, repeats), PARITY
        yield f"{name}, checking the order as well: spconv", compare(sorting, theirs, repeats), None


@torch.no_grad()
def sparse_convolution(repeats: int) -> Iterator[Row]:
    if not _installed():
        return
    from core.sparse.spconv import module_to_spconv, to_spconv

    for name, sites in voxels():
        x, conv = SparseTensor(torch.randn(len(sites), 64), sites), SubmanifoldConv(64, 64, bias=False)
        module, given = module_to_spconv(conv, "kept"), to_spconv(x)
        given.indice_dict = module(given).indice_dict
        _agree(conv(x).features, module(given).features)
        pairs = submanifold_pairs(sites, CUBE, (1, 1, 1))
        per = sum(len(sites) if tap.source is None else len(tap.source) for tap in pairs.taps) / len(sites)
        ratio = compare(partial(conv, x), partial(module, given), repeats)
        yield f"{name}, {per:.1f} of 27 pairs a voxel, 64 channels: spconv", ratio, PARITY


def sparse_training(repeats: int) -> Iterator[Row]:
    """On the view in ScatterFormer's voxels: in its own the dense grid has 92 million places."""
    name, points = next(iter(clouds().items()))
    grid = VoxelGrid((0.0, -40.96, -2.0), (71.68, 40.96, 4.0), SCATTERFORMER.size)
    sites = _fresh(voxelise(Ragged.of([points]), grid).sites)
    conv = SubmanifoldConv(16, 16, bias=False)
    x = SparseTensor(torch.randn(len(sites), 16), sites)
    there = x.dense().movedim(-1, 1).contiguous(memory_format=torch.channels_last_3d)
    _agree(conv(x).features, dense(there, conv.weight).movedim(1, -1)[tuple(sites.coords.unbind(1))])
    ours = train(lambda f, w: conv(x.replace(f)).features, x.features.requires_grad_(), conv.weight)
    theirs = train(dense, there.detach().requires_grad_(), conv.weight)
    extent = " x ".join(map(str, sites.grid))
    ratio = compare(ours, theirs, min(3, repeats))
    yield f"{name}, {len(sites)} voxels, forward and backward: dense {extent}", ratio, 100.0


@torch.no_grad()
def sparse_depthwise(repeats: int) -> Iterator[Row]:
    for name, sites in voxels():
        x = SparseTensor(torch.randn(len(sites), 32), sites)
        for what, kernel in (("3 x 3 x 3", CUBE), ("13 along x", (1, 1, 13)), ("13 along y", (1, 13, 1))):
            conv, table = SubmanifoldDepthwiseConv(32, kernel), table_of(sites, kernel)
            ours, whole = partial(conv, x), partial(masked_table, x, conv.weight, *table)
            taps = partial(table_by_taps, x, conv.weight, *table)
            for theirs in (whole, taps):
                _agree(ours().features, theirs())
            yield f"{name}, {what}, 32 channels: masked table", compare(ours, whole, repeats), 4.0
            yield f"{name}, {what}, 32 channels: masked table, a tap at a time", compare(ours, taps, repeats), None


GROUPS = {
    "sparse_pairs": sparse_pairs,
    "sparse_convolution": sparse_convolution,
    "sparse_training": sparse_training,
    "sparse_depthwise": sparse_depthwise,
}
