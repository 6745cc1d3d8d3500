"""What whole detectors share: points of a batch to the maps of a head, to its loss, to boxes."""

__all__ = ["Detector", "Range", "as_pillar", "grids", "heights", "plane"]

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from apps.pointcloud.models.decode import Detections
from apps.pointcloud.models.targets import BevGrid
from apps.pointcloud.models.voxelise import VoxelGrid
from apps.pointcloud.ranges import grid_size
from core.layout import Ragged
from core.sparse import Sites, SparseTensor

Range = Sequence[float]


class Detector(nn.Module):
    """Base class: `features` makes the bird's-eye view, the head does the rest.

    Args:
        grid: the voxels.
    """

    head: nn.Module

    def __init__(self, grid: VoxelGrid) -> None:
        super().__init__()
        self.grid = grid

    def features(self, points: Ragged) -> Tensor:
        """The bird's-eye view (B, Y, X, C) of points."""
        raise NotImplementedError

    def forward(self, points: Ragged) -> Any:
        """Maps of the head."""
        return self.head(self.features(points))

    def loss(self, outputs: Any, boxes: Ragged, labels: Tensor) -> dict[str, Tensor]:
        """`loss` and its parts, of boxes (M, 7 or 9) and labels (M,) of the batch."""
        return self.head.loss(outputs, self.head.targets(boxes, labels))

    def detect(self, outputs: Any) -> list[Detections]:
        """Boxes of each sample."""
        raise NotImplementedError

    def set_momentum(self, momentum: float) -> None:
        """Of all batch norms."""
        for part in self.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.momentum = momentum


def grids(point_range: Range, voxel: Sequence[float], stride: int) -> tuple[VoxelGrid, BevGrid]:
    """Voxels, and the cells of the map; raises UserError where they do not fit."""
    grid_size(point_range, voxel, (stride, stride, 1))
    low, high = tuple(point_range[:3]), tuple(point_range[3:])
    return VoxelGrid(low, high, tuple(voxel)), BevGrid.of(point_range, voxel, stride)  # type: ignore[arg-type]


def as_pillar(pillar: Sequence[float], point_range: Range) -> tuple[float, float, float]:
    """A voxel as high as the range."""
    return pillar[0], pillar[1], point_range[5] - point_range[2]


def plane(x: SparseTensor) -> SparseTensor:
    """Pillars (b, 0, y, x) as sites (b, y, x)."""
    sites = x.sites.plan("plane", lambda: Sites(x.coords[:, [0, 2, 3]].contiguous(), x.grid[1:], x.batch_size))
    return SparseTensor(x.features, sites)


def heights(voxels: int) -> int:
    """Planes that the backbones of an eighth leave of so many voxels along z and one more."""
    planes = voxels + 1
    for padding in (1, 1, 0, 0):
        planes = (planes + 2 * padding - 3) // 2 + 1
    return planes
