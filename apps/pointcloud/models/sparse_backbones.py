"""Sparse 3-D backbones of SECOND (Yan et al. 2018) and CenterPoint (Yin et al. 2021), as OpenPCDet publishes them.

    VoxelBackbone8x     one submanifold convolution a level, then two on every halved one (SECOND)
    VoxelResBackbone8x  residual blocks instead, widths 16, 32, 64, 128 (CenterPoint)

    (z, y, x) of SECOND on KITTI: 41 x 1600 x 1408, 21 x 800 x 704, 11 x 400 x 352, 5 x 200 x 176; then z alone 5 to 2.

The releases run on one more plane along z than there are voxels, so that the halved extents come out as trained.
`height_to_channels` makes the bird's-eye view: tokens (B, Y, X, C Z), channel c Z + z.
"""

__all__ = ["VoxelBackbone8x", "VoxelResBackbone8x", "height_to_channels"]

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from apps.pointcloud.models.layers import SparseBasicBlock, SparseConvNorm
from core.sparse import Sites, SparseConv, SparseModule, SparseTensor, SubmanifoldConv


class _Backbone8x(SparseModule):
    """Entry, levels of which all but the first halve the grid, exit.

    Attributes:
        stride: how many voxels a site of the output spans along y and x.
        out_dim: its channels.
    """

    stride = 8

    def __init__(
        self,
        channels: int,
        dims: Sequence[int],
        out_dim: int,
        depths: Sequence[int],
        layer: Callable[[int], SparseModule],
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.enter = SparseConvNorm(SubmanifoldConv(channels, dims[0], 3, bias=False))
        self.stages = nn.ModuleList()
        for level, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            stage = nn.Sequential()
            if level:
                # Without padding along z at the lowest level, whose five planes of SECOND would be six.
                padding = (0, 1, 1) if level == 3 else 1
                down = SparseConv(dims[level - 1], dim, 3, stride=2, padding=padding, bias=False)
                stage.append(SparseConvNorm(down))
            stage.extend(layer(dim) for _ in range(depth))
            self.stages.append(stage)
        self.leave = SparseConvNorm(SparseConv(dims[-1], out_dim, (3, 1, 1), stride=(2, 1, 1), bias=False))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features at voxels -> `out_dim` channels at an eighth of y and x and about a sixteenth of z.

        Raises:
            ValueError: a grid too low for the convolutions, with their extents.
        """
        x = self.enter(taller(x))
        for stage in self.stages:
            x = stage(x)
        return self.leave(x)


class VoxelBackbone8x(_Backbone8x):
    """Backbone of SECOND.

    Args:
        channels: of the voxel features.
        dims: widths of the four levels.
        out_dim: channels of the output.
    """

    def __init__(self, channels: int, dims: Sequence[int] = (16, 32, 64, 64), out_dim: int = 128) -> None:
        super().__init__(channels, dims, out_dim, (1, 2, 2, 2), _submanifold)


class VoxelResBackbone8x(_Backbone8x):
    """Residual backbone of CenterPoint.

    Args:
        channels: of the voxel features.
        dims: widths of the four levels.
        out_dim: channels of the output.
    """

    def __init__(self, channels: int, dims: Sequence[int] = (16, 32, 64, 128), out_dim: int = 128) -> None:
        super().__init__(channels, dims, out_dim, (2, 2, 2, 2), SparseBasicBlock)


def _submanifold(dim: int) -> SparseConvNorm:
    return SparseConvNorm(SubmanifoldConv(dim, dim, 3, bias=False))


def taller(x: SparseTensor) -> SparseTensor:
    """The same sites on a grid of one more plane along z, as the releases count it."""
    depth, *plane = x.grid
    sites = x.sites.plan("one more plane", lambda: Sites(x.coords, (depth + 1, *plane), x.batch_size))
    return SparseTensor(x.features, sites)


def height_to_channels(x: SparseTensor) -> Tensor:
    """Bird's-eye view (B, Y, X, C Z), 0 where nothing is; channel c Z + z."""
    return x.dense().permute(0, 2, 3, 4, 1).flatten(3)
