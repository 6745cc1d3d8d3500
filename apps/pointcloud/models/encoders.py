"""Voxel feature encoders: points in voxels -> features at sites.

    MeanVFE     mean of the points (SECOND, CenterPoint)
    DynamicVFE  point networks over all points of a voxel (Zhou et al. 2020, "End-to-end multi-view fusion")
    PillarVFE   the same over padded voxels (PointPillars, Lang et al. 2019)

A point enters a point network as [x, y, z, features, offset to the mean of its voxel's points, offset to the voxel's
middle, perhaps its range]. Each layer is Linear without bias, batch norm, ReLU; every layer but the last appends its
maximum over the voxel to the points, the last one's maximum is the voxel's feature.

Three releases are one class here: OpenPCDet's DynamicVoxelVFE; its DynamicPillarVFE, which is a grid of one voxel along
z (that class keeps points of any height: give a taller range with the same middle to have them too); FlatFormer's
DynamicVFE. `dims` are the widths of the linear layers: OpenPCDet writes twice the width for all but the last, so its
NUM_FILTERS [64, 64] is (32, 64); FlatFormer's [64, 128] stays (64, 128).

Decided: PillarVFE leaves padded places out of maximum and statistics. The release takes them in (`official=True`), so
that its features depend on how many places a voxel has.
"""

__all__ = ["DynamicVFE", "MeanVFE", "PillarVFE"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.pointcloud.models.layers import RowNorm
from apps.pointcloud.models.voxelise import HardVoxels, PointVoxels, VoxelGrid
from core.sparse import SparseTensor


class MeanVFE(nn.Module):
    """Mean of a voxel's points, all their numbers: x, y, z and features.

    Args:
        channels: numbers of a point, 3 + F.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_dim = channels

    def forward(self, voxels: PointVoxels | HardVoxels) -> SparseTensor:
        """Voxels -> tensor of `channels` at their sites."""
        if isinstance(voxels, HardVoxels):
            # Empty places are 0.
            sums = voxels.points.sum(1)
            return SparseTensor(sums / voxels.counts.clamp(min=1)[:, None].to(sums.dtype), voxels.sites)
        return SparseTensor(voxels.mean(voxels.points), voxels.sites)


class DynamicVFE(nn.Module):
    """Point networks over all points of a voxel.

    Args:
        grid: the voxels.
        channels: numbers of a point, 3 + F.
        dims: widths of the linear layers.
        absolute: x, y and z themselves are among the inputs.
        distance: the point's distance to the sensor is.
    """

    def __init__(
        self,
        grid: VoxelGrid,
        channels: int,
        dims: Sequence[int] = (32, 64),
        *,
        absolute: bool = True,
        distance: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.absolute, self.distance = grid, absolute, distance
        self.out_dim = dims[-1]
        width = channels + (6 if absolute else 3) + distance
        self.linears, self.norms = nn.ModuleList(), nn.ModuleList()
        for dim in dims:
            self.linears.append(nn.Linear(width, dim, bias=False))
            self.norms.append(RowNorm(dim))
            width = 2 * dim

    def forward(self, voxels: PointVoxels) -> SparseTensor:
        """Points in voxels -> tensor of `out_dim` channels at the occupied ones."""
        means = voxels.mean(voxels.points[:, :3]).index_select(0, voxels.voxel)
        y = self.linears[0](self._inputs(voxels.points, means, voxels.sites.coords.index_select(0, voxels.voxel)))
        for layer, norm in enumerate(self.norms):
            x = F.relu(norm(y))
            largest = voxels.largest(x)
            if layer + 1 < len(self.norms):
                # The maximum's half of the next layer needs computing once a voxel, not once a point.
                of_point, of_voxel = self.linears[layer + 1].weight.chunk(2, 1)
                y = torch.addmm(F.linear(largest, of_voxel).index_select(0, voxels.voxel), x, of_point.T)
        return SparseTensor(largest, voxels.sites)

    def _inputs(self, points: Tensor, means: Tensor, coords: Tensor) -> Tensor:
        """(P, 3 + F) points with means (P, 3) and voxels (P, 4) -> (P, width)."""
        places = points[:, :3]
        parts = [points if self.absolute else points[:, 3:], places - means]
        parts.append(places - self.grid.centres(coords, points.dtype))
        if self.distance:
            parts.append(places.norm(dim=1, keepdim=True))
        return torch.cat(parts, 1)


class PillarVFE(DynamicVFE):
    """Point networks over padded voxels.

    Args:
        grid: the voxels.
        channels: numbers of a point, 3 + F.
        dims: widths of the linear layers.
        absolute: x, y and z themselves are among the inputs.
        distance: the point's distance to the sensor is.
        official: padded places take part in maximum and statistics, as in the release, whose weights expect it.
    """

    def __init__(
        self,
        grid: VoxelGrid,
        channels: int,
        dims: Sequence[int] = (64,),
        *,
        absolute: bool = True,
        distance: bool = False,
        official: bool = False,
    ) -> None:
        super().__init__(grid, channels, dims, absolute=absolute, distance=distance)
        self.official = official

    def forward(self, voxels: HardVoxels) -> SparseTensor:  # type: ignore[override]
        """Padded voxels -> tensor of `out_dim` channels at their sites."""
        if not self.official:
            return super().forward(voxels.flat())
        points = voxels.points
        count, places, _ = points.shape
        means = points[..., :3].sum(1) / voxels.counts[:, None].to(points.dtype)
        per_place = voxels.sites.coords.repeat_interleave(places, 0)
        x = self._inputs(points.flatten(0, 1), means.repeat_interleave(places, 0), per_place)
        x = x * voxels.filled.flatten()[:, None]
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = F.relu(norm(linear(x)))
            largest = x.view(count, places, x.shape[1]).amax(1)
            if linear is not self.linears[-1]:
                x = torch.cat([x, largest.repeat_interleave(places, 0)], 1)
        return SparseTensor(largest, voxels.sites)
