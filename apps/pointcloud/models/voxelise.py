"""Points into voxels.

A point's voxel is floor((p - low) / size) an axis, in float32 and with this very expression: coordinates of sensors are
multiples of a millimetre and lie on voxel borders often, where any other rounding gives another voxel. Points outside
are dropped. So are points with a number that is not finite, and counted: one NaN would reach every voxel through the
statistics of a batch norm.

`voxelise` keeps every point (dynamic voxelisation). Its voxels do not depend on the order of the points, and sums over
a voxel are taken in float64, so that their order does not show in float32. `hard_voxels` keeps the first points of the
first voxels, as SECOND and PointPillars were published (OpenPCDet's `transform_points_to_voxels`): its result depends
on the order of the points, and is here for equality with these baselines alone.

Decided: voxels are sorted by (sample, z, y, x) and numbered in int64. OpenPCDet sorts by (sample, x, y, z) in int32,
which overflows from 24 samples of 1408 x 1600 x 40 voxels on.
"""

__all__ = ["HardVoxels", "PointVoxels", "VoxelGrid", "hard_voxels", "voxelise"]

from dataclasses import dataclass
from math import isclose, prod
from typing import NamedTuple

import torch
from torch import Tensor

from core.layout import Ragged
from core.ops.segments import segment_max
from core.sparse import Sites

# Up to so many places a point, marking the occupied ones is quicker than sorting keys.
_PLACES = 16


@dataclass(frozen=True)
class VoxelGrid:
    """Where voxels lie.

    Attributes:
        low: x, y and z where the grid begins, in metres.
        high: where it ends.
        size: extent of a voxel.

    Raises:
        ValueError: where the size does not divide the range.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    size: tuple[float, float, float]

    def __post_init__(self) -> None:
        for axis, low, high, size in zip("xyz", self.low, self.high, self.size, strict=True):
            count = (high - low) / size if size > 0 else 0.0
            if count < 0.5 or not isclose(count, round(count), abs_tol=1e-3):
                raise ValueError(
                    f"voxel grid: {axis} from {low} to {high} is not a multiple of the voxel's {size}; "
                    "change the range or the size"
                )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of voxels along z, y and x, the order of coordinates."""
        z, y, x = (
            round((high - low) / size)
            for low, high, size in zip(self.low[::-1], self.high[::-1], self.size[::-1], strict=True)
        )
        return z, y, x

    def centres(self, coords: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, 3) x, y, z in metres of the middles of voxels (N, 4) given as (sample, z, y, x)."""
        size = torch.tensor(self.size, dtype=dtype, device=coords.device)
        first = [low + size / 2 for low, size in zip(self.low, self.size, strict=True)]
        return coords[:, [3, 2, 1]].to(dtype) * size + torch.tensor(first, dtype=dtype, device=coords.device)


class PointVoxels(NamedTuple):
    """Points with their voxels.

    Attributes:
        points: (P, 3 + F) the points inside the grid.
        voxel: (P,) row of each point's voxel.
        sites: the occupied voxels.
        unusable: how many points had a number that is not finite, a tensor without axes.
    """

    points: Tensor
    voxel: Tensor
    sites: Sites
    unusable: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """(V, C) means over each voxel's points of values (P, C)."""
        sums = values.new_zeros(len(self.sites), values.shape[1], dtype=torch.float64)
        sums = sums.index_add(0, self.voxel, values.double())
        counts = torch.bincount(self.voxel, minlength=len(self.sites))
        return (sums / counts[:, None]).to(values.dtype)

    def largest(self, values: Tensor) -> Tensor:
        """(V, C) maxima over each voxel's points of values (P, C)."""
        return segment_max(values, self.voxel, len(self.sites))


class HardVoxels(NamedTuple):
    """A fixed number of places for points a voxel.

    Attributes:
        points: (V, M, 3 + F), 0 behind a voxel's last point.
        counts: (V,) points of each voxel, 1 to M.
        sites: the voxels.
        unusable: how many points had a number that is not finite, a tensor without axes.
    """

    points: Tensor
    counts: Tensor
    sites: Sites
    unusable: Tensor

    @property
    def filled(self) -> Tensor:
        """(V, M) boolean, True where a point stands."""
        return torch.arange(self.points.shape[1], device=self.counts.device) < self.counts[:, None]

    def flat(self) -> PointVoxels:
        """The same points without the empty places."""
        filled = self.filled
        return PointVoxels(self.points[filled], filled.nonzero()[:, 0], self.sites, self.unusable)


def voxelise(points: Ragged, grid: VoxelGrid) -> PointVoxels:
    """All points inside the grid with their voxels.

    Args:
        points: (N, 3 + F) x, y, z and features, a segment a sample.
        grid: the voxels.
    """
    kept, keys, unusable = _inside(points, grid)
    count = points.batch * prod(grid.grid)
    if count <= _PLACES * len(keys):
        occupied = torch.zeros(count, dtype=torch.bool, device=keys.device)
        occupied[keys] = True
        rows = occupied.cumsum(0) - 1
        distinct, voxel = occupied.nonzero()[:, 0], rows[keys]
    else:
        distinct, voxel = torch.unique(keys, return_inverse=True)
    return PointVoxels(points.tokens[kept], voxel, Sites.from_keys(distinct, grid.grid, points.batch), unusable)


def hard_voxels(points: Ragged, grid: VoxelGrid, *, max_points: int, max_voxels: int) -> HardVoxels:
    """The first points of the first voxels of every sample, in the order of the points.

    Args:
        points: (N, 3 + F) x, y, z and features, a segment a sample.
        grid: the voxels.
        max_points: points kept of a voxel, M.
        max_voxels: voxels kept of a sample, those whose first point comes first.
    """
    kept, keys, unusable = _inside(points, grid)
    rows = torch.arange(len(keys), device=keys.device)
    # Points by voxel, in their own order within it: a point's place is its distance to the voxel's first.
    _, order = keys.sort(stable=True)
    distinct, sizes = torch.unique_consecutive(keys[order], return_counts=True)
    starts = sizes.cumsum(0) - sizes
    place = torch.empty_like(rows)
    place[order] = rows - starts.repeat_interleave(sizes)
    voxel = torch.empty_like(rows)
    voxel[order] = torch.arange(len(distinct), device=keys.device).repeat_interleave(sizes)
    # Voxels by their first point; samples follow each other, so the rank within one is a difference too.
    arrival = order[starts].argsort()
    sample = distinct[arrival] // prod(grid.grid)
    before = torch.searchsorted(sample, sample)
    chosen = torch.zeros(len(distinct), dtype=torch.bool, device=keys.device)
    chosen[arrival] = torch.arange(len(arrival), device=keys.device) - before < max_voxels
    renumbered = chosen.cumsum(0) - 1
    stays = chosen[voxel] & (place < max_points)
    padded = points.tokens.new_zeros(int(chosen.sum()), max_points, points.tokens.shape[1])
    padded = padded.index_put((renumbered[voxel[stays]], place[stays]), points.tokens[kept][stays])
    sites = Sites.from_keys(distinct[chosen], grid.grid, points.batch)
    return HardVoxels(padded, sizes[chosen].clamp(max=max_points), sites, unusable)


def _inside(points: Ragged, grid: VoxelGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of the points inside, the numbers of their voxels, and how many points were unusable."""
    tokens = points.tokens.detach()
    low, size, count = (
        torch.tensor(numbers, dtype=torch.float32, device=tokens.device)
        for numbers in (grid.low, grid.size, grid.grid[::-1])
    )
    place = torch.floor((tokens[:, :3].float() - low) / size)
    finite = tokens.isfinite().all(1)
    kept = (finite & ((place >= 0) & (place < count)).all(1)).nonzero()[:, 0]
    x, y, z = place[kept].long().unbind(1)
    depth, height, width = grid.grid
    keys = ((points.segment_ids()[kept] * depth + z) * height + y) * width + x
    return kept, keys, (~finite).sum()
