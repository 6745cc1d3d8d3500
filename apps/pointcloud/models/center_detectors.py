"""Detectors with a centre head.

    CenterPointPillar      point networks on pillars, SECOND's 2-D backbone   (Yin et al. 2021)
    CenterPointVoxel       means of voxels, residual sparse backbone, the same
    ScatterFormerDetector  point networks on voxels, ScatterFormer, CascadeDED; IoU in the scores (He et al. 2024)
    FlatFormerDetector     point networks on pillars, FlatFormer, residual 2-D backbone; IoU in the scores
                           (Liu et al. 2023)

All are called with points `Ragged` (N, 3 + features), any number a sample, none included. Defaults are the published
sizes on Waymo; the range is the data's and must be a whole number of voxels that the stride divides.

`momentum` of the batch norms is .01 in the releases, which train for hundreds of thousands of steps; runs of some
hundred steps need torch's .1, or their running statistics are still those of the start.
"""

__all__ = ["CenterPointPillar", "CenterPointVoxel", "FlatFormerDetector", "ScatterFormerDetector"]

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from apps.pointcloud.models.bev import AddingLevel, BEVBackbone, CascadeDED
from apps.pointcloud.models.center_head import CenterHead
from apps.pointcloud.models.decode import CenterDecoder, Detections
from apps.pointcloud.models.detector import Detector, Range, as_pillar, grids, heights, plane
from apps.pointcloud.models.encoders import DynamicVFE, MeanVFE
from apps.pointcloud.models.flatformer import FlatFormer
from apps.pointcloud.models.scatterformer import ScatterFormer
from apps.pointcloud.models.sparse_backbones import VoxelResBackbone8x, height_to_channels
from apps.pointcloud.models.targets import BevGrid
from apps.pointcloud.models.voxelise import voxelise
from core.layout import Ragged


class _CenterDetector(Detector):
    """With a centre head for all classes, and suppression by class."""

    def _finish(
        self,
        bev: BevGrid,
        dim: int,
        classes: int,
        velocity: bool,
        momentum: float,
        suppression: float,
        shared_dim: int,
        iou: bool = False,
        rectify: float | None = None,
    ) -> None:
        groups = [list(range(classes))]
        self.head = CenterHead(dim, bev, groups, shared_dim, velocity=velocity, iou=iou)
        self.decoder = CenterDecoder(
            bev, groups, [suppression] * classes, rectify=None if rectify is None else [rectify] * classes
        )
        self.set_momentum(momentum)

    def detect(self, outputs: Any) -> list[Detections]:
        """Boxes of each sample."""
        return self.decoder(outputs)


class CenterPointPillar(_CenterDetector):
    """CenterPoint on pillars.

    Args:
        classes: number of classes.
        point_range: least x, y, z and greatest x, y, z in metres.
        features: numbers of a point beside x, y, z.
        velocity: predict it.
        pillar: extent of a pillar along x and y in metres.
        dim: channels of a pillar.
        dims, depths, strides: of the levels of the bird's-eye view.
        up_dim: channels of each level in the output.
        shared_dim: of the head.
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
        pillar: tuple[float, float] = (0.32, 0.32),
        dim: int = 64,
        dims: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (3, 5, 5),
        strides: Sequence[int] = (1, 2, 2),
        up_dim: int = 128,
        shared_dim: int = 64,
        suppression: float = 0.2,
        momentum: float = 0.01,
    ) -> None:
        grid, bev = grids(point_range, as_pillar(pillar, point_range), strides[0])
        super().__init__(grid)
        self.encoder = DynamicVFE(grid, 3 + features, (dim,))
        ups = [prod(strides[1 : level + 1]) for level in range(len(strides))]
        self.bev = BEVBackbone(dim, dims, depths, strides, [up_dim] * len(dims), ups)
        self._finish(bev, self.bev.out_dim, classes, velocity, momentum, suppression, shared_dim)

    def features(self, points: Ragged) -> Tensor:
        """The bird's-eye view (B, Y, X, C) of points."""
        return self.bev(plane(self.encoder(voxelise(points, self.grid))).dense())


class CenterPointVoxel(_CenterDetector):
    """CenterPoint on voxels, whose bird's-eye view has an eighth of their extent.

    Args:
        classes, point_range, features, velocity, suppression, momentum, shared_dim: as of `CenterPointPillar`.
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
        voxel: tuple[float, float, float] = (0.1, 0.1, 0.15),
        dims: Sequence[int] = (16, 32, 64, 128),
        bev_dims: Sequence[int] = (128, 256),
        depths: Sequence[int] = (5, 5),
        up_dim: int = 256,
        shared_dim: int = 64,
        suppression: float = 0.2,
        momentum: float = 0.01,
    ) -> None:
        grid, bev = grids(point_range, voxel, VoxelResBackbone8x.stride)
        super().__init__(grid)
        self.encoder = MeanVFE(3 + features)
        self.backbone = VoxelResBackbone8x(3 + features, dims)
        height = heights(grid.grid[0])
        self.bev = BEVBackbone(self.backbone.out_dim * height, bev_dims, depths, (1, 2), (up_dim, up_dim), (1, 2))
        self._finish(bev, self.bev.out_dim, classes, velocity, momentum, suppression, shared_dim)

    def features(self, points: Ragged) -> Tensor:
        """The bird's-eye view (B, Y, X, C) of points."""
        return self.bev(height_to_channels(self.backbone(self.encoder(voxelise(points, self.grid)))))


class ScatterFormerDetector(_CenterDetector):
    """ScatterFormer with CascadeDED and a centre head that mends scores by the predicted IoU.

    Args:
        classes, point_range, features, velocity, suppression, momentum, shared_dim: as of `CenterPointPillar`.
        voxel: extent in metres.
        dim: channels of the backbone.
        heads, depths, window, entry_depth: of the backbone.
        bev_dim, bev_depth: channels and number of the dense encoder-decoders.
        rectify: exponent of the IoU in the score; the release has .68, .71 and .65 for Waymo's classes.
    """

    def __init__(
        self,
        classes: int,
        point_range: Range,
        features: int = 2,
        velocity: bool = False,
        *,
        voxel: tuple[float, float, float] = (0.32, 0.32, 0.1875),
        dim: int = 128,
        heads: int = 4,
        depths: tuple[int, int] = (3, 3),
        window: int = 12,
        entry_depth: int = 3,
        bev_dim: int = 128,
        bev_depth: int = 4,
        shared_dim: int = 64,
        suppression: float = 0.2,
        rectify: float = 0.68,
        momentum: float = 0.01,
    ) -> None:
        grid, bev = grids(point_range, voxel, ScatterFormer.stride)
        super().__init__(grid)
        self.encoder = DynamicVFE(grid, 3 + features, (32, 64))
        self.backbone = ScatterFormer(64, grid.grid[0], dim, heads, depths, window, entry_depth)
        self.bev = CascadeDED(dim, bev_dim, bev_depth)
        self._finish(bev, bev_dim, classes, velocity, momentum, suppression, shared_dim, True, rectify)

    def features(self, points: Ragged) -> Tensor:
        """The bird's-eye view (B, Y, X, C) of points."""
        return self.bev(self.backbone(self.encoder(voxelise(points, self.grid))).dense())


class FlatFormerDetector(_CenterDetector):
    """FlatFormer on pillars with a residual bird's-eye-view backbone.

    Args:
        classes, point_range, features, velocity, suppression, momentum, shared_dim: as of `CenterPointPillar`.
        pillar: extent of a pillar along x and y in metres.
        dim, heads, depth, window, size: of the encoder.
        bev_dims, bev_depths: of the two levels of the bird's-eye view.
        up_dim: channels of each level in the output.
        rectify: exponent of the IoU in the score.
    """

    def __init__(
        self,
        classes: int,
        point_range: Range,
        features: int = 2,
        velocity: bool = False,
        *,
        pillar: tuple[float, float] = (0.32, 0.32),
        dim: int = 128,
        heads: int = 8,
        depth: int = 2,
        window: tuple[int, int] = (13, 13),
        size: int = 144,
        bev_dims: tuple[int, int] = (64, 128),
        bev_depths: tuple[int, int] = (3, 3),
        up_dim: int = 128,
        shared_dim: int = 64,
        suppression: float = 0.2,
        rectify: float = 0.68,
        momentum: float = 0.01,
    ) -> None:
        grid, bev = grids(point_range, as_pillar(pillar, point_range), 1)
        super().__init__(grid)
        self.encoder = DynamicVFE(grid, 3 + features, (64, dim))
        self.backbone = FlatFormer(dim, heads, depth, window=window, size=size)
        self.bev = BEVBackbone(dim, bev_dims, bev_depths, (1, 2), (up_dim, up_dim), (1, 2), AddingLevel)
        self._finish(bev, 2 * up_dim, classes, velocity, momentum, suppression, shared_dim, True, rectify)

    def features(self, points: Ragged) -> Tensor:
        """The bird's-eye view (B, Y, X, C) of points."""
        return self.bev(self.backbone(plane(self.encoder(voxelise(points, self.grid)))).dense())
