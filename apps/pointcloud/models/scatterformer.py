"""ScatterFormer (He et al., ECCV 2024, arXiv 2401.00912): linear attention over voxel windows of any size.

    entry    submanifold convolution, 3 sparse residual blocks, z halved
    stage    layers of  x += attention(norm x) in windows of `window` x `window` columns of whole height, never shifted
                        x  = CrossWindow(x)
             then a norm; the first stage ends with a convolution that halves all axes
    pool     one bird's-eye-view site a column: the largest feature of the column attends to its voxels

    CrossWindow: x = norm x;  x += (cube 3^3 | line along x | line along y | itself, a quarter of the channels each)
                 x += W_2 relu(W_1 norm x)

Lines are window + 1 long: they alone join windows.  Shapes: voxels (b, z, y, x) of `channels` -> sites (b, y, x) of
`dim` at half the extent.  4.24 M parameters at dim 128; published with 4 heads, windows of 12 (Waymo) and 20 (nuScenes)
voxels, and the bird's-eye-view backbone `CascadeDED` and `CenterHead` behind.

Decided: the pool pairs a column's query with the column's own voxels.  The release takes queries in the order of its
pooling library and keys in sorted order, so that columns see each other's voxels at random; its published weights were
trained so, and no switch brings that order back, which a hash table's races decide.
Depthwise kernels start with deviation 1 / sqrt(taps) instead of 1.
"""

__all__ = ["ColumnPool", "CrossWindow", "ScatterFormer", "ScatterFormerStage"]

import torch
from torch import nn
from torch.nn import functional as F

from apps.pointcloud.models.layers import RowNorm, SparseBasicBlock, SparseConvNorm
from apps.pointcloud.models.sparse_backbones import taller
from core.layout import Ragged
from core.mixers import LinearAttention
from core.ops.segment_softmax import segment_attend
from core.ops.segments import segment_max
from core.sparse import (
    Sites,
    SparseConv,
    SparseModule,
    SparseTensor,
    SubmanifoldConv,
    SubmanifoldDepthwiseConv,
    windows,
)

EPS = 1e-6


class CrossWindow(SparseModule):
    """Lines and a cube of depthwise convolutions on quarters of the channels, then two linear layers.

    The norm at the entry is applied to the stream itself, not to a branch, as published.

    Args:
        dim: channels, a multiple of 4.
        line: length of the lines, odd.
    """

    def __init__(self, dim: int, line: int) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(f"CrossWindow: {dim} channels do not divide into quarters")
        self.norm = RowNorm(dim)
        kernels = (3, 3, 3), (1, 1, line), (1, line, 1)
        self.convs = nn.ModuleList(SubmanifoldDepthwiseConv(dim // 4, kernel) for kernel in kernels)
        self.mlp_norm = RowNorm(dim)
        self.enter = nn.Linear(dim, 2 * dim)
        self.leave = nn.Linear(2 * dim, dim)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """`dim` channels in and out, at the same sites."""
        y = self.norm(x.features)
        *quarters, rest = y.chunk(4, -1)
        mixed = [conv(x.replace(part.contiguous())).features for conv, part in zip(self.convs, quarters, strict=True)]
        y = y + torch.cat([*mixed, rest], -1)
        return x.replace(y + self.leave(F.relu(self.enter(self.mlp_norm(y)))))


class ScatterFormerStage(SparseModule):
    """Layers of window attention and `CrossWindow`.

    Args:
        dim: channels.
        heads: of the attention.
        depth: number of layers.
        window: extent of a window along y and x, even; z is whole.

    Raises:
        ValueError: an odd window, whose lines would have no centre.
    """

    def __init__(self, dim: int, heads: int = 4, depth: int = 3, window: int = 12) -> None:
        super().__init__()
        if window < 2 or window % 2:
            raise ValueError(f"ScatterFormerStage: window {window} must be even; lines of window + 1 need a centre")
        self.window = window
        # LinearAttention scales queries by 1 / sqrt(d): the smaller constant makes the quotient the same.
        eps = EPS * (dim // heads) ** -0.5
        self.norms = nn.ModuleList(RowNorm(dim) for _ in range(depth))
        self.attentions = nn.ModuleList(
            LinearAttention(dim, heads, feature=torch.relu, bias=False, eps=eps) for _ in range(depth)
        )
        self.mixers = nn.ModuleList(CrossWindow(dim, window + 1) for _ in range(depth))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """`dim` channels in and out, at the same sites."""
        groups = windows(x.sites, (None, self.window, self.window))
        for norm, attention, mixer in zip(self.norms, self.attentions, self.mixers, strict=True):
            rows = norm(x.features).index_select(0, groups.order)
            y = attention(Ragged(rows, groups.offsets)).tokens.index_select(0, groups.place)
            x = mixer(x.replace(x.features + y))
        return x


class ColumnPool(nn.Module):
    """One row a column: the largest features attend to the column's voxels (`AttnPillarPool`).

    Args:
        dim: channels, a multiple of 8.
        height: extent of the grid along z; each place has an embedding, added to keys alone.
    """

    heads = 8

    def __init__(self, dim: int, height: int) -> None:
        super().__init__()
        self.height = height
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.position = nn.Parameter(0.01 * torch.randn(height, dim))
        self.norm = nn.LayerNorm(dim)
        for linear in (self.q, self.k, self.v):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Sites (b, z, y, x) -> (b, y, x), `dim` channels.

        Raises:
            ValueError: a grid higher than `height`.
        """
        depth, *plane = x.grid
        if depth > self.height:
            raise ValueError(f"ColumnPool: a grid of {depth} planes, made for {self.height}; build it with that height")
        columns = windows(x.sites, (None, 1, 1))
        rows, coords = (t.index_select(0, columns.order) for t in (x.features, x.coords))
        count = len(columns.offsets) - 1
        numbers = torch.repeat_interleave(
            torch.arange(count, device=rows.device), columns.offsets.diff(), output_size=len(rows)
        )
        largest = segment_max(rows, numbers, count)
        q, k, v = (
            linear(t).unflatten(-1, (self.heads, -1))
            for linear, t in ((self.q, largest), (self.k, rows + self.position[coords[:, 1]]), (self.v, rows))
        )
        y = self.norm(self.out(segment_attend(q, k, v, numbers).flatten(1)) + largest)
        sites = x.sites.plan(
            "columns",
            # The first of a column has its place; columns come in raster order.
            lambda: Sites(coords[columns.offsets[:-1]][:, [0, 2, 3]].contiguous(), plane, x.batch_size),
        )
        return SparseTensor(y, sites)


class ScatterFormer(nn.Module):
    """The backbone: voxels in, a bird's-eye view of half their extent out.

    Args:
        channels: of the voxel features.
        height: voxels along z.
        dim: width.
        heads: of the window attention.
        depths: layers of the two stages.
        window: voxels of a window, of the first stage; the second takes as many of its own, twice as wide.
        entry_depth: residual blocks before the stages.

    Attributes:
        stride: voxels of an output site.
        out_dim: its channels.
    """

    stride = 2

    def __init__(
        self,
        channels: int,
        height: int,
        dim: int = 128,
        heads: int = 4,
        depths: tuple[int, int] = (3, 3),
        window: int = 12,
        entry_depth: int = 3,
    ) -> None:
        super().__init__()
        self.out_dim = dim
        self.enter = SparseConvNorm(SubmanifoldConv(channels, dim, 3, bias=False))
        self.blocks = nn.Sequential(*(SparseBasicBlock(dim) for _ in range(entry_depth)))
        self.flatten = SparseConvNorm(SparseConv(dim, dim, (3, 1, 1), stride=(2, 1, 1), bias=False))
        self.stages = nn.ModuleList(ScatterFormerStage(dim, heads, depth, window) for depth in depths)
        self.norms = nn.ModuleList(RowNorm(dim) for _ in depths)
        self.down = SparseConv(dim, dim, 3, stride=2, padding=1, bias=False)
        self.pool = ColumnPool(dim, self.pooled_height(height))

    @staticmethod
    def pooled_height(height: int) -> int:
        """Planes that reach the pool: one more than voxels, halved without and with padding."""
        return max((max(height + 1 - 3, 0) // 2 + 1 - 1) // 2 + 1, 1)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Sites (b, z, y, x) of `channels` -> (b, y, x) of `dim`.

        Raises:
            ValueError: a grid of fewer than two planes.
        """
        x = self.flatten(self.blocks(self.enter(taller(x))))
        first, second = self.stages
        x = first(x)
        x = self.down(x.replace(self.norms[0](x.features)))
        x = second(x)
        return self.pool(x.replace(self.norms[1](x.features)))
