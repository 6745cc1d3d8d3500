"""Attention to a map pooled to several sizes (P2T, Wu et al. 2022; InterFormer's neck, Huang et al. 2023):

    y = W_o softmax(q k^T / sqrt(d)) v,   q of x,   k and v of LN([t_1; t_2; ...]),   t_r = p_r + dw3x3(p_r)

with p_r the maximum of the map over about r tokens an axis: h tokens become round(h / round(h / g)), g = extent / r, at
most h; a ratio of 1 leaves the map as it is. The extent is that of the maps which the ratios are meant for, so that
larger maps have no more keys than these.

Decided: at least one token is left on each axis; the release pools to none and fails where the ratio is more than twice
the extent.
"""

__all__ = ["PooledAttention"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of
from core.mixers.base import Mixer, init_linear
from core.ops.attend import attend
from core.positions import ConditionalPosition


class PooledAttention(Mixer):
    """All tokens of a map attend to a pyramid over it, or over another map; no mask, for sizes follow the extent.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        ratios: one map is pooled for each.
        extent: sizes of the maps that the ratios are meant for; those of each map itself by default.
        bias: whether q, k and v have one.
        dropout: of attention weights.

    Raises:
        ValueError: where the number of heads does not divide dim, or for ratios below 1.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        ratios: Sequence[int] = (1, 2, 3, 6),
        *,
        extent: tuple[int, int] | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"PooledAttention: dim {dim} and {heads} heads; give a number of heads that divides dim")
        if not ratios or min(ratios) < 1:
            raise ValueError(f"PooledAttention: ratios {tuple(ratios)}; give one or more, each from 1 on")
        self.heads, self.ratios, self.extent, self.dropout = heads, tuple(ratios), extent, dropout
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=bias) for _ in range(3))
        self.out, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.local = nn.ModuleList(ConditionalPosition(dim) for _ in ratios)
        init_linear(self.q, self.k, self.v, self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        return self.among(x, x)

    def among(self, x: Tensor, other: Tensor) -> Tensor:
        """Tokens x (B, H, W, dim) that attend to the pyramid over another map (B, h, w, dim) -> like x."""
        if x.ndim != 4 or other.ndim != 4:
            raise ValueError(
                f"PooledAttention: tokens {tuple(x.shape)} and {tuple(other.shape)}; give maps (B, H, W, dim)"
            )
        keys = self.norm(self.pyramid(other))
        q, k, v = (
            project(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, t in ((self.q, x.flatten(1, 2)), (self.k, keys), (self.v, keys))
        )
        y = attend(q, k, v, dropout=self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).flatten(2)).view_as(x)

    def pyramid(self, x: Tensor) -> Tensor:
        """The pooled maps of (B, h, w, dim), one behind the other: (B, N, dim)."""
        view, maps = x.movedim(-1, 1), []
        grid = grid_of(x)
        for ratio, local in zip(self.ratios, self.local, strict=True):
            size = self.sizes(grid, ratio)
            pooled = x if size == grid else F.adaptive_max_pool2d(view, size).movedim(1, -1)
            maps.append(local(pooled).flatten(1, 2))
        return torch.cat(maps, 1)

    def sizes(self, grid: tuple[int, ...], ratio: int) -> tuple[int, ...]:
        """What a map of this size is pooled to."""
        if ratio == 1:
            return grid
        found = []
        for length, extent in zip(grid, self.extent or grid, strict=True):
            goal = min(extent / ratio, length)
            found.append(max(round(length / round(length / goal)), 1))
        return tuple(found)
