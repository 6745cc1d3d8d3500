"""FlatFormer (Liu et al., CVPR 2023, arXiv 2301.08739): attention among pillars in groups of equal size.

Pillars of a plane are flattened along four curves (`core.sparse.flattened`) and cut into groups; a block has a layer
for each: along y in rows of x windows, the same with windows shifted by half, and both again with the axes exchanged.

    x = norm(x + attention(q = k = x + position, v = x)),   x = norm(x + W_2 gelu(W_1 x))

`position` are sines and cosines of the pillar's own place on the map.  Shapes: sites (b, y, x) of `dim` in and out.
1.06 M parameters as published for Waymo: dim 128, 8 heads, 2 blocks, windows of 13 x 13, groups of 144, pillars of
0.32 m; one to three frames differ in their points alone.

Faster than the release, with the same numbers: rows stay in one order, queries and keys are one product on rows, not on
padded groups, positions are gathered with them.
"""

__all__ = ["FlatFormer", "FlatFormerLayer", "plane_positions"]

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.ops.attend import attend
from core.sparse import Sites, SparseTensor
from core.sparse.flattened import Flattened, flattened

# The value the release has in place of 2 pi.
TURN = 2 * 3.1415


def plane_positions(sites: Sites, dim: int, *, temperature: float = 10000.0, normalise: bool = False) -> Tensor:
    """(N, dim) float32: sines (even places) and cosines (odd) of x, then of y, at falling frequencies; 0 where dim / 4
    is no whole number.

    Args:
        sites: (b, y, x).
        dim: width.
        temperature: of the slowest frequency.
        normalise: one turn over the map instead of places.
    """
    half = dim // 4 * 2
    # In single precision whatever the network has: angles of several hundred have these digits in every release.
    exponent = torch.arange(half, device=sites.device).div(2, rounding_mode="floor").float() * 2 / half
    parts = []
    for axis in (1, 0):
        place = sites.coords[:, 1 + axis].float()
        if normalise:
            place = place / sites.grid[axis] * TURN
        angle = place[:, None] / temperature**exponent
        parts.append(torch.stack([angle[:, ::2].sin(), angle[:, 1::2].cos()], 2).flatten(1))
    return F.pad(torch.cat(parts, 1), (0, dim - 2 * half))


class FlatFormerLayer(nn.Module):
    """Attention inside groups and two linear layers, each with a residual and a norm behind.

    Args:
        dim: channels.
        heads: number of heads.
        activation: between the linear layers.
    """

    def __init__(self, dim: int, heads: int = 8, activation: Callable[[Tensor], Tensor] = F.gelu) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"FlatFormerLayer: {heads} heads do not divide {dim} channels")
        self.heads, self.activation = heads, activation
        self.qk = nn.Linear(dim, 2 * dim)
        self.v = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Linear(dim, 2 * dim)
        self.leave = nn.Linear(2 * dim, dim)
        self.mlp_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, groups: Flattened) -> Tensor:
        """x (N, dim), position (N, dim), groups of rows."""
        rows = torch.cat([self.qk(x + position), self.v(x)], 1)
        count, size = groups.rows.shape
        packed = rows.index_select(0, groups.rows.flatten()).view(count, size, 3, self.heads, x.shape[1] // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        mask = None if groups.mask is None else groups.mask[:, None, None]
        y = attend(q, k, v, mask=mask).transpose(1, 2).reshape(count * size, x.shape[1])
        x = self.norm(x + self.out(y.index_select(0, groups.place)))
        return self.mlp_norm(x + self.leave(self.activation(self.enter(x))))


class FlatFormer(nn.Module):
    """The encoder.

    Args:
        dim: channels.
        heads: number of heads.
        depth: number of blocks of four layers.
        window: places of a window along (y, x).
        size: of a group.
        temperature, normalise: of `plane_positions`.
        activation: in the layers.

    Attributes:
        out_dim: channels of the output.
        stride: pillars of an output site.
    """

    stride = 1

    def __init__(
        self,
        dim: int = 128,
        heads: int = 8,
        depth: int = 2,
        *,
        window: tuple[int, int] = (13, 13),
        size: int = 144,
        temperature: float = 10000.0,
        normalise: bool = False,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.out_dim, self.window, self.size = dim, tuple(window), size
        self.temperature, self.normalise = temperature, normalise
        self.layers = nn.ModuleList(FlatFormerLayer(dim, heads, activation) for _ in range(4 * depth))
        # As published: all matrices, the three of q, k and v as the one that they were.
        for layer in self.layers:
            for weight in (layer.out.weight, layer.enter.weight, layer.leave.weight):
                nn.init.xavier_uniform_(weight)
            bound = math.sqrt(6 / (4 * dim))
            for weight in (layer.qk.weight, layer.v.weight):
                nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Sites (b, y, x) of `dim` channels in and out."""
        position = plane_positions(
            x.sites, x.features.shape[1], temperature=self.temperature, normalise=self.normalise
        ).to(x.features)
        rows = x.features
        for number, layer in enumerate(self.layers):
            groups = flattened(
                x.sites, self.window, self.size, shifted=number % 2 == 1, outer=0 if number % 4 < 2 else 1
            )
            rows = layer(rows, position, groups)
        return x.replace(rows)
