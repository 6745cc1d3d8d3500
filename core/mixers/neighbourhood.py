"""Neighbourhood attention (NAT, Hassani et al. 2023; DiNAT, Hassani & Shi 2022): every token attends to the K tokens an
axis that are nearest to it, `dilation` apart; the maths stand in `core.ops.neighbourhood`.

    y = W_o concat_h softmax(q_h k_h^T / sqrt(d) + table[(p_k - p_q) / dilation]) v_h

Decided: on an axis shorter than kernel * dilation the dilation is the largest that leaves the kernel room, as the
paper chooses it, and on one shorter than the kernel a token sees all of the axis.  The release fills such maps up with
zeros behind the norm and lets those attend (they carry the biases of k and v); `official=True` does so too.

No mask: at borders neighbourhoods move inwards, so that they depend on the extent of the map.
"""

__all__ = ["NeighbourhoodAttention"]

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of
from core.mixers.base import Mixer, init_linear
from core.mixers.weight_cache import WeightCache
from core.ops.neighbourhood import neighbourhood_attention, tile_bias, tile_plan

# Biases of one map with more numbers than this are computed each time.
_KEEP = 2**22


class NeighbourhoodAttention(Mixer):
    """Tokens attend to their neighbourhood.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        kernel: keys an axis, odd; its length is the grids' rank.
        dilation: distance of two keys, an axis; 1 by default.
        bias: whether q, k and v have one.
        scale: factor of the scores; width of a head ** -0.5 by default.
        official: fill small maps up and attend to what was filled, as the release does; for checkpoints.

    Attributes:
        table: (rows, heads), a number for each head and difference key - query, in the unit of the dilation.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kernel: Sequence[int] = (7, 7),
        dilation: Sequence[int] | None = None,
        *,
        bias: bool = True,
        scale: float | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"NeighbourhoodAttention: dim {dim} and {heads} heads; give a number of heads that divides dim"
            )
        self.heads = heads
        self.kernel = tuple(kernel)
        self.dilation = tuple(dilation or (1,) * len(self.kernel))
        self.scale = scale
        self.official = official
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.table = nn.Parameter(torch.empty(prod(2 * size - 1 for size in self.kernel), heads))
        self.out = nn.Linear(dim, dim)
        self._cache = WeightCache()
        nn.init.trunc_normal_(self.table, std=0.02)
        init_linear(self.qkv, self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *grid, dim)."""
        own = grid_of(x)
        if len(own) != len(self.kernel):
            raise ValueError(
                f"NeighbourhoodAttention: kernel {self.kernel} for a grid {own}; give one kernel size a grid axis"
            )
        sizes = list(zip(own, self.kernel, self.dilation, strict=True))
        if self.official:
            short = [max(size * step - length, 0) for length, size, step in sizes]
            x = F.pad(x, (0, 0, *(n for side in reversed(short) for n in (0, side)))) if any(short) else x
            dilation = self.dilation
        else:
            dilation = tuple(max(min(step, length // size), 1) for length, size, step in sizes)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        bias = self._bias(grid_of(x), dilation, x)
        y = neighbourhood_attention(q, k, v, self.kernel, dilation, bias=bias, scale=self.scale)
        y = y[(slice(None), *(slice(0, length) for length in own))]
        return self.out(y.flatten(-2))

    def train(self, mode: bool = True) -> "NeighbourhoodAttention":
        """Also drops what was kept for inference."""
        self._cache.clear()
        return super().train(mode)

    def _bias(self, grid: tuple[int, ...], dilation: tuple[int, ...], x: Tensor) -> list[Tensor]:
        plan = tile_plan(grid, self.kernel, dilation, x.device)
        if sum(len(t.kinds) * t.rows[0].numel() for t in plan.tiles) * self.heads > _KEEP:
            return tile_bias(plan, self.table)
        return self._cache.get((grid, dilation), [self.table], lambda: tile_bias(plan, self.table))
