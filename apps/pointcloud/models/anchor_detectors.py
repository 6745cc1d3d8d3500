"""The anchor-based baselines: PointPillars (Lang et al. 2019) and SECOND (Yan et al. 2018), published sizes on KITTI.

Called as the detectors with a centre head (`center_detectors`).
"""

__all__ = ["KITTI_ANCHORS", "PointPillars", "Second"]

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from apps.pointcloud.models.anchor_head import AnchorClass, AnchorHead
from apps.pointcloud.models.bev import BEVBackbone
from apps.pointcloud.models.decode import Detections
from apps.pointcloud.models.detector import Detector, Range, as_pillar, grids, heights, plane
from apps.pointcloud.models.encoders import DynamicVFE, MeanVFE
from apps.pointcloud.models.sparse_backbones import VoxelBackbone8x, height_to_channels
from apps.pointcloud.models.voxelise import voxelise
from core.layout import Ragged

KITTI_ANCHORS = (
    AnchorClass(((3.9, 1.6, 1.56),), -1.78, 0.6, 0.45),
    AnchorClass(((0.8, 0.6, 1.73),), -0.6, 0.5, 0.35),
    AnchorClass(((1.76, 0.6, 1.73),), -0.6, 0.5, 0.35),
)
"""Of Car, Pedestrian and Cyclist."""


class _AnchorDetector(Detector):
    """With an anchor head, and suppression whatever the class."""

    suppression: float

    def _finish(
        self, dim: int, classes: int, point_range: Range, size: tuple[int, int], anchors: Sequence[AnchorClass]
    ) -> None:
        if len(anchors) != classes:
            raise ValueError(f"{len(anchors)} anchors for {classes} classes; give one entry a class")
        self.head = AnchorHead(dim, point_range, size, anchors)

    def detect(self, outputs: Any) -> list[Detections]:
        """Boxes of each sample."""
        return self.head.detect(outputs, threshold=self.suppression)


class PointPillars(_AnchorDetector):
    """PointPillars; every point of a pillar counts (the release takes the first 32).

    Args:
        classes, point_range, features: as of `CenterPointPillar`.
        velocity: must be False, anchors have none.
        pillar: extent of a pillar along x and y in metres.
        dim: channels of a pillar.
        dims, depths: of the three levels, each of half the extent of the one before.
        up_dim: channels of each level in the output, which has half the pillars' extent.
        anchors: one entry a class.
        suppression: IoU above which a box of a lower score is removed.
        momentum: of batch norms.
    """

    def __init__(
        self,
        classes: int,
        point_range: Range,
        features: int = 1,
        velocity: bool = False,
        *,
        pillar: tuple[float, float] = (0.16, 0.16),
        dim: int = 64,
        dims: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (3, 5, 5),
        up_dim: int = 128,
        anchors: Sequence[AnchorClass] = KITTI_ANCHORS,
        suppression: float = 0.01,
        momentum: float = 0.01,
    ) -> None:
        _no_velocity(velocity)
        grid, bev = grids(point_range, as_pillar(pillar, point_range), 2)
        super().__init__(grid)
        self.suppression = suppression
        self.encoder = DynamicVFE(grid, 3 + features, (dim,))
        self.bev = BEVBackbone(dim, dims, depths, (2, 2, 2), [up_dim] * 3, (1, 2, 4))
        self._finish(self.bev.out_dim, classes, point_range, bev.size, anchors)
        self.set_momentum(momentum)

    def features(self, points: Ragged) -> Tensor:
        """The bird's-eye view (B, Y, X, C) of points."""
        return self.bev(plane(self.encoder(voxelise(points, self.grid))).dense())


class Second(_AnchorDetector):
    """SECOND; every point of a voxel counts (the release takes the first 5).

    Args:
        classes, point_range, features, velocity, anchors, suppression, momentum: as of `PointPillars`.
        voxel: extent in metres.
        dims: widths of the sparse backbone's levels.
        bev_dims, depths: of the levels of the bird's-eye view.
        up_dim: channels of each level in the output.
    """

    def __init__(
        self,
        classes: int,
        point_range: Range,
        features: int = 1,
        velocity: bool = False,
        *,
        voxel: tuple[float, float, float] = (0.05, 0.05, 0.1),
        dims: Sequence[int] = (16, 32, 64, 64),
        bev_dims: Sequence[int] = (128, 256),
        depths: Sequence[int] = (5, 5),
        up_dim: int = 256,
        anchors: Sequence[AnchorClass] = KITTI_ANCHORS,
        suppression: float = 0.01,
        momentum: float = 0.01,
    ) -> None:
        _no_velocity(velocity)
        grid, bev = grids(point_range, voxel, VoxelBackbone8x.stride)
        super().__init__(grid)
        self.suppression = suppression
        self.encoder = MeanVFE(3 + features)
        self.backbone = VoxelBackbone8x(3 + features, dims)
        height = heights(grid.grid[0])
        self.bev = BEVBackbone(self.backbone.out_dim * height, bev_dims, depths, (1, 2), (up_dim, up_dim), (1, 2))
        self._finish(self.bev.out_dim, classes, point_range, bev.size, anchors)
        self.set_momentum(momentum)

    def features(self, points: Ragged) -> Tensor:
        """The bird's-eye view (B, Y, X, C) of points."""
        return self.bev(height_to_channels(self.backbone(self.encoder(voxelise(points, self.grid)))))


def _no_velocity(velocity: bool) -> None:
    if velocity:
        raise ValueError("anchors have no velocity; set velocity to false, or take a centre head")
