"""Bi-level routing attention (BiFormer, Zhu et al. 2023); maths in `core.ops.routed`.

    y = W_o (attention to the k regions that suit best + depthwise(v)),   scores q . k / sqrt(dim), of the whole width

Decided: a map that does not divide into its regions has places in the last ones that nothing attends to and that no
mean counts; the release fills x up with zeros that do both, and that carry the bias of v into the convolution
(`official=True`).

No mask: regions are a fixed number a map, so that they depend on its extent.
"""

__all__ = ["BiLevelRoutingAttention"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer, init_linear
from core.ops.routed import routed_attention, top_regions
from core.positions import LePE


class BiLevelRoutingAttention(Mixer):
    """Regions attend to the regions that suit them best.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        regions: regions an axis.
        chosen: regions that a region attends to.
        kernel: of the convolution of the values.
        qk_dim: width of queries and keys; dim by default.
        scale: factor of the scores; qk_dim ** -0.5 by default.
        official: fill maps up and attend to what was filled, as the release does; for checkpoints.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        regions: int = 7,
        chosen: int = 4,
        kernel: int = 5,
        qk_dim: int | None = None,
        scale: float | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        own = qk_dim or dim
        if dim % heads or own % heads:
            raise ValueError(
                f"BiLevelRoutingAttention: dim {dim}, qk_dim {own} and {heads} heads; give heads that divide both"
            )
        self.heads = heads
        self.regions = regions
        self.chosen = chosen
        self.scale = own**-0.5 if scale is None else scale
        self.official = official
        self.q = nn.Linear(dim, own)
        self.k = nn.Linear(dim, own)
        self.v = nn.Linear(dim, dim)
        self.lepe = LePE(dim, (kernel, kernel))
        self.out = nn.Linear(dim, dim)
        init_linear(self.q, self.k, self.v, self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        grid = grid_of(x)
        if len(grid) != 2:
            raise ValueError(f"BiLevelRoutingAttention: a grid {grid}; give maps")
        # A short axis has as many regions as tokens, so that none is empty.
        sides = [-(-length // self.regions) for length in grid]
        counts = [self.regions if self.official else -(-n // s) for n, s in zip(grid, sides, strict=True)]
        short = [c * s - n for c, s, n in zip(counts, sides, grid, strict=True)]
        real = None
        if any(short):
            x = F.pad(x, (0, 0, 0, short[1], 0, short[0]))
            if not self.official:
                real = F.pad(x.new_ones(1, *grid, dtype=torch.bool), (0, short[1], 0, short[0]))
        q, k, v = (project(x) for project in (self.q, self.k, self.v))
        if real is not None:
            v = zero_padding(v, real.expand(len(x), -1, -1))
        parts = [_cut(t, counts) for t in (q, k, v)]
        inside = None if real is None else _cut(real[..., None], counts)[0, :, :, 0]
        regions = top_regions(_means(parts[0].detach(), inside), _means(parts[1].detach(), inside), self.chosen)
        q, k, v_parts = (t.unflatten(-1, (self.heads, -1)) for t in parts)
        y = routed_attention(q, k, v_parts, regions, real=inside, scale=self.scale)
        y = _join(y.flatten(-2), counts, x.shape[1:3]) + self.lepe(v)
        return self.out(y[:, : grid[0], : grid[1]])


def _cut(x: Tensor, counts: list[int]) -> Tensor:
    """(B, H, W, C) -> (B, regions, places, C)."""
    x = x.unflatten(2, (counts[1], -1)).unflatten(1, (counts[0], -1)).transpose(2, 3)
    return x.flatten(1, 2).flatten(2, 3)


def _join(x: Tensor, counts: list[int], grid: tuple[int, ...]) -> Tensor:
    """Inverse of `_cut`."""
    height, width = grid[0] // counts[0], grid[1] // counts[1]
    x = x.unflatten(2, (height, width)).unflatten(1, tuple(counts)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)


def _means(x: Tensor, real: Tensor | None) -> Tensor:
    """(B, regions, places, C) -> (B, regions, C), over what is real."""
    if real is None:
        return x.mean(2)
    return (x * real[..., None]).sum(2) / real.sum(1, keepdim=True).clamp(min=1)
